"""The REST door of what sessions can ask for: resource slots, folder types, scaling groups."""

from aiohttp import web
from pydantic import AliasChoices, BaseModel, Field

from caravan_common.http import json_response
from caravan_manager.api.auth import anonymous
from caravan_manager.api.context import NODES, PRINCIPAL, read_parameters
from caravan_manager.nodes.slots import slot_details, slot_types
from caravan_manager.vfolders.model import ALLOWED_TYPES, folder_id

routes = web.RouteTableDef()


class OfGroup(BaseModel):
    """A project by name or ID."""

    group: str = Field(validation_alias=AliasChoices("group", "group_id", "group_name"), min_length=1)


class OfScalingGroup(BaseModel):
    """A scaling group, or all of them."""

    sgroup: str | None = None


@routes.get("/config/resource-slots")
@routes.get("/etcd/resource-slots")
@anonymous
async def get_resource_slots(request: web.Request) -> web.Response:
    """Return the known slots and how each is counted."""
    return json_response(slot_types(await request.app[NODES].offered_slots()))


@routes.get("/config/resource-slots/details")
@anonymous
async def get_resource_slot_details(request: web.Request) -> web.Response:
    """Return how people see each slot."""
    service = request.app[NODES]
    wanted = OfScalingGroup.model_validate(await read_parameters(request))
    return json_response(slot_details(await service.offered_slots(), await service.divisions(wanted.sgroup)))


@routes.get("/config/vfolder-types")
@anonymous
async def get_vfolder_types(_request: web.Request) -> web.Response:
    """Say whom virtual folders may belong to."""
    return json_response(ALLOWED_TYPES)


@routes.get("/scaling-groups")
async def list_scaling_groups(request: web.Request) -> web.Response:
    """List the scaling groups that the caller may use for a project."""
    wanted = OfGroup.model_validate(await read_parameters(request)).group
    groups = await request.app[NODES].usable_scaling_groups(request[PRINCIPAL], folder_id(wanted) or wanted)
    return json_response({"scaling_groups": [{"name": group.name} for group in groups]})
