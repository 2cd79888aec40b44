# The Vault agent of a machine that joined: a client's certificate for Consul and Nomad, never a server's.
path "caravan-pki/issue/node" {
  capabilities = ["update"]
}
