"""Compiles the planner while nobody waits for a plan: the first decision of a process would take a second or more."""

import asyncio
import time
from decimal import Decimal

import numpy as np
import structlog

from caravan_common.slots import ResourceSlots
from caravan_manager.nodes.model import Device
from caravan_manager.scheduler.demand import demand_of
from caravan_manager.scheduler.finder import Eligible, Finder
from caravan_manager.scheduler.garbage import settle
from caravan_manager.scheduler.ledger import Ledger
from caravan_manager.scheduler.selectors.packed import Packed
from caravan_manager.scheduler.selectors.selector import Room
from caravan_manager.scheduler.snapshot import NodeView

log = structlog.get_logger()

SLOTS = ResourceSlots({"cpu": Decimal(1), "gpu": Decimal(1)})


async def warm_up() -> None:
    """Make a decision that nobody needs; what breaks it breaks the passes too, and is told there."""
    began = time.monotonic()
    try:
        await asyncio.to_thread(decide)
        await asyncio.to_thread(settle)
    except Exception:  # the API goes on without a planner, as it does when a pass fails
        log.exception("scheduler.warm_up_failed")
    else:
        log.info("scheduler.warmed_up", seconds=round(time.monotonic() - began, 3))


def decide() -> tuple[str, str]:
    """Find one of two equal nodes for a session, and its device there: that takes each kernel. Returns their names."""
    device = Device("0", "gpu", "any", shares=1)
    nodes = [NodeView(name, "", "", schedulable=True, capacity=SLOTS, devices=(device,)) for name in ("a", "b")]
    demand = demand_of([SLOTS], {"gpu"})
    ledger = Ledger.of(nodes)
    able = Eligible(demand, np.flatnonzero(ledger.fits(demand, np.arange(len(nodes)))), len(nodes))
    row = Finder(ledger, Packed(Room(ledger, ledger, ((demand, 1),)))).find(able)
    if row is None:
        raise AssertionError("no room for a device in an empty node")
    return ledger.names[row], ledger.device_id(row, ledger.pick(demand, row).picks[0])
