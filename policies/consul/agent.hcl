# Consul's own agent: its node's entry, and taking a stopped job's services out of the catalogue after the service's own
# token (of its workload identity) is gone; without `service` such entries stay for ever. There is no default token: the
# agent would lend it to every caller who shows none.
node_prefix "" {
  policy = "write"
}
agent_prefix "" {
  policy = "read"
}
service_prefix "" {
  policy = "write"
}
