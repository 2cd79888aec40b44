# The agent's default token. With it the agent can take a stopped job's services out of the catalogue after the
# service's own token (of its workload identity) is gone; without it such entries stay for ever.
node_prefix "" {
  policy = "write"
}
service_prefix "" {
  policy = "write"
}
