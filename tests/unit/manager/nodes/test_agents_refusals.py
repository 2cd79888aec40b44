"""What an agent refuses for good, and why, as the manager understands its answer."""

import aiohttp
import pytest
from aiohttp import web

from caravan_common.errors import UnavailableError
from caravan_common.service import Listener, serving
from caravan_manager.nodes.agents import HttpAgents, SpecRefusedError


async def _asked(status: int) -> None:
    async def kernels(_: web.Request) -> web.Response:
        return web.json_response({"msg": "it cannot be"}, status=status)

    app = web.Application()
    app.router.add_get("/kernels", kernels)
    async with serving(Listener(app)) as (address,), aiohttp.ClientSession() as client:
        await HttpAgents(client, "token").kernels(f"http://{address}")


@pytest.mark.parametrize(
    ("status", "reason"), [(400, "invalid"), (409, "conflict"), (413, "too-large"), (422, "invalid")]
)
async def test_a_refusal_has_one_of_few_reasons(status: int, reason: str) -> None:
    with pytest.raises(SpecRefusedError, match="it cannot be") as refused:
        await _asked(status)
    assert refused.value.reason == reason


async def test_a_failure_is_no_refusal() -> None:
    with pytest.raises(UnavailableError):
        await _asked(500)
