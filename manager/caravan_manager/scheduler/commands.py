"""The scheduler's commands of `caravan-manager`: plan kept passes again, export them, try policies on traces."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, TypeVar

import click

from caravan_common.config import load_config
from caravan_common.errors import InvalidParametersError
from caravan_manager.config import ManagerConfig
from caravan_manager.db.engine import Begin, Database, make_engine
from caravan_manager.scheduler.decisions import repository
from caravan_manager.scheduler.decisions.packed import PackedPass
from caravan_manager.scheduler.decisions.replay import replay
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.scheduler.simulation import recording, slurm
from caravan_manager.scheduler.simulation.measures import course_of, figures_of
from caravan_manager.scheduler.simulation.plot import draw
from caravan_manager.scheduler.simulation.policy import load_policy
from caravan_manager.scheduler.simulation.reading import read_nodes, read_trace
from caravan_manager.scheduler.simulation.report import side_by_side
from caravan_manager.scheduler.simulation.simulator import Rules, Run, simulate
from caravan_manager.scheduler.simulation.trace import Trace
from caravan_manager.sessions.durations import parse_duration, parse_moment

POSITIVE = click.FloatRange(min=0, min_open=True)
FILE = click.Path(path_type=Path, dir_okay=False)
CONFIG = click.option(
    "--config", "path", type=FILE, required=True, envvar="CARAVAN_MANAGER_CONFIG", show_envvar=True,
    help="The manager's TOML file.",
)  # fmt: skip
SINCE = click.option("--since", help="From this moment on: 2026-11-21T09:00, or -2h for two hours ago.")
HEADER = f"{'pass':>8}  {'taken at':<26} {'pending':>7} {'placed':>7} {'starts':>7} {'waits':>7} {'ends':>7} {'ms':>8}"
PROGRESS_SECONDS = 2.0

Result = TypeVar("Result")


@click.command("replay")
@CONFIG
@SINCE
@click.argument("number", metavar="[PASS]", type=int, required=False)
def replay_command(path: Path, since: str | None, number: int | None) -> None:
    """Plan kept passes again: one, those since a moment, or all. Exit code 1 if one decides otherwise than it did."""
    if not asyncio.run(_on_database(path, lambda begin: _replay(begin, _moment(since), number))):
        sys.exit(1)


async def _replay(begin: Begin, since: datetime | None, number: int | None) -> bool:
    async with begin() as tx:
        numbers = await repository.list_numbers(tx, since) if number is None else [number]
    click.echo(HEADER + "  decisions")
    differing = 0
    for one in numbers:
        async with begin() as tx:
            kept = await repository.get(tx, one)
        again = replay(kept, find_plugins().for_itself(rest_seconds=0))
        differing += again.difference is not None
        click.echo(_line(one, kept, again.seconds) + f"  {'the same' if again.difference is None else 'OTHERS'}")
        if again.difference is not None and differing == 1:
            click.echo(f"          {again.difference}")
    click.echo(f"{len(numbers)} passes, {differing} decided otherwise")
    return not differing


def _line(number: int, kept: PackedPass, seconds: float) -> str:
    counts = (kept.pending, kept.placed, kept.placements, kept.waits, kept.cancellations)
    numbers = " ".join(f"{count:>7}" for count in counts)
    return f"{number:>8}  {kept.taken_at:%Y-%m-%dT%H:%M:%S.%f} {numbers} {seconds * 1000:>8.1f}"


@click.command("export-trace")
@CONFIG
@SINCE
@click.argument("output", type=click.File("wb", lazy=True))
def export_command(path: Path, since: str | None, output: BinaryIO) -> None:
    """Write the sessions of kept passes, and how long each ran, as a trace for `simulate`; `-` is standard output."""
    trace, passes = asyncio.run(_on_database(path, lambda begin: _recorded(begin, _moment(since))))
    output.write(recording.write(trace))
    told = f"{output.name}: {len(trace.arrivals)} sessions from {passes} passes, {trace.left_out} left out"
    click.echo(told, err=True)


async def _recorded(begin: Begin, since: datetime | None) -> tuple[Trace, int]:
    made = recording.Recording()
    async with begin() as tx:
        numbers = await repository.list_numbers(tx, since)
    for number in numbers:
        async with begin() as tx:
            kept = await repository.get(tx, number)
        with suppress(ValueError):  # another version of Caravan kept it, in another form
            made.add(kept.unpack_snapshot())
    async with begin() as tx:
        return made.trace(await repository.list_stays(tx, made.sessions)), len(numbers)


@click.command("simulate")
@click.option("--trace", "path", type=FILE, required=True, help="A recording, sacct's output, or openb's pods.")
@click.option("--policy", "policies", type=FILE, multiple=True, required=True, help="A TOML file; more to compare.")
@click.option("--nodes", "nodes_path", type=FILE, help="CSV of nodes in openb's form, where the trace has none.")
@click.option("--every", default="0", help="The least time between passes: 0 for one after each event.")
@click.option("--faster", type=POSITIVE, default=1, help="Let sessions come N times as fast.")
@click.option("--gpu-slot", default=slurm.SLOT, help="What Slurm's gres/gpu is.")
@click.option("--plot", type=FILE, help="Write a picture (SVG) here.")
def simulate_command(
    path: Path,
    policies: tuple[Path, ...],
    nodes_path: Path | None,
    every: str,
    faster: float,
    gpu_slot: str,
    plot: Path | None,
) -> None:
    """Run a trace under policies, by the real planner, and print waits, utilisation and fairness side by side."""
    plugins = find_plugins().for_itself(rest_seconds=0)  # a minute here is months there
    chosen = [load_policy(policy, plugins) for policy in policies]
    trace = read_trace(path, gpu_slot).faster(faster)
    if not trace.arrivals:
        raise InvalidParametersError(f"{path} has no session that can be simulated")
    given = trace.nodes if nodes_path is None else read_nodes(nodes_path)
    groups = {arrival.session.scaling_group for arrival in trace.arrivals}
    runs: list[Run] = []
    for policy in chosen:
        nodes = policy.nodes_for(given)
        if not nodes:
            raise InvalidParametersError("no nodes: name a list with --nodes, or write [[nodes]] in the policy")
        rules = Rules(policy.name, nodes, policy.groups_for(trace.groups, groups), parse_duration(every))
        runs.append(simulate(trace, rules, plugins, _Progress(policy.name)))
    if trace.left_out:
        click.echo(f"{trace.left_out} sessions are left out: the trace does not say for how long they ran")
    for line in side_by_side([(run.rules.name, figures_of(run)) for run in runs]):
        click.echo(line)
    if plot is not None:
        plot.write_text(draw([(run.rules.name, course_of(run)) for run in runs]), encoding="utf-8")


class _Progress:
    """Says every two seconds how far a run is."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._told_at = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        if time.monotonic() - self._told_at >= PROGRESS_SECONDS:
            self._told_at = time.monotonic()
            end = "\r" if sys.stderr.isatty() else "\n"
            click.echo(f"{self._name}: {done} of {total} sessions{end}", err=True, nl=False)


async def _on_database(path: Path, act: Callable[[Begin], Awaitable[Result]]) -> Result:
    database = Database(make_engine(load_config(ManagerConfig, path).database))
    try:
        return await act(database)
    finally:
        await database.close()


def _moment(since: str | None) -> datetime | None:
    return None if since is None else parse_moment(since, datetime.now(UTC))
