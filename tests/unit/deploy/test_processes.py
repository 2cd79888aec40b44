"""Daemons: started once, stopped only while they are ours."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from caravan_deploy.errors import SetupError
from caravan_deploy.processes import Daemon, clean_environment, stop_orphans


def _daemon(folder: Path, *command: str) -> Daemon:
    return Daemon("sleeper", command, folder / "sleeper.pid", folder / "sleeper.log")


def test_starting_twice_is_starting_once(tmp_path: Path) -> None:
    daemon = _daemon(tmp_path, "sleep", "60")
    daemon.start()
    first = daemon.pid()
    daemon.start()
    assert daemon.pid() == first
    daemon.stop()
    assert daemon.pid() is None


def test_a_process_that_took_over_the_number_is_left_alone(tmp_path: Path) -> None:
    daemon = _daemon(tmp_path, "sleep", "60")
    with subprocess.Popen(["sleep", "60"]) as other:
        daemon.record.write_text(f"{other.pid} 1\n")
        daemon.stop()
        assert other.poll() is None
        other.kill()


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    daemon = _daemon(tmp_path, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    daemon.start()
    while "ready" not in daemon.log.read_text():
        time.sleep(0.02)
    daemon.stop(patience=0.2)
    assert daemon.pid() is None


def test_a_program_that_ends_early_is_quoted(tmp_path: Path) -> None:
    daemon = _daemon(tmp_path, "sh", "-c", "echo 'Error: no such thing'; exit 1")
    daemon.start()
    while daemon.pid() is not None:
        os.waitpid(-1, os.WNOHANG)
        time.sleep(0.02)
    with pytest.raises(SetupError, match="sleeper ended early: Error: no such thing"):
        daemon.must_run()


def test_daemons_inherit_nothing_of_the_callers_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", "/somewhere")
    assert "AWS_CA_BUNDLE" not in clean_environment()


def test_tasks_of_a_nomad_that_died_are_stopped_and_no_others(tmp_path: Path) -> None:
    environment = {"NOMAD_ALLOC_DIR": str(tmp_path / "nomad" / "alloc" / "1"), **clean_environment()}
    with subprocess.Popen(["sleep", "60"], env=environment) as task, subprocess.Popen(["sleep", "60"]) as other:
        stop_orphans(tmp_path / "nomad", patience=0.5)
        assert task.wait(timeout=5) != 0
        assert other.poll() is None
        other.kill()


def test_a_changed_configuration_starts_the_program_anew_and_the_same_one_does_not(tmp_path: Path) -> None:
    daemon = Daemon("sleeper", ["sleep", "60"], tmp_path / "sleeper.pid", tmp_path / "sleeper.log")
    pids: list[int | None] = []
    try:
        for changed in (True, False, True):
            daemon.restart(changed=changed)
            pids.append(daemon.pid())
    finally:
        daemon.stop()
    assert pids[0] == pids[1] != pids[2]
    assert None not in pids
