"""What is kept of a pass is what it was: values go into JSON and come back, and give the same plan."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.manager.scheduler.made import NOW, decide, gpus, node, session, slots, started, tenant

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode, SessionResult, SessionStatus, SessionType
from caravan_manager.nodes.model import Device
from caravan_manager.quotas.model import HolderKind, Quota, SlotLimit
from caravan_manager.scheduler.codec import decode, encode
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.scheduler.sequencers.sequencer import Past
from caravan_manager.scheduler.snapshot import (
    GroupView,
    NodeView,
    Plan,
    PreemptionMode,
    PreemptionOrder,
    PreemptionRules,
    Snapshot,
    VictimScope,
)
from caravan_manager.sessions.model import HeldDevice, Parent
from caravan_manager.sessions.queue import KernelRequest, PendingSession, PlacedKernel, PlacedSession

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
MOMENTS = st.integers(0, 2**51).map(lambda n: datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=n))
LENGTHS = st.timedeltas(timedelta(microseconds=1), timedelta(days=3650))
NODES = st.sampled_from(["n1", "n2", "n3"])
SLOTS = (
    st.permutations(["cpu", "mem", "cuda.shares"])
    .flatmap(
        lambda names: st.fixed_dictionaries(
            {name: st.sampled_from([Decimal("0.5"), Decimal("1.0"), Decimal(2), Decimal("1E+1")]) for name in names}
        )
    )
    .map(ResourceSlots)
)
JSON = st.recursive(st.none() | st.booleans() | st.integers(0, 9) | st.floats(0, 1) | TEXTS, st.lists, max_leaves=4)
TENANTS = st.builds(tenant, st.integers(1, 3))
DEVICES = st.builds(
    Device,
    id=st.sampled_from(["a", "b"]),
    slot=st.just("cuda.shares"),
    model=st.sampled_from(["A100", "H200"]),
    shares=st.sampled_from([1, 10]),
    numa_node=st.none() | st.integers(0, 1),
    healthy=st.booleans(),
    problem=TEXTS,
)
VIEWS = st.builds(
    NodeView,
    name=NODES,
    scaling_group=st.sampled_from(["default", "other"]),
    architecture=st.just("x86_64"),
    schedulable=st.booleans(),
    capacity=SLOTS,
    devices=st.lists(DEVICES, max_size=2, unique_by=lambda d: d.id).map(tuple),
    volumes=st.frozensets(TEXTS, max_size=2),
)
PARENTS = st.builds(
    Parent, id=st.uuids(), name=TEXTS, status=st.sampled_from(SessionStatus), result=st.sampled_from(SessionResult)
)
ENDPOINTS = st.sampled_from([UUID(int=71), UUID(int=72)])
PENDING = st.builds(
    PendingSession,
    id=st.uuids(),
    sequence=st.integers(1, 10**9),
    priority=st.sampled_from([10, 50]),
    type=st.sampled_from(SessionType),
    scaling_group=st.sampled_from(["default", "other"]),
    architecture=st.just("x86_64"),
    cluster_mode=st.sampled_from(ClusterMode),
    tenant=TENANTS,
    kernels=st.lists(
        st.builds(KernelRequest, id=st.uuids(), slots=SLOTS, node=st.none() | NODES), min_size=1, max_size=2
    ).map(tuple),
    pending_since=MOMENTS,
    volumes=st.frozensets(TEXTS, max_size=1),
    nodes=st.frozensets(NODES, max_size=2),
    models=st.frozensets(st.sampled_from(["A100", "H200"])),
    starts_at=st.none() | MOMENTS,
    time_limit=st.none() | LENGTHS,
    parents=st.lists(PARENTS, max_size=2).map(tuple),
    endpoint=st.none() | ENDPOINTS,
)
PLACED = st.builds(
    PlacedSession,
    id=st.uuids(),
    priority=st.sampled_from([1, 10]),
    type=st.sampled_from(SessionType),
    scaling_group=st.just("default"),
    tenant=TENANTS,
    placed_at=MOMENTS,
    kernels=st.builds(
        PlacedKernel,
        node=NODES,
        slots=SLOTS,
        devices=st.builds(
            HeldDevice, st.just("cuda.shares"), st.just("a"), st.just(Decimal("0.5")), st.sampled_from(["", "A100"])
        ).map(lambda d: (d,)),
    ).map(lambda kernel: (kernel,)),
    ends_at=st.none() | MOMENTS,
    is_ending=st.booleans(),
    endpoint=st.none() | ENDPOINTS,
)
GROUPS = st.builds(
    GroupView,
    name=st.just("default"),
    sequencer=st.sampled_from(["fifo", "lifo", "drf", "fair-share", "none such"]),
    selector=st.sampled_from(["packed", "concentrated", "dispersed", "roundrobin"]),
    pending_timeout=st.none() | LENGTHS,
    preemption=st.none()
    | st.builds(
        PreemptionRules,
        preemptible_priority=st.integers(0, 100),
        order=st.sampled_from(PreemptionOrder),
        mode=st.sampled_from(PreemptionMode),
        min_runtime=LENGTHS,
        scope=st.sampled_from(VictimScope),
    ),
    options=st.dictionaries(TEXTS, JSON, max_size=2),
    spread_replicas=st.booleans(),
)
QUOTAS = st.builds(
    Quota,
    holder=st.just((HolderKind.USER, str(UUID(int=1)))),
    slots=st.builds(
        SlotLimit,
        SLOTS,
        st.booleans(),
        st.just(ResourceSlots({"cuda.shares@A100": Decimal(1)})) | st.just(ResourceSlots()),
    ),
    sessions=st.none() | st.integers(0, 3),
)
PASTS = st.builds(
    Past,
    of_users=st.dictionaries(st.uuids(), st.floats(0, 1e9), max_size=2),
    of_domains=st.dictionaries(TEXTS, st.floats(0, 1e9), max_size=2),
)
SNAPSHOTS = st.builds(
    Snapshot,
    taken_at=MOMENTS,
    nodes=st.lists(VIEWS, max_size=3, unique_by=lambda n: n.name).map(tuple),
    pending=st.lists(PENDING, max_size=4, unique_by=lambda s: s.sequence).map(tuple),
    placed=st.lists(PLACED, max_size=2, unique_by=lambda s: s.id).map(tuple),
    groups=GROUPS.map(lambda group: (group,)),
    quotas=st.lists(QUOTAS, max_size=1).map(tuple),
    past=PASTS.map(lambda past: (("default", past),)),
)


@settings(deadline=None)
@given(SNAPSHOTS)
def test_a_snapshot_and_its_plan_come_back_as_they_were(snapshot: Snapshot) -> None:
    written = encode(snapshot)
    back = decode(Snapshot, written)
    assert back == snapshot
    assert encode(back) == written
    decided = plan(snapshot, find_plugins())
    assert encode(plan(back, find_plugins())) == encode(decided)
    assert decode(Plan, encode(decided)) == decided


def test_equal_snapshots_have_equal_bytes() -> None:
    ordered = ResourceSlots({"cpu": Decimal(1), "mem": Decimal(2)})
    swapped = ResourceSlots({"mem": Decimal(2), "cpu": Decimal(1)})
    one = session(1, ordered, nodes=frozenset(["a", "b", "c"]))
    other = session(1, swapped, nodes=frozenset(["c", "a", "b"]))
    assert one == other
    assert encode(Snapshot(NOW, (), (one,))) == encode(Snapshot(NOW, (), (other,)))


def test_the_order_of_slots_does_not_change_which_devices_a_kernel_gets() -> None:
    devices = (*gpus(2), *gpus(1, "tpu.device", shares=1))
    ways = [slots(1, 1, cuda_shares=1, tpu_device=1), slots(1, 1, tpu_device=1, cuda_shares=1)]
    one, other = (decide((node("n1", 64, 256, *devices),), session(1, way)) for way in ways)
    assert one.placements == other.placements


def test_amounts_are_exact() -> None:
    tenth = ResourceSlots({"cuda.shares": Decimal("0.100000")})
    assert b'"cuda.shares":"0.100000"' in encode(session(1, tenth))


def test_a_value_without_a_form_is_refused() -> None:
    with pytest.raises(TypeError):
        encode(replace(session(1, slots()), kernels=object()))  # type: ignore[arg-type]


def test_a_plan_with_everything_in_it_comes_back() -> None:
    first = session(1, slots(1, 1, cuda_shares=0.3), slots(1, 1, cuda_shares=0.7), minutes=5)
    large = session(2, slots(1, 1, cuda_shares=1))
    late = session(3, slots(), pending_since=NOW - timedelta(hours=1))
    nodes = (node("n1", 64, 256, *gpus(1)),)
    (given_place,) = decide(nodes, first).placements
    decided = decide(
        nodes, large, late, placed=(started(given_place, first),), sequencer="none such", pending_timeout=timedelta(1)
    )
    assert decided.reserved
    assert decided.troubles
    assert decode(Plan, encode(decided)) == decided
