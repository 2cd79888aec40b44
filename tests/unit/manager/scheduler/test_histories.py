"""Whatever comes and goes: shares, quotas and gangs over random histories. 300 of them; 10,000 in `make test-all`."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.manager.scheduler.made import NOW, gpus, node, session, slots, started, tenant

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode
from caravan_manager.quotas.model import HolderKind, Quota, SlotLimit
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.scheduler.snapshot import (
    GroupView,
    NodeView,
    Obstacle,
    Plan,
    PreemptionRules,
    Snapshot,
    VictimScope,
)
from caravan_manager.sessions.queue import PendingSession, PlacedSession

MODELS = ["A100", "H100"]
AMOUNTS = ["0", "0", "0.1", "0.25", "0.5", "1", "1.5", "2"]
PREEMPTION = PreemptionRules(preemptible_priority=5, scope=VictimScope.ANY)
PLUGINS = find_plugins()

machines = st.tuples(
    st.integers(1, 12), st.integers(0, 3), st.sampled_from([1, 4, 10]), st.sampled_from(MODELS), st.booleans()
)
kernels = st.tuples(st.integers(1, 4), st.sampled_from(AMOUNTS))
wishes = st.tuples(
    st.lists(kernels, min_size=1, max_size=3),
    st.sampled_from(list(ClusterMode)),
    st.sampled_from([0, 10, 10, 90]),
    st.integers(1, 2),
    st.none() | st.integers(1, 90),
    st.sampled_from([frozenset(), frozenset(), frozenset({"A100"})]),
)


@dataclass(frozen=True)
class History:
    """Nodes, what comes at each step, for how many steps each session runs, and the rules."""

    nodes: tuple[NodeView, ...]
    steps: tuple[tuple[PendingSession, ...], ...]
    lengths: tuple[int, ...]
    group: GroupView
    quotas: tuple[Quota, ...]


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Draw a history. A session of a limit ends by it, 20 minutes a step."""
    nodes = tuple(
        node(
            f"n{i}", cpu, 64, *(replace(d, id=f"{i}-{d.id}") for d in gpus(count, shares=shares, model=model)),
            schedulable=not drained,
        )
        for i, (cpu, count, shares, model, drained) in enumerate(draw(st.lists(machines, min_size=1, max_size=3)))
    )  # fmt: skip
    drawn = draw(st.lists(st.lists(wishes, max_size=4), min_size=1, max_size=4))
    number, steps = 0, []
    for step, coming in enumerate(drawn):
        arrived = []
        for wanted, mode, priority, user, minutes, models in coming:
            number += 1
            asked = [slots(cpu, 1, cuda_shares=float(amount)) for cpu, amount in wanted]
            since = NOW + step * STEP
            rest = {"cluster_mode": mode, "priority": priority, "tenant": tenant(user), "models": models}
            arrived.append(session(number, *asked, minutes=minutes, pending_since=since, **rest))
        steps.append(tuple(arrived))
    lengths = tuple(draw(st.lists(st.integers(1, 3), min_size=number, max_size=number)))
    group = GroupView(
        "default",
        sequencer=draw(st.sampled_from(sorted(PLUGINS.sequencers))),
        selector=draw(st.sampled_from(sorted(PLUGINS.selectors))),
        preemption=draw(st.sampled_from([None, PREEMPTION])),
    )
    limit = SlotLimit(ResourceSlots({"cuda.shares": Decimal(draw(st.integers(0, 6)))}))
    quotas = (
        Quota((HolderKind.KEYPAIR, "AK1"), sessions=draw(st.integers(1, 4))),
        Quota((HolderKind.USER, str(UUID(int=2))), limit),
    )
    return History(nodes, tuple(steps), lengths, group, quotas)


STEP = timedelta(minutes=20)


def lived_through(history: History) -> None:
    """Go through a history and check each plan of it."""
    pending: dict[UUID, PendingSession] = {}
    placed: dict[UUID, PlacedSession] = {}
    asked = {one.id: one for step in history.steps for one in step}
    until: dict[UUID, int] = {}
    for number in range(len(history.steps) + 3):
        coming = history.steps[number] if number < len(history.steps) else ()
        pending |= {one.id: one for one in coming}
        for id_ in [id_ for id_, last in until.items() if last <= number]:
            del placed[id_], until[id_]
        snapshot = Snapshot(
            NOW + number * STEP,
            history.nodes,
            tuple(pending.values()),
            tuple(placed.values()),
            (history.group,),
            history.quotas,
        )
        decided = plan(snapshot, PLUGINS)
        assert_the_same_whatever_the_order(snapshot, decided)
        answered = [one.session for one in (*decided.placements, *decided.waits)]
        assert sorted(answered) == sorted(pending)
        for placement in decided.placements:
            one = pending.pop(placement.session)
            assert [kernel for kernel, _ in placement.seats] == [kernel.id for kernel in one.kernels]
            placed[one.id] = started(placement, one, snapshot.taken_at)
            steps = history.lengths[one.id.int - 1]
            limited = steps if one.time_limit is None else min(steps, -(-one.time_limit // STEP))
            until[one.id] = number + limited
        for preemption in decided.preemptions:
            assert placed[preemption.victim].priority < asked[preemption.session].priority
            placed[preemption.victim] = replace(placed[preemption.victim], is_ending=True)
            until[preemption.victim] = min(until[preemption.victim], number + 1)
        assert_nothing_is_given_twice(history.nodes, placed, asked)
        assert_no_quota_is_passed(history.quotas, placed)
        assert_nothing_that_fits_waits(snapshot, decided, pending, placed)


def assert_the_same_whatever_the_order(snapshot: Snapshot, decided: Plan) -> None:
    other = replace(
        snapshot,
        nodes=snapshot.nodes[::-1],
        pending=snapshot.pending[::-1],
        placed=snapshot.placed[::-1],
        quotas=snapshot.quotas[::-1],
    )
    assert plan(other, PLUGINS) == decided


def assert_nothing_is_given_twice(
    nodes: tuple[NodeView, ...], placed: dict[UUID, PlacedSession], asked: dict[UUID, PendingSession]
) -> None:
    """Check sums against capacities, node by node and device by device, and the devices against what was asked for."""
    held: defaultdict[str, Decimal] = defaultdict(Decimal)
    models = {device.id: device.model for machine in nodes for device in machine.devices}
    for one in placed.values():
        for kernel in one.kernels:
            for slot in ("cpu", "mem"):
                held[f"{kernel.node} {slot}"] += kernel.slots[slot]
            wanted = kernel.slots.get("cuda.shares", Decimal(0))
            assert sum((device.amount for device in kernel.devices), Decimal(0)) == wanted
            assert sum(device.amount < 1 for device in kernel.devices) == (wanted % 1 != 0)
            for device in kernel.devices:
                assert device.id.startswith(f"{kernel.node[1:]}-")
                assert not asked[one.id].models or models[device.id] in asked[one.id].models
                held[device.id] += device.amount
    for machine in nodes:
        assert all(held[f"{machine.name} {slot}"] <= machine.capacity[slot] for slot in ("cpu", "mem"))
        for device in machine.devices:
            assert held[device.id] <= 1
            assert held[device.id] * device.shares % 1 == 0


def assert_no_quota_is_passed(quotas: tuple[Quota, ...], placed: dict[UUID, PlacedSession]) -> None:
    sessions = Counter(one.tenant.access_key for one in placed.values())
    shares: defaultdict[str, Decimal] = defaultdict(Decimal)
    for one in placed.values():
        shares[str(one.tenant.user)] += one.slots.get("cuda.shares", Decimal(0))
    for quota in quotas:
        assert quota.sessions is None or sessions[quota.holder[1]] <= quota.sessions
        assert shares[quota.holder[1]] <= quota.slots.most("cuda.shares")


def assert_nothing_that_fits_waits(
    snapshot: Snapshot, decided: Plan, pending: dict[UUID, PendingSession], placed: dict[UUID, PlacedSession]
) -> None:
    """Try all ways to place each session that waits for room: there must be none, or none that is not kept."""
    for wait in decided.waits:
        one = pending[wait.session]
        if wait.obstacle is Obstacle.NO_ROOM:
            assert not fits_somehow(snapshot.nodes, placed.values(), one)
        elif wait.obstacle is Obstacle.LARGER_THAN_ANY_NODE:
            assert not fits_somehow(snapshot.nodes, (), one)
        elif wait.obstacle is Obstacle.BEHIND_THE_HEAD:
            assert {UUID(other) for other in wait.about} <= {kept.session for kept in decided.reserved}
        else:
            assert not {Obstacle.NO_ROOM, Obstacle.BEHIND_THE_HEAD} & {reason.obstacle for reason in wait.reasons}


class Free:
    """What nodes have left, as plain amounts: a second opinion on the ledger."""

    def __init__(self, nodes: Iterable[NodeView], placed: Iterable[PlacedSession]) -> None:
        self.nodes = [machine for machine in nodes if machine.schedulable]
        self.left = {(machine.name, slot): machine.capacity[slot] for machine in self.nodes for slot in ("cpu", "mem")}
        self.parts = {device.id: Decimal(1) for machine in self.nodes for device in machine.devices}
        for one in placed:
            for kernel in one.kernels:
                for slot in ("cpu", "mem"):
                    if (kernel.node, slot) in self.left:
                        self.left[kernel.node, slot] -= kernel.slots[slot]
                for device in kernel.devices:
                    if device.id in self.parts:
                        self.parts[device.id] -= device.amount

    def take(self, machine: NodeView, wanted: ResourceSlots, models: frozenset[str]) -> Iterator[None]:
        """Take a kernel's slots of a node, in each way in which that can be done; each is undone after its turn."""
        if any(self.left[machine.name, slot] < wanted[slot] for slot in ("cpu", "mem")):
            return
        whole, part = divmod(wanted.get("cuda.shares", Decimal(0)), 1)
        fitting = [device for device in machine.devices if not models or device.model in models]
        ways = [d for d in fitting if self.parts[d.id] >= part and part * d.shares % 1 == 0] if part else [None]
        for slot in ("cpu", "mem"):
            self.left[machine.name, slot] -= wanted[slot]
        for chosen in ways:
            if chosen is not None:
                self.parts[chosen.id] -= part
            free = [device for device in fitting if self.parts[device.id] == 1]
            if len(free) >= whole:
                for device in free[: int(whole)]:
                    self.parts[device.id] -= 1
                yield
                for device in free[: int(whole)]:
                    self.parts[device.id] += 1
            if chosen is not None:
                self.parts[chosen.id] += part
        for slot in ("cpu", "mem"):
            self.left[machine.name, slot] += wanted[slot]


def fits_somehow(nodes: Iterable[NodeView], placed: Iterable[PlacedSession], one: PendingSession) -> bool:
    """Say whether a session can be placed, by trying everything; several parts on one node are the planner's own."""
    free = Free(nodes, placed)
    if one.cluster_mode is ClusterMode.SINGLE_NODE:
        if sum(kernel.slots.get("cuda.shares", Decimal(0)) % 1 != 0 for kernel in one.kernels) > 1:
            return False
        return any(_rest_fits(free, one, 0, [machine]) for machine in free.nodes)
    return _rest_fits(free, one, 0, free.nodes)


def _rest_fits(free: Free, one: PendingSession, first: int, nodes: list[NodeView]) -> bool:
    if first == len(one.kernels):
        return True
    for machine in nodes:
        for _ in free.take(machine, one.kernels[first].slots, one.models):
            if _rest_fits(free, one, first + 1, nodes):
                return True
    return False


@settings(max_examples=300)
@given(histories())
def test_over_a_history_nothing_is_given_twice_no_quota_is_passed_and_what_fits_starts(history: History) -> None:
    lived_through(history)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@settings(max_examples=10_000)
@given(histories())
def test_over_ten_thousand_histories_nothing_is_given_twice_no_quota_is_passed_and_what_fits_starts(
    history: History,
) -> None:
    lived_through(history)
