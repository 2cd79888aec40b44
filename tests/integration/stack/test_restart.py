"""A stack goes down, however badly it ran, and comes up again with its data."""

import os
import signal
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from caravan_deploy.down import take_down
from caravan_deploy.layout import MHZ_PER_CPU, NOWHERE, PLATFORM_MHZ
from caravan_deploy.processes import orphans_of
from caravan_deploy.second import Stack, second_stack
from caravan_deploy.servers.consul import consul_daemon
from caravan_deploy.servers.nomad import nomad_daemon
from caravan_deploy.servers.vault import vault_daemon
from caravan_deploy.up import check_ports, start_platform, start_servers

pytestmark = [pytest.mark.stack, pytest.mark.slow]


@pytest.fixture
def own() -> Generator[Stack]:
    """Give a stack that a test may break."""
    with second_stack() as running:
        yield running


def _daemon_pids(stack: Stack) -> list[int]:
    layout = stack.layout
    daemons = (nomad_daemon(layout, NOWHERE), vault_daemon(layout, NOWHERE), consul_daemon(layout, NOWHERE))
    return [pid for daemon in daemons if (pid := daemon.pid()) is not None]


def _up(stack: Stack) -> None:
    check_ports(stack.layout)
    start_platform(stack.layout, start_servers(stack.layout, stack.programs), stack.image)


def _folders(stack: Stack, home: Path) -> str:
    return stack.client(home).must("vfolder", "list").stdout


def test_data_survives_down_and_up(own: Stack, tmp_path: Path) -> None:
    own.client(tmp_path).must("vfolder", "create", "kept", "local:volume1")
    take_down(own.layout)
    assert _daemon_pids(own) == []
    assert orphans_of(own.layout.data / "nomad") == []
    assert str(own.layout.root) not in Path("/proc/self/mountinfo").read_text()
    _up(own)
    assert "kept" in _folders(own, tmp_path)


def test_down_after_nomad_was_killed_leaves_nothing_running(own: Stack, tmp_path: Path) -> None:
    own.client(tmp_path).must("vfolder", "create", "kept", "local:volume1")
    os.kill(_daemon_pids(own)[0], signal.SIGKILL)
    take_down(own.layout)
    assert orphans_of(own.layout.data / "nomad") == []
    take_down(own.layout)
    _up(own)
    assert "kept" in _folders(own, tmp_path)


def test_up_takes_over_the_tasks_of_servers_that_were_killed(own: Stack, tmp_path: Path) -> None:
    own.client(tmp_path).must("vfolder", "create", "kept", "local:volume1")
    before = set(orphans_of(own.layout.data / "nomad"))
    for pid in _daemon_pids(own):
        os.kill(pid, signal.SIGKILL)
    _up(own)
    assert "kept" in _folders(own, tmp_path)
    assert len(before & set(orphans_of(own.layout.data / "nomad"))) >= len(before) // 2


def test_up_applies_what_changed_while_the_tasks_go_on(own: Stack) -> None:
    before = set(orphans_of(own.layout.data / "nomad"))
    larger = replace(own.layout, cpus=own.layout.cpus + 1)
    start_platform(larger, start_servers(larger, own.programs), own.image)
    node = own.servers.nomad.call("GET", "/v1/nodes?resources=true")[0]
    assert node["NodeResources"]["Cpu"]["CpuShares"] == larger.cpus * MHZ_PER_CPU + PLATFORM_MHZ
    assert len(before & set(orphans_of(own.layout.data / "nomad"))) >= len(before) // 2
