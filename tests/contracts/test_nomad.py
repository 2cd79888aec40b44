"""What the manager may rely on of Nomad: the same tests for the real one and for the fake."""

import asyncio
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from tests.fakes.nomad import FakeNomad
from tests.unit.manager.sessions_made import LATER, node_made, pending

from caravan_common.ids import job_id
from caravan_common.nomad.client import Job, JobRefusedError, JobState, Nomad, NomadCluster
from caravan_deploy.second import Stack
from caravan_manager.compiler.job import compile_job
from caravan_manager.sessions.model import Seat

REPOSITORY = Path(__file__).parents[2]
SKELETON = json.loads((REPOSITORY / "tests/golden/skeleton.json").read_text())


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.stack)])
def nomad(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Nomad:
    """Give one of the two."""
    if request.param == "fake":
        return FakeNomad(finds_places=False)
    return _real(request.getfixturevalue("stack"), monkeypatch)


def _real(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> NomadCluster:
    monkeypatch.setenv("NOMAD_TOKEN", stack.tokens.nomad_management)
    return NomadCluster(stack.layout.url(stack.layout.ports.nomad_http), "caravan")


def _job() -> Job:
    """A job for a node that does not exist: Nomad takes it, and runs nothing."""
    session = replace(pending(), id=uuid4())
    placed = session.scheduled({session.main_kernel.id: Seat("nowhere")}, LATER)
    return compile_job(placed, {"nowhere": node_made("nowhere", uuid4())}, SKELETON)


async def test_a_registered_job_is_listed_and_registering_it_again_changes_nothing(nomad: Nomad) -> None:
    job = _job()
    await nomad.register(job)
    await nomad.register(job)
    (listed,) = [state for state in await nomad.list_jobs() if state.id == job["ID"]]
    assert not listed.stopped
    await nomad.stop(job["ID"])


async def test_a_stopped_job_is_dead_and_stopping_it_again_is_harmless(nomad: Nomad) -> None:
    job = _job()
    await nomad.register(job)
    await nomad.stop(job["ID"])
    await nomad.stop(job["ID"])
    for _ in range(100):  # Nomad looks at a stopped job in its own time
        if (listed := await _listed(nomad, job)).status == "dead":
            break
        await asyncio.sleep(0.1)
    assert (listed.status, listed.stopped) == ("dead", True)


async def _listed(nomad: Nomad, job: Job) -> JobState:
    (found,) = [state for state in await nomad.list_jobs() if state.id == job["ID"]]
    return found


async def test_stopping_an_unknown_job_is_harmless(nomad: Nomad) -> None:
    await nomad.stop(job_id(uuid4()))


async def test_a_job_that_cannot_be_is_refused(nomad: Nomad) -> None:
    job = _job()
    job["TaskGroups"] = []
    with pytest.raises(JobRefusedError, match="task groups"):
        await nomad.register(job)


async def test_a_job_without_allocations_has_no_ports(nomad: Nomad) -> None:
    job = _job()
    await nomad.register(job)
    assert await nomad.ports(job["ID"]) == {}
    assert await nomad.ports(job_id(uuid4())) == {}
    await nomad.stop(job["ID"])


async def test_a_signal_to_a_job_of_which_nothing_runs_reaches_nobody(nomad: Nomad) -> None:
    job = _job()
    await nomad.register(job)
    await nomad.stop(job["ID"])
    assert not await nomad.signal(job["ID"], "main1", "SIGTERM")
    assert not await nomad.signal(job_id(uuid4()), "main1", "SIGTERM")


async def test_no_place_was_found_for_a_job_whose_node_is_not_there(nomad: Nomad) -> None:
    job = _job()
    await nomad.register(job)
    assert await nomad.placed(job["ID"]) == frozenset()
    assert await nomad.placed(job_id(uuid4())) == frozenset()
    await nomad.stop(job["ID"])


@pytest.mark.stack
def test_the_golden_skeleton_is_what_nomad_makes_of_the_hcl(stack: Stack) -> None:
    hcl = REPOSITORY / "jobs/session/session.nomad.hcl"
    parsed = subprocess.run(
        [stack.programs["nomad"], "job", "run", "-output", hcl], capture_output=True, text=True, check=True
    )
    assert json.loads(parsed.stdout)["Job"] == SKELETON
