"""The program `caravan-agent`."""

import os
import sys
from pathlib import Path

import click

from caravan_agent_driver.app import serve as serve_agent
from caravan_agent_driver.config import AgentConfig
from caravan_common.config import load_config
from caravan_common.errors import CaravanError
from caravan_common.logs import configure_logs
from caravan_common.service import run


@click.group()
def main() -> None:
    """The agent on each Nomad client."""


@main.command()
@click.option("--config", "path", type=click.Path(path_type=Path), required=True, help="agent.toml")
def serve(path: Path) -> None:
    """Run the agent until SIGTERM."""
    try:
        config = load_config(AgentConfig, path)
        os.umask(0o077)  # state and socket are root's; what others may read is given its mode by name
        configure_logs(config.log, "agent")
        run(serve_agent(config))
    except CaravanError as err:
        click.echo(f"caravan-agent: {err}", err=True)
        sys.exit(1)
