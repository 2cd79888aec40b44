"""The agent's life: load what an earlier one left, serve, run the loops, say goodbye."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from caravan_common.service import serving, until_stopped

from caravan_agent_driver.config import AgentConfig
from caravan_agent_driver.heartbeat import beat, say_goodbye
from caravan_agent_driver.runtime import install
from caravan_agent_driver.tasks import Background
from caravan_agent_driver.wiring import Agent, make_agent

log = structlog.get_logger()


def _lay_out(state_dir: Path, socket: Path) -> None:
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    state_dir.chmod(0o700)
    socket.parent.mkdir(parents=True, exist_ok=True)
    install(state_dir)


@asynccontextmanager
async def running_agent(config: AgentConfig) -> AsyncGenerator[list[str]]:
    """Run an agent while the block runs; gives the addresses of its listeners (API, metrics, hooks)."""
    await asyncio.to_thread(_lay_out, config.state_dir, config.socket)
    async with Background() as background:
        agent = make_agent(config, background)
        try:
            async with _loops(agent, background), serving(*agent.listeners) as addresses:
                await asyncio.to_thread(config.socket.chmod, 0o600)
                yield addresses
        finally:
            await agent.engine.close()
            await agent.stream.close()


@asynccontextmanager
async def _loops(agent: Agent, background: Background) -> AsyncGenerator[None]:
    """Load the store, go on with what is in it, and run the loops around the block."""
    await agent.store.load()
    await agent.preparation.resume()
    limits = agent.config.limits
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(agent.reporter.run()),
            group.create_task(agent.watcher.run()),
            group.create_task(agent.sweeper.run()),
            group.create_task(beat(agent.node, agent.stream, limits.heartbeat_seconds)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
    await say_goodbye(agent.node, agent.stream)


async def serve(config: AgentConfig) -> None:
    """Run the agent until it is asked to stop. Kernels go on without it."""

    async def body(stop: asyncio.Event) -> None:
        async with running_agent(config) as addresses:
            log.info("agent.serving", addresses=addresses, node=config.node_name)
            await stop.wait()
        log.info("agent.stopped")

    await until_stopped(body)
