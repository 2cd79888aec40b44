# Bootstrap of the first admin: the database, the key that encrypts keypairs' secrets, and the seed, deleted after use.
path "caravan/data/platform/postgres" {
  capabilities = ["read"]
}
path "transit/encrypt/caravan-keypairs" {
  capabilities = ["update"]
}
path "caravan/data/bootstrap" {
  capabilities = ["read"]
}
