# The manager's tasks: find PostgreSQL, Redis, storage proxies and agents; elect the scheduler's leader.
service_prefix "caravan-" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
session_prefix "" {
  policy = "write"
}
key_prefix "caravan/leader/" {
  policy = "write"
}
