"""The three applications of a storage proxy, one for each listener, and how they run together."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import structlog
from aiohttp import web

from caravan_common.http import counted, problems
from caravan_common.metrics import metrics
from caravan_common.service import Listener, serving
from caravan_storage.api import client, manager
from caravan_storage.api.context import STORAGE, health
from caravan_storage.config import StorageConfig
from caravan_storage.wiring import Storage, build_storage

log = structlog.get_logger()

SERVICE = "storage"
THREADS = 32
READ_BUFFER_BYTES = 512 * 1024


def client_app(storage: Storage) -> web.Application:
    """Return the application that clients reach."""
    app = web.Application(middlewares=[counted(SERVICE), problems], handler_args={"read_bufsize": READ_BUFFER_BYTES})
    app[STORAGE] = storage
    app.add_routes([*client.routes, web.get("/health", health)])
    app.on_response_prepare.append(client.add_common_headers)
    return app


def manager_app(storage: Storage) -> web.Application:
    """Return the application that managers reach."""
    app = web.Application(middlewares=[counted(SERVICE), problems, manager.authorized])
    app[STORAGE] = storage
    app.add_routes([*manager.routes, web.get("/health", health)])
    return app


def metrics_app() -> web.Application:
    """Return the application that Prometheus reaches."""
    app = web.Application(middlewares=[problems])
    app.add_routes([web.get("/metrics", metrics), web.get("/health", health)])
    return app


async def serve(config: StorageConfig, stop: asyncio.Event) -> None:
    """Run a storage proxy until ``stop`` is set. Raises ConfigurationError."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="files"))
    storage = build_storage(config)
    listeners = (
        Listener(client_app(storage), config.client_api.host, config.client_api.port),
        Listener(manager_app(storage), config.manager_api.host, config.manager_api.port),
        Listener(metrics_app(), config.metrics.host, config.metrics.port),
    )
    async with serving(*listeners) as addresses, asyncio.TaskGroup() as tasks:
        sweeping = tasks.create_task(storage.sweeper.run())
        log.info("storage.started", name=config.name, listens=addresses, volumes=list(storage.volumes))
        await stop.wait()
        sweeping.cancel()
    log.info("storage.stopped", name=config.name)
