"""Limits for one model of accelerators: never passed, and other models are had instead where they will do."""

from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.manager.scheduler.made import NOW, node, seats, session, slots, started, tenant, waits

from caravan_common.errors import InvalidParametersError
from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode
from caravan_manager.nodes.model import Device
from caravan_manager.quotas.model import Holder, HolderKind, Quota, SlotLimit
from caravan_manager.scheduler.explaining.changes import MoreQuota
from caravan_manager.scheduler.explaining.explain import explain
from caravan_manager.scheduler.gauges import use_of
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.scheduler.snapshot import GroupView, NodeView, Obstacle, Plan, Snapshot
from caravan_manager.sessions.queue import PendingSession, PlacedSession

USER: Holder = (HolderKind.USER, str(tenant(1).user))
PROJECT: Holder = (HolderKind.PROJECT, str(tenant(1).project))
PLUGINS = find_plugins()


def machine(name: str, **models: int) -> NodeView:
    """A node with so many GPUs of ten shares of each model."""
    devices = [
        Device(f"{name}-{model}-{i}", "cuda.shares", model, 10) for model, count in models.items() for i in range(count)
    ]
    return node(name, 64, 256, *devices)


def limit(holder: Holder = USER, **limits: object) -> Quota:
    """At most so much of cuda.shares on devices of each model."""
    return Quota(holder, SlotLimit.parse({f"cuda.shares@{model}": most for model, most in limits.items()}))


def gpu(number: int, amount: float, **rest: object) -> PendingSession:
    return session(number, slots(1, 1, cuda_shares=amount), **rest)


def snapshot(
    nodes: tuple[NodeView, ...],
    *pending: PendingSession,
    quotas: tuple[Quota, ...],
    placed: tuple[PlacedSession, ...] = (),
) -> Snapshot:
    return Snapshot(NOW, nodes, pending, placed, (GroupView("default"),), quotas)


def decide(
    nodes: tuple[NodeView, ...],
    *pending: PendingSession,
    quotas: tuple[Quota, ...],
    placed: tuple[PlacedSession, ...] = (),
) -> Plan:
    return plan(snapshot(nodes, *pending, quotas=quotas, placed=placed), PLUGINS)


def devices(decided: Plan) -> dict[int, list[str]]:
    return {number: [device for _, held in kernels for device in held] for number, kernels in seats(decided).items()}


def test_who_has_all_of_a_model_that_is_allowed_gets_another_one() -> None:
    decided = decide((machine("a", A100=4, V100=4),), gpu(1, 1), gpu(2, 1), gpu(3, 1), quotas=(limit(A100=2),))
    assert [name[0][:6] for _, name in sorted(devices(decided).items())] == ["a-A100", "a-A100", "a-V100"]


def test_who_wants_that_model_and_no_other_waits_for_the_quota() -> None:
    nodes = (machine("a", A100=4, V100=4),)
    first, second = (gpu(number, 1.5, models=frozenset({"A100"})) for number in (1, 2))
    (wait,) = decide(nodes, first, second, quotas=(limit(A100=2),)).waits
    (reason,) = wait.reasons
    assert (wait.session, reason.obstacle) == (second.id, Obstacle.USER_QUOTA)
    assert (reason.about, reason.limit) == ((USER[1], "cuda.shares@A100"), "cuda.shares@A100=2")


def test_where_there_is_no_other_model_of_the_slot_the_quota_is_the_reason() -> None:
    npus = node("b", 64, 64, Device("N", "atom.device", "ATOM"))
    decided = decide((machine("a", A100=4), npus), gpu(1, 3), quotas=(limit(A100=2),))
    assert [reason.obstacle for reason in waits(decided)[1].reasons] == [Obstacle.USER_QUOTA]


def test_where_other_models_have_no_room_both_are_told() -> None:
    nodes = (machine("a", A100=4, V100=1),)
    decided = decide(nodes, gpu(1, 1, models=frozenset({"V100"})), gpu(2, 1), quotas=(limit(A100=0),))
    assert [reason.obstacle for reason in waits(decided)[2].reasons] == [Obstacle.USER_QUOTA, Obstacle.NO_ROOM]


def test_the_smallest_of_several_limits_counts_and_each_holder_has_its_own() -> None:
    nodes = (machine("a", A100=8),)
    other = gpu(3, 2, tenant=tenant(2))
    decided = decide(nodes, gpu(1, 1), gpu(2, 2), other, quotas=(limit(A100=2), limit(PROJECT, A100=3)))
    assert sorted(seats(decided)) == [1, 3], "the user's own limit stops the second, the project's is full then"
    decided = decide(nodes, gpu(1, 2), other, quotas=(limit(A100=2), limit(PROJECT, A100=3)))
    assert waits(decided)[3].obstacle is Obstacle.PROJECT_QUOTA


def test_a_gang_counts_with_all_of_its_kernels() -> None:
    nodes = (machine("a", A100=2), machine("b", A100=2))
    gang = session(1, *[slots(1, 1, cuda_shares=1)] * 3)
    assert not seats(decide(nodes, gang, quotas=(limit(A100=2),)))
    assert len(seats(decide(nodes, gang, quotas=(limit(A100=3),)))[1]) == 3


def test_a_device_that_its_node_forgot_still_counts() -> None:
    nodes = (machine("a", A100=4),)
    asked = gpu(1, 1)
    placed = tuple(started(p, asked) for p in decide(nodes, asked, quotas=()).placements)
    decided = decide((machine("b", A100=4),), gpu(2, 1), quotas=(limit(A100=1),), placed=placed)
    assert waits(decided)[2].obstacle is Obstacle.USER_QUOTA


def test_a_limit_for_a_model_limits_nothing_else() -> None:
    quotas = (Quota(USER, SlotLimit.parse({"cuda.shares": 4, "cuda.shares@A100": 1}, "LIMITED")),)
    decided = decide((machine("a", V100=8),), gpu(1, 4), quotas=quotas)
    assert waits(decided)[1].reasons[0].about == (USER[1], "cpu", "mem"), "LIMITED: what is not named is not had"
    assert seats(decide((machine("a", V100=8),), gpu(1, 8), quotas=(limit(A100=1),)))


def test_explain_names_the_model_and_tries_more_of_it() -> None:
    nodes = (machine("a", A100=4),)
    held = gpu(1, 1)
    placed = tuple(started(p, held) for p in decide(nodes, held, quotas=()).placements)
    asked = gpu(2, 1.5)
    found = explain(snapshot(nodes, asked, quotas=(limit(A100=2),), placed=placed), asked.id, PLUGINS)
    (told,) = found.obstructions
    (state,) = told.quotas
    assert (state.slot, state.has, state.asks, state.limit) == ("cuda.shares@A100", 1, Decimal("1.5"), 2)
    assert found.counterfactuals[0].changes == (MoreQuota(USER, ResourceSlots({"cuda.shares@A100": Decimal("0.5")})),)


def test_the_gauge_of_quotas_knows_limits_for_models() -> None:
    nodes = (machine("a", A100=4),)
    held = gpu(1, 1.5)
    placed = tuple(started(p, held) for p in decide(nodes, held, quotas=()).placements)
    assert use_of(limit(A100=2), placed) == 0.75


@pytest.mark.parametrize(
    "name", ["cuda.shares@", "cuda.shares@ A100", "@A100", "Bad Slot@A100", f"a.b@{'x' * 129}", "a.b@\n"]
)
def test_what_names_no_model_is_refused(name: str) -> None:
    with pytest.raises(InvalidParametersError):
        SlotLimit.parse({name: 1})


def test_an_amount_that_cannot_be_is_refused() -> None:
    with pytest.raises(InvalidParametersError):
        SlotLimit.parse({"cuda.shares@A100": "-1"})


def test_a_model_may_have_any_printable_name() -> None:
    parsed = SlotLimit.parse({"cuda.shares@NVIDIA A100-SXM4@80GB": "2", "cpu": 4, "mem": None})
    assert parsed.to_json() == {"cpu": "4", "cuda.shares@NVIDIA A100-SXM4@80GB": "2"}
    wanted = ResourceSlots({"cuda.shares": Decimal(3)})
    assert parsed.closed(wanted, {}) == [("cuda.shares@NVIDIA A100-SXM4@80GB", "NVIDIA A100-SXM4@80GB")]
    assert not parsed.raised(ResourceSlots({"cuda.shares@NVIDIA A100-SXM4@80GB": Decimal(1)})).closed(wanted, {})


AMOUNTS = st.sampled_from([0.1, 0.5, 1, 1.5, 2, 3])


@given(
    machines=st.lists(
        st.fixed_dictionaries({"A100": st.integers(0, 3), "V100": st.integers(0, 3)}), min_size=1, max_size=3
    ),
    wishes=st.lists(
        st.tuples(
            st.integers(1, 2),
            st.lists(AMOUNTS, min_size=1, max_size=3),
            st.sampled_from([frozenset[str](), frozenset({"A100"}), frozenset({"A100", "V100"})]),
            st.booleans(),
            st.booleans(),
        ),
        max_size=8,
    ),
    limits=st.fixed_dictionaries(
        {"A100": st.sampled_from(["0", "0.5", "1", "2.5"]), "V100": st.sampled_from(["1", "9"])}
    ),
    of_project=st.sampled_from(["1", "2", "4"]),
)
def test_over_a_history_no_limit_is_ever_passed(
    machines: list[dict[str, int]],
    wishes: list[tuple[int, list[float], frozenset[str], bool, bool]],
    limits: dict[str, str],
    of_project: str,
) -> None:
    nodes = tuple(machine(f"n{i}", **models) for i, models in enumerate(machines))
    users = [(HolderKind.USER, str(tenant(n).user)) for n in (1, 2)]
    quotas = (*(limit(holder, **limits) for holder in users), limit(PROJECT, A100=of_project))
    pending = {
        i: session(
            i,
            *[slots(1, 1, cuda_shares=amount) for amount in amounts],
            tenant=tenant(who),
            models=models,
            cluster_mode=ClusterMode.SINGLE_NODE if together else ClusterMode.MULTI_NODE,
        )
        for i, (who, amounts, models, together, _) in enumerate(wishes, 1)
    }
    placed: dict[int, PlacedSession] = {}
    for _ in wishes:
        decided = decide(nodes, *pending.values(), quotas=quotas, placed=tuple(placed.values()))
        for one in decided.placements:
            placed[one.session.int] = started(one, pending.pop(one.session.int))
        for quota in quotas:
            held = Counter[str]()
            for one in placed.values():
                if quota.holder in one.holders:
                    held.update(dict(one.slots_by_model.items()))
            assert all(held[name] <= most for name, most in quota.slots.models.items())
        for number in [number for number in placed if wishes[number - 1][4]]:
            del placed[number]
    assert all(wait.reasons for wait in decide(nodes, *pending.values(), quotas=quotas).waits)
