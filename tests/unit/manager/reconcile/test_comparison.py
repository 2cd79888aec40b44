"""The comparison of PostgreSQL with Nomad and the agents finds exactly what is wrong."""

from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from tests.unit.manager.sessions_made import LATER, pending, running, submitted

from caravan_common.ids import job_id
from caravan_common.nomad.client import JobState
from caravan_common.wire.agent import KernelState
from caravan_manager.reconcile.comparison import (
    GRACE,
    Differences,
    Ends,
    compare_with_nomad,
    left_on_node,
    missed_starts,
)
from caravan_manager.sessions.model import Seat, Session, SessionState

NOW = LATER + timedelta(minutes=5)


START_LIMIT = timedelta(minutes=15)


def compare(sessions: list[Session], jobs: list[JobState], ends: Ends, now: datetime) -> Differences:
    states = [SessionState(session.id, session.status, session.status_changed) for session in sessions]
    return compare_with_nomad(states, jobs, ends, now, START_LIMIT)


def job(session: UUID, status: str = "running", *, stopped: bool = False) -> JobState:
    return JobState(id=job_id(session), status=status, stopped=stopped)


def test_agreement_needs_no_mending() -> None:
    session = running(pending())
    found = compare([session], [job(session.id)], {session.id: None}, NOW)
    assert (found.orphans, found.vanished) == ((), ())


def test_a_job_without_a_live_session_is_an_orphan() -> None:
    dead = uuid4()
    assert compare([], [job(dead)], {dead: LATER}, NOW).orphans == (job_id(dead),)


def test_a_job_of_a_session_that_the_database_does_not_know_is_told_and_left_alone() -> None:
    unknown = uuid4()
    found = compare([], [job(unknown)], {}, NOW)
    assert (found.orphans, found.strangers) == ((), (job_id(unknown),))


def test_a_job_whose_session_ended_just_now_may_clean_up() -> None:
    dead = uuid4()
    assert compare([], [job(dead)], {dead: NOW - GRACE / 2}, NOW).orphans == ()


def test_jobs_that_are_over_or_not_ours_are_left_alone() -> None:
    dead = uuid4()
    jobs = [job(dead, "dead"), job(uuid4(), stopped=True), JobState("redis", "running", stopped=False)]
    assert compare([], jobs, {dead: LATER}, NOW).orphans == ()


def test_a_session_whose_job_is_over_or_gone_has_vanished() -> None:
    gone, over = running(pending()), running(pending())
    found = compare([gone, over], [job(over.id, "dead")], {over.id: None}, NOW)
    assert found.vanished == (gone.id, over.id)


def test_a_session_that_moved_just_now_gets_time() -> None:
    fresh = replace(running(pending()), status_changed=NOW - GRACE / 2)
    assert compare([fresh], [], {}, NOW).vanished == ()


def test_a_placed_session_that_is_not_submitted_yet_needs_no_job() -> None:
    session = pending()
    placed = session.scheduled({session.main_kernel.id: Seat("node1")}, LATER)
    assert compare([placed], [], {}, NOW).vanished == ()


def test_a_session_that_does_not_start_in_time_is_late_and_not_lost() -> None:
    session = submitted(pending())
    long_ago = replace(session, status_changed=NOW - START_LIMIT * 2)
    found = compare([long_ago, running(pending())], [], {}, NOW)
    assert found.late == (long_ago.id,)
    assert long_ago.id not in found.vanished


def test_a_kernel_whose_session_is_over_is_left_on_its_node() -> None:
    live, over, just_over, unknown = uuid4(), uuid4(), uuid4(), uuid4()
    held = [
        KernelState(session=s, kernel=UUID(int=i), state="prepared")
        for i, s in enumerate([live, over, just_over, unknown])
    ]
    ends = {live: None, over: LATER, just_over: NOW - GRACE / 2}
    assert left_on_node(held, ends, {k.kernel for k in held}, NOW) == [UUID(int=1)]


def test_a_kernel_that_its_live_session_was_placed_anew_without_is_left_on_its_node() -> None:
    live, unknown = uuid4(), uuid4()
    old, new, stranger = (
        KernelState(session=s, kernel=UUID(int=i), state="prepared") for i, s in enumerate([live, live, unknown])
    )
    assert left_on_node([old, new, stranger], {live: None}, {new.kernel}, NOW) == [old.kernel]


def test_a_start_was_missed_when_a_kernel_runs_that_is_waited_for() -> None:
    session, waited_for, told = uuid4(), uuid4(), uuid4()
    runs = KernelState(session=session, kernel=waited_for, state="running", container="c1")
    held = [runs, KernelState(session=session, kernel=told, state="running", container="c2")]
    assert missed_starts(held, {waited_for: session}) == [runs]
    assert missed_starts([runs.model_copy(update={"state": "prepared"})], {waited_for: session}) == []
