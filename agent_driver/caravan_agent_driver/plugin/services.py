"""The services of the plugin: go-plugin's health and controller, Nomad's base and device plugin."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import grpc
import msgpack
import structlog
from google.protobuf.message import Message
from grpc import aio

from caravan_agent_driver.devices.inventory import Inventory, Source
from caravan_agent_driver.node import VERSION
from caravan_agent_driver.plugin import messages
from caravan_agent_driver.plugin import nomad_pb2 as nomad
from caravan_common.wire.devices import Device

log = structlog.get_logger()

NAME = "caravan-device-plugin"
API_VERSION = "v0.1.0"
DEVICE_PLUGIN = 3
SERVING = 1
FILE = "devices"
"""The one key of the plugin's configuration in Nomad: where the node's device file is."""
SHORTEST_INTERVAL = 0.5

_unpack = cast(Callable[[bytes], dict[str, object] | None], msgpack.unpackb)  # pyright: ignore[reportUnknownMemberType]
Context = aio.ServicerContext[Any, Any]


class DevicePlugin:
    """One plugin, as Nomad sees it.

    Nomad gives a device plugin up for good when it cannot be started again, or when a stream ends with an error while
    the process lives. So nothing here ends a stream, and a wrong device file is a line in the log.
    """

    def __init__(self, inventory: Inventory, stop: asyncio.Event, seconds: float) -> None:
        self._inventory = inventory
        self._stop = stop
        self._seconds = seconds

    async def check(self, _request: nomad.HealthCheckRequest, _context: Context) -> nomad.HealthCheckResponse:
        return nomad.HealthCheckResponse(status=SERVING)

    async def shutdown(self, _request: nomad.Empty, _context: Context) -> nomad.Empty:
        self._stop.set()
        return nomad.Empty()

    async def plugin_info(self, _request: nomad.Empty, _context: Context) -> nomad.PluginInfoResponse:
        return nomad.PluginInfoResponse(
            type=DEVICE_PLUGIN, plugin_api_versions=[API_VERSION], plugin_version=f"v{VERSION}", name=NAME
        )

    async def config_schema(self, _request: nomad.Empty, _context: Context) -> nomad.ConfigSchemaResponse:
        path = nomad.Spec(attr=nomad.SpecAttribute(name=FILE, type="string", required=False))
        return nomad.ConfigSchemaResponse(spec=nomad.Spec(table=nomad.SpecObject(attributes={FILE: path})))

    async def set_config(self, request: nomad.SetConfigRequest, _context: Context) -> nomad.Empty:
        given = _unpack(request.msgpack_config) if request.msgpack_config else None
        path = given.get(FILE) if given else None
        self._inventory.use(Path(str(path)) if path else None)
        return nomad.Empty()

    async def fingerprint(self, _request: nomad.Empty, _context: Context) -> AsyncGenerator[nomad.FingerprintResponse]:
        shown: nomad.FingerprintResponse | None = None
        while True:
            await self._inventory.refresh()
            now = messages.fingerprint(self._inventory.devices)
            if now != shown:
                log.info("fingerprint.sent", devices=len(now.device_group))
                yield now
                shown = now
            await asyncio.sleep(self._seconds)

    async def reserve(self, request: nomad.ReserveRequest, context: Context) -> nomad.ReserveResponse:
        """Reserving twice is reserving once: nothing is kept here, Nomad knows who has what."""
        parts = list(request.device_ids)
        names = {messages.device_of(part) for part in parts}
        found = await self._find(names.pop()) if len(names) == 1 else None
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no device of this node has all of {', '.join(parts)}")
        device, source = found
        access = await asyncio.to_thread(source.kind.access, device)
        return messages.reservation(device, parts, access)

    async def _find(self, device: str) -> tuple[Device, Source] | None:
        """Return a device; a plugin that was just started looks for it first."""
        if self._inventory.find(device) is None:
            await self._inventory.refresh()
        return self._inventory.find(device)

    async def stats(self, request: nomad.StatsRequest, _context: Context) -> AsyncGenerator[nomad.StatsResponse]:
        seconds = max(request.collection_interval.ToTimedelta().total_seconds(), SHORTEST_INTERVAL)
        while True:
            known = await self._inventory.statistics()
            yield messages.statistics(self._inventory.devices, known, datetime.now(UTC))
            await asyncio.sleep(seconds)


def handlers(plugin: DevicePlugin) -> list[grpc.GenericRpcHandler]:
    """Return every service with its methods, by the names that go-plugin and Nomad know them by."""
    return [
        grpc.method_handlers_generic_handler(service, methods)
        for service, methods in (
            ("grpc.health.v1.Health", {"Check": _one(plugin.check, nomad.HealthCheckRequest)}),
            ("plugin.GRPCController", {"Shutdown": _one(plugin.shutdown, nomad.Empty)}),
            (
                "hashicorp.nomad.plugins.base.proto.BasePlugin",
                {
                    "PluginInfo": _one(plugin.plugin_info, nomad.Empty),
                    "ConfigSchema": _one(plugin.config_schema, nomad.Empty),
                    "SetConfig": _one(plugin.set_config, nomad.SetConfigRequest),
                },
            ),
            (
                "hashicorp.nomad.plugins.device.DevicePlugin",
                {
                    "Fingerprint": _stream(plugin.fingerprint, nomad.Empty),
                    "Reserve": _one(plugin.reserve, nomad.ReserveRequest),
                    "Stats": _stream(plugin.stats, nomad.StatsRequest),
                },
            ),
        )
    ]


def _to_bytes(message: Message) -> bytes:
    return message.SerializeToString()


def _one(method: Callable[..., object], request: type[Message]) -> "grpc.RpcMethodHandler[Any, Any]":
    return grpc.unary_unary_rpc_method_handler(
        method, request_deserializer=request.FromString, response_serializer=_to_bytes
    )


def _stream(method: Callable[..., object], request: type[Message]) -> "grpc.RpcMethodHandler[Any, Any]":
    return grpc.unary_stream_rpc_method_handler(
        method, request_deserializer=request.FromString, response_serializer=_to_bytes
    )
