"""The hooks' door: a job's poststop task on this node. Only root can open the socket."""

from aiohttp import web

from caravan_agent_driver.api.kernels import CLEANUP, KERNEL, kernel_of
from caravan_agent_driver.kernels.cleanup import Cleanup
from caravan_common.http import counted, problems

routes = web.RouteTableDef()


@routes.post(f"/hooks/cleanup/{KERNEL}")
async def cleanup(request: web.Request) -> web.Response:
    await request.app[CLEANUP].clean(kernel_of(request), "the container was never started")
    return web.Response(status=204)


def hooks_door(cleanup: Cleanup) -> web.Application:
    """Return the application of the Unix socket."""
    app = web.Application(middlewares=[counted("agent-hooks"), problems], client_max_size=64 * 1024)
    app[CLEANUP] = cleanup
    app.add_routes(routes)
    return app
