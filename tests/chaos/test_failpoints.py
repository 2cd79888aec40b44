"""The manager and the agent die at each named place on a session's way, and nothing is lost or left behind."""

import importlib
import pkgutil
import re
import time

import pytest
from tests.chaos.conftest import ROUNDS, Chaos
from tests.chaos.user import Journey, until

import caravan_agent_driver
import caravan_manager
from caravan_common.failpoints import failpoint_names

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(300 + 300 * ROUNDS)]

for room in (caravan_manager, caravan_agent_driver):
    for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
        if ".migrations" not in module.name:
            importlib.import_module(module.name)

AT_START = re.compile(r"leader\.|manager\.secrets\.|manager\.sweep\.(nomad|agent)-list\.")
"""A manager passes these when it is started, the leader's first of all."""
ELSEWHERE = re.compile(
    r"manager\.(refuse|waits|cancel|time-out|requeue|restart)\."
    r"|manager\.launch\.nomad-stop\."
    r"|manager\.sweep\.(orphan|vanished|late|missed|agent-forget)\."
    r"|agent\.cleanup\.docker-kill\."
)
"""These are passed only after something else went wrong: tests/integration makes that happen, and kills there."""
BACKGROUND_SECONDS = 75.0
"""How long a place that only a loop passes may take to be passed."""
NAMES = [name for name in failpoint_names() if not name.startswith("test.") and not ELSEWHERE.match(name)]


@pytest.mark.parametrize("name", NAMES)
def test_a_death_at(name: str, chaos: Chaos) -> None:
    who = "agent" if name.startswith("agent.") else "manager"
    figures = chaos.measured(f"kill -9 of the {who} at every failpoint")
    for number in range(ROUNDS):
        journey = Journey(chaos.user, f"{name.replace('.', '-')[:40]}-{number}")
        problems = _round(chaos, name, journey, figures.seconds)
        figures.problems += [f"{name}: {problem}" for problem in problems]
        assert problems == []


def _round(chaos: Chaos, name: str, journey: Journey, seconds: list[float]) -> list[str]:
    chaos.folder.arm(name)
    armed = time.time()
    try:
        if AT_START.match(name):
            chaos.kill("caravan-manager")
        for step in (journey.create, journey.run, journey.destroy, journey.end):
            step()
        until(lambda: not chaos.folder.is_armed, lambda: f"nobody passes {name}", BACKGROUND_SECONDS)
        assert chaos.folder.died_at >= armed - 1
        since = max(journey.last_act, chaos.folder.died_at)
        until(lambda: not chaos.left(), lambda: f"something is left: {chaos.left()}")
    except AssertionError as error:
        left = chaos.left()
        journey.give_up()
        return [str(error), *left]
    finally:
        chaos.folder.disarm()
    seconds.append(time.time() - since)
    return journey.problems()
