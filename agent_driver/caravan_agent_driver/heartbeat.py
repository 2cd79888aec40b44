"""Saying every few seconds that the node is there. A node whose Docker is away is silent: it can take no kernels."""

import asyncio

import structlog

from caravan_agent_driver.docker.engine import DockerError
from caravan_agent_driver.events import NotSentError, Sink
from caravan_agent_driver.node import Node

log = structlog.get_logger()


async def beat(node: Node, sink: Sink, seconds: float) -> None:
    """Send heartbeats until cancelled."""
    while True:
        try:
            await sink.send(await node.heartbeat())
        except (NotSentError, DockerError) as err:
            log.warning("heartbeat.failed", error=str(err))
        await asyncio.sleep(seconds)


async def say_goodbye(node: Node, sink: Sink) -> None:
    """Tell the manager that the agent stops; the kernels go on."""
    try:
        await sink.send(node.stopped())
    except NotSentError as err:
        log.warning("goodbye.failed", error=str(err))
