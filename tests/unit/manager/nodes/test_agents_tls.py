"""The manager shows its token only to agents that the cluster's authority vouches for."""

import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from caravan_common.errors import UnavailableError
from caravan_common.service import Listener, serving
from caravan_manager.nodes.agents import AGENT_NAME, HttpAgents

TOKEN = "the-token-of-all-agents"


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """A certificate authority of the test's own, made with openssl."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self.certificate = folder / f"{name}.crt"
        self.key = folder / f"{name}.key"
        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", self.key)
        _openssl("req", "-x509", *key, "-out", self.certificate, "-subj", f"/CN={name}", "-days", "2")

    def issue(self, host: str) -> Path:
        """Return a PEM file of a key and its certificate for ``host``."""
        key, made, pem = (self.folder / f"{self.name}-{host}.{end}" for end in ("key", "crt", "pem"))
        wanted = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-subj", "/CN=x")
        signed = ("-CA", self.certificate, "-CAkey", self.key, "-addext", f"subjectAltName=DNS:{host}", "-days", "2")
        _openssl("req", "-x509", *wanted, *signed, "-out", made)
        pem.write_text(key.read_text() + made.read_text())
        return pem


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("strange"), "strange")


class Door:
    """What an agent's door saw."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    async def kernels(self, request: web.Request) -> web.Response:
        self.tokens.append(request.headers["Authorization"])
        return web.json_response({"kernels": []})


@asynccontextmanager
async def _agent(certificate: Path | None) -> AsyncIterator[tuple[Door, str]]:
    door, app, tls = Door(), web.Application(), None
    app.router.add_get("/kernels", door.kernels)
    if certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
    async with serving(Listener(app, tls=tls)) as (address,):
        yield door, f"{'http' if tls is None else 'https'}://{address}"


@asynccontextmanager
async def _manager(authority: Authority) -> AsyncIterator[HttpAgents]:
    async with aiohttp.ClientSession() as client:
        yield HttpAgents(client, TOKEN, ssl.create_default_context(cafile=authority.certificate))


async def test_an_agent_with_a_certificate_of_the_authority_is_spoken_to(ours: Authority) -> None:
    async with _agent(ours.issue(AGENT_NAME)) as (door, url), _manager(ours) as agents:
        assert (await agents.kernels(url)).kernels == []
        assert door.tokens == [f"Bearer {TOKEN}"]


async def test_an_agent_of_another_authority_never_sees_the_token(ours: Authority, strange: Authority) -> None:
    async with _agent(strange.issue(AGENT_NAME)) as (door, url), _manager(ours) as agents:
        with pytest.raises(UnavailableError):
            await agents.kernels(url)
        assert door.tokens == []


async def test_another_service_of_the_authority_is_no_agent(ours: Authority) -> None:
    async with _agent(ours.issue("caravan-redis.service.consul")) as (door, url), _manager(ours) as agents:
        with pytest.raises(UnavailableError):
            await agents.kernels(url)
        assert door.tokens == []


async def test_nothing_is_sent_in_the_clear_once_an_authority_is_known(ours: Authority) -> None:
    async with _agent(None) as (door, url), _manager(ours) as agents:
        with pytest.raises(UnavailableError, match="TLS"):
            await agents.forget(url, uuid4())
        assert door.tokens == []
