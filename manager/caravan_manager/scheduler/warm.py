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


def decide() -> int | None:
    """Find one of two equal nodes for a session: that takes each kernel."""
    device = Device("0", "gpu", "any", shares=1)
    nodes = [NodeView(name, "", "", schedulable=True, capacity=SLOTS, devices=(device,)) for name in ("a", "b")]
    demand = demand_of([SLOTS], {"gpu"})
    ledger = Ledger.of(nodes)
    return Finder(ledger, Packed(Room(ledger, ledger, ((demand, 1),)))).find(Eligible(demand, np.arange(len(nodes))))
