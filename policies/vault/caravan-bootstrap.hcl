# Bootstrap of the first admin: the manager's configuration, and the seed, which is deleted after use.
path "caravan/data/platform/postgres" {
  capabilities = ["read"]
}
path "caravan/data/platform/redis" {
  capabilities = ["read"]
}
path "caravan/data/platform/storage" {
  capabilities = ["read"]
}
path "caravan/data/platform/agent" {
  capabilities = ["read"]
}
path "transit/encrypt/caravan-keypairs" {
  capabilities = ["update"]
}
path "transit/decrypt/caravan-keypairs" {
  capabilities = ["update"]
}
path "caravan/data/bootstrap" {
  capabilities = ["read"]
}
