# The agent's tasks: find Redis.
service "caravan-redis" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
