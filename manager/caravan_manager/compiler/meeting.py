"""How the kernels of a session on several nodes reach each other: the ports to ask for, and what each is told of them.

Between nodes nothing but published ports is reached. Nomad chooses their numbers as it places the job, so that a kernel
learns them only as it begins.
"""

from collections.abc import Mapping

from caravan_common.errors import UnavailableError
from caravan_common.nomad.ports import Ports
from caravan_common.wire.agent import Endpoint, Release
from caravan_manager.sessions.model import Kernel, Session

MASTER = "master"
"""Where the ranks meet, in the container of the first: the same number inside and outside."""
SSH = "ssh"
SSH_PORT = 2200
"""Where Backend.AI's SSH server listens in each container."""
_SAME_NUMBER = -1


def wanted_ports(session: Session, kernel: Kernel) -> dict[str, int]:
    """Return which port of the container each published port leads to, by label; none for a session on one node."""
    if not session.spans_nodes:
        return {}
    return {SSH: SSH_PORT} | ({MASTER: _SAME_NUMBER} if kernel is session.main_kernel else {})


def compile_release(session: Session, kernel: Kernel, ports: Ports) -> Release:
    """Return what a kernel is told as it begins. ``ports`` are those that the session's job was given.

    Raises UnavailableError when Nomad does not know of a port (any more): the container that it led to is gone.
    """
    if not session.spans_nodes:
        return Release()
    own = {member.cluster_hostname: _ports_of(session, member, ports) for member in session.kernels}
    ssh = {
        member.cluster_hostname: Endpoint(host=member.cluster_hostname, port=SSH_PORT)
        if member.node == kernel.node
        else own[member.cluster_hostname][SSH]
        for member in session.kernels
    }
    main = session.main_kernel
    meeting = own[main.cluster_hostname][MASTER]
    environ = {"MASTER_PORT": str(meeting.port)}
    if main.node != kernel.node:
        environ["MASTER_ADDR"] = meeting.host
    unset = environ.keys() - session.environ.keys()
    return Release(environ={name: environ[name] for name in sorted(unset)}, ssh=ssh)


def _ports_of(session: Session, kernel: Kernel, ports: Ports) -> Mapping[str, Endpoint]:
    given = ports.get(session.group_of(kernel), {})
    if missing := wanted_ports(session, kernel).keys() - given.keys():
        raise UnavailableError(f"Nomad knows of no port {min(missing)} of {kernel.cluster_hostname}")
    return {label: Endpoint(host=port.host, port=port.number) for label, port in given.items()}
