# Nomad's server and client: registering themselves and their jobs' services. Tasks get tokens of their own.
agent_prefix "" {
  policy = "read"
}
node_prefix "" {
  policy = "write"
}
service_prefix "" {
  policy = "write"
}
