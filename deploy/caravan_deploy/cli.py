"""The command `caravan-stack`: one stack on this machine, up and down."""

import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import click

from caravan_common.errors import CaravanError
from caravan_deploy.addresses import checked_address
from caravan_deploy.client.environment import ensure_client
from caravan_deploy.client.main_job import Client, run_main_job
from caravan_deploy.down import clean, take_down
from caravan_deploy.errors import SetupError
from caravan_deploy.layout import NOWHERE, REPOSITORY, Layout, Ports, load_layout
from caravan_deploy.nodes.invitation import expel, invite
from caravan_deploy.nodes.joining import accept, join
from caravan_deploy.nodes.leaving import sessions_here, tell_farewell
from caravan_deploy.nodes.token import read_token
from caravan_deploy.platform.image import ensure_image
from caravan_deploy.programs import CONSUL, NOMAD, VAULT, find_program, find_programs
from caravan_deploy.progress import say
from caravan_deploy.report import show_admin, show_next_steps, show_status
from caravan_deploy.servers.consul import consul_daemon
from caravan_deploy.servers.devices import choose_devices
from caravan_deploy.servers.nomad import nomad_daemon
from caravan_deploy.servers.tokens import load_tokens
from caravan_deploy.servers.vault import vault_daemon
from caravan_deploy.up import bound_to, check_ports, connect, start_platform, start_servers

DEVICES = click.option(
    "--devices",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Copy this file as the machine's device file: its accelerators, fake ones perhaps.",
)
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
@click.option("--bind", metavar="ADDRESS", help="Let other machines join, at this address of this machine.")
@DEVICES
@click.option("--main-job/--no-main-job", default=True, help="Run the main job at the end.")
@click.pass_obj
def up(root: Path, ports: dict[str, int], bind: str | None, devices: Path | None, main_job: bool) -> None:
    """Start the stack, or what of it is missing, and run the main job."""
    layout = _server(root, ports)
    if bind is not None:
        layout = bound_to(layout, checked_address(bind))
    began = time.monotonic()
    check_ports(layout)
    if devices is not None:
        choose_devices(layout, devices)
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


@stack.command("invite")
@click.argument("node")
@click.pass_obj
def invite_command(root: Path, node: str) -> None:
    """Print what the machine NODE joins with: good for one hour and one use."""
    layout = _server(root, {})
    tokens = load_tokens(layout)
    text = invite(layout, connect(layout, tokens), tokens, node)
    click.echo(f"On {node}, within the hour:\n\n    make join TOKEN={text}\n")


@stack.command("expel")
@click.argument("node")
@click.pass_obj
def expel_command(root: Path, node: str) -> None:
    """Take back the credentials of the machine NODE and forget it."""
    layout = _server(root, {})
    expel(layout, connect(layout, load_tokens(layout)), node)
    say(f"{node} is forgotten, and its credentials are worth nothing.")


@stack.command("join")
@click.option("--token", envvar="CARAVAN_JOIN_TOKEN", help="What `make invite` printed; not needed to come back.")
@click.option("--bind", metavar="ADDRESS", help="This machine's address; by default the one that leads to the server.")
@DEVICES
@click.pass_obj
def join_command(root: Path, token: str | None, bind: str | None, devices: Path | None) -> None:
    """Make this machine a node of the stack that the token is from, or start it again."""
    layout = load_layout(root, {})
    began = time.monotonic()
    if layout.saved.exists() and not layout.has_joined:
        raise SetupError(f"this machine is a stack's server ({layout.root}): `make clean` first.")
    programs = {pin.name: find_program(pin, layout.checkout) for pin in (CONSUL, VAULT, NOMAD)}
    if token:
        layout = accept(layout, read_token(token), bind)
    if devices is not None:
        choose_devices(layout, devices)
    join(layout, programs)
    say(f"{layout.node_name} is a node of {layout.name} ({time.monotonic() - began:.0f} s). make leave takes it out.")


@stack.command("leave")
@click.option("--force", is_flag=True, help="Although sessions run here: they end.")
@click.pass_obj
def leave_command(root: Path, force: bool) -> None:
    """Take this machine out of the stack that it joined, and remove what it had of it."""
    layout = load_layout(root, {})
    if not layout.has_joined:
        raise SetupError("this machine joined no stack.")
    if not force and (count := sessions_here(layout)):
        raise SetupError(f"{count} sessions run on this machine; wait for them, or `caravan-stack leave --force`.")
    clean(layout)
    tell_farewell(layout)


@stack.command(hidden=True)
@click.pass_obj
def reload(root: Path) -> None:
    """Have the servers read this machine's certificate again; its Vault agent says so after a renewal."""
    layout = load_layout(root, {})
    for daemon in (consul_daemon, nomad_daemon, vault_daemon):
        daemon(layout, NOWHERE).reload()


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


def _server(root: Path, ports: dict[str, int]) -> Layout:
    layout = load_layout(root, ports)
    if layout.has_joined:
        raise SetupError(f"this machine is a node of {layout.name}, whose server is {layout.server}: do that there.")
    return layout


def main() -> None:
    """Run the command; what stops it is one sentence and exit status 1."""
    try:
        stack()
    except CaravanError as error:
        click.echo(f"caravan-stack: {error}", err=True)
        sys.exit(1)
