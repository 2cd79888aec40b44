"""The one way to Consul: at an address, with the token of this process's environment, and with a limit of time."""

# pyright: reportUnknownMemberType=false
# py-consul carries no types.

import os
from urllib.parse import urlsplit

import consul


def make_consul(address: str, answer_seconds: float) -> consul.Consul:
    """Return a client of the Consul at a URL; one answer may take so long."""
    parts = urlsplit(address)
    return consul.Consul(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 8500,
        scheme=parts.scheme,
        token=os.environ.get("CONSUL_HTTP_TOKEN") or os.environ.get("CONSUL_TOKEN"),
        connections_timeout=answer_seconds,
    )
