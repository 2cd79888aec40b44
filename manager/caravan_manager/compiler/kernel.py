"""What an agent must know of one kernel: its environment, command and mounts, as a KernelSpec."""

from collections.abc import Mapping
from dataclasses import dataclass

from caravan_common.wire.agent import KernelSpec, Mount
from caravan_common.wire.devices import DeviceShare
from caravan_manager.sessions.model import Kernel, Session, SessionMount
from caravan_manager.sessions.ports import SERVICE_PORTS, preopened

THREAD_COUNTS = "ai.backend.envs.corecount"
MASTER_PORT = "29500"
"""Where the ranks of a gang meet that is on one node, in the container of the first; PyTorch's own default."""
BARRIER_SECONDS = 1800
"""How long a container of a gang waits for the others; the manager gives up sooner, and ends it."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The user whose session it is, as the container is told."""

    email: str
    username: str


def compile_kernel(session: Session, kernel: Kernel, owner: Owner, labels: Mapping[str, str]) -> KernelSpec:
    """Return the specification of one kernel. ``labels`` are the image's."""
    return KernelSpec(
        session=session.id,
        kernel=kernel.id,
        image=session.image,
        architecture=session.architecture,
        cluster_role=kernel.cluster_role,
        cluster_idx=kernel.cluster_idx,
        cluster_hostname=kernel.cluster_hostname,
        environ=_environ(session, kernel, owner, labels),
        startup_command=session.startup_command if kernel is session.main_kernel else None,
        bootstrap_script=session.bootstrap_script,
        barrier_seconds=BARRIER_SECONDS if session.is_gang else 0,
        slots=kernel.slots.to_json(),
        devices=[DeviceShare(id=held.id, slot=held.slot, amount=held.amount) for held in kernel.devices],
        mounts=[_mount(mount) for mount in session.mounts],
        resource_opts=session.resource_opts,
    )


def _environ(session: Session, kernel: Kernel, owner: Owner, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the user's variables, those that the image asks for, and Backend.AI's, which nobody overrides."""
    cores = str(max(1, int(kernel.slots["cpu"])))
    counts = {name.strip(): cores for name in labels.get(THREAD_COUNTS, "").split(",") if name.strip()}
    return (
        counts
        | _rendezvous(session, kernel)
        | session.environ
        | _identity(session, owner, labels)
        | _cluster(session, kernel)
    )


def _rendezvous(session: Session, kernel: Kernel) -> dict[str, str]:
    """Return what a gang's distributed programs look for; one process a kernel, so that its local rank is 0."""
    if not session.is_gang:
        return {}
    rank = str(session.kernels.index(kernel))
    return {
        "MASTER_ADDR": session.main_kernel.cluster_hostname,
        "MASTER_PORT": MASTER_PORT,
        "WORLD_SIZE": str(len(session.kernels)),
        "WORLD_RANK": rank,
        "RANK": rank,
        "LOCAL_RANK": "0",
    }


def _identity(session: Session, owner: Owner, labels: Mapping[str, str]) -> dict[str, str]:
    return {
        "BACKENDAI_USER_UUID": str(session.user_id),
        "BACKENDAI_USER_EMAIL": owner.email,
        "BACKENDAI_USER_NAME": owner.username,
        "BACKENDAI_ACCESS_KEY": session.access_key,
        "BACKENDAI_SESSION_ID": str(session.id),
        "BACKENDAI_SESSION_NAME": session.name,
        "BACKENDAI_KERNEL_IMAGE": session.image,
        "BACKENDAI_SERVICE_PORTS": labels.get(SERVICE_PORTS, ""),
        "BACKENDAI_PREOPEN_PORTS": ",".join(map(str, preopened(session.service_ports))),
        "BACKENDAI_PERSISTENT_PATHS": ",".join(str(mount.target) for mount in session.mounts),
    }


def _cluster(session: Session, kernel: Kernel) -> dict[str, str]:
    peers = [k for k in session.kernels if k.node == kernel.node]
    replicas: dict[str, int] = {}
    for member in session.kernels:
        replicas[member.cluster_role] = replicas.get(member.cluster_role, 0) + 1
    return {
        "BACKENDAI_KERNEL_ID": str(kernel.id),
        "BACKENDAI_CLUSTER_SIZE": str(len(session.kernels)),
        "BACKENDAI_CLUSTER_REPLICAS": ",".join(f"{role}:{count}" for role, count in replicas.items()),
        "BACKENDAI_CLUSTER_HOSTS": ",".join(member.cluster_hostname for member in session.kernels),
        "BACKENDAI_CLUSTER_HOST": kernel.cluster_hostname,
        "BACKENDAI_CLUSTER_ROLE": kernel.cluster_role,
        "BACKENDAI_CLUSTER_IDX": str(kernel.cluster_idx),
        "BACKENDAI_CLUSTER_LOCAL_RANK": str(peers.index(kernel)),
    }


def _mount(mount: SessionMount) -> Mount:
    return Mount(
        name=mount.name,
        volume=mount.volume,
        quota_scope=mount.quota_scope,
        folder=mount.folder,
        subpath=mount.subpath,
        target=mount.target,
        permission="ro" if mount.permission == "ro" else "rw",
    )
