"""The state machine: every move, and what a late or repeated message does."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from tests.unit.manager.sessions_made import LATER, SLOTS, pending, queued, running, submitted

from caravan_common.errors import ConflictError, InvalidParametersError
from caravan_common.slots import ResourceSlots
from caravan_common.states import SessionResult, SessionStatus, SessionType
from caravan_manager.sessions.model import (
    AVOIDED,
    MAX_RANKS_LOST,
    MAX_REPLACED,
    Checks,
    Seat,
    Session,
    SessionNotRunningError,
    avoided_nodes,
    check_environ,
)


def test_a_batch_session_goes_from_pending_to_success() -> None:
    session = running(pending())
    assert session.status is SessionStatus.RUNNING
    ended = session.kernel_terminated(session.main_kernel.id, 0, "exited", LATER)
    assert (ended.status, ended.result, ended.status_info) == (
        SessionStatus.TERMINATED,
        SessionResult.SUCCESS,
        "task-finished",
    )
    assert list(ended.status_history) == [
        "PENDING",
        "SCHEDULED",
        "PREPARING",
        "RUNNING",
        "TERMINATING",
        "TERMINATED",
    ]


def test_a_failing_command_is_a_failure_with_its_exit_code() -> None:
    session = running(pending())
    ended = session.kernel_terminated(session.main_kernel.id, 3, "exited", LATER)
    assert ended.result is SessionResult.FAILURE
    assert ended.status_data["kernel"] == {"exit_code": 3}
    assert ended.main_kernel.exit_code == 3


def test_an_interactive_session_has_no_result() -> None:
    session = running(pending(type_=SessionType.INTERACTIVE)).destroyed("user-requested", LATER)
    ended = session.kernel_terminated(session.main_kernel.id, 143, "exited", LATER)
    assert (ended.status, ended.result, ended.status_info) == (
        SessionStatus.TERMINATED,
        SessionResult.UNDEFINED,
        "user-requested",
    )


def test_a_session_runs_only_when_all_its_kernels_do() -> None:
    session = submitted(pending(kernels=2))
    half = session.kernel_started(session.kernels[0].id, "a", LATER)
    assert half.status is SessionStatus.PREPARING
    whole = half.kernel_started(session.kernels[1].id, "b", LATER)
    assert (whole.status, whole.needs_the_scheduler) == (SessionStatus.CREATING, True)
    assert whole.kernel_started(session.kernels[1].id, "b", LATER) == whole
    assert whole.released(2, LATER) == whole
    assert whole.released(1, LATER).status is SessionStatus.RUNNING


def test_a_gang_that_loses_a_rank_before_it_begins_is_placed_anew_and_remembers_where() -> None:
    session = submitted(pending(kernels=2))
    session = session.kernel_started(session.kernels[0].id, "a", LATER)
    broken = session.kernel_terminated(session.kernels[1].id, 125, "exited with 125", LATER)
    assert (broken.status, broken.status_info, broken.is_broken) == (SessionStatus.SCHEDULED, "rank-lost", True)
    assert broken.needs_the_scheduler
    other = broken.kernel_terminated(session.kernels[0].id, 143, "exited with 143", LATER)
    assert other.status_data == broken.status_data, "a rank that ends because the others do is no second loss"
    assert other.kernel_started(session.kernels[0].id, "a", LATER) == other
    assert other.vanished("lost", LATER) == other

    again = other.requeued("rank-lost", [uuid4(), uuid4()], LATER)
    assert (again.status, again.attempt, again.is_broken) == (SessionStatus.PENDING, 2, False)
    assert [(k.status, k.exit_code, k.container_id) for k in again.kernels] == [(SessionStatus.PENDING, None, None)] * 2
    assert avoided_nodes(again.status_data, LATER + AVOIDED / 2) == {"node1"}
    assert avoided_nodes(again.status_data, LATER + AVOIDED) == frozenset()


def test_a_session_without_a_place_whose_device_fell_ill_is_placed_anew_unless_it_came_up_meanwhile() -> None:
    session = submitted(pending())
    back = session.displaced(session.main_kernel.id, "GPU-1 is ill", LATER)
    assert (back.status, back.status_info, back.is_broken) == (SessionStatus.SCHEDULED, "device-lost", False)
    assert back.displaced(session.main_kernel.id, "GPU-1 is ill", LATER) == back
    assert back.kernel_started(session.main_kernel.id, "a", LATER).status is SessionStatus.RUNNING
    again = back.requeued("device-lost", [uuid4()], LATER)
    assert (again.status, again.attempt, again.main_kernel.devices) == (SessionStatus.PENDING, 2, ())
    up = running(pending())
    for other in (up, again, pending(), submitted(pending())):
        assert other.displaced(session.main_kernel.id, "GPU-1 is ill", LATER) == other
    assert up.displaced(up.main_kernel.id, "GPU-1 is ill", LATER) == up


def test_a_gang_without_a_place_whose_device_fell_ill_lost_a_rank() -> None:
    session = submitted(pending(kernels=2))
    session = session.kernel_started(session.kernels[0].id, "a", LATER)
    assert session.displaced(session.kernels[0].id, "GPU-1 is ill", LATER) == session
    broken = session.displaced(session.kernels[1].id, "GPU-1 is ill", LATER)
    assert (broken.is_broken, broken.status_data["gang"]["lost"][0]["reason"]) == (True, "GPU-1 is ill")


def test_a_gang_that_loses_ranks_too_often_is_an_error_with_the_reason() -> None:
    session = pending(kernels=2)
    for _ in range(MAX_RANKS_LOST):
        assert session.status is SessionStatus.PENDING
        session = submitted(session)
        session = session.kernel_terminated(session.kernels[1].id, None, "no such image", LATER)
        session = session.requeued("rank-lost", [uuid4(), uuid4()], LATER)
    assert session.status is SessionStatus.ERROR
    assert "no such image" in session.status_data["error"]["repr"]
    assert all(kernel.is_dead for kernel in session.kernels)


def test_a_broken_gang_can_be_destroyed() -> None:
    session = submitted(pending(kernels=2))
    broken = session.kernel_terminated(session.kernels[1].id, None, "gone", LATER).destroyed("user-requested", LATER)
    assert broken.status is SessionStatus.TERMINATING
    assert broken.kernel_terminated(session.kernels[0].id, 143, "", LATER).status is SessionStatus.TERMINATED


def test_from_the_moment_at_which_all_are_up_a_kernels_end_ends_the_session_and_the_first_ones_is_its_result() -> None:
    session = submitted(pending(kernels=2))
    for kernel in session.kernels:
        session = session.kernel_started(kernel.id, f"container of {kernel.cluster_hostname}", LATER)
    lost = session.kernel_terminated(session.kernels[1].id, 0, "", LATER)
    assert (lost.status, lost.result) == (SessionStatus.TERMINATING, SessionResult.FAILURE)
    quick = session.kernel_terminated(session.main_kernel.id, 0, "", LATER)
    assert (quick.status, quick.result) == (SessionStatus.TERMINATING, SessionResult.SUCCESS)
    assert quick.released(1, LATER) == quick


def test_the_end_of_one_kernel_ends_the_others_too() -> None:
    session = running(pending(kernels=2))
    half = session.kernel_terminated(session.main_kernel.id, 0, "exited", LATER)
    assert half.status is SessionStatus.TERMINATING
    whole = half.kernel_terminated(session.kernels[1].id, 143, "exited", LATER)
    assert (whole.status, whole.result) == (SessionStatus.TERMINATED, SessionResult.SUCCESS)


def test_a_start_that_is_told_before_the_submission_is_recorded_counts() -> None:
    session = pending()
    placed = session.scheduled({session.main_kernel.id: Seat("node1")}, LATER)
    assert placed.kernel_started(session.main_kernel.id, "c", LATER).status is SessionStatus.RUNNING


def test_news_after_the_end_change_nothing() -> None:
    session = running(pending())
    ended = session.kernel_terminated(session.main_kernel.id, 0, "exited", LATER)
    assert ended.kernel_started(session.main_kernel.id, "again", LATER) == ended
    assert ended.kernel_terminated(session.main_kernel.id, 1, "again", LATER) == ended
    assert ended.destroyed("again", LATER) == ended
    assert ended.vanished("again", LATER) == ended
    assert ended.refused("again", LATER) == ended


def test_news_of_an_unknown_kernel_change_nothing() -> None:
    session = submitted(pending())
    assert session.kernel_started(uuid4(), "c", LATER) == session
    assert session.kernel_terminated(uuid4(), 0, "exited", LATER) == session


def test_destroying_a_waiting_session_cancels_it() -> None:
    cancelled = pending().destroyed("user-requested", LATER)
    assert cancelled.status is SessionStatus.CANCELLED
    assert cancelled.main_kernel.is_dead
    assert cancelled.terminated_at == LATER


def test_destroying_a_running_session_waits_for_the_node() -> None:
    ending = running(pending()).destroyed("user-requested", LATER)
    assert ending.status is SessionStatus.TERMINATING
    assert not ending.main_kernel.is_dead
    assert ending.destroyed("again", LATER) == ending


def test_a_session_of_which_nomad_knows_nothing_is_over_and_a_batch_one_failed() -> None:
    gone = running(pending()).vanished("lost", LATER)
    assert (gone.status, gone.result) == (SessionStatus.TERMINATED, SessionResult.FAILURE)
    assert pending().vanished("lost", LATER).status is SessionStatus.PENDING


def test_a_refused_job_is_an_error_with_its_reason() -> None:
    refused = submitted(pending()).refused("no such driver", LATER)
    assert refused.status is SessionStatus.ERROR
    assert refused.status_data["error"]["repr"] == "no such driver"


def test_slots_are_held_from_placement_to_the_end() -> None:
    session = pending()
    assert session.occupying_slots == ResourceSlots()
    assert running(session).occupying_slots == SLOTS
    ended = running(session).vanished("lost", LATER)
    assert ended.occupying_slots == ResourceSlots()


def test_a_session_is_placed_once() -> None:
    placed = submitted(pending())
    with pytest.raises(ConflictError):
        placed.scheduled({}, LATER)
    with pytest.raises(ConflictError):
        placed.submitted(LATER)


def test_only_a_running_session_can_be_renamed() -> None:
    assert running(pending()).renamed("better").name == "better"
    with pytest.raises(SessionNotRunningError):
        pending().renamed("better")


def test_the_reason_for_waiting_is_where_clients_look_for_it() -> None:
    checks = Checks((("concurrency", "no more than 1"),), ("dependencies",))
    waiting = queued(pending()).waiting("predicate-checks-failed", checks, LATER)
    assert waiting.status_info == "predicate-checks-failed"
    told = waiting.status_data["scheduler"]
    assert told["failed_predicates"] == [{"name": "concurrency", "msg": "no more than 1"}]
    assert (told["passed_predicates"], told["retries"]) == ([{"name": "dependencies"}], 1)
    assert waiting.waiting("predicate-checks-failed", checks, LATER).status_data["scheduler"]["retries"] == 2


@pytest.mark.parametrize("name", ["", "A B", "A=B", "1A", "A\nB", "BACKENDAI_USER_UUID", "ÄRGER", "A.B"])
def test_a_name_that_no_shell_could_set_is_refused(name: str) -> None:
    with pytest.raises(InvalidParametersError):
        check_environ({name: "x"})


def test_values_of_the_environment_may_be_any_text_but_nul() -> None:
    hostile = "line\n'quotes' \"double\" ${NOMAD_TOKEN} {{ x }} `id` $(id)"
    assert check_environ({"HOSTILE": hostile}) == {"HOSTILE": hostile}
    with pytest.raises(InvalidParametersError):
        check_environ({"A": "a\0b"})
    with pytest.raises(InvalidParametersError):
        check_environ({"A": "x" * 200_000})


def restarting(kernels: int = 1) -> Session:
    return running(pending(kernels)).restarting(LATER)


def test_a_restarted_session_runs_again_when_all_new_containers_do() -> None:
    session = restarting(2)
    assert session.status is SessionStatus.RESTARTING
    assert session.occupying_slots == SLOTS + SLOTS
    for kernel in session.kernels:
        assert session.status is SessionStatus.RESTARTING
        session = session.kernel_started(kernel.id, f"new-{kernel.cluster_hostname}", LATER)
    assert session.status is SessionStatus.RUNNING
    assert session.main_kernel.container_id == "new-main1"


def test_late_news_of_a_replaced_container_change_nothing_ever() -> None:
    session = restarting()
    kernel = session.main_kernel.id
    again = session.kernel_started(kernel, "new", LATER)
    for state in (session, again, again.restarting(LATER), session.destroyed("user-requested", LATER)):
        assert state.kernel_terminated(kernel, 143, "exited with 143", LATER, "c0ffee") == state
        assert state.kernel_started(kernel, "c0ffee", LATER) == state
    over = again.kernel_terminated(kernel, 0, "finished", LATER, "new")
    assert (over.status, over.result) == (SessionStatus.TERMINATED, SessionResult.SUCCESS)


def test_a_session_that_ends_while_it_is_restarted_is_over() -> None:
    session = restarting().group_terminated("main1", 3, "Docker container exited", LATER)
    assert (session.status, session.main_kernel.exit_code) == (SessionStatus.TERMINATED, 3)


def test_asking_for_a_restart_is_recorded_once() -> None:
    session = restarting()
    asked = session.asked_to_restart(None, LATER)
    assert asked.restart_asked == LATER
    assert asked.asked_to_restart(None, LATER + timedelta(seconds=1)) == asked
    assert asked.asked_to_restart(LATER, LATER + timedelta(seconds=1)).restart_asked == LATER + timedelta(seconds=1)


def test_restarting_twice_is_restarting_once_and_only_a_running_session_can_be() -> None:
    session = restarting()
    assert session.restarting(LATER + timedelta(seconds=1)) == session
    for other in (pending(), submitted(pending()), running(pending()).destroyed("user-requested", LATER)):
        with pytest.raises(SessionNotRunningError):
            other.restarting(LATER)


def test_a_session_can_be_restarted_any_number_of_times_and_remembers_the_last_containers() -> None:
    session = running(pending())
    for number in range(100):
        session = session.restarting(LATER).kernel_started(session.main_kernel.id, f"c{number}", LATER)
    assert session.status is SessionStatus.RUNNING
    assert len(session.replaced_containers) == MAX_REPLACED


def test_a_preempted_session_ends_and_says_for_whom() -> None:
    session = running(pending()).preempted(UUID(int=9), False, 1, LATER)
    assert (session.status, session.status_info) == (SessionStatus.TERMINATING, "preempted")
    assert session.status_data["preempted"] == {"by": str(UUID(int=9)), "again": False}
    over = session.kernel_terminated(session.main_kernel.id, 143, "stopped", LATER)
    assert (over.status, over.status_info) == (SessionStatus.TERMINATED, "preempted")


@pytest.mark.parametrize("how", ["told", "vanished"])
def test_one_that_is_to_run_again_is_queued_when_it_has_ended_with_new_kernels(how: str) -> None:
    before = running(pending()).preempted(UUID(int=9), True, 1, LATER)
    main = before.main_kernel.id
    after = (
        before.vanished("lost", LATER) if how == "vanished" else before.kernel_terminated(main, 143, "stopped", LATER)
    )
    assert (after.status, after.attempt, after.main_kernel.node) == (SessionStatus.PENDING, 2, None)
    assert after.main_kernel.id != main
    assert after.main_kernel.container_id is None
    assert after == after.kernel_terminated(main, 143, "late news", LATER)
    again = running(after)
    ended = again.destroyed("user-requested", LATER).kernel_terminated(again.main_kernel.id, 0, "stopped", LATER)
    assert ended.status is SessionStatus.TERMINATED


def test_one_that_its_user_destroys_meanwhile_is_not_queued_again() -> None:
    session = running(pending()).preempted(UUID(int=9), True, 1, LATER).destroyed("user-requested", LATER)
    assert session.kernel_terminated(session.main_kernel.id, 143, "stopped", LATER).status is SessionStatus.TERMINATED


GRACE = timedelta(minutes=5)


def test_one_that_has_time_left_says_until_when_and_has_none_any_more_when_it_is_destroyed() -> None:
    told = running(pending()).preempted(UUID(int=9), True, 1, LATER, GRACE)
    assert told.goes_on_until == LATER + GRACE
    destroyed = told.destroyed("user-requested", LATER)
    assert (destroyed.goes_on_until, destroyed.status_info) == (None, "preempted")


def test_one_that_was_queued_again_has_no_time_left_of_before_when_it_ends() -> None:
    told = running(pending()).preempted(UUID(int=9), True, 1, LATER, GRACE)
    queued = told.kernel_terminated(told.main_kernel.id, 143, "stopped", LATER)
    assert queued.status is SessionStatus.PENDING
    assert running(queued).destroyed("user-requested", LATER).goes_on_until is None


def test_one_goes_on_for_no_longer_than_its_time_limit() -> None:
    session = running(replace(pending(), batch_timeout=timedelta(minutes=1)))
    assert session.deadline is not None
    assert session.preempted(UUID(int=9), True, 1, LATER, GRACE).goes_on_until == session.deadline


@pytest.mark.parametrize("again", [True, False])
def test_a_batch_session_that_does_its_work_in_the_time_it_has_left_has_succeeded(again: bool) -> None:
    told = running(pending()).preempted(UUID(int=9), again, 1, LATER, GRACE)
    done = told.kernel_terminated(told.main_kernel.id, 0, "finished", LATER)
    assert (done.status, done.status_info, done.result) == (
        SessionStatus.TERMINATED, "task-finished", SessionResult.SUCCESS,
    )  # fmt: skip
    no_time = running(pending()).preempted(UUID(int=9), again, 1, LATER)
    stopped = no_time.kernel_terminated(no_time.main_kernel.id, 0, "stopped", LATER)
    assert stopped.status is (SessionStatus.PENDING if again else SessionStatus.TERMINATED)
    assert stopped.result is SessionResult.UNDEFINED


def test_when_one_kernel_has_ended_the_others_have_no_time_left() -> None:
    told = running(pending(3)).preempted(UUID(int=9), True, 1, LATER, GRACE)
    after = told.kernel_terminated(told.kernels[1].id, 1, "gone", LATER)
    assert (after.status, after.goes_on_until) == (SessionStatus.TERMINATING, None)


def test_the_end_of_a_container_that_was_never_meant_does_not_end_one_that_lost_its_device() -> None:
    session = pending()
    placed = session.scheduled({session.main_kernel.id: Seat("node1")}, LATER).submitted(LATER)
    lost = placed.displaced(placed.main_kernel.id, "ill", LATER)
    assert lost.status is SessionStatus.SCHEDULED
    assert lost.kernel_terminated(lost.main_kernel.id, 143, "stopped", LATER) == lost


def test_what_has_not_begun_has_no_time_left() -> None:
    session = pending()
    placed = session.scheduled({session.main_kernel.id: Seat("node1")}, LATER)
    assert placed.preempted(UUID(int=9), False, 1, LATER, timedelta(minutes=5)).goes_on_until is None


def test_only_what_holds_nodes_and_does_not_end_is_preempted() -> None:
    waiting = pending()
    assert waiting.preempted(UUID(int=9), True, 1, LATER) == waiting
    ending = running(pending()).destroyed("user-requested", LATER)
    assert ending.preempted(UUID(int=9), True, 1, LATER) == ending
    anew = running(pending())
    assert anew.preempted(UUID(int=9), True, anew.attempt - 1, LATER) == anew
