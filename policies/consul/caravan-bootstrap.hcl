# The bootstrap of the first admin: find PostgreSQL and Redis.
service_prefix "caravan-" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
