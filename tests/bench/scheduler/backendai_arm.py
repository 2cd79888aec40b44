"""Backend.AI's own agent selector and DRF sequencer, called in isolation: run by the Python of its manager.

``backendai_arm.py TASK.json`` prints one JSON object. A task to ``select`` has nodes, requests, and a strategy; the
answer has the processor's seconds of each decision and the node of each, or null. A task to ``sequence`` has the slots'
capacity and sessions (user and slots); the answer has the order in which DRF puts them.
"""

import asyncio
import json
import sys
import time
import uuid
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ai.backend.common.data.entity.resource_group import ResourceGroupID
from ai.backend.common.data.entity.resource_slot import ResourceSlotName
from ai.backend.common.data.entity.user import UserID
from ai.backend.common.types import AgentId, AgentSelectionStrategy, ArchName, PreemptionOrder, SessionId
from ai.backend.manager.data.session.options import AgentSelectionPolicy
from ai.backend.manager.sokovan.scheduler.provisioner.selectors.pool import create_agent_selector
from ai.backend.manager.sokovan.scheduler.provisioner.selectors.selector import AgentSelectionCriteria
from ai.backend.manager.sokovan.scheduler.provisioner.selectors.tracker import build_agent_trackers
from ai.backend.manager.sokovan.scheduler.provisioner.selectors.types import ResourceRequirements
from ai.backend.manager.sokovan.scheduler.provisioner.sequencers.drf import DRFSequencer
from ai.backend.manager.views.sokovan.agent import (
    AgentLimit,
    AgentMeta,
    AgentResource,
    ResourceGroupResource,
    SlotResource,
)
from ai.backend.manager.views.sokovan.snapshot import ResourceAllocation, SlotAllocation
from ai.backend.manager.views.sokovan.workload import ResourceRequest

WARM_UP = 20
GROUP = ResourceGroupID(uuid.UUID(int=1))
ARCHITECTURE = ArchName("x86_64")
PRIORITY = ["cuda", "rocm", "tpu", "cpu", "mem"]
"""The order of slots that its manager's configuration has by default."""


def _slots(amounts: dict[str, str]) -> dict[ResourceSlotName, Decimal]:
    return {ResourceSlotName(name): Decimal(amount) for name, amount in amounts.items()}


def _agent(node: dict[str, Any]) -> AgentMeta:
    resources = {
        name: SlotResource(capacity=amount, reserved=Decimal(0), used=Decimal(0))
        for name, amount in _slots(node["slots"]).items()
    }
    return AgentMeta(AgentId(node["name"]), "", ARCHITECTURE, AgentResource(resources), 0)


def _criteria(slots: dict[str, str]) -> AgentSelectionCriteria:
    return AgentSelectionCriteria(
        session_id=SessionId(uuid.uuid4()),
        resource_group_id=GROUP,
        requirements=[ResourceRequirements(ResourceRequest(_slots(slots)), ARCHITECTURE, 1)],
        agent_selection_policy=AgentSelectionPolicy.PREFERRED,
        designated_agent_ids=None,
        job_priority=0,
        victim_candidates=None,
        session_group=None,
    )


async def select(task: dict[str, Any]) -> dict[str, Any]:
    """Place the requests one after the other, the first of them also before that; only the decisions are timed."""
    await _place(task, task["requests"][:WARM_UP])
    return await _place(task, task["requests"])


async def _place(task: dict[str, Any], requests: list[dict[str, str]]) -> dict[str, Any]:
    selector = create_agent_selector(PRIORITY)
    strategy = AgentSelectionStrategy(task["strategy"])
    trackers = build_agent_trackers(ResourceGroupResource([_agent(node) for node in task["nodes"]]))
    limit, order = AgentLimit(None), next(iter(PreemptionOrder))
    seconds, placed = [], []
    for slots in requests:
        criteria = _criteria(slots)
        began = time.process_time()
        computed = await selector.compute_placements(strategy, trackers, criteria, limit, order)
        seconds.append(time.process_time() - began)
        placed.append(str(computed.selections[0].selected_agent.agent_id) if computed.selections else None)
    return {"seconds": seconds, "placed": placed}


async def sequence(task: dict[str, Any]) -> dict[str, Any]:
    """Order sessions as its DRF does, with what each user holds now."""
    users = {name: UserID(uuid.uuid5(uuid.NAMESPACE_OID, name)) for name in {one["user"] for one in task["sessions"]}}
    held = {
        users[name]: ResourceAllocation(
            {slot: SlotAllocation(Decimal(0), amount) for slot, amount in _slots(slots).items()}
        )
        for name, slots in task["held"].items()
    }
    capacity = _agent({"name": "all", "slots": task["capacity"]})
    snapshot: Any = SimpleNamespace(
        global_scope=SimpleNamespace(occupancy=SimpleNamespace(by_user=held)),
        resource_group=SimpleNamespace(resources=ResourceGroupResource([capacity])),
    )
    workloads: Any = [
        SimpleNamespace(place=place, meta=SimpleNamespace(owner=SimpleNamespace(user_uuid=users[one["user"]])))
        for place, one in enumerate(task["sessions"])
    ]
    ordered: Any = await DRFSequencer().sequence(GROUP, snapshot, workloads)
    return {"order": [one.place for one in ordered]}


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps(asyncio.run({"select": select, "sequence": sequence}[given["task"]](given))))
