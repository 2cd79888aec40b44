"""A session's job is what the golden file shows, and holds nothing that a user wrote.

After a wanted change: `CARAVAN_GOLDEN=write make test-unit`, then read the difference.
"""

import json
import os
from dataclasses import replace
from decimal import Decimal
from pathlib import Path, PurePosixPath
from uuid import UUID

import pytest
from tests.unit.common.test_wire_devices import OTHER_FOLDERS
from tests.unit.manager.sessions_made import LATER, node_made, pending

from caravan_common.nomad.client import Job
from caravan_common.slots import ResourceSlots
from caravan_common.states import ClusterMode
from caravan_manager.compiler.job import compile_job, nomad_priority
from caravan_manager.compiler.kernel import BARRIER_SECONDS, Owner, compile_kernel
from caravan_manager.nodes.model import Device, Node
from caravan_manager.sessions.model import HeldDevice, Seat, Session, SessionMount

GOLDEN = Path(__file__).parents[3] / "golden"
SKELETON = json.loads((GOLDEN / "skeleton.json").read_text())
NODES = {"node1": node_made("node1", UUID(int=101)), "node2": node_made("node2", UUID(int=102))}
OWNER = Owner("user@example.com", "user")
HOSTILE = "../../etc ${NOMAD_TOKEN} {{ env `HOME` }} '\"\n$(id)\0x"


def fixed(kernels: int = 1) -> Session:
    """A placed session with IDs that never change."""
    session = pending(kernels)
    members = tuple(
        replace(k, id=UUID(int=11 + i), session_id=UUID(int=7), cluster_idx=max(1, i))
        for i, k in enumerate(session.kernels)
    )
    placed = replace(session, id=UUID(int=7), kernels=members)
    return placed.scheduled({k.id: Seat(f"node{i + 1}") for i, k in enumerate(members)}, LATER)


@pytest.mark.parametrize("kernels", [1, 2])
def test_the_job_is_the_golden_one(kernels: int) -> None:
    job = compile_job(fixed(kernels), NODES, SKELETON)
    path = GOLDEN / f"session-{kernels}.json"
    text = json.dumps(job, indent=1, sort_keys=True) + "\n"
    if os.environ.get("CARAVAN_GOLDEN") == "write":
        path.write_text(text)
    assert text == path.read_text()


def test_each_device_is_a_block_with_so_many_of_its_shares() -> None:
    devices = (Device("GPU-1", "cuda.shares", "A100", shares=10), Device("GPU-2", "cuda.shares", "A100", shares=20))
    node = replace(NODES["node1"], devices=devices)
    held = (HeldDevice("cuda.shares", "GPU-1", Decimal(1)), HeldDevice("cuda.shares", "GPU-2", Decimal("0.35")))
    session = fixed()
    slots = ResourceSlots.parse({"cpu": 1, "mem": "1g", "cuda.shares": "1.35"})
    session = replace(session, kernels=(replace(session.main_kernel, slots=slots, devices=held),))
    (group,) = compile_job(session, {"node1": node}, SKELETON)["TaskGroups"]
    (main,) = [task for task in group["Tasks"] if task["Name"] == "main"]
    assert main["Resources"]["Devices"] == [
        {"Name": "caravan/cuda/GPU-1", "Count": 10},
        {"Name": "caravan/cuda/GPU-2", "Count": 7},
    ]
    told = compile_kernel(session, session.main_kernel, OWNER, {}).devices
    assert [(share.id, share.amount) for share in told] == [("GPU-1", Decimal(1)), ("GPU-2", Decimal("0.35"))]


def test_compiling_changes_neither_session_nor_skeleton_and_is_repeatable() -> None:
    before = json.dumps(SKELETON, sort_keys=True)
    assert compile_job(fixed(), NODES, SKELETON) == compile_job(fixed(), NODES, SKELETON)
    assert json.dumps(SKELETON, sort_keys=True) == before


def test_nothing_that_a_user_wrote_is_in_the_job() -> None:
    mount = SessionMount(
        name="DATA" + HOSTILE,
        folder=UUID(int=5),
        host="local:volume1",
        quota_scope=f"user:{UUID(int=2)}",
        subpath=PurePosixPath("SUB"),
        target=PurePosixPath("/home/work/TARGET"),
        permission="rw",
    )
    hostile = replace(
        fixed(),
        name="NAME" + HOSTILE,
        tag="TAG" + HOSTILE,
        startup_command="COMMAND" + HOSTILE,
        bootstrap_script="SCRIPT" + HOSTILE,
        environ={"VARIABLE": "VALUE" + HOSTILE},
        mounts=(mount,),
        domain_name="DOMAIN" + HOSTILE,
    )
    text = json.dumps(compile_job(hostile, NODES, SKELETON))
    for word in ["NAME", "TAG", "COMMAND", "SCRIPT", "VARIABLE", "VALUE", "DATA", "SUB", "TARGET", "DOMAIN", "etc"]:
        assert word not in text.replace("NOMAD", "").replace("LTarget", "").replace("RTarget", "")
    assert "${NOMAD_TOKEN}" not in text


@pytest.mark.parametrize("image", ["${attr.unique.hostname}", "a b", "-v", "a\nb", ""])
def test_an_image_that_is_no_plain_reference_is_not_compiled(image: str) -> None:
    with pytest.raises(ValueError, match="plain"):
        compile_job(replace(fixed(), image=image), NODES, SKELETON)


def test_each_kernel_is_pinned_to_its_node_and_holds_what_it_asked_for() -> None:
    first, second = compile_job(fixed(2), NODES, SKELETON)["TaskGroups"]
    assert first["Constraints"][0]["RTarget"] == str(NODES["node1"].node_id)
    assert second["Constraints"][0]["RTarget"] == str(NODES["node2"].node_id)
    main = next(task for task in first["Tasks"] if task["Name"] == "main")
    assert (main["Resources"]["CPU"], main["Resources"]["MemoryMB"]) == (1000, 256)


def test_parts_of_a_mebibyte_or_a_megahertz_are_rounded_up() -> None:
    session = fixed()
    slots = ResourceSlots.parse({"cpu": "0.0001", "mem": str(64 * 2**20 + 1)})
    odd = replace(session, kernels=(replace(session.main_kernel, slots=slots),))
    main = next(t for t in compile_job(odd, NODES, SKELETON)["TaskGroups"][0]["Tasks"] if t["Name"] == "main")
    assert (main["Resources"]["CPU"], main["Resources"]["MemoryMB"]) == (1, 65)


def _volumes(session: Session, node: Node) -> list[str]:
    (group,) = compile_job(session, {"node1": node}, SKELETON)["TaskGroups"]
    (main,) = [task for task in group["Tasks"] if task["Name"] == "main"]
    volumes: list[str] = main["Config"]["volumes"]
    return [volume for volume in volumes if volume.endswith(":/dev/shm")]


@pytest.mark.parametrize(
    ("folders", "mounted"),
    [
        (("/run/nvidia-mps/a", "/run/nvidia-mps/a"), ["/run/nvidia-mps/a:/dev/shm"]),
        (("", "/run/nvidia-mps/b"), ["/run/nvidia-mps/b:/dev/shm"]),
        (("", ""), []),
        *(((folder, ""), []) for folder in OTHER_FOLDERS),
    ],
)
def test_a_container_has_one_shared_memory_for_all_its_devices(folders: tuple[str, str], mounted: list[str]) -> None:
    devices = tuple(
        Device(f"GPU-{n}", "cuda.shares", "A100", shares=10, shared_memory=folder) for n, folder in enumerate(folders)
    )
    held = tuple(HeldDevice("cuda.shares", device.id, Decimal("0.5")) for device in devices)
    slots = ResourceSlots.parse({"cpu": 1, "mem": "1g", "cuda.shares": "1"})
    session = fixed()
    session = replace(session, kernels=(replace(session.main_kernel, slots=slots, devices=held),))
    assert _volumes(session, replace(NODES["node1"], devices=devices)) == mounted


def test_a_kernel_without_the_devices_that_it_asked_for_is_an_error() -> None:
    session = fixed()
    gpu = replace(session.main_kernel, slots=ResourceSlots.parse({"cpu": 1, "mem": "1g", "cuda.shares": "0.5"}))
    with pytest.raises(ValueError, match=r"cuda\.shares"):
        compile_job(replace(session, kernels=(gpu,)), NODES, SKELETON)


@pytest.mark.parametrize(("priority", "nomad"), [(0, 1), (10, 10), (100, 100)])
def test_priorities_stay_in_nomads_range(priority: int, nomad: int) -> None:
    assert nomad_priority(priority) == nomad


def test_the_kernel_gets_its_identity_its_cluster_and_the_users_own_variables() -> None:
    session = replace(
        fixed(2), environ={"OMP_NUM_THREADS": "7", "GREETING": HOSTILE}, cluster_mode=ClusterMode.MULTI_NODE
    )
    labels = {"ai.backend.envs.corecount": "OMP_NUM_THREADS,NPROC"}
    spec = compile_kernel(session, session.kernels[1], OWNER, labels)
    assert spec.environ["OMP_NUM_THREADS"] == "7"
    assert spec.environ["NPROC"] == "1"
    assert spec.environ["GREETING"] == HOSTILE
    assert spec.environ["BACKENDAI_SESSION_ID"] == str(session.id)
    assert spec.environ["BACKENDAI_USER_EMAIL"] == "user@example.com"
    assert spec.environ["BACKENDAI_CLUSTER_HOSTS"] == "main1,sub1"
    assert spec.environ["BACKENDAI_CLUSTER_ROLE"] == "sub"
    assert spec.environ["BACKENDAI_CLUSTER_REPLICAS"] == "main:1,sub:1"
    assert spec.environ["BACKENDAI_CLUSTER_LOCAL_RANK"] == "0"
    assert spec.startup_command is None
    assert compile_kernel(session, session.main_kernel, OWNER, labels).startup_command == "true"


def test_kernels_of_several_wait_for_each_other_and_know_their_ranks() -> None:
    session = replace(fixed(2), environ={"MASTER_PORT": "6000"})
    first, second = (compile_kernel(session, kernel, OWNER, {}) for kernel in session.kernels)
    assert (first.barrier_seconds, second.barrier_seconds) == (BARRIER_SECONDS, BARRIER_SECONDS)
    wanted = {"MASTER_ADDR": "main1", "MASTER_PORT": "6000", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
    assert first.environ.items() >= (wanted | {"RANK": "0", "WORLD_RANK": "0"}).items()
    assert second.environ.items() >= (wanted | {"RANK": "1", "WORLD_RANK": "1"}).items()


def test_a_kernel_alone_waits_for_nobody_and_has_no_rank() -> None:
    spec = compile_kernel(fixed(), fixed().main_kernel, OWNER, {})
    assert spec.barrier_seconds == 0
    assert "RANK" not in spec.environ


def test_kernels_on_other_nodes_are_in_the_hosts_file_and_those_on_the_same_are_not() -> None:
    nodes = NODES | {"node2": replace(NODES["node2"], url="https://[fd00::2]:6011")}
    first, second = compile_job(fixed(2), nodes, SKELETON)["TaskGroups"]
    assert [_main(group)["Config"]["extra_hosts"] for group in (first, second)] == [
        ["sub1:fd00::2"],
        ["main1:127.0.0.1"],
    ]
    named = nodes | {"node2": replace(NODES["node2"], url="https://node2.example:6011")}
    assert "extra_hosts" not in _main(compile_job(fixed(2), named, SKELETON)["TaskGroups"][0])["Config"]
    together = replace(fixed(2), kernels=tuple(replace(kernel, node="node1") for kernel in fixed(2).kernels))
    assert "extra_hosts" not in str(compile_job(together, NODES, SKELETON))


def test_kernels_on_several_nodes_publish_what_the_others_need_and_those_on_one_nothing() -> None:
    first, second = compile_job(fixed(2), NODES, SKELETON)["TaskGroups"]
    ssh, master = {"Label": "ssh", "To": 2200}, {"Label": "master", "To": -1}
    assert (first["Networks"], second["Networks"]) == ([{"DynamicPorts": [ssh, master]}], [{"DynamicPorts": [ssh]}])
    assert [_main(group)["Config"]["ports"] for group in (first, second)] == [["ssh", "master"], ["ssh"]]
    together = replace(fixed(2), kernels=tuple(replace(kernel, node="node1") for kernel in fixed(2).kernels))
    assert '"ports"' not in json.dumps(compile_job(together, NODES, SKELETON))


def _main(group: Job) -> Job:
    (main,) = [task for task in group["Tasks"] if task["Name"] == "main"]
    return main


def test_a_users_secrets_do_not_show_in_a_specifications_repr() -> None:
    session = replace(fixed(), environ={"TOKEN": "hunter2"}, startup_command="curl -u hunter2")
    assert "hunter2" not in repr(compile_kernel(session, session.main_kernel, OWNER, {}))
