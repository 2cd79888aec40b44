"""The kernels of this node: what the agent knows of each, what it makes for them, and how they end."""
