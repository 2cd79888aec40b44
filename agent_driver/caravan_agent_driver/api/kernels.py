"""The manager's door: kernels are announced, listed, read about and cleaned. See `caravan_common.wire.agent`."""

from uuid import UUID

from aiohttp import web

from caravan_agent_driver.api.bearer import bearer
from caravan_agent_driver.kernels.cleanup import Cleanup
from caravan_agent_driver.kernels.logs import KernelLogs
from caravan_agent_driver.kernels.model import Phase
from caravan_agent_driver.kernels.preparation import Preparation
from caravan_agent_driver.kernels.store import KernelStore
from caravan_agent_driver.kernels.watcher import Watcher
from caravan_common.errors import InvalidParametersError, NotFoundError
from caravan_common.http import counted, json_response, problems
from caravan_common.wire.agent import KernelList, KernelSpec, Release

STORE = web.AppKey("store", KernelStore)
PREPARATION = web.AppKey("preparation", Preparation)
CLEANUP = web.AppKey("cleanup", Cleanup)
LOGS = web.AppKey("logs", KernelLogs)
WATCHER = web.AppKey("watcher", Watcher)

KERNEL = "{kernel:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}}"
LONGEST_WAIT_SECONDS = 60
"""How long the manager may have its announcement wait for the preparation."""
LAST_LINES_SECONDS = 5.0
"""How long a reader waits for the rest of the log of a container that just ended."""
LARGEST_BODY = 16 * 1024 * 1024

routes = web.RouteTableDef()


class NoSuchKernelError(NotFoundError):
    """The agent holds nothing of the kernel."""

    object_name = "kernel"


def kernel_of(request: web.Request) -> UUID:
    """Return the kernel in the request's path."""
    return UUID(request.match_info["kernel"])


@routes.put(f"/kernels/{KERNEL}")
async def announce_kernel(request: web.Request) -> web.Response:
    spec = KernelSpec.model_validate_json(await request.read())
    if spec.kernel != kernel_of(request):
        raise InvalidParametersError("the specification is of another kernel than the path")
    await request.app[PREPARATION].request(spec)
    wait = request.query.get("wait")
    if wait is None:
        return web.Response(status=202)
    await request.app[PREPARATION].finish(spec.kernel, _seconds(wait))
    return web.Response(status=204)


def _seconds(text: str) -> float:
    if not text.isdecimal() or not 1 <= int(text) <= LONGEST_WAIT_SECONDS:
        raise InvalidParametersError(f"wait must be a number of seconds from 1 to {LONGEST_WAIT_SECONDS}")
    return float(text)


@routes.post(f"/kernels/{KERNEL}/release")
async def release_kernel(request: web.Request) -> web.Response:
    told = Release.model_validate_json(await request.read() or b"{}")
    await request.app[PREPARATION].release(kernel_of(request), told)
    return web.Response(status=204)


@routes.delete(f"/kernels/{KERNEL}")
async def clean_kernel(request: web.Request) -> web.Response:
    await request.app[CLEANUP].clean(kernel_of(request), "removed before it ran")
    return web.Response(status=204)


@routes.get(f"/kernels/{KERNEL}/logs")
async def read_logs(request: web.Request) -> web.Response:
    kernel = kernel_of(request)
    known = request.app[STORE].find(kernel)
    if known is not None and known.phase is Phase.TERMINATED:
        await request.app[LOGS].finished(kernel, LAST_LINES_SECONDS)
    content = await request.app[LOGS].read(kernel)
    if content is None:
        raise NoSuchKernelError("there is no log of this kernel")
    return web.Response(body=content, content_type="text/plain", charset="utf-8")


@routes.get("/kernels")
async def list_kernels(request: web.Request) -> web.Response:
    return json_response(KernelList(kernels=[k.wire() for k in request.app[STORE]]).model_dump(mode="json"))


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    if not request.app[WATCHER].connected:
        return json_response({"status": "Docker's events are not being read"}, status=503)
    return json_response({"status": "ok"})


def manager_door(
    token: str, store: KernelStore, preparation: Preparation, cleanup: Cleanup, logs: KernelLogs, watcher: Watcher
) -> web.Application:
    """Return the application of the TCP listener."""
    app = web.Application(
        middlewares=[counted("agent"), problems, bearer(token)],
        client_max_size=LARGEST_BODY,
    )
    app[STORE], app[PREPARATION], app[CLEANUP] = store, preparation, cleanup
    app[LOGS], app[WATCHER] = logs, watcher
    app.add_routes(routes)
    return app
