"""Reasons and changes in words, with the names that the reader may know. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from decimal import Decimal
from functools import singledispatchmethod
from uuid import UUID

from caravan_common.slots import BYTES_SLOTS
from caravan_manager.people.model import Principal
from caravan_manager.quotas.model import Holder, HolderKind
from caravan_manager.scheduler.explaining import changes as c
from caravan_manager.scheduler.explaining.answer import ToldHelp, ToldReason
from caravan_manager.scheduler.explaining.model import (
    Counterfactual,
    DeviceState,
    Explanation,
    NodeState,
    Obstruction,
    QuotaState,
)
from caravan_manager.scheduler.snapshot import CHECKS, Obstacle, Placement
from caravan_manager.sessions.queue import Named

SOMEBODYS = "a session of another user"
_UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_HOLDERS = {HolderKind.SYSTEM_KEYPAIR: "SFTP sessions of keypair"}
_AMONG_NODES = {
    Obstacle.NO_NODE_OF_GROUP: "scaling group {group} has no node that takes sessions",
    Obstacle.NO_NODE_OF_ARCHITECTURE: "no node of scaling group {group} has the image's architecture",
    Obstacle.NOT_DESIGNATED: "none of the designated nodes ({about}) is in scaling group {group} and takes sessions",
    Obstacle.NO_NODE_WITH_VOLUMES: "no node of scaling group {group} can mount the volumes of its folders ({about})",
    Obstacle.LARGER_THAN_ANY_NODE: "the nodes of scaling group {group} have not enough for it even when they are empty",
    Obstacle.NO_ROOM: "no node of scaling group {group} has room for it now",
}


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads, and the names of what the explanation is about."""

    principal: Principal
    sessions: Mapping[UUID, Named]
    holders: Mapping[Holder, str] = field(default_factory=dict[Holder, str])

    def may_know(self, session: UUID) -> bool:
        """Say whether the reader may know a session by name: an own one, or as an administrator."""
        named = self.sessions.get(session)
        if named is None or self.principal.is_superadmin:
            return named is not None
        is_of_domain = self.principal.is_admin and named.domain == self.principal.domain_name
        return named.user == self.principal.user_id or is_of_domain

    def label(self, session: UUID) -> str:
        """Return what a session is called for the reader."""
        if not self.may_know(session):
            return SOMEBODYS
        named = self.sessions[session]
        return named.name if named.user == self.principal.user_id else f"{named.name} of {named.email}"

    def labels(self, sessions: Sequence[UUID]) -> str:
        """Return what several sessions are called; those of strangers are counted."""
        known = [self.label(session) for session in sessions if self.may_know(session)]
        if others := len(sessions) - len(known):
            known.append(SOMEBODYS if others == 1 else f"{others} sessions of other users")
        return ", ".join(known)

    def session(self, session: UUID) -> dict[str, object]:
        """Return a session for the reader as JSON; a stranger's has neither ID nor name."""
        if not self.may_know(session):
            return {"id": None, "name": None, "owner": None}
        named = self.sessions[session]
        return {"id": str(session), "name": named.name, "owner": named.email}

    def holder(self, holder: Holder) -> str:
        """Return what a holder of a quota is called."""
        kind, name = holder
        return f"{_HOLDERS.get(kind, kind.value)} {self.holders.get(holder, name)}"


class Words:
    """The words for one reader and a session of so many kernels."""

    def __init__(self, reader: Reader, kernels: int) -> None:
        self._reader = reader
        self._kernels = kernels

    def reason(self, told: Obstruction, found: Explanation) -> ToldReason:
        """Return an obstruction in words."""
        group = found.queue.scaling_group if found.queue is not None else ""
        details = [self._node(state) for state in told.nodes]
        if told.closed:
            details.append(f"closed by an operator: {', '.join(told.closed)}")
        return ToldReason(
            name=told.reason.obstacle.value,
            text=self._text(told, group),
            only_then=told.only_then,
            details=tuple(details),
            facts={
                "quotas": [self._quota_facts(state) for state in told.quotas],
                "nodes": [self._node_facts(state) for state in told.nodes],
                "sessions": [self._reader.session(session) for session in told.sessions],
                "closed_nodes": list(told.closed),
            },
        )

    def _text(self, told: Obstruction, group: str) -> str:
        obstacle = told.reason.obstacle
        about = ", ".join(told.reason.about)
        if obstacle is Obstacle.NOT_YET:
            return f"it must not start before {about}"
        if obstacle is Obstacle.DEPENDENCIES:
            return f"it starts when others have succeeded: {about}"
        if obstacle in CHECKS:
            return "; ".join(self._quota(state) for state in told.quotas) or f"a quota is exceeded ({about})"
        if obstacle is Obstacle.BEHIND_THE_HEAD:
            return f"the room that there is is kept for {self._reader.labels(told.sessions)}"
        if obstacle is Obstacle.LARGER_THAN_ANY_NODE and told.reason.limit:
            return f"the accelerators of scaling group {group} are given in {told.reason.limit} only"
        return _AMONG_NODES.get(obstacle, obstacle.value).format(group=group, about=about)

    def _quota(self, state: QuotaState) -> str:
        holder = self._reader.holder(state.holder)
        if state.slot is None:
            return f"{holder} has {_plain(state.has)} sessions on nodes and may have {_plain(state.limit)}"
        has, asks, limit = (amount(state.slot, value) for value in (state.has, state.asks, state.limit))
        return f"{holder} has {has} {state.slot}, this asks for {asks}, and the limit is {limit}"

    def _node(self, state: NodeState) -> str:
        if not state.lacks:
            return f"{state.node} has room for a kernel, but not enough nodes have it at once"
        lacks = "; ".join(
            f"{lack.slot}: {amount(lack.slot, lack.asks)} asked, {amount(lack.slot, lack.left)} free of"
            f" {amount(lack.slot, lack.total)}"
            for lack in state.lacks
        )
        devices = ", ".join(self._device(device) for device in state.devices)
        held = f"; held by {self._reader.labels(state.holders)}" if state.holders else ""
        return f"{state.node}: {lacks}{f' ({devices})' if devices else ''}{held}"

    def _device(self, device: DeviceState) -> str:
        return f"{device.id} {_plain(device.left)} free" if device.healthy else f"{device.id} is ill: {device.problem}"

    def _quota_facts(self, state: QuotaState) -> dict[str, object]:
        kind, name = state.holder
        return {
            "holder": kind.value,
            "name": self._reader.holders.get(state.holder, name),
            "slot": state.slot,
            "has": _plain(state.has),
            "asks": _plain(state.asks),
            "limit": _plain(state.limit),
            "missing": _plain(state.missing),
        }

    def _node_facts(self, state: NodeState) -> dict[str, object]:
        return {
            "name": state.node,
            "lacks": [
                {"slot": lack.slot, "asks": _plain(lack.asks), "left": _plain(lack.left), "total": _plain(lack.total)}
                for lack in state.lacks
            ],
            "devices": [asdict(device) | {"left": _plain(device.left)} for device in state.devices],
            "held_by": [self._reader.session(session) for session in state.holders],
        }

    def help(self, helping: Counterfactual) -> ToldHelp:
        """Return a counterfactual in words."""
        text = ", and ".join(self._change(change) for change in helping.changes)
        return ToldHelp(_KINDS[type(helping.changes[-1])], text, seats(helping.placement))

    @singledispatchmethod
    def _change(self, change: object) -> str:
        raise TypeError(f"there are no words for {change!r}")

    @_change.register
    def _(self, change: c.TimeComes) -> str:
        return f"its time had come ({change.moment.isoformat()})"

    @_change.register
    def _(self, change: c.DependenciesSucceed) -> str:
        return f"{', '.join(change.parents)} had succeeded"

    @_change.register
    def _(self, change: c.MoreQuota) -> str:
        more = [f"{amount(slot, value)} more {slot}" for slot, value in change.slots.items()]
        if change.sessions:
            more.append(f"{change.sessions} more concurrent session{'s' if change.sessions > 1 else ''}")
        return f"the quota of {self._reader.holder(change.holder)} allowed {' and '.join(more)}"

    @_change.register
    def _(self, change: c.SmallerKernels) -> str:
        less = [f"{amount(s, most)} {s} instead of {amount(s, change.before[s])}" for s, most in change.most.items()]
        return f"it asked for {' and '.join(less)}{' in each kernel' if self._kernels > 1 else ''}"

    @_change.register
    def _(self, change: c.FewerKernels) -> str:
        return f"it had {change.count} kernels instead of {change.before}"

    @_change.register
    def _(self, change: c.OtherModels) -> str:
        return (
            f"accelerators of model {', '.join(sorted(change.models))} did, too" if change.models else "any model did"
        )

    @_change.register
    def _(self, change: c.OtherSlot) -> str:
        return f"it asked for {change.after} instead of {change.before}"

    @_change.register
    def _(self, change: c.OtherGroup) -> str:
        return f"it was in scaling group {change.name}"

    @_change.register
    def _(self, change: c.AnyNode) -> str:
        return f"any node did, not only {', '.join(sorted(change.designated))}"

    @_change.register
    def _(self, change: c.TimeLimit) -> str:
        return f"it was a batch session that runs for {change.limit} at most"

    @_change.register
    def _(self, change: c.HigherPriority) -> str:
        return f"it had priority {change.priority}"

    @_change.register
    def _(self, change: c.SessionsGone) -> str:
        return f"{self._reader.labels(change.sessions)} had ended"


_KINDS: dict[type, str] = {
    c.TimeComes: "start-time",
    c.DependenciesSucceed: "dependencies",
    c.MoreQuota: "quota",
    c.SmallerKernels: "smaller",
    c.FewerKernels: "fewer-kernels",
    c.OtherModels: "model",
    c.OtherSlot: "accelerator",
    c.OtherGroup: "scaling-group",
    c.AnyNode: "any-node",
    c.TimeLimit: "time-limit",
    c.HigherPriority: "priority",
    c.SessionsGone: "session-gone",
}


def amount(slot: str | None, value: Decimal) -> str:
    """Return an amount as people read it: ``1.5 GiB``, ``0.3``."""
    if not value.is_finite():
        return "any amount"
    if slot in BYTES_SLOTS:
        for unit, size in _UNITS:
            if value >= size:
                return f"{_plain(round(value / size, 2))} {unit}"
    return _plain(value)


def _plain(value: Decimal) -> str:
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def seats(placement: Placement) -> list[dict[str, object]]:
    """Return where kernels go, by name of node and device."""
    return [
        {"node": seat.node, "devices": [device.to_json() for device in seat.devices]} for _, seat in placement.seats
    ]
