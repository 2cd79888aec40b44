# Manager: what it needs to reach its neighbours and to know them, and the transit key that encrypts keypairs' secrets.
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
path "caravan-pki/cert/ca" {
  capabilities = ["read"]
}
path "transit/encrypt/caravan-keypairs" {
  capabilities = ["update"]
}
path "transit/decrypt/caravan-keypairs" {
  capabilities = ["update"]
}
