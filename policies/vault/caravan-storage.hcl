# Storage proxy: the manager's token and the key that signs transfer tokens.
path "caravan/data/platform/storage" {
  capabilities = ["read"]
}
path "caravan/data/platform/storage-signing" {
  capabilities = ["read"]
}
