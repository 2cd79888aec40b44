"""A session's time in the queue, as users of the official client see it: order, dependencies, limits of time."""

from pathlib import Path
from uuid import uuid4

import pytest
from tests.conformance.conftest import User

pytestmark = pytest.mark.stack

QUEUED = ["session", "create", "--enqueue-only", "--type", "batch", "-r", "cpu=1", "-r", "mem=256m"]


def _batch(user: User, image: str, name: str, command: str, *more: str) -> None:
    user.must(*QUEUED, "--startup-command", command, *more, "--name", name, image)


def test_a_pipeline_runs_in_order_and_its_graph_can_be_shown(user: User, image: str) -> None:
    priority = ("--priority", "20") if user.knows("24.9") else ()
    _batch(user, image, "pipe-first-1", "sleep 1", "--tag", "nightly", *priority)
    _batch(user, image, "pipe-second-1", "true", "--depends", user.parent("pipe-first-1"))
    graph = user.must("session", "show-graph", "--table", "pipe-second-1")
    assert "pipe-first-1" in graph
    assert "first" in user.must("session", "show-graph", "pipe-second-1")
    assert user.until("pipe-second-1", "TERMINATED", "CANCELLED", "ERROR")["result"] == "SUCCESS"
    assert user.session("pipe-first-1")["result"] == "SUCCESS"


def test_what_depends_on_a_failure_is_cancelled_and_says_why(user: User, image: str) -> None:
    _batch(user, image, "fails", "exit 3")
    _batch(user, image, "never", "true", "--depends", user.parent("fails"))
    over = user.until("never", "TERMINATED", "CANCELLED", "ERROR")
    assert (over["status"], over["status_info"]) == ("CANCELLED", "dependency-failed")
    assert "fails (" in over["status_data"]["scheduler"]["failed_predicates"][0]["msg"]
    nobody = str(uuid4()) if user.knows("26.9") else "nobody"
    assert "Unknown session" in user.refused(*QUEUED, "--startup-command", "true", "--depends", nobody, image)


def test_a_session_that_must_wait_can_be_given_up(user: User, image: str) -> None:
    reserved = [*QUEUED, "--startup-command", "true", "--starts-at", "1h", "--name", "reserved", image]
    told = user.must(*[word for word in reserved if word != "--enqueue-only"], "--max-wait", "1")
    assert "still on the job queue" in told
    user.until("reserved", "PENDING")
    user.must("session", "destroy", "reserved")
    over = user.session("reserved")
    assert (over["status"], over["status_info"]) == ("CANCELLED", "user-requested")


def test_a_command_that_runs_too_long_has_failed(user: User, image: str) -> None:
    user.needs("25.5")
    _batch(user, image, "endless", "sleep 600", "--timeout", "2s")
    over = user.until("endless", "TERMINATED", "CANCELLED", "ERROR")
    assert (over["status"], over["result"], over["status_info"]) == ("TERMINATED", "FAILURE", "task-timeout")


def test_a_bootstrap_script_runs_before_the_command(user: User, image: str, tmp_path: Path) -> None:
    script = tmp_path / "bootstrap.sh"
    script.write_text("echo 'it ran' > /home/work/bootstrapped\n")
    _batch(user, image, "bootstrap", "cat /home/work/bootstrapped", "--bootstrap-script", str(script))
    assert user.until("bootstrap", "TERMINATED", "CANCELLED", "ERROR")["result"] == "SUCCESS"
    assert "it ran" in user.must("session", "logs", "bootstrap")
