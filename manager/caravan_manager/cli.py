"""The command `caravan-manager`: serve, migrate the database, make the first administrator."""

import asyncio
import socket
import sys
from pathlib import Path
from typing import TypeVar

import click
import orjson
import structlog
import uvloop

from caravan_common.config import load_config
from caravan_common.errors import CaravanError
from caravan_common.logs import configure_logs
from caravan_common.service import Listener, end, run, serving, until_stopped
from caravan_manager.api.origin import TrustedProxies
from caravan_manager.api.rest.information import ManagerIdentity
from caravan_manager.app import make_api, make_internal
from caravan_manager.bootstrap import Seed, bootstrap
from caravan_manager.config import BootstrapConfig, ManagerConfig
from caravan_manager.db.migrate import upgrade
from caravan_manager.people.model import OPERATOR
from caravan_manager.scheduler.commands import CONFIG, export_command, replay_command, simulate_command
from caravan_manager.scheduler.explaining.answer import Told
from caravan_manager.scheduler.explaining.page import page_of
from caravan_manager.scheduler.warm import warm_up
from caravan_manager.wiring import Wired, wire

log = structlog.get_logger()

Config = TypeVar("Config", BootstrapConfig, ManagerConfig)


@click.group()
def cli() -> None:
    """Caravan's manager."""


@cli.command()
@CONFIG
def serve(path: Path) -> None:
    """Serve the API, and run the scheduler and the loops beside it."""
    run(_serve(_configured(ManagerConfig, path)))


@cli.command()
@CONFIG
def migrate(path: Path) -> None:
    """Bring the database to the newest schema. Safe to run at any time, by several managers at once."""
    uvloop.run(upgrade(_configured(ManagerConfig, path).database))
    log.info("database.migrated")


@cli.command("bootstrap")
@CONFIG
@click.option("--seed", type=click.Path(path_type=Path), required=True, help="TOML: first administrator and images.")
def bootstrap_command(path: Path, seed: Path) -> None:
    """Make the default domain, project and policies, the first administrator and the images; what exists stays."""
    uvloop.run(bootstrap(_configured(BootstrapConfig, path), load_config(Seed, seed)))


@cli.command("explain")
@CONFIG
@click.argument("session")
@click.option("--json", "as_json", is_flag=True, help="The answer of GET /session/{session}/explain.")
def explain_command(path: Path, session: str, *, as_json: bool) -> None:
    """Say why SESSION, an ID or a name, waits, what would help, and when it starts."""
    told = uvloop.run(_explain(_configured(ManagerConfig, path), session))
    click.echo(orjson.dumps(told.to_json(), option=orjson.OPT_INDENT_2).decode() if as_json else page_of(told))


for command in (replay_command, export_command, simulate_command):
    cli.add_command(command)


def _configured(model: type[Config], path: Path) -> Config:
    config = load_config(model, path)
    configure_logs(config.log, "manager")
    return config


async def _explain(config: ManagerConfig, session: str) -> Told:
    wired = wire(config)
    try:
        return await wired.services.explanations.of_anybodys(OPERATOR, session)
    finally:
        await wired.close()


async def _serve(config: ManagerConfig) -> None:
    wired = wire(config)
    try:
        await until_stopped(lambda stop: _run(config, wired, stop))
    finally:
        await wired.close()


async def _run(config: ManagerConfig, wired: Wired, stop: asyncio.Event) -> None:
    identity = ManagerIdentity(
        id=f"i-{socket.gethostname()}", address=f"{config.api.host}:{config.api.port}", version=config.manager_version
    )
    proxies = TrustedProxies(config.api.trusted_proxies)
    api = Listener(make_api(wired.services, identity, proxies), config.api.host, config.api.port)
    internal = Listener(make_internal(wired.catalog), config.api.internal_host, config.api.internal_port)
    async with serving(api, internal) as addresses, asyncio.TaskGroup() as group:
        loops = [wired.scheduler.run, wired.sweeper.run, wired.agent_watcher.run, wired.nomad_watcher.run]
        loops.append(wired.decisions.run)
        runs = [*loops, warm_up, wired.news_exchange.send, wired.news_exchange.hear, wired.services.limits.run]
        tasks = [group.create_task(run()) for run in runs]
        log.info("manager.serving", addresses=addresses)
        await stop.wait()
        log.info("manager.stopping")
        await end(tasks)


def main() -> None:
    """Run the command; an error that an operator can mend is one sentence and exit code 1."""
    try:
        cli()
    except CaravanError as err:
        click.echo(f"caravan-manager: {err}", err=True)
        sys.exit(1)
