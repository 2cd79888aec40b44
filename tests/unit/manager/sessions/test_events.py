"""What moves mean to those who follow a session, and who may follow it."""

from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from tests.unit.manager.sessions_made import LATER, pending, running, submitted

from caravan_common.states import SessionType
from caravan_manager.people.model import Principal, UserRole
from caravan_manager.sessions.events import EventFilter, SessionEvent, events_of
from caravan_manager.sessions.model import Seat, Session


def _names(before: Session | None, after: Session) -> list[str]:
    return [event.name for event in events_of(before, after)]


def principal(role: UserRole, user: UUID, domain: str = "default") -> Principal:
    return Principal(
        user_id=user,
        email="someone@example.com",
        username="someone",
        role=role,
        domain_name=domain,
        access_key="AKIAEXAMPLE",
        resource_policy="default",
        user_resource_policy="default",
        rate_limit=100,
    )


def _event(name: str = "session_started") -> SessionEvent:
    session = running(pending())
    return replace(events_of(None, session)[0], name=name)


def test_a_session_of_two_kernels_starts() -> None:
    made = pending(kernels=2)
    assert _names(None, made) == ["session_enqueued"]
    placed = made.scheduled({k.id: Seat("node1") for k in made.kernels}, LATER)
    assert _names(made, placed) == ["session_scheduled"]
    told = placed.submitted(LATER)
    assert _names(placed, told) == ["kernel_preparing", "kernel_preparing"]
    half = told.kernel_started(told.kernels[0].id, "a", LATER)
    assert _names(told, half) == ["kernel_started"]
    whole = half.kernel_started(told.kernels[1].id, "b", LATER)
    assert _names(half, whole) == ["kernel_started"]
    assert _names(whole, whole.released(1, LATER)) == ["session_started"]


def test_a_move_that_changes_nothing_means_nothing() -> None:
    session = running(pending())
    assert events_of(session, session.kernel_started(session.main_kernel.id, "a", LATER)) == ()


def test_a_name_or_a_reason_to_wait_is_no_event() -> None:
    session = running(pending())
    assert events_of(session, session.renamed("other")) == ()
    waiting = pending()
    assert events_of(waiting, replace(waiting, status_info="no node has that much")) == ()


def test_a_batch_session_that_succeeds_ends_with_all_states_that_it_went_through() -> None:
    session = running(pending())
    ended = session.kernel_terminated(session.main_kernel.id, 0, "exited", LATER)
    assert _names(session, ended) == [
        "session_success",
        "session_terminating",
        "kernel_terminated",
        "session_terminated",
    ]
    success, _, kernel, last = events_of(session, ended)
    assert (success.exit_code, success.reason) == (0, ended.status_info)
    assert (kernel.exit_code, kernel.reason) == (0, ended.status_info)
    assert last.exit_code is None


def test_a_failing_batch_session_tells_its_exit_code() -> None:
    session = running(pending())
    ended = session.kernel_terminated(session.main_kernel.id, 3, "exited", LATER)
    failure = events_of(session, ended)[0]
    assert (failure.name, failure.exit_code, failure.reason) == ("session_failure", 3, ended.status_info)


def test_a_session_that_is_destroyed_tells_it_twice_as_backend_ai_does() -> None:
    session = running(pending(type_=SessionType.INTERACTIVE))
    ending = session.destroyed("user-requested", LATER)
    assert _names(session, ending) == ["session_terminating", "kernel_terminating"]
    assert [event.exit_code for event in events_of(session, ending)] == [None, -1]
    ended = ending.kernel_terminated(ending.main_kernel.id, 143, "exited", LATER)
    assert _names(ending, ended) == ["kernel_terminated", "session_terminated"]
    assert events_of(ending, ended)[0].exit_code == 143


def test_a_forced_end_is_one_move_and_tells_both_states() -> None:
    session = running(pending(type_=SessionType.INTERACTIVE))
    ended = session.destroyed("force-terminated", LATER).vanished("force-terminated", LATER)
    assert _names(session, ended) == ["session_terminating", "kernel_terminated", "session_terminated"]


def test_a_session_that_never_ran_is_cancelled() -> None:
    waiting = pending()
    cancelled = waiting.destroyed("user-requested", LATER)
    assert _names(waiting, cancelled) == ["kernel_cancelled", "session_cancelled"]
    told = submitted(pending())
    refused = told.refused("no such image", LATER)
    assert _names(told, refused) == ["kernel_cancelled", "session_cancelled"]
    assert events_of(told, refused)[-1].reason == "failed-to-start"


def test_the_facts_have_the_names_of_backend_ai() -> None:
    session = submitted(pending())
    started = session.kernel_started(session.main_kernel.id, "c0ffee", LATER)
    kernel, whole = events_of(session, started)
    assert whole.to_json() == {
        "reason": "unknown",
        "sessionName": "train",
        "ownerAccessKey": "AKIAEXAMPLE",
        "sessionId": str(session.id),
        "exitCode": None,
    }
    assert kernel.to_json() == whole.to_json() | {
        "reason": "",
        "kernelId": str(session.main_kernel.id),
        "clusterRole": "main",
        "clusterIdx": 1,
    }


@pytest.mark.parametrize(
    ("role", "own", "domain", "seen"),
    [
        (UserRole.USER, True, "default", True),
        (UserRole.USER, False, "default", False),
        (UserRole.MONITOR, False, "default", False),
        (UserRole.ADMIN, False, "default", True),
        (UserRole.ADMIN, False, "other", False),
        (UserRole.SUPERADMIN, False, "other", True),
    ],
)
def test_one_sees_ones_own_sessions_and_administrators_those_they_administrate(
    role: UserRole, own: bool, domain: str, seen: bool
) -> None:
    event = _event()
    viewer = principal(role, event.user if own else uuid4(), domain)
    assert EventFilter(viewer).wants(event) is seen


def test_a_filter_asks_for_scope_session_name_and_project() -> None:
    event = _event()
    viewer = principal(UserRole.SUPERADMIN, uuid4())
    assert EventFilter(viewer, scopes=frozenset({"session"})).wants(event)
    assert not EventFilter(viewer, scopes=frozenset({"kernel"})).wants(event)
    assert EventFilter(viewer, session=event.session, session_name="another name").wants(event)
    assert not EventFilter(viewer, session=uuid4(), session_name="train", access_key="AKIAEXAMPLE").wants(event)
    assert EventFilter(viewer, session_name="train", access_key="AKIAEXAMPLE").wants(event)
    assert not EventFilter(viewer, session_name="train", access_key="AKIAOTHER").wants(event)
    assert not EventFilter(viewer, session_name="other", access_key="AKIAEXAMPLE").wants(event)
    assert EventFilter(viewer, projects=frozenset({event.project})).wants(event)
    assert not EventFilter(viewer, projects=frozenset({uuid4()})).wants(event)
