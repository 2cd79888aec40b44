"""Sessions with accelerators, through the official client on a node with 8 fake GPUs and 3 kinds of NPU."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.accelerators import FAKES, parts
from tests.conformance.conftest import Leftovers, User, eventually, sql

from caravan_common.nomad.client import NomadCluster
from caravan_deploy.second import Stack

pytestmark = pytest.mark.stack

LITTLE = ("-r", "cpu=1", "-r", "mem=128m")
SHOW = "cat /home/config/resource.txt; env | grep -E '^(N_GPUS|CUDA_VISIBLE_DEVICES|GPU_TYPE)='; ls /dev | grep fake"


class Machine:
    """Who has what of the node's accelerators, by Nomad's account."""

    def __init__(self, stack: Stack) -> None:
        self._nomad = stack.servers.nomad
        self.stack = stack

    def given(self, session: dict[str, Any]) -> list[dict[str, int]]:
        """Return the parts of each device that Nomad gave to each allocation of a session."""
        job = f"/v1/job/s-{session['session_id']}/allocations?namespace=caravan"
        listed = [one["ID"] for one in self._nomad.call("GET", job)]
        allocations = [self._nomad.call("GET", f"/v1/allocation/{one}?namespace=caravan") for one in listed]
        return [
            {d["Name"]: len(d["DeviceIDs"]) for d in one["AllocatedResources"]["Tasks"]["main"]["Devices"] or []}
            for one in allocations
        ]

    def placed(self, session: dict[str, Any]) -> set[str]:
        """Return for which groups of a session Nomad has found a node, as the manager asks it."""
        address = self.stack.layout.url(self.stack.layout.ports.nomad_http)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NOMAD_TOKEN", self.stack.tokens.nomad_management)
            nomad = NomadCluster(address, "caravan")
        return set(asyncio.run(nomad.placed(f"s-{session['session_id']}")))


@pytest.fixture
def machine(stack: Stack, accelerators: None) -> Iterator[Machine]:
    """The node with its fake accelerators, of which Nomad and the manager know; all are well again afterwards."""
    yield Machine(stack)
    stack.layout.devices.write_text(FAKES.read_text())
    assert eventually(lambda: not parts(stack, healthy=False))


def create(user: User, image: str, name: str, *resources: str, command: str = "sleep 600", **options: str) -> list[str]:
    wanted = [part for resource in resources for part in ("-r", resource)]
    extra = [part for option, value in options.items() for part in (f"--{option.replace('_', '-')}", value)]
    batch = ("session", "create", "--type", "batch", "--startup-command", command, "--enqueue-only", *LITTLE)
    return [*batch, *wanted, *extra, "--name", name, image]


def waits_for(user: User, name: str) -> str:
    """Return why a session waits, as soon as it was looked at."""
    eventually(lambda: user.session(name)["status_info"])
    session = user.session(name)
    assert session["status"] == "PENDING"
    return str(session["status_info"])


def test_two_parts_share_a_gpu_and_each_sees_its_own(
    user: User, image: str, machine: Machine, leftovers: Leftovers
) -> None:
    user.must(*create(user, image, "third", "cuda.shares=0.3", command=f"{SHOW}; sleep 600"))
    user.must(*create(user, image, "rest", "cuda.shares=0.7"))
    first, second = user.until("third", "RUNNING"), user.until("rest", "RUNNING")
    assert (machine.given(first), machine.given(second)) == ([{"fake-cuda-0": 3}], [{"fake-cuda-0": 7}])
    eventually(lambda: "fake-cuda-0\n" in user.must("session", "logs", "third"))
    log = user.must("session", "logs", "third")
    assert "CUDA_SHARES=fake-cuda-0:0.3" in log
    assert {"N_GPUS=1", "CUDA_VISIBLE_DEVICES=fake-cuda-0", "GPU_TYPE=cuda"} <= set(log.splitlines())

    user.must("session", "destroy", "third")
    user.must("session", "destroy", "rest")
    assert eventually(lambda: not leftovers.all())


def test_halves_lie_on_two_gpus_and_four_are_had_whole_or_not_at_all(
    user: User, image: str, machine: Machine, leftovers: Leftovers
) -> None:
    halves = [f"half-{number}" for number in (1, 2, 3)]
    for name in halves:
        user.must(*create(user, image, name, "cuda.shares=0.5"))
    given = [machine.given(user.until(name, "RUNNING"))[0] for name in halves]
    assert sorted(part for parts in given for part in parts.values()) == [5, 5, 5]
    assert len({device for parts in given for device in parts}) == 2

    user.must(*create(user, image, "four", "cuda.shares=4"))
    assert list(machine.given(user.until("four", "RUNNING"))[0].values()) == [10, 10, 10, 10]
    user.must(*create(user, image, "four-more", "cuda.shares=4"))
    assert waits_for(user, "four-more") == "no-available-instances"
    user.must("session", "destroy", "four")
    assert list(machine.given(user.until("four-more", "RUNNING"))[0].values()) == [10, 10, 10, 10]

    for name in (*halves, "four-more"):
        user.must("session", "destroy", name)
    assert eventually(lambda: not leftovers.all())


def test_npus_are_given_whole_and_a_chain_of_sessions_has_them_one_after_the_other(
    user: User, image: str, machine: Machine, leftovers: Leftovers
) -> None:
    user.must(*create(user, image, "npu-first", "rngd.device=1", command=SHOW))
    user.must(*create(user, image, "npu-then", "rngd.device=1", command=SHOW, depends=user.parent("npu-first")))
    assert user.until("npu-then", "TERMINATED")["result"] == "SUCCESS"
    assert "RNGD" in user.must("session", "logs", "npu-then")
    assert eventually(lambda: not leftovers.all())


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (("tpu.device=1",), "no node offers tpu.device"),
        (("cuda.shares=0.5", "atom.device=1"), "accelerators of one kind"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    user: User, image: str, machine: Machine, resources: tuple[str, ...], said: str
) -> None:
    assert said in user.refused(*create(user, image, "never", *resources))


def test_a_part_that_no_gpu_can_give_is_told_and_keeps_nobody(user: User, image: str, machine: Machine) -> None:
    user.must(*create(user, image, "odd-part", "cuda.shares=0.25"))
    assert waits_for(user, "odd-part") == "larger-than-any-node"
    user.must(*create(user, image, "even-part", "cuda.shares=0.2", command="true"))
    assert user.until("even-part", "TERMINATED")["result"] == "SUCCESS"
    user.must("session", "destroy", "odd-part")


@pytest.fixture
def preempting(stack: Stack, request: pytest.FixtureRequest) -> Iterator[None]:
    """Let sessions of high priority end the user's own of low priority, which run again later; a test may add rules."""
    rules = {"preemption": {"enabled": True, "mode": "reschedule", **getattr(request, "param", {})}}
    sql(stack, f"UPDATE scaling_groups SET scheduler_opts = '{json.dumps(rules)}'")
    yield
    sql(stack, "UPDATE scaling_groups SET scheduler_opts = '{}'")


def test_a_session_of_high_priority_takes_the_gpus_of_one_of_low_priority_which_runs_again_later(
    user: User, image: str, machine: Machine, preempting: None, leftovers: Leftovers
) -> None:
    user.needs("24.9")
    user.must(*create(user, image, "unimportant", "cuda.shares=8", priority="1"))
    low = user.until("unimportant", "RUNNING")
    user.must(*create(user, image, "urgent", "cuda.shares=4", priority="50"))
    high = user.until("urgent", "RUNNING")
    assert sum(machine.given(high)[0].values()) == 40
    told = user.session("unimportant")
    assert (told["status"], told["status_data"]["preempted"]["by"]) == ("PENDING", high["session_id"])

    user.must("session", "destroy", "urgent")
    again = user.until("unimportant", "RUNNING")
    assert again["session_id"] == low["session_id"]
    user.must("session", "destroy", "unimportant")
    assert eventually(lambda: not leftovers.all())


@pytest.mark.parametrize("preempting", [{"mode": "terminate", "preemption_grace": "1h"}], indirect=True)
def test_the_program_of_a_session_that_gives_way_is_told_and_ends_in_its_own_time(
    user: User, image: str, machine: Machine, preempting: None, leftovers: Leftovers
) -> None:
    user.needs("24.9")
    script = "trap 'sleep 2; exit 0' TERM; while :; do sleep 1; done"
    user.must(*create(user, image, "modest", "cuda.shares=8", command=script, priority="1"))
    user.until("modest", "RUNNING")
    assert machine.placed(user.session("modest")) == {"main1"}
    user.must(*create(user, image, "urgent", "cuda.shares=4", priority="50"))
    told = eventually(lambda: user.session("modest")["status_data"].get("preempted"))
    assert told["until"] > datetime.now(UTC).isoformat()
    user.until("urgent", "RUNNING")  # an hour before the other would have been stopped
    over = user.until("modest", "TERMINATED")
    assert (over["status_info"], over["result"]) == ("task-finished", "SUCCESS")
    user.must("session", "destroy", "urgent")
    assert eventually(lambda: not leftovers.all())


@pytest.fixture
def pairs(stack: Stack) -> Iterator[None]:
    """Let users have sessions of two containers."""
    sql(stack, "UPDATE keypair_resource_policies SET max_containers_per_session = 2")
    yield
    sql(stack, "UPDATE keypair_resource_policies SET max_containers_per_session = 1")


def test_the_two_kernels_of_a_gang_have_parts_of_their_own(
    user: User, image: str, machine: Machine, pairs: None, leftovers: Leftovers
) -> None:
    mode = "single_node" if user.knows("26.9") else "single-node"
    options = {"cluster_size": "2", "cluster_mode": mode}
    user.must(*create(user, image, "gpu-pair", "cuda.shares=0.6", **options))
    given = machine.given(user.until("gpu-pair", "RUNNING"))
    assert sorted(parts for kernel in given for parts in kernel.items()) == [("fake-cuda-0", 6), ("fake-cuda-1", 6)]
    user.must("session", "destroy", "gpu-pair")
    assert eventually(lambda: not leftovers.all())


def test_a_session_is_told_that_its_gpu_fell_ill_and_goes_on(
    user: User, image: str, machine: Machine, leftovers: Leftovers
) -> None:
    user.must(*create(user, image, "patient", "cuda.shares=0.5"))
    ((gpu, _),) = machine.given(user.until("patient", "RUNNING"))[0].items()
    machine.stack.layout.devices.write_text(f'{FAKES.read_text()}\n[kinds.fake]\nill = ["{gpu}"]\n')
    told = eventually(lambda: user.session("patient")["status_data"].get("devices"))
    assert [(ill["kernel"], ill["device"]) for ill in told["ill"]] == [("main1", gpu)]
    machine.stack.layout.devices.write_text(FAKES.read_text())
    assert eventually(lambda: "devices" not in user.session("patient")["status_data"])
    assert user.session("patient")["status"] == "RUNNING"
    user.must("session", "destroy", "patient")
    assert eventually(lambda: not leftovers.all())


def test_an_administrator_sees_which_accelerators_a_node_has_and_how_they_do(user: User, machine: Machine) -> None:
    user.needs("24.9")  # the one before fails on units that it does not know
    asked = {"query": "{ agents { id compute_plugins } }", "variables": {}}
    (node,) = user.ask("POST", "/admin/gql", asked).body["data"]["agents"]
    assert json.loads(node["compute_plugins"])["cuda"]["models"] == {"Fake-H100": 8}

    def shown() -> str | None:
        text = user.must("admin", "agent", "info", node["id"])
        return text if "cuda_power" in text else None

    info = eventually(shown)
    assert "fake-cuda-7: 10 / (unknown) Watts" in info
    assert "fake-atom-0: 30.0 C" in info
    assert "Fake-H100" in info


def test_a_session_gets_the_model_that_it_names(user: User, image: str, machine: Machine, leftovers: Leftovers) -> None:
    wanted = create(user, image, "named", "atom.device=1", resource_opts="accelerator_models=Fake-ATOM,Fake-H100")
    user.must(*wanted)
    (given,) = machine.given(user.until("named", "RUNNING"))
    assert [device.startswith("fake-atom") for device in given] == [True]
    unknown = create(user, image, "unknown", "atom.device=1", resource_opts="accelerator_models=H200")
    assert "no node has accelerators of model H200" in user.refused(*unknown)
    user.must("session", "destroy", "named")
    assert eventually(lambda: not leftovers.all())
