"""Failpoints: off they do nothing, on they kill a process exactly where a test said."""

import importlib
import os
import pkgutil
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import caravan_agent_driver
import caravan_manager
from caravan_common.failpoints import VARIABLE, Failpoint, FailpointPair, Folder, failpoint_names, observed

PROGRAM = """
import sys
from caravan_common.failpoints import Failpoint
place, other = Failpoint("place"), Failpoint("other")
for _ in range(3):
    other.reach()
    print("before", flush=True)
    place.reach()
"""


def _run(folder: Path | None) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    if folder is not None:
        environment[VARIABLE] = str(folder)
    return subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False)


def test_without_the_variable_nothing_happens(tmp_path: Path) -> None:
    Folder(tmp_path).arm("place")
    assert _run(None).returncode == 0
    assert Folder(tmp_path).armed == ["place"]
    assert Folder(tmp_path).passed() == set()


def test_a_process_dies_once_at_each_place_that_is_armed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.arm("place", "other", "nowhere")
    for left in (["place", "nowhere"], ["nowhere"]):
        assert _run(tmp_path).returncode == -signal.SIGKILL
        assert folder.armed == left
    assert _run(tmp_path).returncode == 0
    assert folder.passed() == {"place", "other"}
    folder.disarm()
    assert folder.armed == []


def test_a_pair_is_passed_before_and_after_unless_the_block_raises() -> None:
    passed: list[str] = []
    pair = FailpointPair("test.pair")
    with observed(passed.append):
        with pair:
            passed.append("inside")
        with pytest.raises(ZeroDivisionError), pair:
            raise ZeroDivisionError
    with pair:
        pass
    assert passed == ["test.pair.before", "inside", "test.pair.after", "test.pair.before"]


def test_a_name_is_given_once() -> None:
    Failpoint("test.once")
    with pytest.raises(ValueError, match=r"test\.once"):
        Failpoint("test.once")


def test_names_say_in_which_process_they_are_and_can_be_files() -> None:
    for room in (caravan_manager, caravan_agent_driver):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if ".migrations" not in module.name:
                importlib.import_module(module.name)
    names = [name for name in failpoint_names() if not name.startswith("test.")]
    assert len(names) > 60
    for name in names:
        assert re.fullmatch(r"(manager|agent|leader)\.[a-z.-]+", name), name
