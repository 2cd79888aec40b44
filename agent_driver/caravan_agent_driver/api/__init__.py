"""The agent's doors: the manager's over TCP, the hooks' on the Unix socket."""
