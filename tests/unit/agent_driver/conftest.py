"""What the agent's unit tests share: a specification, and no blocking call on the loop."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from blockbuster import BlockBuster

from caravan_common.wire.agent import KernelSpec

SESSION = UUID("11111111-1111-4111-8111-111111111111")
KERNEL = UUID("22222222-2222-4222-8222-222222222222")


@pytest.fixture(autouse=True)
def _no_blocking_calls() -> Iterator[None]:
    blockbuster = BlockBuster(scanned_modules=["caravan_agent_driver"])
    blockbuster.activate()
    yield
    blockbuster.deactivate()


@pytest.fixture
def make_spec() -> Callable[..., KernelSpec]:
    def make(**changes: Any) -> KernelSpec:
        base: dict[str, Any] = {
            "session": SESSION,
            "kernel": KERNEL,
            "image": "caravan/python:3.11-bookworm",
            "architecture": "x86_64",
            "cluster_role": "main",
            "cluster_idx": 1,
            "cluster_hostname": "main1",
            "environ": {},
            "slots": {"cpu": "1", "mem": "268435456"},
        }
        return KernelSpec.model_validate(base | changes)

    return make
