"""What Prometheus is shown of a pass, and that nothing stays when it is over."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

from prometheus_client import REGISTRY
from tests.unit.manager.scheduler.made import GIB, NOW, gpus, node, session, slots, started, tenant

from caravan_common.slots import ResourceSlots
from caravan_common.states import SessionType
from caravan_manager.quotas.model import HolderKind, Quota, SlotLimit
from caravan_manager.scheduler.gauges import SHOW_EVERY, Gauges, use_of
from caravan_manager.scheduler.plan import plan
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.scheduler.snapshot import Plan, Snapshot
from caravan_manager.sessions.queue import PlacedSession

NOTHING = Plan((), ())
QUOTA = Quota((HolderKind.DOMAIN, "default"), SlotLimit(ResourceSlots({"cpu": Decimal(8)})), sessions=4)


def shown(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"caravan_scheduler_{name}", labels)


def busy() -> tuple[Snapshot, Plan]:
    first = session(1, slots(4, 2, cuda_shares=0.5))
    nodes = (node("n1", 8, 16, *gpus(1)),)
    (given,) = plan(Snapshot(NOW, nodes, (first,)), find_plugins()).placements
    waiting = (
        session(2, slots(5), pending_since=NOW - timedelta(minutes=3)),
        session(3, slots(1, 1, cuda_shares=1), pending_since=NOW - timedelta(minutes=1)),
    )
    snapshot = Snapshot(NOW, nodes, waiting, (started(given, first),), (), (QUOTA,))
    return snapshot, plan(snapshot, find_plugins())


def test_queue_slots_and_quotas_are_shown() -> None:
    Gauges().show(*busy())
    assert shown("queue_length", scaling_group="default") == 2
    assert shown("oldest_pending_seconds", scaling_group="default") == 180
    assert shown("waiting", scaling_group="default", obstacle="domain_resource_limit") == 1
    assert shown("waiting", scaling_group="default", obstacle="no-available-instances") == 1
    assert shown("reservations", scaling_group="default") == 1
    assert shown("slots_total", scaling_group="default", slot="mem") == 16 * GIB
    assert shown("slots_used", scaling_group="default", slot="cpu") == 4
    assert shown("slots_used", scaling_group="default", slot="cuda.shares") == 0.5
    assert shown("fullest_quota_ratio", kind="domain") == 0.5


def test_what_is_over_is_not_shown_any_more() -> None:
    gauges = Gauges()
    snapshot, decided = busy()
    gauges.show(snapshot, decided)
    later = NOW + SHOW_EVERY
    gauges.show(Snapshot(later, (), ()), NOTHING, Snapshot(later, (node("n1", 8, 16),), ()))
    assert shown("queue_length", scaling_group="default") is None
    assert shown("waiting", scaling_group="default", obstacle="domain_resource_limit") is None
    assert shown("fullest_quota_ratio", kind="domain") is None
    assert shown("slots_used", scaling_group="default", slot="cpu") == 0
    gauges.forget()
    assert shown("slots_total", scaling_group="default", slot="cpu") is None


def test_no_label_is_a_user_of_many() -> None:
    gauges = Gauges()
    many = tuple(session(n, slots(9), tenant=tenant(n)) for n in range(1, 50))
    snapshot = Snapshot(NOW, (node("n1", 8, 16),), many)
    gauges.show(snapshot, plan(snapshot, find_plugins()))
    assert sum(len(labels) for labels in gauges._shown.values()) < 10
    gauges.forget()


def test_what_is_held_of_a_node_is_shown_where_the_node_is() -> None:
    gauges = Gauges()
    snapshot, decided = busy()
    moved = tuple(replace(node, scaling_group="other") for node in snapshot.nodes)
    gauges.show(replace(snapshot, nodes=moved), decided)
    assert shown("slots_used", scaling_group="other", slot="cpu") == 4
    assert shown("slots_used", scaling_group="default", slot="cpu") is None
    gauges.forget()


def test_what_is_held_of_a_node_that_is_away_is_in_no_sum() -> None:
    gauges = Gauges()
    snapshot, decided = busy()
    gauges.show(replace(snapshot, nodes=(node("n2", 8, 16),)), decided)
    assert shown("slots_used", scaling_group="default", slot="cpu") == 0
    gauges.forget()


def test_the_number_of_a_keypairs_system_sessions_is_measured_apart() -> None:
    upload = replace(started_one(1), type=SessionType.SYSTEM)
    own = Quota((HolderKind.KEYPAIR, "AK1"), SlotLimit(ResourceSlots({"cpu": Decimal(8)})), sessions=1)
    uploads = Quota((HolderKind.SYSTEM_KEYPAIR, "AK1"), sessions=2)
    assert (use_of(own, [upload]), use_of(uploads, [upload])) == (0.5, 0.5)


def started_one(number: int) -> PlacedSession:
    asked = session(number, slots(4, 2))
    (given,) = plan(Snapshot(NOW, (node("n1", 8, 16),), (asked,)), find_plugins()).placements
    return started(given, asked)
