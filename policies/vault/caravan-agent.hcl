# Agent: the manager's token, Redis' password, and a certificate of its own.
path "caravan/data/platform/agent" {
  capabilities = ["read"]
}
path "caravan/data/platform/redis" {
  capabilities = ["read"]
}
path "caravan-pki/issue/caravan-agent" {
  capabilities = ["update"]
}
path "caravan-pki/cert/ca" {
  capabilities = ["read"]
}
