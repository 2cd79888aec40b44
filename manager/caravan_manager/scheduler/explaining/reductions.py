"""Smaller requests than a session's, as lists of changes from the smallest to the largest. Pure."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode
from caravan_manager.scheduler.explaining.changes import FewerKernels, SmallerKernels
from caravan_manager.scheduler.snapshot import NodeView
from caravan_manager.sessions.queue import PendingSession

_GIB = Decimal(2**30)


def fewer_kernels(session: PendingSession) -> list[FewerKernels]:
    """Return the session with 1, 2, 3… of its kernels; none where one node must take all of them."""
    count = len(session.kernels)
    if session.cluster_mode is ClusterMode.SINGLE_NODE:
        return []
    return [FewerKernels(kept, count) for kept in range(1, count)]


def less_of(slot: str, session: PendingSession, nodes: Sequence[NodeView]) -> list[SmallerKernels]:
    """Return the session with less of one slot in each kernel, in the steps that can be asked for."""
    return [_capped(session, {slot: most}) for most in _steps(slot, most_of(slot, session), nodes)]


def less_of_all(slots: Sequence[str], session: PendingSession, nodes: Sequence[NodeView]) -> list[SmallerKernels]:
    """Return the session with a sixteenth, an eighth, a quarter and a half of several slots, as far as steps allow."""
    found: list[SmallerKernels] = []
    for part in (16, 8, 4, 2):
        caps: dict[str, Decimal] = {}
        for slot in slots:
            most = most_of(slot, session)
            steps = [step for step in _steps(slot, most, nodes) if step <= most / part]
            caps |= {slot: steps[-1]} if steps else {}
        if len(caps) == len(slots):
            found.append(_capped(session, caps))
    return found


def most_of(slot: str, session: PendingSession) -> Decimal:
    """Return what the largest kernel asks for."""
    return max((kernel.slots.get(slot, Decimal(0)) for kernel in session.kernels), default=Decimal(0))


def slots_of(session: PendingSession) -> list[str]:
    """Return the slots of which the session asks for something."""
    return sorted({slot for kernel in session.kernels for slot, amount in kernel.slots.items() if amount})


def _capped(session: PendingSession, caps: dict[str, Decimal]) -> SmallerKernels:
    return SmallerKernels(ResourceSlots(caps), ResourceSlots({slot: most_of(slot, session) for slot in caps}))


def _steps(slot: str, most: Decimal, nodes: Iterable[NodeView]) -> list[Decimal]:
    """Return the smaller amounts: of memory whole GiB or eighths, of accelerators the parts that most of them have."""
    if slot == "mem":
        step = _GIB if most > 2 * _GIB else _GIB / 8
        return [step * n for n in range(1, int((most - 1) // step) + 1)]
    shares = [device.shares for node in nodes for device in node.devices if device.slot == slot]
    parts = max(shares, key=lambda count: (shares.count(count), count), default=1)
    fractions = [Decimal(n) / parts for n in range(1, parts)]
    return [amount for amount in (*fractions, *map(Decimal, range(1, int(most) + 1))) if amount < most]
