"""REST for the platform: what Prometheus shall ask for metrics, as its HTTP service discovery reads it."""

from aiohttp import web

from caravan_common.consul.catalog import Catalog, Instance
from caravan_common.http import json_response

routes = web.RouteTableDef()

METRICS_TAG = "metrics"
"""The tag with which a service says that ``/metrics`` answers at its address."""

CATALOG: web.AppKey[Catalog] = web.AppKey("catalog", Catalog)


@routes.get("/metrics/service_discovery")
async def discover(request: web.Request) -> web.Response:
    """List the addresses that have metrics, each once, with what they belong to as labels."""
    instances = await request.app[CATALOG].tagged(METRICS_TAG)
    return json_response(targets(instances))


def targets(instances: list[Instance]) -> list[dict[str, object]]:
    """Return the target groups. Pure. Several registrations of one address are one target, of no instance's ID."""
    by_address: dict[str, list[Instance]] = {}
    for instance in instances:
        by_address.setdefault(instance.address, []).append(instance)
    return [{"targets": [address], "labels": _labels(found)} for address, found in by_address.items()]


def _labels(instances: list[Instance]) -> dict[str, str]:
    first = instances[0]
    group = first.service.removeprefix("caravan-")
    labels = {"service_group": group, "display_name": f"{group}-{first.node}"}
    return labels if len(instances) > 1 else labels | {"service_id": first.id}
