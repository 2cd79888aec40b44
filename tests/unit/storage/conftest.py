"""A real storage proxy on loopback, over real files in a temporary directory."""

import asyncio
import os
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from blockbuster import BlockBuster, BlockBusterFunction, blockbuster_ctx
from tests.unit.storage.running_proxy import Proxy, config_of

from caravan_common.service import Listener, serving
from caravan_storage.app import client_app, manager_app, metrics_app
from caravan_storage.wiring import build_storage

MORE_BLOCKING = ["close", "dup", "fchmod", "fchown", "fstat", "fsync", "ftruncate", "open", "pread"]


@pytest.fixture(autouse=True)
def nothing_blocks() -> Generator[BlockBuster, None, None]:
    """Make every blocking call in the event loop an error, also those that blockbuster does not watch by itself."""
    with blockbuster_ctx("caravan_storage") as blockbuster:
        more = [BlockBusterFunction(os, name, scanned_modules="caravan_storage").activate() for name in MORE_BLOCKING]
        yield blockbuster
        for function in more:
            function.deactivate()


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncGenerator[Proxy, None]:
    """A proxy with one volume and one empty folder."""
    root = await asyncio.to_thread(_made, tmp_path / "volume1")
    storage = await asyncio.to_thread(build_storage, config_of(root))
    listeners = [Listener(app) for app in (client_app(storage), manager_app(storage), metrics_app())]
    async with serving(*listeners) as addresses, ClientSession() as session:
        proxy = Proxy(session, storage, root, *(f"http://{address}" for address in addresses))
        await proxy.create()
        yield proxy


def _made(root: Path) -> Path:
    root.mkdir()
    return root
