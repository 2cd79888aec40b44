"""Which nodes would do for a session if nobody else used them, and if none would, why. Pure."""

from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np

from caravan_common.states import ClusterMode
from caravan_manager.scheduler.arrays import Ints, Mask
from caravan_manager.scheduler.demand import WHOLE, Demand
from caravan_manager.scheduler.finder import Eligible
from caravan_manager.scheduler.ledger import Ledger, numbers
from caravan_manager.scheduler.snapshot import NodeView, Obstacle, Reason
from caravan_manager.sessions.queue import PendingSession

NAMED = 10
"""How many nodes a reason names; the rest is counted."""

_Wishes = tuple[str, frozenset[str], frozenset[str]]
_Avoided = tuple[frozenset[str], int]
"""Nodes that are to be used only if there are not so many others."""


class Eligibility:
    """The nodes of a scaling group, in the order of the ledger that has them empty."""

    def __init__(self, nodes: Sequence[NodeView], empty: Ledger) -> None:
        by_name = {node.name: node for node in nodes}
        self._nodes = [by_name[name] for name in empty.names]
        self._empty = empty
        self._hosts: dict[_Wishes, Ints | Reason] = {}
        self._of: dict[tuple[_Wishes, Demand, _Avoided], Eligible | Reason] = {}

    def of(self, session: PendingSession, demand: Demand, designated: frozenset[str]) -> Eligible | Reason:
        """Return the nodes for a part of a session, or what rules all of them out."""
        wishes = (session.architecture, designated, session.volumes)
        apart = len(session.kernels) if session.cluster_mode is ClusterMode.MULTI_NODE else 1
        key = (wishes, demand, (session.avoid, apart if session.avoid else 0))
        if (known := self._of.get(key)) is None:
            known = self._of[key] = self._look(*key)
        return known

    def names(self, eligible: Eligible) -> tuple[str, ...]:
        """Return the names of the first nodes and how many more there are."""
        return some_of([self._nodes[row].name for row in numbers(eligible.rows)])

    def _look(self, wishes: _Wishes, demand: Demand, avoided: _Avoided) -> Eligible | Reason:
        if (hosts := self._hosts.get(wishes)) is None:
            hosts = self._hosts[wishes] = self._host(*wishes)
        if isinstance(hosts, Reason):
            return hosts
        large = hosts[self._empty.fits(demand, hosts)]
        if not len(large):
            there = [self._nodes[row] for row in numbers(hosts)]
            about = some_of([node.name for node in there])
            return Reason(Obstacle.LARGER_THAN_ANY_NODE, about, parts_given(demand, there))
        names, apart = avoided
        others = large[[self._nodes[row].name not in names for row in numbers(large)]] if names else large
        return Eligible(demand, others if len(others) >= apart else large, len(self._nodes))

    def _host(self, architecture: str, designated: frozenset[str], volumes: frozenset[str]) -> Ints | Reason:
        """Return the nodes that would do whatever they offer, one rule after the other."""
        if not self._nodes:
            return Reason(Obstacle.NO_NODE_OF_GROUP)
        wanted: tuple[tuple[Mask, Reason], ...] = (
            (self._which(lambda n: n.architecture == architecture), Reason(Obstacle.NO_NODE_OF_ARCHITECTURE)),
            (
                self._which(lambda n: not designated or n.name in designated),
                Reason(Obstacle.NOT_DESIGNATED, some_of(sorted(designated))),
            ),
            (
                self._which(lambda n: volumes <= n.volumes),
                Reason(Obstacle.NO_NODE_WITH_VOLUMES, tuple(sorted(volumes))),
            ),
        )
        left = np.ones(len(self._nodes), np.bool_)
        for fulfilled, reason in wanted:
            left &= fulfilled
            if not left.any():
                return reason
        return np.flatnonzero(left)

    def _which(self, rule: Callable[[NodeView], bool]) -> Mask:
        return np.array([rule(node) for node in self._nodes], np.bool_)


def parts_given(demand: Demand, nodes: Sequence[NodeView]) -> str:
    """Return what parts of devices there are, where none of the nodes' devices gives a part that a demand wants.

    As ``multiples of 0.05 or 0.1 cuda.shares``; empty where each part can be had of some device.
    """
    for wanted in demand.devices:
        devices = [d for node in nodes for d in node.devices if d.slot == wanted.slot and d.healthy]
        shares = {d.shares for d in devices if not demand.models or d.model in demand.models}
        if any(all(part % (WHOLE // count) for count in shares) for part in wanted.parts if shares):
            steps = [format(Decimal(1) / count, "f") for count in sorted(shares, reverse=True)]
            return f"multiples of {' or '.join(steps)} {wanted.slot}"
    return ""


def some_of(names: Sequence[str]) -> tuple[str, ...]:
    """Return the first names, and how many more there are."""
    rest = len(names) - NAMED
    return tuple(names) if rest <= 0 else (*names[:NAMED], f"{rest} more")
