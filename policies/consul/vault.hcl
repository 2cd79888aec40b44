# Vault: its own entry in the catalogue.
service "vault" {
  policy = "write"
}
agent_prefix "" {
  policy = "read"
}
