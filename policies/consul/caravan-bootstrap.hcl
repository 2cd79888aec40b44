# The bootstrap of the first admin: find PostgreSQL.
service "caravan-postgres" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
