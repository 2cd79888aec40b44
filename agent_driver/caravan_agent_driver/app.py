"""The agent's life: load what an earlier one left, serve, run the loops, say goodbye."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from caravan_agent_driver.config import AgentConfig
from caravan_agent_driver.heartbeat import beat, say_goodbye
from caravan_agent_driver.runtime import install
from caravan_agent_driver.tasks import Background
from caravan_agent_driver.wiring import Agent, make_agent
from caravan_common.errors import ConfigurationError
from caravan_common.service import end, serving, until_stopped

log = structlog.get_logger()

DRAIN_SECONDS = 1.0


def _lay_out(state_dir: Path, hooks: Path) -> None:
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    state_dir.chmod(0o700)
    hooks.parent.mkdir(parents=True, exist_ok=True)
    install(state_dir)
    _take_over(hooks)


def _take_over(path: Path) -> None:
    """Remove the socket that an earlier agent left. Raises ConfigurationError when that agent still runs."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            path.unlink()
            return
    raise ConfigurationError(f"another agent runs already: it answers at {path}")


@asynccontextmanager
async def running_agent(config: AgentConfig) -> AsyncGenerator[list[str]]:
    """Run an agent while the block runs; gives the addresses of its listeners (API, metrics, hooks)."""
    await asyncio.to_thread(_lay_out, config.state_dir, config.socket)
    background = Background()
    agent = make_agent(config, background)
    try:
        async with background, _loops(agent), serving(*agent.listeners) as addresses:
            await asyncio.to_thread(config.socket.chmod, 0o600)
            yield addresses
    finally:
        await agent.store.flush()
        await agent.engine.close()
        await agent.stream.close()


@asynccontextmanager
async def _loops(agent: Agent) -> AsyncGenerator[None]:
    """Look for accelerators, load the store, go on with what is in it, and run the loops around the block."""
    await agent.inventory.refresh()
    await agent.store.load()
    await agent.preparation.resume()
    limits = agent.config.limits
    async with asyncio.TaskGroup() as group:
        reporting = group.create_task(agent.reporter.run())
        tasks = [
            group.create_task(agent.watcher.run()),
            group.create_task(agent.sweeper.run()),
            group.create_task(beat(agent.node, agent.stream, limits.heartbeat_seconds)),
        ]
        try:
            yield
        finally:
            await end(tasks)
            await agent.reporter.drain(DRAIN_SECONDS)
            await end([reporting])
    await say_goodbye(agent.node, agent.stream)


async def serve(config: AgentConfig) -> None:
    """Run the agent until it is asked to stop. Kernels go on without it."""

    async def body(stop: asyncio.Event) -> None:
        async with running_agent(config) as addresses:
            log.info("agent.serving", addresses=addresses, node=config.node_name)
            await stop.wait()
        log.info("agent.stopped")

    await until_stopped(body)
