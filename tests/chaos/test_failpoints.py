"""The manager and the agent die at each named place on a session's way, and nothing is lost or left behind.

Once at each place alone; and then, ROUNDS times, at every place on the way of the same few sessions: a successor dies
at the next place that it passes, and so on.
"""

import importlib
import pkgutil
import re
import time
from functools import partial

import pytest
from tests.chaos.conftest import ROUNDS, Chaos
from tests.chaos.user import POLL_SECONDS, Journey

import caravan_agent_driver
import caravan_manager
from caravan_common.failpoints import failpoint_names

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(1800)]

for room in (caravan_manager, caravan_agent_driver):
    for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
        if ".migrations" not in module.name:
            importlib.import_module(module.name)

AT_START = re.compile(r"leader\.|manager\.secrets\.|manager\.sweep\.(nomad|agent)-list\.")
"""A manager passes these when it is started, the leader's first of all."""
ELSEWHERE = re.compile(
    r"manager\.(refuse|waits|cancel|time-out|requeue|release|restart|promise|preempt|warn|illness)\."
    r"|manager\.launch\.nomad-stop\."
    r"|manager\.sweep\.(orphan|vanished|late|missed|stranded|displaced|agent-forget)\."
    r"|agent\.(cleanup\.docker-kill|release\.file-write)\."
)
"""These are passed by gangs, with accelerators, or when something else went wrong: tests/integration kills there."""
LOOPS = re.compile(r"leader\.|manager\.(sweep|heartbeat|events|secrets)\.|agent\.(watcher|events)\.")
"""These are passed without a journey, too: sooner or later."""
BACKGROUND_SECONDS = 150.0
"""How long that may take."""
JOURNEYS = 3
"""How many journeys there may be until a death at each place: one death may lead the next journey around a place."""
NAMES = [name for name in failpoint_names() if not name.startswith("test.") and not ELSEWHERE.match(name)]


def _who(name: str) -> str:
    return "agent" if name.startswith("agent.") else "manager"


@pytest.mark.parametrize("name", NAMES)
def test_a_death_at(name: str, chaos: Chaos) -> None:
    kind = f"kill -9 of the {_who(name)} at every failpoint, one a journey"
    _round(chaos, [name], kind, name.replace(".", "-")[:40])


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("who", ["manager", "agent"])
def test_a_journey_with_a_death_at_every_place(who: str, side: str, number: int, chaos: Chaos) -> None:
    """Not on both sides of an act: one that is done once is not begun again when it was done."""
    names = [name for name in NAMES if _who(name) == who and name.endswith(".after") == (side == "after")]
    _round(chaos, names, f"kill -9 of the {who} at every failpoint, all on two journeys", f"{who}-{side}-{number}")


def _round(chaos: Chaos, names: list[str], kind: str, name: str) -> None:
    figures = chaos.measured(kind)
    left, problems = names, []
    for number in range(JOURNEYS):
        journey = Journey(chaos.user, f"{name}-{number}")
        found = chaos.problems_of(journey, partial(_journey, chaos, left, journey), figures.seconds)
        problems += [f"{name}: {problem}" for problem in found]
        left = chaos.folder.armed
        chaos.folder.disarm()
        if problems or not left:
            break
    problems += [f"{name}: nobody passes {place}" for place in left]
    figures.problems += problems
    assert problems == []


def _journey(chaos: Chaos, names: list[str], journey: Journey) -> float:
    chaos.folder.arm(*names)
    if any(AT_START.match(name) for name in names):
        chaos.kill("caravan-manager")
    for step in (journey.create, journey.run, journey.destroy, journey.end):
        step()
    _wait_for_loops(chaos)
    return chaos.folder.died_at


def _wait_for_loops(chaos: Chaos) -> None:
    """Wait until the places are passed that only loops pass; what a journey went around is for the next one."""
    deadline = time.monotonic() + BACKGROUND_SECONDS
    while any(LOOPS.match(name) for name in chaos.folder.armed) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
