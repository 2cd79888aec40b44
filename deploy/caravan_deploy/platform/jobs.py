"""Platform jobs: the files of `jobs/platform/` with this stack's values, submitted to Nomad, watched until healthy."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from caravan_deploy.api import Api
from caravan_deploy.errors import SetupError
from caravan_deploy.layout import LOOPBACK, Layout
from caravan_deploy.ports import answers
from caravan_deploy.progress import wait_for
from caravan_deploy.servers.access import PLATFORM_NAMESPACE, SESSIONS_NAMESPACE

STORES = ("postgres", "redis")
SERVICES = ("caravan-storage", "caravan-agent", "caravan-manager")
BOOTSTRAP = "caravan-bootstrap"
PARSE = "/v1/jobs/parse"
GIVE_UP_AFTER_RESTARTS = 6
"""After a crash a task restarts a few times until its neighbours are up and its configuration names where they are."""
POSTGRES_PROGRAMS = "*/bin/initdb"


Restarts = dict[tuple[str, str], int]
"""Restarts of each task, by allocation and task."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What is needed to submit and watch platform jobs."""

    layout: Layout
    nomad: Api
    consul: Api

    def submit(self, job: str) -> None:
        """Register the job; an unchanged one that runs is left alone by Nomad."""
        parsed = {"JobHCL": self._source(job), "Variables": self._variables(job), "Canonicalize": True}
        self.nomad.call("POST", "/v1/jobs", {"Job": self.nomad.call("POST", PARSE, parsed)})

    def write_session_job(self) -> None:
        """Parse the skeleton of session jobs for the manager: Nomad's parser takes no workload identity."""
        source = (self.layout.checkout / "jobs" / "session" / "session.nomad.hcl").read_text(encoding="utf-8")
        job = self.nomad.call("POST", PARSE, {"JobHCL": source})
        self.layout.session_job.write_text(json.dumps({"Job": job}, indent=2) + "\n", encoding="utf-8")

    def forget(self, job: str) -> None:
        """Stop the job and forget it, so that a batch job runs again when it is submitted."""
        self.nomad.call("DELETE", f"/v1/job/{job}?purge=true")

    def wait_until_healthy(self, job: str, seconds: float = 60) -> None:
        """Return when every check of the job's services on this machine passes.

        Raises SetupError with the task's last words.
        """
        services, before = self._service_names(job), self._restarts(job)

        def healthy() -> bool | None:
            self._refuse_failing(job, before)
            return True if all(self.passing(name) for name in services) else None

        wait_for(f"the job {job} is not healthy (`nomad job status {job}` says more)", healthy, seconds)

    def wait_until_complete(self, job: str, seconds: float = 60) -> None:
        """Return when the newest allocation of a batch job has ended well."""

        before = self._restarts(job)

        def complete() -> bool | None:
            self._refuse_failing(job, before)
            newest = self._newest(job)
            return True if newest is not None and newest["ClientStatus"] == "complete" else None

        wait_for(f"the job {job} did not complete", complete, seconds)

    def stop_all(self) -> None:
        """Stop every job of both namespaces, and wait until no allocation runs."""
        for namespace in (SESSIONS_NAMESPACE, PLATFORM_NAMESPACE):
            jobs = [job for job in self.nomad.call("GET", f"/v1/jobs?namespace={namespace}") if job["Status"] != "dead"]
            for job in sorted(jobs, key=_stopping_order):
                self.nomad.call("DELETE", f"/v1/job/{job['ID']}?namespace={namespace}")
            wait_for(f"jobs of the namespace {namespace} do not stop", partial(self._quiet, namespace), 45)

    def passing(self, service: str) -> bool:
        """Say whether Consul knows the service on this machine, all its checks pass, and it answers.

        After a crash the catalogue shows the checks of the run before until they are run again.
        """
        known = self.consul.call("GET", f"/v1/health/service/{service}")
        entries = [entry for entry in known if entry["Node"]["Node"] == self.layout.node_name]
        passing = all(check["Status"] == "passing" for entry in entries for check in entry["Checks"])
        places = [(entry["Service"]["Address"] or LOOPBACK, entry["Service"]["Port"]) for entry in entries]
        return bool(entries) and passing and all(answers(host, port) for host, port in places)

    def where(self, service: str) -> list[str]:
        """Return the addresses of the service, as in Consul's catalogue."""
        entries = self.consul.call("GET", f"/v1/catalog/service/{service}")
        return sorted({f"{entry['ServiceAddress'] or entry['Address']}:{entry['ServicePort']}" for entry in entries})

    def _quiet(self, namespace: str) -> bool | None:
        allocations = self.nomad.call("GET", f"/v1/allocations?namespace={namespace}")
        return None if any(a["ClientStatus"] in {"running", "pending"} for a in allocations) else True

    def _source(self, job: str) -> str:
        return (self.layout.checkout / "jobs" / "platform" / f"{job}.nomad.hcl").read_text(encoding="utf-8")

    def _variables(self, job: str) -> str:
        source = self._source(job)
        known = {name: value for name, value in variables(self.layout).items() if f'variable "{name}"' in source}
        return "".join(f"{name} = {hcl_string(value)}\n" for name, value in known.items())

    def _service_names(self, job: str) -> list[str]:
        names: set[str] = set()
        for group in self.nomad.call("GET", f"/v1/job/{job}")["TaskGroups"]:
            services: list[dict[str, Any]] = group["Services"] or []
            names |= {service["Name"] for service in services}
        return sorted(names)

    def _newest(self, job: str) -> dict[str, Any] | None:
        allocations = self.nomad.call("GET", f"/v1/job/{job}/allocations")
        allocations = [one for one in allocations if one["NodeName"] == self.layout.node_name]
        return max(allocations, key=lambda a: a["CreateIndex"], default=None)

    def _restarts(self, job: str) -> Restarts:
        """Return how often each task of the newest allocation was restarted before now, in an earlier run perhaps."""
        newest = self._newest(job) or {"ID": "", "TaskStates": None}
        states: dict[str, Any] = newest["TaskStates"] or {}
        return {(newest["ID"], name): state["Restarts"] for name, state in states.items()}

    def _refuse_failing(self, job: str, before: Restarts) -> None:
        newest = self._newest(job)
        if newest is None:
            self._refuse_unplaced(job)
            return
        states: dict[str, Any] = newest["TaskStates"] or {}
        for name, state in states.items():
            known = before.get((newest["ID"], name))
            if (state["Failed"] and known is None) or state["Restarts"] - (known or 0) >= GIVE_UP_AFTER_RESTARTS:
                raise SetupError(f"the job {job} fails in its task {name}: {self._why(newest, name, state)}")

    def _refuse_unplaced(self, job: str) -> None:
        for evaluation in self.nomad.call("GET", f"/v1/job/{job}/evaluations"):
            failures: dict[str, Any] = evaluation.get("FailedTGAllocs") or {}
            for group, failure in failures.items():
                constraints: dict[str, int] = failure.get("ConstraintFiltered") or {}
                dimensions: dict[str, int] = failure.get("DimensionExhausted") or {}
                reasons = ", ".join([*constraints, *dimensions]) or "no node is ready"
                raise SetupError(f"Nomad finds no place for {job}/{group}: {reasons}")

    def _why(self, allocation: Mapping[str, Any], task: str, state: Mapping[str, Any]) -> str:
        query = f"task={task}&type=stderr&plain=true&origin=end&offset=2000"
        log = self.nomad.call("GET", f"/v1/client/fs/logs/{allocation['ID']}?{query}")
        lines = [line for line in str(log or "").splitlines() if line.strip()]
        events = [event["DisplayMessage"] for event in state["Events"] if event["DisplayMessage"]]
        return lines[-1] if lines else "; ".join(events[-2:])


def _stopping_order(job: Mapping[str, Any]) -> int:
    """Return the place in a stop: what others depend on goes last."""
    return STORES.index(job["ID"]) + 1 if job["ID"] in STORES else 0


def hcl_string(value: str) -> str:
    """Return ``value`` as a quoted HCL string that means exactly itself."""
    return json.dumps(value).replace("${", "$${").replace("%{", "%%{")


def variables(layout: Layout) -> dict[str, str]:
    """Return the values of this stack for the variables that the job files declare."""
    ports = layout.ports
    return {
        "programs": str(layout.programs),
        "address": layout.address,
        "session_job": str(layout.session_job),
        "postgres_programs": str(_postgres_programs()),
        "postgres_data": str(layout.data / "postgres"),
        "redis_data": str(layout.data / "redis"),
        "nomad_address": layout.url(ports.nomad_http),
        "consul_address": layout.url(ports.consul_http),
        "vault_address": layout.url(ports.vault),
        "host": LOOPBACK,
        "api_port": str(ports.manager),
        "internal_port": str(ports.manager_internal),
        "storage_client_port": str(ports.storage_client),
        "storage_manager_port": str(ports.storage_manager),
        "storage_metrics_port": str(ports.storage_metrics),
        "storage_client_url": layout.url(ports.storage_client),
        "storage_manager_url": layout.url(ports.storage_manager),
        "agent_port": str(ports.agent),
        "agent_metrics_port": str(ports.agent_metrics),
        "network_pool": layout.network_pool,
        "cluster": layout.name,
        "volume1": str(layout.volume),
    }


def _postgres_programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob(POSTGRES_PROGRAMS), key=lambda path: int(path.parts[-3]))
    if not found:
        raise SetupError("PostgreSQL's programs are not installed: install Debian's package postgresql.")
    return found[-1].parent
