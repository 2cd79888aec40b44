"""Nomad's side of accelerators, on a node with 8 fake GPUs and 3 kinds of NPU."""

import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.accelerators import FAKES, KINDS, groups, parts

from caravan_common.wire.devices import nomad_device
from caravan_deploy.progress import wait_for
from caravan_deploy.second import Stack

pytestmark = pytest.mark.stack

ILL = '[kinds.fake]\nill = ["fake-cuda-3"]\n'
IMAGE = "caravan/python:3.11-bookworm"


class Accelerated:
    """A stack whose node has the accelerators of the example, and short jobs that use them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.jobs: list[str] = []

    def fake(self, more: str = "") -> None:
        self.stack.layout.devices.write_text(FAKES.read_text() + more)

    def until(self, what: str, probe: Any) -> Any:
        return wait_for(what, lambda: probe() or None, 60)

    def run(self, name: str, *devices: tuple[str, str, int]) -> str:
        """Submit a job that uses so many parts of devices; prints its environment and its device files, then waits."""
        script = "import os,time; print(dict(os.environ), os.listdir('/dev'), flush=True); time.sleep(600)"
        task = {
            "Name": "main",
            "Driver": "docker",
            "Config": {
                "image": IMAGE,
                "command": "python3",
                "args": ["-c", script],
                "network_mode": "none",
                "init": True,
            },
            "Resources": {
                "CPU": 50,
                "MemoryMB": 64,
                "Devices": [{"Name": nomad_device(slot, device), "Count": count} for slot, device, count in devices],
            },
        }
        job = {
            "ID": name,
            "Name": name,
            "Type": "batch",
            "Datacenters": ["*"],
            "TaskGroups": [{"Name": "g", "Tasks": [task]}],
        }
        self.stack.servers.nomad.call("POST", "/v1/jobs", {"Job": job})
        self.jobs.append(name)
        return name

    def allocation(self, job: str) -> dict[str, Any] | None:
        listed = self.stack.servers.nomad.call("GET", f"/v1/job/{job}/allocations")
        return self.stack.servers.nomad.call("GET", f"/v1/allocation/{listed[0]['ID']}") if listed else None

    def until_it_runs(self, job: str) -> dict[str, Any]:
        def runs() -> dict[str, Any] | None:
            allocation = self.allocation(job)
            return allocation if allocation is not None and allocation["ClientStatus"] == "running" else None

        return self.until(f"{job} does not run", runs)

    def refused(self, job: str) -> bool:
        """Say whether Nomad found no room for the job's devices: they are taken, or none of them is well."""
        evaluations = self.stack.servers.nomad.call("GET", f"/v1/job/{job}/evaluations")
        failures = [f for e in evaluations for f in (e.get("FailedTGAllocs") or {}).values()]
        taken = any("devices: no devices match request" in (f["DimensionExhausted"] or {}) for f in failures)
        return taken or any("missing devices" in (f["ConstraintFiltered"] or {}) for f in failures)

    def stop(self, job: str) -> None:
        self.stack.servers.nomad.call("DELETE", f"/v1/job/{job}?purge=true")
        self.jobs.remove(job)

    def said(self, allocation: dict[str, Any]) -> str:
        path = f"/v1/client/fs/logs/{allocation['ID']}?task=main&type=stdout&plain=true"
        return self.until("the job says nothing", lambda: str(self.stack.servers.nomad.call("GET", path) or ""))

    def plugin(self) -> int | None:
        """Return the plugin's process ID."""
        program = str(self.stack.layout.plugins / "caravan-device-plugin").encode()
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdecimal() and program in (folder / "cmdline").read_bytes().split(b"\0"):
                    return int(folder.name)
            except OSError:
                continue
        return None


@pytest.fixture
def node(stack: Stack, accelerators: None) -> Iterator[Accelerated]:
    accelerated = Accelerated(stack)
    yield accelerated
    for job in list(accelerated.jobs):
        accelerated.stop(job)
    accelerated.fake()
    accelerated.until("a device stays ill", lambda: not parts(stack, healthy=False))


def test_nomad_sees_each_physical_device_as_a_group_of_its_own(node: Accelerated) -> None:
    status = subprocess.run(
        [node.stack.programs["nomad"], "node", "status", "-self"],
        env={
            "NOMAD_ADDR": node.stack.layout.url(node.stack.layout.ports.nomad_http),
            "NOMAD_TOKEN": node.stack.tokens.nomad_management,
        },
        capture_output=True,
        text=True,
    )

    assert status.returncode == 0, status.stderr
    for kind, count in KINDS.items():
        for number in range(count):
            assert f"caravan/{kind}/fake-{kind}-{number}[fake-{kind}-{number}::0]" in status.stdout
    first = next(group for group in groups(node.stack) if group["Name"] == "fake-cuda-0")
    assert len(first["Instances"]) == 10
    memory = first["Attributes"]["memory"]
    assert (memory["Int"], memory["Unit"]) == (81920, "MiB")


def test_two_share_one_gpu_and_a_third_waits_until_there_is_room(node: Accelerated) -> None:
    small = node.until_it_runs(node.run("small", ("cuda.shares", "fake-cuda-0", 3)))
    node.until_it_runs(node.run("large", ("cuda.shares", "fake-cuda-0", 7)))
    third = node.run("third", ("cuda.shares", "fake-cuda-0", 1))
    node.until("the third is not refused", partial(node.refused, third))

    assert node.allocation(third) is None
    (given,) = small["AllocatedResources"]["Tasks"]["main"]["Devices"]
    assert (given["Name"], len(given["DeviceIDs"])) == ("fake-cuda-0", 3)
    assert "'CARAVAN_DEVICE_FAKE_CUDA_0': 'cuda.shares:3/10'" in node.said(small)
    node.stop("small")
    node.until_it_runs(third)


def test_one_task_has_devices_of_two_kinds_and_each_one_s_file(node: Accelerated) -> None:
    both = node.run(
        "both", ("cuda.shares", "fake-cuda-1", 10), ("cuda.shares", "fake-cuda-2", 5), ("atom.device", "fake-atom-0", 1)
    )
    said = node.said(node.until_it_runs(both))

    for device in ("fake-cuda-1", "fake-cuda-2", "fake-atom-0"):
        assert f"'{device}'" in said
    assert "'CARAVAN_DEVICE_FAKE_CUDA_2': 'cuda.shares:5/10'" in said


def test_a_killed_plugin_comes_back_and_no_share_is_lost_or_given_twice(node: Accelerated) -> None:
    holder = node.until_it_runs(node.run("holder", ("cuda.shares", "fake-cuda-4", 6)))
    before = parts(node.stack, healthy=True)
    killed = node.plugin()
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    node.until("the plugin does not come back", lambda: node.plugin() not in (None, killed))
    rest, more = (node.run(name, ("cuda.shares", "fake-cuda-4", n)) for name, n in (("rest", 4), ("more", 5)))

    node.until_it_runs(rest)
    node.until("what is held is given again", partial(node.refused, more))
    assert parts(node.stack, healthy=True) == before
    assert node.allocation(holder["JobID"]) | {"ModifyIndex": 0} == holder | {"ModifyIndex": 0}


def test_an_ill_device_is_out_of_reach_and_its_session_goes_on(node: Accelerated) -> None:
    holder = node.run("patient", ("cuda.shares", "fake-cuda-3", 2))
    node.until_it_runs(holder)
    node.fake(ILL)
    node.until("Nomad does not hear of it", lambda: parts(node.stack, healthy=False) == {"fake-cuda-3": 10})
    late = node.run("late", ("cuda.shares", "fake-cuda-3", 1))
    node.until("Nomad places on an ill device", partial(node.refused, late))

    assert node.until_it_runs(holder)
    problems = {part["HealthDescription"] for g in groups(node.stack) for part in g["Instances"] if not part["Healthy"]}
    assert problems == {"the device file says so"}
    node.fake()
    node.until_it_runs(late)


def test_the_agent_tells_the_manager_of_the_same_devices(node: Accelerated, tmp_path: Path) -> None:
    client = node.stack.client(tmp_path)

    def listed() -> bool:
        answer = client.must("--output", "json", "admin", "agent", "list").stdout
        return all(f"{slot}" in answer for slot in ("cuda.shares", "atom.device", "warboy.device", "rngd.device"))

    node.until("the manager does not hear of the devices", listed)
