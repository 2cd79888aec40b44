"""The compiler: a placed session becomes a Nomad job and a specification for each agent. Pure."""
