# PostgreSQL: its own password.
path "caravan/data/platform/postgres" {
  capabilities = ["read"]
}
