"""The command line of the storage proxy."""

import sys
from pathlib import Path

import click

from caravan_common.config import load_config
from caravan_common.errors import ConfigurationError
from caravan_common.logs import configure_logs
from caravan_common.service import run, until_stopped
from caravan_storage.app import serve as serve_storage
from caravan_storage.config import StorageConfig


@click.group()
def main() -> None:
    """Caravan's storage proxy: virtual folders on real volumes."""


@main.command()
@click.option("--config", "file", type=click.Path(path_type=Path), required=True, help="The TOML file to read.")
def serve(file: Path) -> None:
    """Serve clients and managers until SIGTERM or SIGINT."""
    try:
        config = load_config(StorageConfig, file)
        configure_logs(config.log, f"storage-{config.name}")
        run(until_stopped(lambda stop: serve_storage(config, stop)))
    except ConfigurationError as err:
        click.echo(str(err), err=True)
        sys.exit(1)
    except OSError as err:
        click.echo(f"the storage proxy cannot run: {err.strerror or err}", err=True)
        sys.exit(1)
