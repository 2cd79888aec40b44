"""The fake accelerators of the example on a stack's node, and who knows of them."""

import json
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from caravan_deploy.layout import REPOSITORY
from caravan_deploy.progress import wait_for
from caravan_deploy.second import Stack

FAKES = REPOSITORY / "examples/devices/fake.toml"
KINDS = {"cuda": 8, "atom": 2, "warboy": 2, "rngd": 1}
LIMIT_SECONDS = 60.0


def groups(stack: Stack) -> list[dict[str, Any]]:
    """Return the devices of the node as Nomad has them."""
    (node,) = stack.servers.nomad.call("GET", "/v1/nodes")
    return stack.servers.nomad.call("GET", f"/v1/node/{node['ID']}")["NodeResources"]["Devices"] or []


def parts(stack: Stack, *, healthy: bool) -> dict[str, int]:
    """Return how many parts of each device are well, or ill, by Nomad's account."""
    counts = {group["Name"]: sum(part["Healthy"] is healthy for part in group["Instances"]) for group in groups(stack)}
    return {name: count for name, count in counts.items() if count}


def offered(stack: Stack) -> dict[str, str]:
    """Return the slots that the manager knows of."""
    with urllib.request.urlopen(f"{stack.endpoint}/config/resource-slots", timeout=10) as answer:
        slots: dict[str, str] = json.load(answer)
    return slots


@contextmanager
def fake_accelerators(stack: Stack) -> Generator[None]:
    """Put them in, until Nomad and the manager know of them all; take them out, until neither does."""
    stack.layout.devices.write_text(FAKES.read_text())
    wait_for("Nomad does not see the devices", lambda: len(groups(stack)) == sum(KINDS.values()) or None, LIMIT_SECONDS)
    wait_for("the manager hears of no devices", lambda: "rngd.device" in offered(stack) or None, LIMIT_SECONDS)
    yield
    stack.layout.devices.write_text("")
    wait_for("Nomad still sees the devices", lambda: not parts(stack, healthy=True) or None, LIMIT_SECONDS)
    wait_for("the manager still has devices", lambda: "rngd.device" not in offered(stack) or None, LIMIT_SECONDS)
