"""Which demands are typical of a scaling group: what the sessions that wait and those that hold nodes want. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, islice

from caravan_common.slots import ResourceSlots
from caravan_manager.scheduler.demand import WHOLE, Demand, DeviceDemand, demand_of
from caravan_manager.sessions.queue import PendingSession, PlacedSession

LOOKED_AT = 500
"""How many sessions that wait, and how many that hold nodes, are looked at."""
ENOUGH = 50
"""With fewer demands than this for a kind of device, made-up ones are added."""
_GIB = 2**30
_MADE_UP = (WHOLE // 4, WHOLE // 2, WHOLE, 2 * WHOLE, 4 * WHOLE, 8 * WHOLE)
_CPU, _MEMORY = 8 * WHOLE, 32 * _GIB


def typical_demands(
    pending: Sequence[PendingSession], placed: Sequence[PlacedSession], device_slots: Sequence[str]
) -> tuple[tuple[Demand, int], ...]:
    """Return demands for devices, each kernel's by itself, and how many want each.

    The last placed and the first waiting sessions are looked at. Where these are few, as many made-up demands of a
    quarter to eight devices are added, with 8 cpu and 32 GiB for each.
    """
    waiting = (kernel.slots for session in islice(pending, LOOKED_AT) for kernel in session.kernels)
    demands: Counter[Demand] = Counter()
    for slots, count in Counter(chain(_latest(placed), waiting)).items():
        if not slots.keys().isdisjoint(device_slots):
            demands[demand_of([slots], device_slots)] += count
    for slot in device_slots:
        if sum(count for demand, count in demands.items() if slot in demand.slots) < ENOUGH:
            demands.update(_made_up(slot))
    return tuple(demands.items())


def _latest(placed: Sequence[PlacedSession]) -> Iterable[ResourceSlots]:
    latest = sorted(placed, key=lambda session: (session.placed_at, session.id.int))[-LOOKED_AT:]
    return (kernel.slots for session in latest for kernel in session.kernels)


def _made_up(slot: str) -> Iterable[Demand]:
    for amount in _MADE_UP:
        whole, part = divmod(amount, WHOLE)
        counts = (("cpu", _CPU * amount // WHOLE), ("mem", _MEMORY * amount // WHOLE))
        yield Demand(counts, (DeviceDemand(slot, whole, (part,) if part else ()),))
