# Consul's agent and Nomad's client on a machine that joined, which have the right to its own node's entry besides: the
# services that run there, also after they stopped. No other name: it can never pass for Redis or PostgreSQL.
agent_prefix "" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
service "caravan-agent" {
  policy = "write"
}
service "nomad-client" {
  policy = "write"
}
service_prefix "" {
  policy = "read"
}
