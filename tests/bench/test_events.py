"""How long from a container's start or end on the node until a client's stream of events tells it."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

import aiohttp
import pytest
from tests.bench.signed import Endpoint

from caravan_deploy.platform.image import REFERENCE
from caravan_deploy.second import Stack

pytestmark = [pytest.mark.bench, pytest.mark.stack, pytest.mark.timeout(900)]

SESSIONS = 30
AT_ONCE = 3
"""Starting and ending so many containers at the same time fills two cores: everything waits for its turn on them."""
LIMIT_SECONDS = 600.0
OF_DOCKER = {"start": "kernel_started", "die": "kernel_terminated"}
Seen = dict[tuple[str, str], float]
"""For a kernel's ID and an event's name: when, in seconds since the epoch."""


@dataclass
class Follower:
    """Notes when the stream of a client that is there already tells of kernels."""

    endpoint: Endpoint
    client: aiohttp.ClientSession
    seen: Seen = field(default_factory=dict)
    over: defaultdict[str, asyncio.Event] = field(default_factory=lambda: defaultdict(asyncio.Event))
    """Set for each session whose kernel's end was told."""
    is_open: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Read until cancelled."""
        path, name = "/events/session?scope=kernel", ""
        async with self.client.get(self.url(path), headers=self.headers("GET", path)) as answer:
            assert answer.status == 200, await answer.text()
            self.is_open.set()
            async for line in answer.content:
                word, _, rest = line.decode().rstrip("\r\n").partition(": ")
                if word == "event":
                    name = rest
                elif word == "data":
                    told, at = json.loads(rest), time.time()
                    self.seen.setdefault((told["kernelId"], name), at)
                    if name == "kernel_terminated":
                        self.over[told["sessionId"]].set()

    async def run_batch(self) -> None:
        """Run a short batch session and wait until its end was told."""
        body = {
            "name": f"events-{uuid4().hex[:12]}",
            "image": REFERENCE,
            "type": "batch",
            "startup_command": "true",
            "enqueue_only": True,
            "config": {"resources": {"cpu": "1", "mem": "64m"}, "scaling_group": "default"},
        }
        headers = self.headers("POST", "/session")
        async with self.client.post(self.url("/session"), data=json.dumps(body), headers=headers) as answer:
            assert answer.status == 201, await answer.text()
            session = (await answer.json())["sessionId"]
        await self.over[session].wait()

    def url(self, path: str) -> str:
        return f"http://{self.endpoint.host}:{self.endpoint.port}{path}"

    def headers(self, method: str, path: str) -> dict[str, str]:
        return self.endpoint.headers(method, path, datetime.now(UTC))


async def _docker(seen: Seen) -> None:
    """Note when Docker itself says that containers of sessions start and end."""
    wanted = ["docker", "events", "--filter", "label=ai.caravan.kernel", "--format", "{{json .}}"]
    filters = [word for action in OF_DOCKER for word in ("--filter", f"event={action}")]
    process = await asyncio.create_subprocess_exec(*wanted, *filters, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        async for line in process.stdout:
            event = json.loads(line)
            kernel = event["Actor"]["Attributes"]["ai.caravan.kernel"]
            seen[kernel, OF_DOCKER[event["Action"]]] = event["timeNano"] / 1e9
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def test_from_the_node_to_a_clients_stream(
    stack: Stack, note: Callable[[str], None], bar: Callable[..., None]
) -> None:
    happened: Seen = {}
    endpoint = Endpoint("127.0.0.1", stack.layout.ports.manager, stack.admin.access_key, stack.admin.secret_key)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
    async with aiohttp.ClientSession(timeout=timeout) as client, asyncio.timeout(LIMIT_SECONDS):
        follower = Follower(endpoint, client)
        readers = [asyncio.create_task(follower.run()), asyncio.create_task(_docker(happened))]
        await follower.is_open.wait()
        await _some(follower, SESSIONS)
        alone = _delays(happened, follower.seen)
        happened.clear()
        await asyncio.gather(*[_some(follower, SESSIONS // AT_ONCE) for _ in range(AT_ONCE)])
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
    together = _delays(happened, follower.seen)
    note(f"figure: node to SSE, median of {len(alone)} events = {_quantile(alone, 0.5):.1f} ms")
    note(
        f"figure: node to SSE with {AT_ONCE} sessions at a time, p50 {_quantile(together, 0.5):.1f} ms,"
        f" p99 {_quantile(together, 0.99):.1f} ms"
    )
    bar("node to SSE p99", _quantile(alone, 0.99), 100, "ms")


def _delays(happened: Seen, seen: Seen) -> list[float]:
    """Return, in milliseconds and sorted, how long after each event it was told."""
    delays = sorted(1000 * (seen[key] - at) for key, at in happened.items() if key in seen)
    assert len(delays) >= 50, f"{len(delays)} of {len(happened)} events were told"
    return delays


def _quantile(delays: list[float], part: float) -> float:
    return delays[min(len(delays) - 1, int(len(delays) * part))]


async def _some(follower: Follower, sessions: int) -> None:
    for _ in range(sessions):
        await follower.run_batch()
