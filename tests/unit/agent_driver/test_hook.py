"""The hooks' client waits for the agent, passes its answer on, and starts quickly."""

import asyncio
import os
import sys
import time
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from caravan_agent_driver import hook
from caravan_common.errors import ConflictError
from caravan_common.http import problems

KERNEL = "22222222-2222-4222-8222-222222222222"


async def _run(*arguments: str, **environ: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", str(hook.__file__), *arguments, env=environ, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    return process.returncode or 0, said.decode()


@asynccontextmanager
async def _agent(socket, answer):
    app = web.Application(middlewares=[problems])
    app.router.add_post("/hooks/{action}/{kernel}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(socket)).start()
    yield
    await runner.cleanup()


async def test_it_says_nothing_when_the_kernel_is_clean(tmp_path) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=204)

    async with _agent(tmp_path / "s", answer):
        result = await _run("cleanup", KERNEL, CARAVAN_AGENT_SOCKET=str(tmp_path / "s"))

    assert result == (0, "")
    assert asked == [f"/hooks/cleanup/{KERNEL}"]


async def test_it_prints_the_reason_of_a_refusal(tmp_path) -> None:
    async def answer(_: web.Request) -> web.Response:
        raise ConflictError("there is no folder")

    async with _agent(tmp_path / "s", answer):
        assert await _run("cleanup", KERNEL, CARAVAN_AGENT_SOCKET=str(tmp_path / "s")) == (1, "there is no folder\n")


async def test_it_waits_for_an_agent_that_is_not_there_yet(tmp_path) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=204)

    waiting = asyncio.create_task(_run("cleanup", KERNEL, CARAVAN_AGENT_SOCKET=str(tmp_path / "s")))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    async with _agent(tmp_path / "s", answer):
        assert await waiting == (0, "")


async def test_it_asks_again_while_the_agent_cannot_answer(tmp_path) -> None:
    statuses = [503, 503, 204]

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=statuses.pop(0))

    async with _agent(tmp_path / "s", answer):
        assert await _run("cleanup", KERNEL, CARAVAN_AGENT_SOCKET=str(tmp_path / "s")) == (0, "")


def test_it_gives_up_in_the_end(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(hook, "REACH_SECONDS", 0.2)

    status, body = hook.insist(str(tmp_path / "nowhere"), KERNEL)

    assert status == 503
    assert b"cannot be reached" in body


@pytest.mark.parametrize("arguments", [(), ("cleanup",), ("explode", KERNEL), ("cleanup", KERNEL, "x")])
async def test_wrong_usage_is_said(arguments) -> None:
    status, said = await _run(*arguments, CARAVAN_AGENT_SOCKET="/nowhere")

    assert status == 2
    assert said.startswith("usage:")


@pytest.mark.parametrize(
    ("body", "said"),
    [(b'{"msg": "m", "title": "t"}', "m"), (b'{"title": "t"}', "t"), (b"plain", "plain"), (b"[]", "[]"),
     (b"", "the agent gave no reason")],
)  # fmt: skip
def test_any_answer_becomes_a_sentence(body, said) -> None:
    assert hook.message(body) == said


async def test_it_starts_quickly(tmp_path) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=204)

    durations = []
    async with _agent(tmp_path / "s", answer):
        for _ in range(9):
            began = time.perf_counter()
            await _run("cleanup", KERNEL, CARAVAN_AGENT_SOCKET=str(tmp_path / "s"), PATH=os.environ["PATH"])
            durations.append(time.perf_counter() - began)
    print(f"hook, median of 9: {sorted(durations)[4] * 1000:.0f} ms")
    assert min(durations) < 0.25
