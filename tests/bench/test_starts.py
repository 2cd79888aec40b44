"""How long from `create` to RUNNING, beside raw Nomad and plain Docker with the same container, in the same run."""

import asyncio
import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

import aiohttp
import pytest
from tests.bench.conftest import Manager, Note

from caravan_deploy.platform.image import REFERENCE
from caravan_deploy.second import Stack

pytestmark = [pytest.mark.bench, pytest.mark.stack, pytest.mark.timeout(1800)]

ROUNDS = 10
AT_ONCE = 50
LIMIT_SECONDS = 600.0
LABEL = "caravan-bench"


@dataclass
class Sessions:
    """Creates sessions as a client that is running already does, and destroys them."""

    manager: Manager
    client: aiohttp.ClientSession
    made: list[str] = field(default_factory=list)
    """Their IDs."""

    async def start(self) -> float:
        """Return how long it takes until the client knows that its session runs."""
        name = f"start-{uuid4().hex[:12]}"
        body = {
            "name": name,
            "image": self.manager.image,
            "config": {"resources": {"cpu": "1", "mem": "64m"}, "scaling_group": "default"},
        }
        began = time.perf_counter()
        answer = await self._call("POST", "/session", body)
        took = time.perf_counter() - began
        assert answer["status"] == "RUNNING", answer
        self.made.append(str(answer["sessionId"]))
        return took

    def containers(self) -> list[int]:
        """Return how many containers each of the sessions has."""
        return [len(_containers("ai.caravan.session", session)) for session in self.made]

    async def destroy_all(self) -> None:
        """Destroy what was made, and wait until it is gone."""
        for session in self.made:
            await self._call("DELETE", f"/session/{session}")
        await _until(lambda: not any(self.containers()))
        self.made.clear()

    async def _call(self, method: str, path: str, body: object = None) -> dict[str, object]:
        endpoint = self.manager.endpoint
        async with self.client.request(
            method,
            f"http://{endpoint.host}:{endpoint.port}{path}",
            data=None if body is None else json.dumps(body),
            headers=endpoint.headers(method, path, datetime.now(UTC)),
        ) as answer:
            content = await answer.text()
            assert answer.status < 300, content
            return json.loads(content)  # type: ignore[no-any-return]


@dataclass
class RawNomad:
    """Submits jobs of the same container to Nomad itself, each in a network that is there already."""

    stack: Stack
    client: aiohttp.ClientSession
    network: str
    jobs: list[str] = field(default_factory=list)

    async def start(self) -> float:
        """Return how long from the submission until the task's container really started."""
        job = f"{LABEL}-{uuid4().hex[:12]}"
        self.jobs.append(job)
        began = datetime.now(UTC)
        await self._call("POST", "/v1/jobs", {"Job": _raw_job(job, self.network)})
        found: list[str] = []

        def started() -> bool:
            found[:] = [at for _, at in _containers("ai.caravan.bench", job) if not at.startswith("0001")]
            return bool(found)

        await _until(started)
        return (datetime.fromisoformat(found[0][:26].rstrip("Z") + "+00:00") - began).total_seconds()

    async def stop_all(self) -> None:
        """Stop the jobs and remove their containers, which this stack's Nomad leaves to others."""
        for job in self.jobs:
            await self._call("DELETE", f"/v1/job/{job}?purge=true")
        self.jobs.clear()
        await asyncio.to_thread(_remove_containers)

    async def _call(self, method: str, path: str, body: object = None) -> None:
        headers = {"X-Nomad-Token": self.stack.tokens.nomad_management}
        url = f"http://127.0.0.1:{self.stack.layout.ports.nomad_http}{path}"
        async with self.client.request(method, url, json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()


def _raw_job(job: str, network: str) -> dict[str, object]:
    main = {
        "Name": "main",
        "Driver": "docker",
        "User": "root",
        "Config": {
            "image": REFERENCE,
            "entrypoint": ["/bin/sh", "-c", "sleep 3600"],
            "init": True,
            "network_mode": network,
            "pids_limit": 4096,
            "security_opt": ["no-new-privileges"],
            "labels": [{"ai.caravan.bench": job}],
            "logging": [{"type": "json-file", "config": [{"max-size": "10m", "max-file": "2"}]}],
        },
        "Resources": {"CPU": 1000, "MemoryMB": 64},
    }
    never = {"Attempts": 0, "Mode": "fail"}
    group = {"Name": "main", "Tasks": [main], "RestartPolicy": never, "EphemeralDisk": {"SizeMB": 150}}
    return {"ID": job, "Name": job, "Type": "batch", "Datacenters": ["*"], "NodePool": "all", "TaskGroups": [group]}


def _containers(label: str, value: str | None = None) -> list[tuple[str, str]]:
    """Return the containers with a label, and when each started."""
    wanted = label if value is None else f"{label}={value}"
    listed = subprocess.run(
        ["docker", "ps", "-aq", "--filter", f"label={wanted}"], capture_output=True, text=True, check=True
    ).stdout.split()
    if not listed:
        return []
    form = "{{.Id}} {{.State.StartedAt}}"
    seen = subprocess.run(["docker", "inspect", "-f", form, *listed], capture_output=True, text=True).stdout
    return [(line.split()[0], line.split()[1]) for line in seen.splitlines() if line]  # no line of one that is gone


def _remove_containers() -> None:
    for container, _ in _containers("ai.caravan.bench"):
        subprocess.run(["docker", "rm", "-f", container], capture_output=True)


async def _until(look: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while not await asyncio.to_thread(look):  # noqa: ASYNC110 - Docker is asked; it tells nobody
            await asyncio.sleep(0.5)


def _docker_run(network: str) -> float:
    wanted = ["docker", "run", "-d", "--init", "--network", network, REFERENCE, "sleep", "3600"]
    began = time.perf_counter()
    made = subprocess.run(wanted, capture_output=True, text=True, check=True)
    took = time.perf_counter() - began
    subprocess.run(["docker", "rm", "-f", made.stdout.strip()], capture_output=True, check=True)
    return took


@pytest.fixture
def bridge() -> Iterator[str]:
    """A network for the other arms, made beforehand."""
    name = f"{LABEL}-{uuid4().hex[:8]}"
    made = ["docker", "network", "create", "--subnet", "10.191.254.0/24", name]
    subprocess.run(made, capture_output=True, check=True)
    yield name
    subprocess.run(["docker", "network", "rm", name], capture_output=True, check=True)


async def test_from_create_to_running(
    stack: Stack, ours: Manager, bridge: str, note: Note, bar: Callable[..., None]
) -> None:
    mine: list[float] = []
    raw: list[float] = []
    plain: list[float] = []
    async with aiohttp.ClientSession() as client:
        sessions, nomad = Sessions(ours, client), RawNomad(stack, client, bridge)
        for _ in range(ROUNDS):
            mine.append(await sessions.start())
            await sessions.destroy_all()
            raw.append(await nomad.start())
            await nomad.stop_all()
            plain.append(await asyncio.to_thread(_docker_run, bridge))
    p50, p95, other = statistics.median(mine), sorted(mine)[int(0.95 * len(mine))], statistics.median(raw)
    note(f"figure: create to RUNNING, {ROUNDS} times: p50 {p50:.3f} s, p95 {p95:.3f} s")
    note(f"figure: raw `nomad job run` to the task's real start, median {other:.3f} s")
    note(f"figure: `docker run -d`, median {statistics.median(plain):.3f} s")
    bar("create to RUNNING, p50", p50 / other, 1.5, "x raw Nomad's")
    bar("create to RUNNING, p95", p95 / p50, 2, "x its p50")


async def test_fifty_at_once(stack: Stack, ours: Manager, bridge: str, note: Note, bar: Callable[..., None]) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIMIT_SECONDS)) as client:
        sessions, nomad = Sessions(ours, client), RawNomad(stack, client, bridge)
        raw = max(await asyncio.gather(*(nomad.start() for _ in range(AT_ONCE))))
        await nomad.stop_all()
        mine = max(await asyncio.gather(*(sessions.start() for _ in range(AT_ONCE))))
        assert set(await asyncio.to_thread(sessions.containers)) == {1}
        await sessions.destroy_all()
    note(f"figure: {AT_ONCE} sessions at once, the last runs after {mine:.1f} s; raw Nomad's last {raw:.1f} s")
    bar(f"{AT_ONCE} at once, the last", mine / raw, 1.3, "x raw Nomad's last")
