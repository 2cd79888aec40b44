# Redis: its own password and certificate.
path "caravan/data/platform/redis" {
  capabilities = ["read"]
}
path "caravan-pki/issue/redis" {
  capabilities = ["update"]
}
