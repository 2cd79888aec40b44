"""What tests of several rooms share: a Redis of their own."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.redis_server import RedisServer


@pytest.fixture
async def redis_server(tmp_path: Path, unused_tcp_port: int) -> AsyncIterator[RedisServer]:
    server = RedisServer(tmp_path, unused_tcp_port)
    await server.start()
    yield server
    await server.stop()
