"""What superadmins change of nodes and scaling groups. Each change is in the audit log."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from sqlalchemy.exc import IntegrityError

from caravan_common.errors import ConflictError, InvalidParametersError
from caravan_manager import audit
from caravan_manager.checks import Values
from caravan_manager.db.engine import Begin, Transaction
from caravan_manager.nodes import repository
from caravan_manager.nodes.groups import (
    check_group_name,
    check_group_names,
    check_guest,
    check_known_group,
    check_known_node,
    checked_group,
)
from caravan_manager.nodes.model import Guest, NodeNotFoundError, ScalingGroup, ScalingGroupNotFoundError
from caravan_manager.people.model import Principal

CheckOptions = Callable[[str, Mapping[str, object]], None]
"""Raises InvalidParametersError for a scheduler, or options of it, that cannot be."""


class NodesAdministration:
    """Make, change and delete scaling groups, say who may use them, close and move nodes."""

    def __init__(self, begin: Begin, check_options: CheckOptions) -> None:
        self._begin = begin
        self._check_options = check_options

    async def create_scaling_group(self, principal: Principal, name: str, given: Mapping[str, object]) -> ScalingGroup:
        """Make a scaling group, which nobody may use yet. Only for superadmins. Raises ConflictError."""
        principal.must_be_superadmin()
        check_group_name(name)
        values = checked_group(given)
        self._check_options(str(values["scheduler"]), _options(values))
        try:
            async with self._begin() as tx:
                await repository.add_scaling_group(tx, name, values)
                await audit.record(tx, principal, "scaling-group.create", "scaling-group", name, values)
                return (await repository.list_scaling_groups(tx, name=name))[0]
        except IntegrityError as err:
            raise ConflictError(f"there is a scaling group {name} already") from err

    async def change_scaling_group(self, principal: Principal, name: str, given: Mapping[str, object]) -> None:
        """Change what is given; it holds from the next pass on. Only for superadmins."""
        principal.must_be_superadmin()
        check_known_group(name)
        values = checked_group(given)
        async with self._begin() as tx:
            group = await repository.lock_scaling_group(tx, name)
            if group is None:
                raise ScalingGroupNotFoundError(f"there is no scaling group {name}")
            if "scheduler" in values or "scheduler_opts" in values:
                self._check_scheduling(group, values)
            await repository.change_scaling_group(tx, name, values)
            await audit.record(tx, principal, "scaling-group.change", "scaling-group", name, values)

    async def delete_scaling_group(self, principal: Principal, name: str) -> None:
        """Delete a scaling group and the presets that are its own. Only for superadmins.

        Raises ConflictError while nodes or sessions belong to it, also ended ones.
        """
        principal.must_be_superadmin()
        check_known_group(name)
        try:
            async with self._begin() as tx:
                if not await repository.delete_scaling_group(tx, name):
                    raise ScalingGroupNotFoundError(f"there is no scaling group {name}")
                await audit.record(tx, principal, "scaling-group.delete", "scaling-group", name, {})
        except IntegrityError as err:
            message = f"nodes or sessions, ended ones too, belong to the scaling group {name}; deactivate it instead"
            raise ConflictError(message) from err

    async def open_to(self, principal: Principal, guest: Guest, groups: Sequence[str]) -> None:
        """Let a guest use scaling groups. Only for superadmins. Raises ScalingGroupNotFoundError."""
        principal.must_be_superadmin()
        check_guest(guest)
        facts: dict[str, object] = {"scaling_groups": list(check_group_names(groups))}
        try:
            async with self._begin() as tx:
                await repository.open_to(tx, guest, groups)
                await _record(tx, principal, "open", guest, facts)
        except IntegrityError as err:
            raise ScalingGroupNotFoundError(f"there is no {guest.called}, or one of the groups is not there") from err

    async def close_to(self, principal: Principal, guest: Guest, groups: Sequence[str] | None = None) -> None:
        """Take scaling groups, or all, from a guest; its sessions there go on. Only for superadmins."""
        principal.must_be_superadmin()
        check_guest(guest)
        facts: dict[str, object] = {"scaling_groups": None if groups is None else list(check_group_names(groups))}
        async with self._begin() as tx:
            if not await repository.close_to(tx, guest, groups) and groups is not None:
                raise ScalingGroupNotFoundError(f"the {guest.called} may use none of {', '.join(groups)}")
            await _record(tx, principal, "close", guest, facts)

    async def change_node(self, principal: Principal, name: str, given: Mapping[str, object]) -> None:
        """Close a node to new sessions, open it, or move it to another scaling group. Only for superadmins.

        What runs there goes on. Raises NodeNotFoundError, ScalingGroupNotFoundError.
        """
        principal.must_be_superadmin()
        check_known_node(name)
        values = {key: given[key] for key in ("schedulable", "scaling_group") if given.get(key) is not None}
        if "scaling_group" in values:
            check_known_group(str(values["scaling_group"]))
        try:
            async with self._begin() as tx:
                if not await repository.change_node(tx, name, values):
                    raise NodeNotFoundError(f"there is no agent {name}")
                await audit.record(tx, principal, "node.change", "node", name, values)
        except IntegrityError as err:
            raise ScalingGroupNotFoundError(f"there is no scaling group {values.get('scaling_group')}") from err

    def _check_scheduling(self, group: ScalingGroup, values: Values) -> None:
        """Check the scheduler and the options that a group is to have, also where it has one of them already."""
        scheduler = str(values.get("scheduler", group.scheduler))
        if "scheduler_opts" in values:
            self._check_options(scheduler, _options(values))
            return
        try:
            self._check_options(scheduler, group.scheduler_opts)
        except InvalidParametersError as err:
            raise InvalidParametersError(f"with the scheduler_opts that {group.name} has already: {err}") from err


def _options(values: Values) -> dict[str, object]:
    return cast("dict[str, object]", values.get("scheduler_opts", {}))


async def _record(tx: Transaction, principal: Principal, act: str, guest: Guest, facts: dict[str, object]) -> None:
    await audit.record(
        tx, principal, f"{guest.kind.value}.{act}-scaling-groups", guest.kind.value, str(guest.id), facts
    )
