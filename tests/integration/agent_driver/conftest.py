"""A real agent on real Docker and a Redis of its own, and containers made as a session's Nomad job would make them."""

# ruff: noqa: ASYNC110, ASYNC240 - a test may block, and it looks again and again

import asyncio
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from blockbuster import BlockBuster
from redis.asyncio import Redis
from tests.integration.redis_server import RedisServer

from caravan_agent_driver import hook
from caravan_agent_driver.app import running_agent
from caravan_agent_driver.config import AgentConfig
from caravan_agent_driver.docker.engine import DockerError, Engine
from caravan_agent_driver.mounts.table import unmount_below
from caravan_common.ids import folder_path, network_name
from caravan_common.wire.agent import KernelSpec, Mount
from caravan_common.wire.events import EVENT, Event, Streams

pytestmark = pytest.mark.stack

DOCKER_SOCKET = Path("/var/run/docker.sock")
TOKEN = "a-token-for-tests-only"
PROGRAMS = ("sh", "cat", "env", "id", "sleep", "setpriv", "chroot", "touch", "ls", "printf", "stat", "seq", "grep")
IMAGES = ("caravan-test/dash:2", "caravan-test/bash:2", "caravan-test/busybox:3")


@pytest.fixture(autouse=True)
def _no_blocking_calls() -> Iterator[None]:
    blockbuster = BlockBuster(scanned_modules=["caravan_agent_driver"])
    for call in ("os.stat", "os.listdir", "os.scandir", "io.TextIOWrapper.read", "io.BufferedReader.read"):
        if call in blockbuster.functions:  # the Redis library looks its own version up, once
            blockbuster.functions[call].can_block_in("redis/driver_info.py", "__post_init__")
    blockbuster.activate()
    yield
    blockbuster.deactivate()


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    """Docker; a machine without it fails the tests with one sentence."""
    engine = Engine(DOCKER_SOCKET)
    try:
        await engine.call("GET", "/_ping")
    except (DockerError, ValueError) as err:
        if isinstance(err, DockerError):
            pytest.fail(f"these tests need a running Docker at {DOCKER_SOCKET}: {err}")
    yield engine
    await engine.close()


# --- images ---------------------------------------------------------------------------------------------------------


def _add(tar: tarfile.TarFile, path: str, content: bytes, mode: int) -> None:
    member = tarfile.TarInfo(path)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))


def _libraries(program: str) -> set[str]:
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return {word for line in listed.splitlines() for word in line.split() if word.startswith("/")}


def _host_programs(shell: str) -> bytes:
    """Return a file system with this machine's own programs: an image of glibc, coreutils and util-linux."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        libraries: set[str] = set()
        for name in PROGRAMS:
            program = shutil.which(shell if name == "sh" else name)
            assert program is not None, f"this machine has no {name}"
            _add(tar, f"bin/{name}", Path(program).resolve().read_bytes(), 0o755)
            libraries |= _libraries(program)
        for library in libraries:
            _add(tar, library.lstrip("/"), Path(library).resolve().read_bytes(), 0o755)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644)
        _add(tar, "etc/group", b"root:x:0:\n", 0o644)
    return output.getvalue()


def _busybox_program(folder: Path) -> bytes:
    found = shutil.which("busybox")
    if found is not None and not _libraries(found):
        return Path(found).read_bytes()
    got = subprocess.run(["apt-get", "download", "busybox-static"], cwd=folder, capture_output=True, text=True)
    packages = list(folder.glob("busybox-static*.deb"))
    if not packages:
        pytest.fail(f"these tests need a static busybox (Debian: busybox-static): {got.stderr.strip()}")
    subprocess.run(["dpkg-deb", "-x", packages[0], folder / "tree"], check=True)
    return next(path for path in (folder / "tree").rglob("bin/busybox")).read_bytes()


def _busybox(folder: Path) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w") as tar:
        _add(tar, "bin/busybox", _busybox_program(folder), 0o755)
        for name in (*PROGRAMS, "su", "nc", "timeout"):
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        _add(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n", 0o644)
        _add(tar, "etc/group", b"root:x:0:\n", 0o644)
    return output.getvalue()


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make the test images that are not there yet."""
    makers: dict[str, Callable[[], bytes]] = {
        IMAGES[0]: lambda: _host_programs("dash"),
        IMAGES[1]: lambda: _host_programs("bash"),
        IMAGES[2]: lambda: _busybox(tmp_path_factory.mktemp("busybox")),
    }
    for name, make in makers.items():
        if subprocess.run(["docker", "image", "inspect", name], capture_output=True).returncode:
            subprocess.run(["docker", "import", "-", name], input=make(), check=True, capture_output=True)


# --- the agent ------------------------------------------------------------------------------------------------------


@dataclass
class Node:
    """One node: its agent, its volume, and what a Nomad job would do there."""

    config: AgentConfig
    engine: Engine
    volume: Path
    server: RedisServer
    url: str = ""
    _running: AsyncExitStack | None = None
    sessions: set[UUID] = field(default_factory=set)

    async def start(self) -> None:
        """Start the agent; its first connection to Docker is made when this returns."""
        self._running = AsyncExitStack()
        api, *_ = await self._running.enter_async_context(running_agent(self.config))
        self.url = f"http://{api}"
        async with asyncio.timeout(30):
            while (await self.call("GET", "/health"))[0] != 200:
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        if self._running is not None:
            await self._running.aclose()
            self._running = None

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def call(self, method: str, path: str, body: str | None = None, token: str = TOKEN) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(
                method, self.url + path, data=None if body is None else io.BytesIO(body.encode()), headers=headers
            ) as response,
        ):
            return response.status, await response.text(errors="replace")

    def spec(self, **changes: Any) -> KernelSpec:
        session, kernel = uuid4(), uuid4()
        self.sessions.add(changes.get("session", session))
        base: dict[str, Any] = {
            "session": session,
            "kernel": kernel,
            "image": IMAGES[0],
            "architecture": "x86_64",
            "cluster_role": "main",
            "cluster_idx": 1,
            "cluster_hostname": "main1",
            "environ": {"BACKENDAI_KERNEL_ID": str(kernel)},
            "slots": {"cpu": "1", "mem": "268435456"},
        }
        return KernelSpec.model_validate(base | changes)

    def folder(self, name: str, permission: str = "rw", **changes: Any) -> tuple[Mount, Path]:
        """Make a virtual folder in the volume; gives its mount and where its files lie."""
        mount = Mount.model_validate(
            {
                "name": name,
                "volume": "volume1",
                "quota_scope": f"user:{uuid4()}",
                "folder": uuid4(),
                "target": f"/home/work/{name}",
                "permission": permission,
            }
            | changes
        )
        path = self.volume / folder_path(mount.quota_scope, mount.folder)
        path.mkdir(parents=True)
        os.chown(path, self.config.uid, self.config.gid)
        return mount, path

    async def announce(self, spec: KernelSpec, wait: str | None = None) -> tuple[int, str]:
        query = "" if wait is None else f"?wait={wait}"
        return await self.call("PUT", f"/kernels/{spec.kernel}{query}", spec.model_dump_json())

    async def clean(self, kernel: UUID) -> tuple[int, str]:
        """Run the clean-up hook as Nomad's raw_exec does; gives its exit status and what it said."""
        environment = {"CARAVAN_AGENT_SOCKET": str(self.config.socket)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(hook.__file__), "cleanup", str(kernel),
            env=environment, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, said = await process.communicate()
        return process.returncode or 0, said.decode()

    async def prepare(self, spec: KernelSpec) -> None:
        assert await self.announce(spec, wait="30") == (204, "")

    async def until_prepared(self, spec: KernelSpec) -> None:
        """Wait until the agent has prepared the kernel, without asking it to."""
        async with asyncio.timeout(30):
            while json.loads((await self.call("GET", "/kernels"))[1])["kernels"][0]["state"] != "prepared":
                await asyncio.sleep(0.02)

    async def create(self, spec: KernelSpec, **host_config: Any) -> str:
        """Create the container that the compiled job's docker task would create."""
        state = self.config.state_dir
        scratch = state / "scratches" / str(spec.kernel)
        body = {
            "Image": spec.image,
            "Hostname": spec.cluster_hostname,
            "User": "0",
            "Entrypoint": ["/opt/kernel/entrypoint.sh"],
            "Labels": {"ai.caravan.session": str(spec.session), "ai.caravan.kernel": str(spec.kernel)},
            "NetworkingConfig": {"EndpointsConfig": {network_name(spec.session): {"Aliases": [spec.cluster_hostname]}}},
            "HostConfig": {
                "Init": True,
                "NetworkMode": network_name(spec.session),
                "Binds": [
                    f"{scratch}/work:/home/work",
                    f"{scratch}/config:/home/config:ro",
                    f"{state}/runtime:/opt/kernel:ro",
                ],
                **host_config,
            },
        }
        return (await self.engine.call("POST", "/containers/create", body=body))["Id"]

    async def run(self, spec: KernelSpec, **host_config: Any) -> str:
        container = await self.create(spec, **host_config)
        await self.engine.call("POST", f"/containers/{container}/start")
        return container

    async def until_it_waits(self, container: str) -> None:
        """Wait until an interactive kernel's first process has set its traps, and sleeps."""
        async with asyncio.timeout(30):
            while "sleep 86400" not in str(await self.engine.call("GET", f"/containers/{container}/top")):
                await asyncio.sleep(0.02)

    async def remove(self, container: str) -> None:
        """Remove the container, as Nomad does when its task has ended."""
        await self.engine.call("DELETE", f"/containers/{container}", {"force": "1"})

    async def log(self, kernel: UUID) -> str:
        status, text = await self.call("GET", f"/kernels/{kernel}/logs")
        assert status == 200, text
        return text

    async def until_logged(self, spec: KernelSpec, wanted: str, seconds: float = 20) -> None:
        """Wait until the kernel's log is exactly this: what its process says comes some time after its start."""
        said = ""
        try:
            async with asyncio.timeout(seconds):
                while said != wanted:
                    await asyncio.sleep(0.02)
                    said = await self.log(spec.kernel)
        except TimeoutError:
            pytest.fail(f"wanted {wanted!r}, got {said!r}")

    async def events(self, kernel: UUID) -> list[Event]:
        return [event for _, event in await self.told() if getattr(event, "kernel", None) == kernel]

    async def told(self) -> list[tuple[datetime, Event]]:
        """Return everything in the streams with the time at which Redis got it, in that order."""
        client = Redis(host="127.0.0.1", port=self.server.port, decode_responses=True)
        streams = Streams.of(self.config.redis.stream)
        try:
            entries = [e for s in (streams.nodes, streams.kernels) for e in await client.xrange(s.key)]
        finally:
            await client.aclose()
        return [
            (
                datetime.fromtimestamp(int(entry.partition("-")[0]) / 1000).astimezone(),
                EVENT.validate_json(fields["event"]),
            )
            for entry, fields in sorted(entries, key=lambda e: tuple(map(int, e[0].split("-"))))
        ]

    async def until(self, kernel: UUID, *types: str, seconds: float = 30) -> list[Event]:
        """Wait until exactly these events of the kernel are in the stream, in this order."""
        events: list[Event] = []
        try:
            async with asyncio.timeout(seconds):
                while [event.type for event in events] != list(types):
                    await asyncio.sleep(0.01)
                    events = await self.events(kernel)
        except TimeoutError:
            pytest.fail(f"wanted {types}, got {events}")
        return events

    async def until_gone(self, spec: KernelSpec, seconds: float = 20) -> None:
        """Wait until nothing is left of a kernel: its record goes after its last event is told."""
        left: list[str] = []
        try:
            async with asyncio.timeout(seconds):
                while left := await self.left_of(spec):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            pytest.fail(f"still there: {left}")

    async def left_of(self, spec: KernelSpec) -> list[str]:
        """Say what is left of a kernel on the machine: containers, network, mounts, folders, records."""
        label = f'{{"label":["ai.caravan.kernel={spec.kernel}"]}}'
        containers = await self.engine.call("GET", "/containers/json", {"all": "1", "filters": label})
        networks = [n["Name"] for n in await self.engine.call("GET", "/networks")]
        left = [f"container {c['Id']}" for c in containers]
        left += [name for name in networks if name == network_name(spec.session)]
        left += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(spec.kernel) in line]
        left += [str(p) for p in self.config.state_dir.glob(f"scratches/{spec.kernel}*")]
        left += [str(p) for p in self.config.state_dir.glob(f"kernels/*{spec.kernel}*")]
        return left


@asynccontextmanager
async def _swept(node: Node) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await node.stop()
        for kind, sort in (("containers", "all"), ("networks", "")):
            for session in node.sessions:
                filters = f'{{"label":["ai.caravan.session={session}"]}}'
                path = f"/{kind}/json" if kind == "containers" else f"/{kind}"
                for row in await node.engine.call("GET", path, {"filters": filters, **({sort: "1"} if sort else {})}):
                    await node.engine.call_if_there("DELETE", f"/{kind}/{row['Id']}", {"force": "1"})
        await asyncio.to_thread(unmount_below, node.config.state_dir)


@pytest.fixture
async def node(
    tmp_path: Path, engine: Engine, redis_server: RedisServer, images: None, unused_tcp_port_factory: Callable[[], int]
) -> AsyncIterator[Node]:
    """A node whose agent runs."""
    volume = tmp_path / "volume1"
    volume.mkdir()
    config = AgentConfig.model_validate(
        {
            "node_name": "n1",
            "node_id": str(uuid4()),
            "advertise_url": "http://127.0.0.1:6011",
            "cluster": f"test-{uuid4().hex[:8]}",
            "socket": tmp_path / "agent.sock",
            "state_dir": tmp_path / "state",
            "network_pool": "10.213.0.0/20",
            "api": {"port": 0, "token": TOKEN},
            "metrics": {"port": 0},
            "slots": {"cpu": "2", "mem": "1073741824"},
            "redis": {"host": "127.0.0.1", "port": redis_server.port, "password": ""},
            "volumes": {"volume1": {"path": volume}},
        }
    )
    node = Node(config, engine, volume, redis_server)
    async with _swept(node):
        await node.start()
        yield node
