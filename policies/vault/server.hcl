# The server's Vault agent: the certificate of Consul, Nomad and Vault there.
path "caravan-pki/issue/server" {
  capabilities = ["update"]
}
