"""What a kernel's configuration files say: environ.txt, environ.d, resource.txt, and the user's scripts. Pure.

environ.txt is Backend.AI's form, one NAME=VALUE a line. A value with a line break cannot be told apart there, so it
lies alone in environ.d/NAME, and so does one that is known only as a kernel of several begins; together they are the
whole environment, the entrypoint reads both, and environ.d has the last word.
"""

import json
import re
from collections.abc import Mapping

from caravan_agent_driver.devices.grants import Grant
from caravan_agent_driver.mounts.bind import outside_home
from caravan_common.errors import InvalidParametersError
from caravan_common.wire.agent import KernelSpec, Release

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
LARGEST_VARIABLE = 128 * 1024 - 1
"""Linux takes no longer string in an environment (MAX_ARG_STRLEN), the terminating zero included."""
LARGEST_ENVIRONMENT = 1024 * 1024
_LINE_BREAKS = re.compile(r"[\r\n]")


def check_environment(environ: Mapping[str, str]) -> None:
    """Raise InvalidParametersError when a process could not be given this environment. Never repeats a value."""
    total = 0
    for name, value in environ.items():
        if not _NAME.fullmatch(name):
            raise InvalidParametersError(f"{name!r} is not a name of an environment variable")
        if "\0" in value:
            raise InvalidParametersError(f"the environment variable {name} has a zero byte in its value", name=name)
        size = len(name) + len(value.encode()) + 1
        total += size + 1
        if size > LARGEST_VARIABLE:
            raise InvalidParametersError(f"the environment variable {name} is longer than 128 KiB", name=name)
    if total > LARGEST_ENVIRONMENT:
        raise InvalidParametersError("the environment is longer than 1 MiB")


def complete_environment(environ: Mapping[str, str], uid: int, gid: int) -> dict[str, str]:
    """Return the environment with what the agent decides. The user's IDs come first: the entrypoint looks there."""
    fixed = {
        "LOCAL_USER_ID": str(uid),
        "LOCAL_GROUP_ID": str(gid),
        "HOME": "/home/work",
        "USER": "work",
        "LOGNAME": "work",
    }
    return fixed | {name: value for name, value in environ.items() if name not in fixed}


def environment_files(environ: Mapping[str, str]) -> dict[str, bytes]:
    """Return environ.txt and one environ.d/NAME for each value that has a line break."""
    lines = {name: value for name, value in environ.items() if not _LINE_BREAKS.search(value)}
    files = {f"environ.d/{name}": value.encode() for name, value in environ.items() if name not in lines}
    return {"environ.txt": "".join(f"{name}={value}\n" for name, value in lines.items()).encode(), **files}


def resource_text(spec: KernelSpec, granted: Grant) -> str:
    """Return resource.txt: what the kernel was given, in Backend.AI's form.

    A slot of devices says how much of which device (``CUDA.SHARES_SHARES=GPU-1a:0.3``), any other how much there is.
    """
    mounts = ",".join(f"{mount.name}:{mount.target}:{mount.permission}" for mount in spec.mounts)
    of_devices = {share.slot for share in spec.devices}
    shares = "".join(
        f"{name.upper()}_SHARES={name}:{amount}\n" for name, amount in spec.slots.items() if name not in of_devices
    )
    head = f"SCRATCH_SIZE=0m\nMOUNTS={mounts}\nSLOTS={json.dumps(spec.slots)}\nUNIFIED_DEVICES=[]\n"
    return f"{head}{shares}{granted.resources}"


def configuration_files(spec: KernelSpec, granted: Grant, uid: int, gid: int) -> dict[str, bytes]:
    """Return every file of /home/config by its path there. Of devices the agent says the last word."""
    files = environment_files(complete_environment({**spec.environ, **granted.environ}, uid, gid))
    files["resource.txt"] = resource_text(spec, granted).encode()
    outside = outside_home(spec.mounts)
    if outside:
        files["mounts.txt"] = "".join(f"{mount.target}\n" for mount in outside).encode()
    if spec.barrier_seconds:
        files["barrier.txt"] = f"{spec.barrier_seconds}\n".encode()
    if spec.startup_command is not None:
        files["startup.sh"] = spec.startup_command.encode()
    if spec.bootstrap_script is not None:
        files["bootstrap.sh"] = spec.bootstrap_script.encode()
    return files


def release_files(told: Release) -> dict[str, bytes]:
    """Return what a kernel of several finds in /home/config as it begins; port-mapping.json in Backend.AI's form."""
    files = {f"environ.d/{name}": value.encode() for name, value in told.environ.items()}
    if told.ssh:
        mapping = {name: (there.host, there.port) for name, there in told.ssh.items()}
        files["ssh/port-mapping.json"] = json.dumps(mapping).encode()
    return files
