"""Where a request really comes from, and what its client signed: behind a trusted proxy its headers say so. Pure.

``X-Forwarded-*`` of anybody else are words of the client and mean nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from aiohttp import web

from caravan_common.errors import InvalidAuthParametersError

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Origin:
    """The client's address, and host and path as the client wrote (and signed) them."""

    address: str | None
    host: str
    raw_path: str


class TrustedProxies:
    """The networks whose ``X-Forwarded-*`` headers are believed."""

    def __init__(self, networks: Sequence[str] = ()) -> None:
        self._networks: list[Network] = [ip_network(text) for text in networks]

    def origin(self, request: web.BaseRequest) -> Origin:
        """Return where a request comes from. Raises InvalidAuthParametersError for an address that none can be."""
        if not self._networks or not self._trusts(request.remote):
            return Origin(request.remote, request.host, request.raw_path)
        headers = request.headers
        host = headers.get("X-Forwarded-Host", request.host)
        try:
            url = urlsplit(headers.get("X-Forwarded-URL", ""))
        except ValueError as err:
            raise InvalidAuthParametersError("X-Forwarded-URL is no URL") from err
        if url.path:
            path = f"{url.path}?{url.query}" if url.query else url.path
            return Origin(self._client(request), url.netloc or host, path)
        prefix = headers.get("X-Forwarded-Prefix", "").rstrip("/")
        return Origin(self._client(request), host, prefix + request.raw_path)

    def _client(self, request: web.BaseRequest) -> str | None:
        """Return the last hop that is no proxy of ours: whatever stands before it the client may have written."""
        hops = [hop.strip() for line in request.headers.getall("X-Forwarded-For", []) for hop in line.split(",")]
        for hop in reversed(hops):
            if not self._trusts(hop):
                return hop if _is_address(hop) else request.remote
        return request.remote

    def _trusts(self, address: str | None) -> bool:
        if address is None or not _is_address(address):
            return False
        parsed = ip_address(address)
        return any(parsed in network for network in self._networks)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
