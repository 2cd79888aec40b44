"""Kernels' containers in Docker: finding them by label, their events, their logs, removing them."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self
from uuid import UUID

import orjson

from caravan_agent_driver.docker.engine import DockerError, Engine, Json
from caravan_agent_driver.docker.streams import Frames, Lines

KERNEL_LABEL = "ai.caravan.kernel"
_NANOSECONDS = re.compile(r"(\.\d{6})\d*")


def parse_time(text: str) -> datetime | None:
    """Return Docker's time with nanoseconds as a datetime; its zero time (year 1) is None."""
    if text.startswith("0001-"):
        return None
    return datetime.fromisoformat(_NANOSECONDS.sub(r"\1", text)).astimezone(UTC)


def kernel_of(labels: Json) -> UUID | None:
    """Return the kernel that a container's labels name, or None."""
    try:
        return UUID(labels[KERNEL_LABEL])
    except (KeyError, ValueError, TypeError, AttributeError):
        return None


@dataclass(frozen=True, slots=True)
class ContainerEvent:
    """Something happened to a kernel's container: ``action`` is Docker's word (start, die, oom, destroy …)."""

    action: str
    kernel: UUID
    container: str
    at: datetime
    exit_code: int | None

    @classmethod
    def read(cls, raw: Json) -> Self | None:
        """Read one message of Docker's event stream; None when it is about no kernel."""
        attributes = raw.get("Actor", {}).get("Attributes", {})
        kernel = kernel_of(attributes)
        if kernel is None:
            return None
        code = attributes.get("exitCode")
        return cls(
            action=raw["Action"],
            kernel=kernel,
            container=raw["Actor"]["ID"],
            at=datetime.fromtimestamp(raw["timeNano"] / 1e9, UTC),
            exit_code=None if code is None else int(code),
        )


@dataclass(frozen=True, slots=True)
class Container:
    """A kernel's container as it is now. ``started`` is None for one that never ran, ``ended`` while it runs."""

    id: str
    kernel: UUID
    started: datetime | None
    ended: datetime | None
    exit_code: int
    out_of_memory: bool


def _container(kernel: UUID, raw: Json) -> Container:
    state = raw["State"]
    running = state["Running"] or state["Paused"]
    return Container(
        id=raw["Id"],
        kernel=kernel,
        started=parse_time(state["StartedAt"]),
        ended=None if running else parse_time(state["FinishedAt"]),
        exit_code=state["ExitCode"],
        out_of_memory=state["OOMKilled"],
    )


def _filters(**filters: list[str]) -> str:
    return orjson.dumps(filters).decode()


async def list_kernel_containers(engine: Engine, kernel: UUID | None = None) -> list[Container]:
    """Return the containers of ``kernel``, or of all kernels, running or not."""
    label = KERNEL_LABEL if kernel is None else f"{KERNEL_LABEL}={kernel}"
    rows = await engine.call("GET", "/containers/json", {"all": "1", "filters": _filters(label=[label])})
    found: list[Container] = []
    for row in rows:
        owner = kernel_of(row["Labels"])
        container = None if owner is None else await find_container(engine, owner, row["Id"])
        if container is not None:
            found.append(container)
    return found


async def find_container(engine: Engine, kernel: UUID, container: str) -> Container | None:
    """Return the container, or None when it is gone."""
    try:
        return _container(kernel, await engine.call("GET", f"/containers/{container}/json"))
    except DockerError as err:
        if err.docker_status == 404:
            return None
        raise


async def find_process(engine: Engine, container: str) -> int | None:
    """Return the ID, on this machine, of the container's first process; None when it does not run."""
    try:
        state = (await engine.call("GET", f"/containers/{container}/json"))["State"]
    except DockerError as err:
        if err.docker_status == 404:
            return None
        raise
    return state["Pid"] if state["Running"] and state["Pid"] > 0 else None


async def kill_container(engine: Engine, container: str) -> None:
    """Kill the container; one that is gone or ended is harmless."""
    await engine.call_if_there("POST", f"/containers/{container}/kill")


async def remove_container(engine: Engine, container: str) -> None:
    """Remove the container; one that is gone, or being removed by someone else, is harmless."""
    await engine.call_if_there("DELETE", f"/containers/{container}", {"force": "1", "v": "1"})


async def follow_events(engine: Engine, since: datetime) -> AsyncIterator[ContainerEvent]:
    """Yield the events of kernels' containers since a moment, as they happen. Docker remembers the last few hundred."""
    filters = _filters(type=["container"], label=[KERNEL_LABEL], event=["start", "die", "oom"])
    lines = Lines()
    async for chunk in engine.stream("/events", {"since": f"{since.timestamp():.6f}", "filters": filters}):
        for line in lines.feed(chunk):
            event = ContainerEvent.read(orjson.loads(line))
            if event is not None:
                yield event


async def container_log(
    engine: Engine, container: str, *, follow: bool, entries: int | None = None
) -> AsyncIterator[bytes]:
    """Yield what the container wrote, as far as Docker has it: until now, or with ``follow`` until it ends.

    ``entries`` begins that many entries (lines, or 16 KiB of a longer one) before the end.
    """
    frames = Frames()
    query = {"follow": "1" if follow else "0", "stdout": "1", "stderr": "1"}
    if entries is not None:
        query["tail"] = str(entries)
    async for chunk in engine.stream(f"/containers/{container}/logs", query):
        yield frames.feed(chunk)
