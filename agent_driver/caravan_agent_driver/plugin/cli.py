"""The program `caravan-device-plugin`. Nomad starts it, talks to it over a socket of its own, and stops it."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import structlog
from grpc import aio

from caravan_agent_driver.devices.inventory import Inventory
from caravan_agent_driver.plugin.services import NAME, DevicePlugin, handlers
from caravan_common.config import LogSection
from caravan_common.logs import configure_logs

log = structlog.get_logger()

COOKIE = ("NOMAD_PLUGIN_MAGIC_COOKIE", "e4327c2e01eabfd75a8a67adb114fb34a757d57eee7728d857a8cec6e91a7255")
"""What Nomad puts in the environment of its plugins, so that a person who starts one is told better."""
HANDSHAKE = "1|2|unix|{socket}|grpc|"
"""Version of go-plugin's protocol, version of Nomad's, and where the plugin listens."""
REFRESH_SECONDS = 3.0
PARENT_SECONDS = 2.0
LAST_WORDS_SECONDS = 0.5


def main() -> None:
    """Run the plugin until Nomad asks it to stop, or is gone."""
    if os.environ.get(COOKIE[0]) != COOKIE[1]:
        sys.stderr.write(f"{NAME} is a plugin of Nomad: put it into plugin_dir, and Nomad starts it.\n")
        sys.exit(1)
    configure_logs(LogSection(), NAME)
    folder = Path(tempfile.mkdtemp(prefix=f"{NAME}-"))
    try:
        with asyncio.Runner() as runner:
            runner.run(_serve(folder / "plugin.sock"))
            shutil.rmtree(folder, ignore_errors=True)
            os._exit(0)  # a thread that waits for a driver must not keep the process
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _serve(socket: Path) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)  # Ctrl-C is for Nomad, which then stops its plugins
    server = aio.server()
    server.add_generic_rpc_handlers(handlers(DevicePlugin(Inventory(None), stop, REFRESH_SECONDS)))
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    print(HANDSHAKE.format(socket=socket), flush=True)  # noqa: T201 - this is how go-plugin learns where to connect
    log.info("plugin.serving", socket=str(socket))
    watching = loop.create_task(_until_orphaned(os.getppid(), stop))
    await stop.wait()
    watching.cancel()
    await server.stop(LAST_WORDS_SECONDS)


async def _until_orphaned(parent: int, stop: asyncio.Event) -> None:
    """Set the event when the process that started this one is gone: a Nomad that was killed stops nothing."""
    while os.getppid() == parent:  # noqa: ASYNC110 - nobody sets an event at such an end
        await asyncio.sleep(PARENT_SECONDS)
    log.warning("plugin.orphaned")
    stop.set()
