"""A Nomad in memory: keeps jobs, refuses what it is told to refuse, can be silent."""

from dataclasses import dataclass, field

from caravan_common.errors import UnavailableError
from caravan_common.nomad.client import Job, JobRefusedError, JobState
from caravan_common.nomad.events import AllocationEnded
from caravan_common.nomad.ports import Ports, PublishedPort

FIRST_PORT = 20000


@dataclass
class FakeNomad:
    """Implements the protocol `caravan_common.nomad.client.Nomad`."""

    jobs: dict[str, JobState] = field(default_factory=dict)
    registered: list[Job] = field(default_factory=list)
    allocations: dict[str, list[AllocationEnded]] = field(default_factory=dict)
    restarted: list[tuple[str, str]] = field(default_factory=list)
    signalled: list[tuple[str, str, str]] = field(default_factory=list)
    finds_places: bool = True
    """Whether a node is found for the groups of jobs."""
    silent: bool = False
    tells_what_runs: bool = True
    refusal: str | None = None

    async def register(self, job: Job) -> None:
        self._answer()
        if self.refusal is not None or not job.get("TaskGroups"):
            raise JobRefusedError(self.refusal or "Missing job task groups")
        self.registered.append(job)
        self.jobs[job["ID"]] = JobState(id=job["ID"], status="running", stopped=False)

    async def stop(self, job_id: str) -> None:
        self._answer()
        if job_id in self.jobs:
            self.jobs[job_id] = JobState(id=job_id, status="dead", stopped=True)

    async def restart(self, job_id: str, group: str) -> None:
        self._answer()
        if job_id in self.jobs and not self.jobs[job_id].is_over:
            self.restarted.append((job_id, group))

    async def signal(self, job_id: str, group: str, name: str) -> bool:
        self._answer()
        runs = job_id in self.jobs and not self.jobs[job_id].is_over and self.tells_what_runs
        if runs:
            self.signalled.append((job_id, group, name))
        return runs

    async def ended(self, job_id: str) -> list[AllocationEnded]:
        self._answer()
        return self.allocations.get(job_id, [])

    async def placed(self, job_id: str) -> frozenset[str]:
        self._answer()
        known = [job for job in self.registered if job["ID"] == job_id and self.finds_places]
        return frozenset(group["Name"] for job in known for group in job["TaskGroups"])

    async def ports(self, job_id: str) -> Ports:
        """Give every dynamic port that the job asked for, the same ones each time."""
        self._answer()
        wanted = next((job for job in reversed(self.registered) if job["ID"] == job_id), {"TaskGroups": ()})
        groups = {group["Name"]: group["Networks"] or () for group in wanted["TaskGroups"]}
        return {
            name: {
                port["Label"]: PublishedPort(f"10.0.0.{place}", FIRST_PORT + number)
                for network in networks
                for number, port in enumerate(network["DynamicPorts"])
            }
            for place, (name, networks) in enumerate(groups.items(), 1)
            if networks
        }

    async def list_jobs(self) -> list[JobState]:
        self._answer()
        return sorted(self.jobs.values(), key=lambda job: job.id)

    def _answer(self) -> None:
        if self.silent:
            raise UnavailableError("Nomad does not answer")
