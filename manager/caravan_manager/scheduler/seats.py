"""Which kernel gets which of the devices that were taken for a part of a session. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from uuid import UUID

from caravan_manager.scheduler.demand import WHOLE, amount_of, units
from caravan_manager.scheduler.ledger import Ledger, Pick, Taken
from caravan_manager.sessions.model import HeldDevice, Seat
from caravan_manager.sessions.queue import KernelRequest


def seats_of(kernels: Sequence[KernelRequest], taken: Taken, ledger: Ledger) -> Iterator[tuple[UUID, Seat]]:
    """Yield the seat of each kernel: its node, and of the picked devices those that it asked for."""
    if len(kernels) == 1:
        yield kernels[0].id, _seat(taken.picks, taken, ledger)
        return
    free: defaultdict[tuple[str, int], list[Pick]] = defaultdict(list)
    for pick in reversed(taken.picks):
        free[pick.slot, pick.amount].append(pick)
    for kernel in kernels:
        wanted = sorted(kernel.slots.items())  # equal slots in another order get the same devices in the same order
        picks = [pick for slot, amount in wanted for pick in _of_kernel(free, slot, units(slot, amount))]
        yield kernel.id, _seat(picks, taken, ledger)


def _seat(picks: Sequence[Pick], taken: Taken, ledger: Ledger) -> Seat:
    row = taken.row
    devices = [
        HeldDevice(p.slot, ledger.device_id(row, p), amount_of(p.slot, p.amount), ledger.model_of(row, p))
        for p in picks
    ]
    return Seat(ledger.names[row], tuple(devices))


def _of_kernel(free: defaultdict[tuple[str, int], list[Pick]], slot: str, wanted: int) -> Iterator[Pick]:
    whole, part = divmod(wanted, WHOLE)
    for amount, count in ((WHOLE, whole), (part, 1 if part else 0)):
        stack = free.get((slot, amount), [])
        for _ in range(min(count, len(stack))):
            yield stack.pop()
