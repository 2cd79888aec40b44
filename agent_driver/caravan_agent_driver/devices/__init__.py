"""Accelerators: what is on this node, how it does, and what a kernel that has a part of it gets. One file a kind."""
