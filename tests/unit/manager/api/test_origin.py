"""Forwarded headers count from trusted proxies only."""

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from caravan_manager.api.origin import Origin, TrustedProxies

PROXY, CLIENT = "10.0.0.1", "203.0.113.7"


def _origin(networks: list[str], remote: str, *headers: tuple[str, str]) -> Origin:
    sent = CIMultiDict([("Host", "manager:8091"), *headers])
    return TrustedProxies(networks).origin(make_mocked_request("GET", "/session/a%20b?x=1", sent).clone(remote=remote))


FORWARDED = [
    ("X-Forwarded-For", f"6.6.6.6, {CLIENT}, 10.0.0.2"),
    ("X-Forwarded-Host", "api.example.com"),
    ("X-Forwarded-Prefix", "/backend/"),
]


def test_without_a_trusted_proxy_forwarded_headers_mean_nothing() -> None:
    direct = Origin(CLIENT, "manager:8091", "/session/a%20b?x=1")
    assert _origin([], CLIENT, *FORWARDED) == direct
    assert _origin(["10.0.0.0/8"], CLIENT, *FORWARDED) == direct


def test_a_trusted_proxy_tells_client_host_and_prefix() -> None:
    assert _origin(["10.0.0.0/8"], PROXY, *FORWARDED) == Origin(CLIENT, "api.example.com", "/backend/session/a%20b?x=1")


def test_the_whole_url_wins_over_its_parts() -> None:
    url = ("X-Forwarded-URL", "https://front.example.com/api/session/a%20b?x=1")
    assert _origin(["10.0.0.1"], PROXY, *FORWARDED, url) == Origin(
        "10.0.0.2", "front.example.com", "/api/session/a%20b?x=1"
    )


@pytest.mark.parametrize("hops", ["", "10.0.0.2", "unknown", "6.6.6.6, nonsense"])
def test_without_a_foreign_address_the_proxy_itself_is_the_client(hops: str) -> None:
    assert _origin(["10.0.0.0/8"], PROXY, ("X-Forwarded-For", hops)).address == PROXY
