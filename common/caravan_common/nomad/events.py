"""Nomad's event stream: what happens to the allocations of session jobs. Hints; the sweep is the truth."""

import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from uuid import UUID

import aiohttp
from pydantic import BaseModel, TypeAdapter

from caravan_common.errors import UnavailableError
from caravan_common.ids import session_of

TERMINAL = frozenset({"complete", "failed", "lost"})
LONGEST_LINE_BYTES = 64 * 1024 * 1024
SILENCE_SECONDS = 60
"""Nomad sends a heartbeat every ten seconds; a longer silence is a broken connection."""


@dataclass(frozen=True, slots=True)
class AllocationEnded:
    """An allocation of a session's job is over. ``exit_code`` is the main task's, None when it never ran."""

    session: UUID
    group: str
    exit_code: int | None
    reason: str


class _TaskEvent(BaseModel):
    Type: str
    ExitCode: int = 0
    FailsTask: bool = False
    DisplayMessage: str = ""


class _TaskState(BaseModel):
    Events: list[_TaskEvent] | None = None


class _Allocation(BaseModel):
    JobID: str
    TaskGroup: str
    ClientStatus: str
    TaskStates: dict[str, _TaskState] | None = None


_ALLOCATIONS = TypeAdapter(list[_Allocation])


class _Payload(BaseModel):
    Allocation: _Allocation | None = None


class _Event(BaseModel):
    Payload: _Payload


class _Frame(BaseModel):
    """One line of the stream; a heartbeat has no events."""

    Events: list[_Event] | None = None


async def allocations_ended(
    client: aiohttp.ClientSession, address: str, namespace: str
) -> AsyncGenerator[AllocationEnded, None]:
    """Give each end of an allocation from now on. Raises UnavailableError when the stream breaks."""
    query = {"topic": "Allocation", "namespace": namespace}
    headers = {"X-Nomad-Token": os.environ.get("NOMAD_TOKEN", "")}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=SILENCE_SECONDS)
    try:
        async with client.get(f"{address}/v1/event/stream", params=query, headers=headers, timeout=timeout) as answer:
            if answer.status != 200:
                raise UnavailableError(f"Nomad refuses its event stream with status {answer.status}")
            async for line in _lines(answer.content):
                for event in _Frame.model_validate_json(line).Events or []:
                    ended = _ended(event.Payload.Allocation)
                    if ended is not None:
                        yield ended
    except (aiohttp.ClientError, TimeoutError, ValueError) as err:
        raise UnavailableError("Nomad's event stream broke") from err


async def _lines(content: aiohttp.StreamReader) -> AsyncGenerator[bytes, None]:
    """Cut the stream into lines: one holds all events of a moment, so it can be longer than aiohttp's own limit."""
    rest = bytearray()
    async for part in content.iter_any():
        rest += part
        while (end := rest.find(b"\n")) >= 0:
            line = bytes(rest[:end])
            del rest[: end + 1]
            if line.strip():
                yield line
        if len(rest) > LONGEST_LINE_BYTES:
            raise ValueError("a line of the event stream has no end")


def ended_of(listed: object) -> list[AllocationEnded]:
    """Return which of the allocations, as Nomad lists them, are over."""
    return [ended for allocation in _ALLOCATIONS.validate_python(listed) if (ended := _ended(allocation)) is not None]


def _ended(allocation: _Allocation | None) -> AllocationEnded | None:
    if allocation is None or allocation.ClientStatus not in TERMINAL:
        return None
    session = session_of(allocation.JobID)
    if session is None:
        return None
    return AllocationEnded(session, allocation.TaskGroup, _exit_code(allocation), _reason(allocation))


def _events(allocation: _Allocation) -> dict[str, list[_TaskEvent]]:
    return {task: state.Events or [] for task, state in (allocation.TaskStates or {}).items()}


def _exit_code(allocation: _Allocation) -> int | None:
    codes = [event.ExitCode for event in _events(allocation).get("main", []) if event.Type == "Terminated"]
    return codes[-1] if codes else None


def _reason(allocation: _Allocation) -> str:
    """Return the message of the event that broke a task, else Nomad's own word for the status."""
    broke = [e for events in _events(allocation).values() for e in events if e.FailsTask or e.Type == "Driver Failure"]
    return broke[0].DisplayMessage or broke[0].Type if broke else f"allocation-{allocation.ClientStatus}"
