# Consul's own agent: its node's entry and nothing else.
node_prefix "" {
  policy = "write"
}
agent_prefix "" {
  policy = "read"
}
