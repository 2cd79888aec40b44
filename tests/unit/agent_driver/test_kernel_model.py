"""The moves of a kernel on its node, and what the manager is told of them."""

from datetime import UTC, datetime, timedelta

import pytest

from caravan_agent_driver.config import LimitsSection
from caravan_agent_driver.kernels.model import Kernel, KernelMoveError, Phase, Told, due_event
from caravan_agent_driver.kernels.sweeper import is_left_over
from caravan_agent_driver.kernels.watcher import end_reason, replay_from

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(seconds=5)


@pytest.fixture
def kernel(make_spec) -> Kernel:
    return Kernel.new(make_spec(environ={"SECRET": "hidden"}), NOW)


def _told(kernel: Kernel) -> list[str]:
    types = []
    while (due := due_event(kernel, "node")) is not None:
        told, event = due
        types.append(event.type)
        kernel = kernel.having_told(told)
    return types


def test_a_whole_life_is_told_in_order(kernel) -> None:
    over = kernel.prepared(NOW).running("c1", NOW).terminated("c1", 3, "exited with 3", LATER).cleaned(LATER)

    assert _told(over) == ["kernel_started", "kernel_terminated", "kernel_cleaned"]
    assert over.exit_code == 3


def test_a_kernel_that_never_ran_is_told_as_ended_and_cleaned_only(kernel) -> None:
    assert _told(kernel.prepared(NOW).abandoned("no container", LATER).cleaned(LATER)) == [
        "kernel_terminated",
        "kernel_cleaned",
    ]


def test_nothing_is_told_of_a_kernel_that_waits(kernel) -> None:
    assert _told(kernel) == _told(kernel.prepared(NOW)) == []


def test_the_reason_of_a_failed_preparation_is_what_the_manager_is_told(kernel) -> None:
    over = kernel.failed("no such folder", NOW).abandoned("never started", LATER)

    assert over.reason == "no such folder"


def test_hearing_the_same_again_changes_nothing(kernel) -> None:
    running = kernel.prepared(NOW).running("c1", NOW)
    ended = running.terminated("c1", 0, "finished", LATER)

    assert running.running("c1", LATER) == running
    assert ended.terminated("c1", 7, "again", LATER) == ended
    assert ended.running("c1", LATER) == ended
    assert ended.abandoned("late", LATER) == ended


def test_a_later_container_takes_the_place_of_the_one_before_and_is_told_from_its_start(kernel) -> None:
    first = kernel.prepared(NOW).running("c1", NOW)
    for before in (first, first.terminated("c1", 143, "exited with 143", LATER)):
        second = before.having_told(Told.TERMINATED).running("c2", LATER)

        assert (second.phase, second.container, second.exit_code) == (Phase.RUNNING, "c2", None)
        assert _told(second) == ["kernel_started"]
        with pytest.raises(KernelMoveError):
            second.terminated("c1", 143, "late", LATER)


def test_an_earlier_container_or_one_after_the_end_is_refused(kernel) -> None:
    running = kernel.prepared(NOW).running("c1", LATER)
    gone = kernel.prepared(NOW).abandoned("never started", NOW)

    for known in (running, gone, gone.cleaned(NOW)):
        with pytest.raises(KernelMoveError):
            known.running("c0", NOW)
    with pytest.raises(KernelMoveError):
        running.terminated("c2", 1, "x", LATER)


@pytest.mark.parametrize("move", ["prepared", "failed", "postponed", "unprepared", "cleaned"])
def test_a_running_kernel_makes_no_move_of_one_that_waits(kernel, move) -> None:
    running = kernel.prepared(NOW).running("c1", NOW)
    arguments = ("why", LATER) if move in ("failed", "postponed") else (LATER,)

    with pytest.raises(KernelMoveError):
        getattr(running, move)(*arguments)


def test_the_same_specification_again_tries_a_failed_preparation_anew(kernel) -> None:
    assert kernel.failed("x", NOW).again(kernel.spec, LATER).phase is Phase.PREPARING
    assert kernel.prepared(NOW).again(kernel.spec, LATER) == kernel.prepared(NOW)


def test_a_preparation_that_met_an_outage_is_no_end_and_begins_anew_when_it_is_asked_for(kernel) -> None:
    postponed = kernel.postponed("Docker is away", NOW)

    assert (postponed.wire().state, kernel.failed("x", NOW).wire().state) == ("preparing", "terminated")
    assert _told(postponed) == []
    again = postponed.again(kernel.spec, LATER)
    assert (again.phase, again.reason) == (Phase.PREPARING, "")
    assert postponed.abandoned("destroyed", LATER).reason == "Docker is away"


def test_another_specification_of_a_prepared_kernel_is_refused(kernel, make_spec) -> None:
    with pytest.raises(KernelMoveError, match="another specification"):
        kernel.prepared(NOW).again(make_spec(image="other"), LATER)


def test_a_launch_that_is_repeated_after_the_kernels_whole_life_changes_nothing(kernel, make_spec) -> None:
    ran = kernel.prepared(NOW).running("c1", NOW).terminated("c1", 0, "finished", NOW).cleaned(NOW)

    assert ran.again(make_spec(), LATER) == ran


def test_a_kernel_that_was_cleaned_before_it_ran_takes_no_specification(kernel, make_spec) -> None:
    over = kernel.abandoned("x", NOW).cleaned(NOW)

    with pytest.raises(KernelMoveError):
        over.again(make_spec(), LATER)


def test_secrets_are_not_shown_and_go_with_the_kernel(kernel) -> None:
    assert "hidden" not in repr(kernel)
    assert kernel.abandoned("x", NOW).cleaned(NOW).spec is None


def test_what_was_told_is_never_untold(kernel) -> None:
    assert kernel.having_told(Told.TERMINATED).having_told(Told.STARTED).told is Told.TERMINATED


def test_events_are_replayed_from_the_oldest_change_of_a_kernel_that_is_not_over(kernel) -> None:
    running = kernel.prepared(NOW).running("c1", LATER)
    over = kernel.abandoned("x", NOW - timedelta(days=1))

    assert replay_from([over, running], LATER + timedelta(days=1)) == LATER
    assert replay_from([over], LATER) == LATER


@pytest.mark.parametrize(
    ("phase", "age", "left_over"),
    [("running", 1e9, False), ("prepared", 700, False), ("prepared", 30_000, True), ("failed", 30_000, True),
     ("postponed", 700, False), ("postponed", 30_000, True),
     ("terminated", 500, False), ("terminated", 700, True), ("cleaned", 1e6, False), ("preparing", 1e6, False)],
)  # fmt: skip
def test_a_kernel_is_left_over_when_its_clean_up_will_not_come(kernel, phase, age, left_over) -> None:
    prepared = kernel.prepared(NOW)
    running = prepared.running("c", NOW)
    kernels = {
        "preparing": kernel,
        "prepared": prepared,
        "failed": kernel.failed("x", NOW),
        "postponed": kernel.postponed("x", NOW),
        "running": running,
        "terminated": running.terminated("c", 0, "", NOW),
        "cleaned": kernel.abandoned("", NOW).cleaned(NOW),
    }

    assert is_left_over(kernels[phase], NOW + timedelta(seconds=age), LimitsSection()) is left_over


def test_how_a_container_ended_is_said_in_a_few_words() -> None:
    assert end_reason(0, out_of_memory=False) == "finished"
    assert end_reason(3, out_of_memory=False) == "exited with 3"
    assert end_reason(137, out_of_memory=True) == "out of memory"
