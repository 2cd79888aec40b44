# Agent: the manager's token and Redis' password.
path "caravan/data/platform/agent" {
  capabilities = ["read"]
}
path "caravan/data/platform/redis" {
  capabilities = ["read"]
}
