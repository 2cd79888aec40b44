"""A policy file: which scheduler and selector scaling groups have, and what else is to be other than in the trace."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from caravan_common.config import Section, load_config
from caravan_common.errors import ConfigurationError, InvalidParametersError
from caravan_common.slots import ResourceSlots
from caravan_manager.nodes.model import Device
from caravan_manager.scheduler.plugins import Plugins
from caravan_manager.scheduler.simulation.trace import ARCHITECTURE, GROUP, made_node
from caravan_manager.scheduler.snapshot import GroupView, NodeView, PreemptionRules
from caravan_manager.sessions.durations import parse_duration


def _length(written: object) -> timedelta:
    try:
        return parse_duration(written)
    except InvalidParametersError as err:
        raise ValueError(str(err)) from err


Length = Annotated[timedelta, BeforeValidator(_length)]
"""A duration as people write it."""


class GroupSection(Section):
    """What a scaling group has; what is not said stays as the trace has it."""

    sequencer: str | None = None
    selector: str | None = None
    pending_timeout: Length | None = None
    preemption: PreemptionRules | Literal["off"] | None = None
    options: dict[str, Any] | None = None
    spread_replicas: bool | None = None

    def applied(self, group: GroupView) -> GroupView:
        """Return a scaling group with what is said here."""
        preemption = group.preemption if self.preemption is None else self.preemption
        timeout = group.pending_timeout if self.pending_timeout is None else self.pending_timeout or None
        return replace(
            group,
            sequencer=self.sequencer or group.sequencer,
            selector=self.selector or group.selector,
            pending_timeout=timeout,
            preemption=None if preemption == "off" else preemption,
            options=group.options if self.options is None else self.options,
            spread_replicas=group.spread_replicas if self.spread_replicas is None else self.spread_replicas,
        )


class DevicesSection(Section):
    """Equal accelerators of a node."""

    slot: str
    count: int = Field(default=1, ge=1)
    shares: int = Field(default=1, ge=1)
    model: str = ""


class NodesSection(Section):
    """Equal nodes."""

    name: str = "node"
    count: int = Field(default=1, ge=1, le=100_000)
    scaling_group: str = GROUP
    architecture: str = ARCHITECTURE
    slots: dict[str, str | int | float]
    devices: list[DevicesSection] = []

    def made(self) -> Iterable[NodeView]:
        """Return the nodes. Raises InvalidParametersError for what is no slot."""
        slots = ResourceSlots.parse(self.slots)
        devices = tuple(
            Device(f"{section.slot}-{number}", section.slot, section.model, section.shares)
            for section in self.devices
            for number in range(section.count)
        )
        for number in range(self.count):
            yield made_node(f"{self.name}-{number:05}", dict(slots), devices, self.scaling_group, self.architecture)


class Policy(GroupSection):
    """The whole file. What stands outside ``groups`` is for those that are not named there."""

    name: str = ""
    groups: dict[str, GroupSection] = {}
    nodes: list[NodesSection] = []

    def groups_for(self, given: Iterable[GroupView], names: Collection[str]) -> tuple[GroupView, ...]:
        """Return the rules of the trace's scaling groups, and of those that it only names."""
        known = {group.name: group for group in given}
        wanted = sorted({*known, *names})
        return tuple(self.groups.get(name, self).applied(known.get(name, GroupView(name))) for name in wanted)

    def nodes_for(self, given: tuple[NodeView, ...]) -> tuple[NodeView, ...]:
        """Return the policy's nodes, or those given where it has none."""
        return tuple(node for section in self.nodes for node in section.made()) or given


def load_policy(path: Path, plugins: Plugins) -> Policy:
    """Read a policy, which is called like its file if it says no name. Raises ConfigurationError."""
    policy = load_config(Policy, path)
    for section in (policy, *policy.groups.values()):
        _must_be(path, section.sequencer, plugins.sequencers)
        _must_be(path, section.selector, plugins.selectors)
    return policy if policy.name else policy.model_copy(update={"name": path.stem})


def _must_be(path: Path, name: str | None, known: Collection[str]) -> None:
    if name is not None and name not in known:
        raise ConfigurationError(f"{path}: there is no {name!r}; there are {', '.join(sorted(known))}")
