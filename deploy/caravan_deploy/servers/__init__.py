"""The servers that a stack starts itself: Consul, Vault, Nomad, and dockerd where nothing answers."""
