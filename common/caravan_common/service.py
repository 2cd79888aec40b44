"""How a process runs: one or more aiohttp applications, until a signal asks it to stop."""

import asyncio
import signal
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
import uvloop
from aiohttp import web

log = structlog.get_logger()

CANCEL_AGAIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Listener:
    """An application and where it listens: TCP ``host`` and ``port`` (``tls`` encrypts), or a Unix socket ``path``."""

    app: web.Application
    host: str = "127.0.0.1"
    port: int = 0
    path: str | None = None
    tls: ssl.SSLContext | None = None


@asynccontextmanager
async def serving(*listeners: Listener) -> AsyncGenerator[list[str], None]:
    """Serve the listeners while the block runs; gives the addresses that were bound (port 0 means any free one)."""
    runners: list[web.AppRunner] = []
    addresses: list[str] = []
    try:
        for listener in listeners:
            runner = web.AppRunner(listener.app, access_log=None, shutdown_timeout=5)
            await runner.setup()
            runners.append(runner)
            site: web.BaseSite = (
                web.UnixSite(runner, listener.path)
                if listener.path is not None
                else web.TCPSite(runner, listener.host, listener.port, reuse_port=False, ssl_context=listener.tls)
            )
            await site.start()
            addresses.append(site.name if listener.path else "{}:{}".format(*runner.addresses[0][:2]))
        yield addresses
    finally:
        for runner in reversed(runners):
            await runner.cleanup()


async def until_stopped(body: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run ``body`` with an event that SIGTERM or SIGINT sets."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await body(stop)


async def end(tasks: Iterable["asyncio.Task[None]"]) -> None:
    """Cancel tasks until they are over: under Python 3.11 a cancellation can get lost in a library's own time limit."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)


async def to_its_end(work: Coroutine[object, object, None]) -> None:
    """Do what must not be left half done, or cannot be stopped because a thread does it, however often the caller is
    cancelled meanwhile: that takes effect afterwards, so whoever holds a lock around the work lets nobody in before.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as err:
            cancelled = err
    task.result()
    if cancelled is not None:
        raise cancelled


def run(main: Coroutine[object, object, None]) -> None:
    """Run a process's main coroutine on uvloop."""
    uvloop.run(main)
