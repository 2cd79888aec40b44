# Redis: its own password.
path "caravan/data/platform/redis" {
  capabilities = ["read"]
}
