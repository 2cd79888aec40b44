"""Docker's HTTP API over its Unix socket, as much of it as the agent needs.

Our own few calls on aiohttp rather than a library: the agent needs eight of them, typed, each with a time limit, and
has to read two streams (events, logs) in its own way.
"""
