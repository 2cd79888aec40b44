"""REST: presets of slots, and what the caller could have now."""

from typing import Any

from aiohttp import web
from pydantic import AliasChoices, BaseModel, Field

from caravan_common.http import json_response
from caravan_manager.api.context import PRINCIPAL, QUOTAS, read_parameters
from caravan_manager.quotas.presets import Budget, Preset

routes = web.RouteTableDef()


class OfScalingGroup(BaseModel):
    """What GET /resource/presets takes."""

    scaling_group: str | None = None


class Check(OfScalingGroup):
    """What POST /resource/check-presets takes."""

    group: str = Field(default="default", validation_alias=AliasChoices("group", "group_name"), max_length=64)


@routes.get("/resource/presets")
async def list_presets(request: web.Request) -> web.Response:
    """List the presets for all scaling groups, and those for the one asked for."""
    wanted = OfScalingGroup.model_validate(await read_parameters(request))
    found = await request.app[QUOTAS].presets(wanted.scaling_group)
    return json_response({"presets": [_preset(preset) for preset in found]})


@routes.post("/resource/check-presets")
async def check_presets(request: web.Request) -> web.Response:
    """Say what the caller could have now, and which presets fit in."""
    wanted = Check.model_validate(await read_parameters(request))
    offer = await request.app[QUOTAS].offer(request[PRINCIPAL], wanted.group, wanted.scaling_group)
    rooms = {
        name: {"using": room.using.to_json(), "remaining": room.remaining.to_json()}
        for name, room in offer.rooms.items()
    }
    return json_response(
        {
            **_budget("keypair", offer.keypair),
            **_budget("group", offer.project),
            "scaling_group_remaining": offer.remaining.to_json(),
            "scaling_groups": rooms,
            "presets": [_preset(preset) | {"allocatable": offer.allows(preset)} for preset in offer.presets],
        }
    )


def _budget(whose: str, budget: Budget) -> dict[str, Any]:
    return {
        f"{whose}_limits": budget.most.to_json(),
        f"{whose}_using": budget.using.to_json(),
        f"{whose}_remaining": budget.remaining.to_json(),
    }


def _preset(preset: Preset) -> dict[str, Any]:
    return {
        "id": str(preset.id),
        "name": preset.name,
        "resource_slots": preset.slots.to_json(),
        "shared_memory": None if preset.shared_memory is None else str(preset.shared_memory),
    }
