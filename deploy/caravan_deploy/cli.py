"""The command `caravan-stack`: one stack on this machine, up and down."""

import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import click

from caravan_common.errors import CaravanError
from caravan_deploy.client.environment import ensure_client
from caravan_deploy.client.main_job import Client, run_main_job
from caravan_deploy.down import clean, take_down
from caravan_deploy.layout import REPOSITORY, Ports, load_layout
from caravan_deploy.platform.image import ensure_image
from caravan_deploy.programs import find_programs
from caravan_deploy.progress import say
from caravan_deploy.report import show_admin, show_next_steps, show_status
from caravan_deploy.up import check_ports, start_platform, start_servers

PORT_NAMES = [field.name for field in fields(Ports)]


def _port(_context: click.Context, _parameter: click.Parameter, given: Sequence[str]) -> dict[str, int]:
    chosen: dict[str, int] = {}
    for pair in given:
        name, _, number = pair.partition("=")
        if name not in PORT_NAMES or not number.isdecimal() or not 0 < int(number) < 65536:
            raise click.BadParameter(f"{pair!r} is not NAME=NUMBER with one of {', '.join(PORT_NAMES)}")
        chosen[name] = int(number)
    return chosen


@click.group()
@click.option("--root", type=click.Path(path_type=Path), default=REPOSITORY / ".caravan", help="Where the stack lies.")
@click.pass_context
def stack(context: click.Context, root: Path) -> None:
    """Run Caravan on this machine: Consul, Vault and Nomad, and on Nomad the rest."""
    context.obj = root


@stack.command()
@click.option("--port", "ports", multiple=True, callback=_port, help="NAME=NUMBER: another port than the usual one.")
@click.option("--main-job/--no-main-job", default=True, help="Run the main job at the end.")
@click.pass_obj
def up(root: Path, ports: dict[str, int], main_job: bool) -> None:
    """Start the stack, or what of it is missing, and run the main job."""
    layout = load_layout(root, ports)
    began = time.monotonic()
    check_ports(layout)
    first_time = not layout.admin_file.exists()
    servers = start_servers(layout, find_programs(layout.checkout))
    admin = start_platform(layout, servers, ensure_image())
    if first_time:
        show_admin(layout, admin)
    client = ensure_client()
    if main_job:
        say("The main job, typed with the official client:")
        result = run_main_job(Client(client, layout, admin, layout.client_home), layout.checkout)
        say(f"result.json, which the container computed:\n{result.strip()}")
    show_next_steps(layout)
    say(f"({time.monotonic() - began:.0f} s)")


@stack.command("status")
@click.pass_obj
def status_command(root: Path) -> None:
    """Show what runs, where, and how it does; exit status 1 when something does not."""
    if not show_status(load_layout(root, {})):
        sys.exit(1)


@stack.command()
@click.pass_obj
def down(root: Path) -> None:
    """Stop the stack and keep its data."""
    take_down(load_layout(root, {}))


@stack.command("clean")
@click.pass_obj
def clean_command(root: Path) -> None:
    """Stop the stack and remove its data."""
    clean(load_layout(root, {}))


def main() -> None:
    """Run the command; what stops it is one sentence and exit status 1."""
    try:
        stack()
    except CaravanError as error:
        click.echo(f"caravan-stack: {error}", err=True)
        sys.exit(1)
