"""A placed session as a Nomad job: the operator's skeleton with IDs and numbers laid over it.

Nothing that a user wrote goes into a job: Nomad replaces `${…}` in a job's strings and knows no escape. What users
wrote travels in the kernels' specifications (:mod:`caravan_manager.compiler.kernel`).
"""

import copy
import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from caravan_common.ids import job_id, network_name
from caravan_common.nomad.client import Job
from caravan_common.slots import parse_bytes
from caravan_common.wire.devices import SHARED_MEMORY, nomad_device
from caravan_manager.compiler.meeting import wanted_ports
from caravan_manager.nodes.model import Node
from caravan_manager.nodes.slots import INTRINSIC
from caravan_manager.sessions.model import Kernel, Session

MHZ_PER_CPU = 1000
"""How many of Nomad's MHz one cpu slot is; a node's `cpu_total_compute` is its cpu slots times this."""
MEBIBYTE = 1024 * 1024
DEFAULT_SHM_BYTES = 64 * MEBIBYTE

_ITS_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the container's
_PLAIN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._/:@-]*$")


def compile_job(session: Session, nodes: Mapping[str, Node], skeleton: Job) -> Job:
    """Return the job of a session whose kernels all have nodes.

    ``skeleton`` is the parsed `jobs/session/session.nomad.hcl`; ``nodes`` has those of the kernels by name.
    Compiling the same session twice gives the same job.
    """
    job = copy.deepcopy(skeleton)
    (template,) = job["TaskGroups"]
    job["ID"] = job["Name"] = job_id(session.id)
    job["Priority"] = nomad_priority(session.priority)
    job["Meta"] = _meta(session)
    job["TaskGroups"] = [_group(session, kernel, nodes, template) for kernel in session.kernels]
    return job


def nomad_priority(priority: int) -> int:
    """Return Nomad's priority (1-100) for Backend.AI's (0-100)."""
    return max(1, min(100, priority))


def _meta(session: Session) -> dict[str, str]:
    meta = {
        "caravan_session": str(session.id),
        "caravan_user": str(session.user_id),
        "caravan_access_key": session.access_key,
        "caravan_project": str(session.project_id),
        "caravan_domain": session.domain_name,
        "caravan_scaling_group": session.scaling_group,
        "caravan_type": session.type.value,
    }
    return {name: value for name, value in meta.items() if _PLAIN.match(value)}


def _group(session: Session, kernel: Kernel, nodes: Mapping[str, Node], template: Job) -> Job:
    if kernel.node is None:
        raise ValueError(f"kernel {kernel.id} has no node")
    group = copy.deepcopy(template)
    group["Name"] = session.group_of(kernel)
    group["Constraints"] = [
        {"LTarget": "${node.unique.id}", "RTarget": str(nodes[kernel.node].node_id), "Operand": "="},
    ]
    ports = wanted_ports(session, kernel)
    if ports:
        group["Networks"] = [{"DynamicPorts": [{"Label": label, "To": to} for label, to in ports.items()]}]
    for task in group["Tasks"]:
        if task["Name"] == "main":
            _lay_main(session, kernel, nodes, task)
        else:
            task["Config"]["args"] = [*task["Config"]["args"], str(kernel.id)]
    return group


def _lay_main(session: Session, kernel: Kernel, nodes: Mapping[str, Node], task: dict[str, Any]) -> None:
    if not _PLAIN.match(session.image):
        raise ValueError("the image's reference is not plain")
    scratch = "${meta.caravan_scratch}/" + str(kernel.id)
    task["Resources"] |= _resources(kernel) | _devices(kernel, nodes[kernel.node or ""])
    task["Config"] |= {
        "image": session.image,
        "hostname": kernel.cluster_hostname,
        "network_mode": network_name(session.id),
        "network_aliases": [kernel.cluster_hostname],
        "shm_size": shm_bytes(session.resource_opts),
        "labels": [{"ai.caravan.session": str(session.id), "ai.caravan.kernel": str(kernel.id)}],
        "volumes": [
            f"{scratch}/work:/home/work",
            f"{scratch}/config:/home/config:ro",
            "${meta.caravan_runtime}:/opt/kernel:ro",
            *_shared_memory(kernel, nodes[kernel.node or ""]),
        ],
    } | _extra_hosts(session, kernel, nodes)
    if ports := wanted_ports(session, kernel):
        task["Config"]["ports"] = list(ports)


def _extra_hosts(session: Session, kernel: Kernel, nodes: Mapping[str, Node]) -> dict[str, list[str]]:
    """Return the lines of /etc/hosts for the kernels on other nodes; those on this one are in its network."""
    away = [k for k in session.kernels if k.node is not None and k.node != kernel.node]
    hosts = [f"{k.cluster_hostname}:{address}" for k in away if (address := _address(nodes[k.node or ""]))]
    return {"extra_hosts": hosts} if hosts else {}


def _address(node: Node) -> str | None:
    """Return the address at which the node's agent is; None when it told a name, which Docker does not look up."""
    host = urlsplit(node.url).hostname or ""
    try:
        return str(ip_address(host))
    except ValueError:
        return None


def _resources(kernel: Kernel) -> dict[str, int]:
    cpu = (kernel.slots["cpu"] * MHZ_PER_CPU).to_integral_value(ROUND_CEILING)
    memory = (kernel.slots["mem"] / Decimal(MEBIBYTE)).to_integral_value(ROUND_CEILING)
    return {"CPU": int(cpu), "MemoryMB": int(memory)}


def _devices(kernel: Kernel, node: Node) -> dict[str, list[dict[str, object]]]:
    """Return one block for each device: so many of its shares. Nomad takes those of a block from one device."""
    for slot in kernel.slots.keys() - INTRINSIC:
        if sum(held.amount for held in kernel.devices if held.slot == slot) != kernel.slots[slot]:
            raise ValueError(f"kernel {kernel.id} does not have the {slot} that it asked for")
    shares = {(device.slot, device.id): device.shares for device in node.devices}
    blocks: list[dict[str, object]] = [
        {"Name": nomad_device(held.slot, held.id), "Count": int(held.amount * shares[held.slot, held.id])}
        for held in kernel.devices
    ]
    return {"Devices": blocks} if blocks else {}


def _shared_memory(kernel: Kernel, node: Node) -> list[str]:
    """Return the mount of what a device needs as /dev/shm, in place of the session's own; one for all devices.

    No other path of the node is mounted than one that is made for it, whatever the node's agent said.
    """
    found = [node.device(held.slot, held.id) for held in kernel.devices]
    folders = [device.shared_memory for device in found if device is not None and device.shared_memory]
    return [f"{folder}:{_ITS_SHARED_MEMORY}" for folder in folders[:1] if re.fullmatch(SHARED_MEMORY, folder)]


def shm_bytes(resource_opts: Mapping[str, str]) -> int:
    """Return the size of `/dev/shm` that a session asked for; 64 MiB when it did not."""
    wanted = resource_opts.get("shmem")
    return DEFAULT_SHM_BYTES if wanted is None else parse_bytes(wanted)
