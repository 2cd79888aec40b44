"""A Vault, Nomad or Consul that takes connections and never answers keeps only its own callers waiting."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from caravan_common.consul.catalog import Catalog
from caravan_common.errors import UnavailableError
from caravan_common.nomad.client import NomadCluster
from caravan_common.vault import transit
from caravan_common.vault.transit import Transit
from caravan_manager.people.passwords import hash_password

CALLERS = 40
"""More than asyncio's own pool has threads on any machine."""
Call = Callable[[], Awaitable[object]]


@asynccontextmanager
async def silence() -> AsyncGenerator[str, None]:
    """Give the address of a server that never answers, and hangs up at the end."""
    writers: list[asyncio.StreamWriter] = []

    async def keep(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)

    server = await asyncio.start_server(keep, "127.0.0.1", 0)
    try:
        yield "http://{}:{}".format(*server.sockets[0].getsockname()[:2])
    finally:
        server.close()
        for writer in writers:
            writer.close()


@asynccontextmanager
async def calling(call: Call) -> AsyncGenerator[None, None]:
    """Let many callers wait for the answer while the block runs."""
    calls = [asyncio.ensure_future(call()) for _ in range(CALLERS)]
    await asyncio.sleep(0.2)
    try:
        yield
    finally:
        for waiting in calls:
            waiting.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def others_are_served() -> None:
    """Do what the scheduler and a login do in threads."""
    async with asyncio.timeout(10):
        await asyncio.to_thread(len, "the plan of a pass")
        await hash_password("secret")


@pytest.fixture
def token(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("s.token")
    return tmp_path / "token"


async def test_a_silent_vault_keeps_nobody_else_waiting(token: Path) -> None:
    async with silence() as vault:
        one = Transit(vault, token, "key")
        async with calling(lambda: one.encrypt("x")):
            await others_are_served()


async def test_a_silent_nomad_keeps_nobody_else_waiting() -> None:
    async with silence() as nomad:
        cluster = NomadCluster(nomad, "caravan")
        async with calling(cluster.list_jobs):
            await others_are_served()


async def test_a_silent_consul_keeps_nobody_else_waiting() -> None:
    async with silence() as consul:
        catalog = Catalog(consul)
        async with calling(lambda: catalog.tagged("metrics")):
            await others_are_served()


async def test_who_waits_for_a_silent_vault_learns_it_in_time(token: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transit, "WAIT_SECONDS", 0.5)
    async with silence() as vault:
        one = Transit(vault, token, "key")
        async with asyncio.timeout(10):
            answers = await asyncio.gather(*[one.encrypt("x") for _ in range(CALLERS)], return_exceptions=True)
        assert {type(answer) for answer in answers} == {UnavailableError}


async def test_containers_that_take_long_to_end_keep_no_other_job_waiting() -> None:
    over = asyncio.Event()

    async def allocations(_request: web.Request) -> web.Response:
        return web.json_response([{"TaskGroup": "main1", "ClientStatus": "running", "ID": "a"}])

    async def restart(_request: web.Request) -> web.Response:
        await over.wait()
        return web.json_response({})

    async def register(_request: web.Request) -> web.Response:
        return web.json_response({})

    app = web.Application()
    app.router.add_get("/v1/job/{job}/allocations", allocations)
    app.router.add_route("*", "/v1/client/allocation/{allocation}/restart", restart)
    app.router.add_route("*", "/v1/jobs", register)
    job: dict[str, Any] = {"ID": "s-1"}
    async with TestServer(app) as server:
        cluster = NomadCluster(str(server.make_url("")), "caravan")
        async with calling(lambda: cluster.restart("s-0", "main1")):
            async with asyncio.timeout(10):
                await cluster.register(job)
            over.set()
