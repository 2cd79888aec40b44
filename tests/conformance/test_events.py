"""Events of sessions, as users of the official client follow them."""

import ast
import re
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.conformance.conftest import User, eventually

from caravan_deploy.second import Stack

pytestmark = pytest.mark.stack

INTERACTIVE = ["session", "create", "-r", "cpu=1", "-r", "mem=64m"]


@pytest.fixture
def streams(stack: Stack) -> Callable[[], float]:
    """Counts the streams that the manager has open."""
    url = f"http://127.0.0.1:{stack.layout.ports.manager_internal}/metrics"

    def count() -> float:
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = re.search(r"^caravan_session_event_streams (\S+)$", answer.read().decode(), re.MULTILINE)
        assert found is not None
        return float(found[1])

    return count


def test_session_watch_follows_a_session_to_its_end(user: User, image: str, streams: Callable[[], float]) -> None:
    user.must(*INTERACTIVE, "--name", "watched", image)
    session = user.session("watched")["session_id"]
    eventually(lambda: streams() == 0)  # those of the tests before may be about to end
    with ThreadPoolExecutor(2) as pool:
        shown = pool.submit(user.run, "session", "watch", "watched")
        written = pool.submit(user.run, "session", "watch", "--output", "json", "watched")
        eventually(lambda: streams() == 2)
        user.must("session", "destroy", "watched")
        console, lines = shown.result(), written.result()
    assert console.returncode == 0, console.stderr
    names = ["session_terminating", "kernel_terminating", "kernel_terminated", "session_terminated"]
    assert [name for name in names if name in console.stdout + console.stderr] == names
    told = [ast.literal_eval(line) for line in lines.stdout.splitlines() if line.startswith("{")]
    assert [event["event"] for event in told] == names
    assert {event["sessionId"] for event in told} == {session}
    assert set(told[0]) == {"event", "reason", "sessionName", "ownerAccessKey", "sessionId", "exitCode"}
    assert set(told[1]) == set(told[0]) | {"kernelId", "clusterRole", "clusterIdx"}
    eventually(lambda: streams() == 0)
