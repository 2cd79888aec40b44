"""What users do with sessions that run: restart them, mount folders elsewhere, read logs, write hostile text."""

import pytest
from tests.conformance.conftest import Leftovers, User, eventually

pytestmark = pytest.mark.stack

RESOURCES = ("-r", "cpu=1", "-r", "mem=256m")


def test_a_restarted_session_goes_on_with_its_folders_and_a_new_container(
    user: User, image: str, leftovers: Leftovers
) -> None:
    command = 'echo run >> runs; echo "run $(grep -c run runs)"; touch /tmp/only-here; sleep 600'
    user.must("session", "create", "--type", "batch", "--startup-command", command, *RESOURCES, "--name", "anew", image)
    before = user.session("anew")
    assert eventually(lambda: "run 1" in user.run("session", "logs", "anew").stdout)

    user.must("session", "restart", "anew")
    after = user.session("anew")
    assert (after["status"], after["session_id"]) == ("RUNNING", before["session_id"])
    assert eventually(lambda: "run 2" in user.run("session", "logs", "anew").stdout)
    assert "run 1" in user.must("session", "logs", "anew")

    user.must("session", "destroy", "anew")
    assert user.until("anew", "TERMINATED", "ERROR")["status_info"] == "user-requested"
    assert eventually(lambda: not leftovers.all())
    assert "not exist" in user.refused("session", "restart", "anew")
