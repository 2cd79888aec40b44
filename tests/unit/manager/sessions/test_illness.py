"""What a session is told of its devices that fell ill: each once, until it is well again."""

from dataclasses import replace
from decimal import Decimal

from tests.unit.manager.sessions_made import BEGAN, LATER, pending

from caravan_manager.sessions.events import events_of
from caravan_manager.sessions.illness import Holder, NodeHealth, illnesses, told_of_devices
from caravan_manager.sessions.model import HeldDevice, Seat, Session

HALF = HeldDevice("cuda.shares", "GPU-1", Decimal("0.5"))
OTHER = HeldDevice("cuda.shares", "GPU-2", Decimal(1))
BOTH = frozenset({("cuda.shares", "GPU-1"), ("cuda.shares", "GPU-2")})
WELL = {"node1": NodeHealth(BOTH, {})}
ILL = {"node1": NodeHealth(BOTH - {("cuda.shares", "GPU-1")}, {("cuda.shares", "GPU-1"): "XID 79"})}
WORSE = {"node1": NodeHealth(frozenset(), {("cuda.shares", "GPU-1"): "XID 95"})}


def _running(kernels: int = 1) -> Session:
    session = pending(kernels)
    session = session.scheduled({k.id: Seat("node1", (HALF, OTHER)) for k in session.kernels}, BEGAN).submitted(BEGAN)
    for kernel in session.kernels:
        session = session.kernel_started(kernel.id, "c0ffee", BEGAN)
    return session.released(1, BEGAN)


def _told(before: Session, after: Session) -> list[tuple[str, str]]:
    return [(event.name, event.reason) for event in events_of(before, after)]


def test_a_session_is_told_once_that_a_device_is_ill_and_once_that_it_is_well() -> None:
    session = _running()
    assert told_of_devices(session, WELL, LATER) is session
    ill = told_of_devices(session, ILL, LATER)
    assert _told(session, ill) == [("kernel_device_unhealthy", "cuda.shares GPU-1: XID 79")]
    (told,) = ill.status_data["devices"]["ill"]
    wanted = {"kernel": "main1", "agent": "node1", "slot": "cuda.shares", "device": "GPU-1", "problem": "XID 79"}
    assert told == wanted | {"since": LATER.isoformat(), "kernel_id": str(session.main_kernel.id)}
    assert told_of_devices(ill, ILL, LATER) is ill
    well = told_of_devices(ill, WELL, LATER)
    assert _told(ill, well) == [("kernel_device_recovered", "cuda.shares GPU-1")]
    assert well == session


def test_another_illness_adds_to_the_first_whose_words_stay() -> None:
    ill = told_of_devices(_running(), ILL, BEGAN)
    worse = told_of_devices(ill, WORSE, LATER)
    assert [name for name, _ in _told(ill, worse)] == ["kernel_device_unhealthy"]
    told = [(illness.device, illness.problem, illness.since) for illness in illnesses(worse.status_data).values()]
    assert told == [
        ("GPU-1", "XID 79", BEGAN.isoformat()),
        ("GPU-2", "its node does not have it any more", LATER.isoformat()),
    ]


def test_a_node_that_says_nothing_changes_nothing() -> None:
    ill = told_of_devices(_running(), ILL, LATER)
    assert told_of_devices(ill, {}, LATER) is ill
    assert told_of_devices(_running(), {}, LATER).status_data == {}


def test_every_kernel_that_holds_the_device_is_told() -> None:
    session = _running(2)
    kernels = [event.kernel for event in events_of(session, told_of_devices(session, ILL, LATER))]
    assert sorted(map(str, kernels)) == sorted(str(kernel.id) for kernel in session.kernels)


def test_a_session_that_waits_or_ends_is_told_nothing() -> None:
    waiting = pending()
    assert told_of_devices(waiting, ILL, LATER) is waiting
    ending = _running().destroyed("user-requested", LATER)
    assert told_of_devices(ending, ILL, LATER) is ending


def test_a_session_that_ends_keeps_what_it_was_told_and_one_that_begins_anew_does_not() -> None:
    ill = told_of_devices(_running(), ILL, LATER)
    over = ill.kernel_terminated(ill.main_kernel.id, 1, "exited", LATER)
    assert len(illnesses(over.status_data)) == 1
    evicted = ill.preempted(ill.id, True, 1, LATER)
    again = evicted.kernel_terminated(evicted.main_kernel.id, 143, "exited", LATER)
    assert (again.attempt, "devices" in again.status_data) == (2, False)
    assert "kernel_device_recovered" not in [name for name, _ in _told(evicted, again)]


def test_only_a_kernel_whose_session_does_not_know_must_be_told() -> None:
    session = _running()
    holder = Holder(session.id, session.main_kernel.id, "node1", (HALF, OTHER), frozenset())
    assert not holder.must_be_told(WELL)
    assert holder.must_be_told(ILL)
    knowing = replace(holder, told=frozenset({("cuda.shares", "GPU-1")}))
    assert [knowing.must_be_told(health) for health in (ILL, WELL, WORSE, {})] == [False, True, True, False]


def test_a_device_whose_node_gives_no_reason_is_ill_nevertheless() -> None:
    health = {"node1": NodeHealth(frozenset({("cuda.shares", "GPU-2")}), {("cuda.shares", "GPU-1"): ""})}
    (told,) = illnesses(told_of_devices(_running(), health, LATER).status_data).values()
    assert told.problem == "its node does not say why"
