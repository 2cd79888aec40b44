"""Register, stop and list session jobs. python-nomad is synchronous, so each call runs in a thread."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownVariableType=false
# python-nomad carries no types; what it answers is given a type here.

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import nomad
from nomad.api.exceptions import BaseNomadException, URLNotFoundNomadException

from caravan_common.errors import CaravanError, UnavailableError
from caravan_common.nomad.events import AllocationEnded, ended_of
from caravan_common.nomad.ports import Ports, ports_of

Answer = TypeVar("Answer")

Job = dict[str, Any]
"""A job in Nomad's JSON form, as `POST /v1/jobs` takes it under ``Job``."""


REFUSALS = frozenset({400, 413, 422})
"""What is wrong with the request itself; other failures, missing rights included, may be over at the next try."""


ANSWER_SECONDS = 10
ASK_SECONDS = 12
"""How long one question may take in all: with what its answer about the leadership is old, less than the lock delay."""
RESTART_SECONDS = 20
"""How long Nomad may take to end a container that is to be replaced."""
THREADS = 16
RESTARTS = 8
"""How many containers are replaced at the same moment, in threads of their own: each waits for the old one's end."""


class JobRefusedError(CaravanError):
    """Nomad will not have the job: trying again without a change is useless."""

    status = 502
    title = "Nomad refused the job."


@dataclass(frozen=True, slots=True)
class JobState:
    """A session's job as Nomad lists it."""

    id: str
    status: str
    """``pending``, ``running`` or ``dead``; no oracle for how a session went (hashicorp/nomad#4299)."""
    stopped: bool

    @property
    def is_over(self) -> bool:
        """Whether nothing of the job runs or will."""
        return self.stopped or self.status == "dead"


class Nomad(Protocol):
    """What Caravan asks of Nomad. Raises UnavailableError when Nomad does not answer."""

    async def register(self, job: Job) -> None:
        """Register the job; doing it twice is doing it once. Raises JobRefusedError."""
        ...

    async def stop(self, job_id: str) -> None:
        """Stop the job; an unknown one is stopped already."""
        ...

    async def restart(self, job_id: str, group: str) -> None:
        """Replace the container of the task `main` in one group's running allocation; nothing runs, nothing happens."""
        ...

    async def signal(self, job_id: str, group: str, name: str) -> bool:
        """Send the running task `main` of one group a signal, such as SIGTERM. Returns whether there was one."""
        ...

    async def list_jobs(self) -> list[JobState]:
        """Return all session jobs of the namespace."""
        ...

    async def ended(self, job_id: str) -> list[AllocationEnded]:
        """Return the job's allocations that are over, as far as Nomad remembers them."""
        ...

    async def placed(self, job_id: str) -> frozenset[str]:
        """Return the job's groups for which a node was found, whatever became of their allocations."""
        ...

    async def ports(self, job_id: str) -> Ports:
        """Return the ports of their nodes that the job's groups were given; a group without any is absent."""
        ...


class NomadCluster:
    """The real Nomad, in one namespace, with the workload identity's token."""

    def __init__(self, address: str, namespace: str) -> None:
        parts = urlsplit(address)
        self._client = nomad.Nomad(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 4646,
            secure=parts.scheme == "https",
            namespace=namespace,
            token=os.environ.get("NOMAD_TOKEN"),
            timeout=ANSWER_SECONDS,
            verify=True,
        )
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="nomad")  # a silent Nomad holds up nothing else
        self._restarts = ThreadPoolExecutor(RESTARTS, thread_name_prefix="nomad-restart")

    async def register(self, job: Job) -> None:
        """Register the job; doing it twice is doing it once. Raises JobRefusedError."""
        try:
            await self._ask(lambda: self._client.jobs.register_job({"Job": job}))
        except UnavailableError:
            await self._refuse_invalid(job)
            raise

    async def _refuse_invalid(self, job: Job) -> None:
        """Raise JobRefusedError for a job that is wrong in itself: Nomad answers 500 to that, as to an outage."""
        answer = await self._ask(lambda: self._client.validate.validate_job({"Job": job}))
        complaints: list[str] | None = answer.json().get("ValidationErrors")
        if complaints:
            raise JobRefusedError("; ".join(complaints))

    async def stop(self, job_id: str) -> None:
        """Stop the job; an unknown one is stopped already."""
        await self._ask(lambda: self._client.job.deregister_job(job_id), unknown=None)

    async def restart(self, job_id: str, group: str) -> None:
        """Replace the container of the task `main` in one group's running allocation; nothing runs, nothing happens.

        Nomad answers when the old container is gone, which may take the task's `kill_timeout`.
        """
        for allocation in await self._running(job_id):
            if allocation["TaskGroup"] == group:
                await self._ask(partial(self._restart, allocation["ID"]), unknown=None, threads=self._restarts)

    async def signal(self, job_id: str, group: str, name: str) -> bool:
        """Send the running task `main` of one group a signal, such as SIGTERM. Returns whether there was one.

        Of one that has just begun Nomad does not know for a second.
        """
        told = False
        for allocation in await self._running(job_id):
            if allocation["TaskGroup"] == group:
                answer = await self._ask(partial(self._signal, allocation["ID"], name), unknown=None)
                told |= answer is not None
        return told

    async def _running(self, job_id: str) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = await self._ask(lambda: self._client.job.get_allocations(job_id), unknown=[])
        return [allocation for allocation in listed if allocation["ClientStatus"] == "running"]

    def _signal(self, allocation: str, name: str) -> object:
        return self._client.client.allocation.request(
            allocation, "signal", method="post", json={"Task": "main", "Signal": name}, timeout=ANSWER_SECONDS
        )

    def _restart(self, allocation: str) -> None:
        self._client.client.allocation.request(
            allocation, "restart", method="post", json={"TaskName": "main"}, timeout=RESTART_SECONDS
        )

    async def list_jobs(self) -> list[JobState]:
        """Return all session jobs of the namespace."""
        jobs: list[dict[str, Any]] = await self._ask(lambda: self._client.jobs.get_jobs(prefix="s-"))
        return [JobState(id=job["ID"], status=job["Status"], stopped=bool(job["Stop"])) for job in jobs]

    async def ended(self, job_id: str) -> list[AllocationEnded]:
        """Return the job's allocations that are over, as far as Nomad remembers them."""
        listed = await self._ask(lambda: self._client.job.get_allocations(job_id), unknown=[])
        return ended_of(listed)

    async def placed(self, job_id: str) -> frozenset[str]:
        """Return the job's groups for which a node was found, whatever became of their allocations."""
        listed: list[dict[str, Any]] = await self._ask(lambda: self._client.job.get_allocations(job_id), unknown=[])
        return frozenset(allocation["TaskGroup"] for allocation in listed)

    async def ports(self, job_id: str) -> Ports:
        """Return the ports of their nodes that the job's groups were given; a group without any is absent."""
        of_job = f'JobID == "{job_id}"'
        return ports_of(
            await self._ask(lambda: self._client.allocations.get_allocations(filter_=of_job, resources=True))
        )

    async def _ask(
        self, call: Callable[[], Any], *, unknown: Any = ..., threads: ThreadPoolExecutor | None = None
    ) -> Any:
        limit = ASK_SECONDS if threads is None else RESTART_SECONDS + ASK_SECONDS
        try:
            async with asyncio.timeout(limit):  # the wait for a thread included
                return await asyncio.get_running_loop().run_in_executor(threads or self._threads, call)
        except TimeoutError as err:
            raise UnavailableError("Nomad does not answer in time") from err
        except URLNotFoundNomadException as err:
            if unknown is not ...:
                return unknown
            raise UnavailableError("Nomad does not know the path") from err
        except BaseNomadException as err:
            if _status(err) in REFUSALS:
                raise JobRefusedError(_reason(err)) from err
            raise UnavailableError(f"Nomad does not answer (status {_status(err)})") from err


def _status(error: BaseNomadException) -> int | None:
    return getattr(error.nomad_resp, "status_code", None)


def _reason(error: BaseNomadException) -> str:
    return str(getattr(error.nomad_resp, "text", "")).strip() or "Nomad refused the request"
