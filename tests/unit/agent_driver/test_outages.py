"""What may be over soon is told apart from what the node or the specification has for good."""

import errno
import os
import resource
from uuid import UUID

import pytest

from caravan_agent_driver.docker.engine import DockerError
from caravan_agent_driver.mounts.bind import BindMounts
from caravan_agent_driver.outages import may_pass
from caravan_common.errors import InvalidParametersError, UnavailableError
from caravan_common.ids import folder_path
from caravan_common.wire.agent import Mount

MOUNT = Mount.model_validate(
    {
        "name": "data",
        "volume": "volume1",
        "quota_scope": "user:33333333-3333-4333-8333-333333333333",
        "folder": UUID("44444444-4444-4444-8444-444444444444"),
        "target": "/home/work/data",
        "permission": "rw",
    }
)


@pytest.mark.parametrize(
    ("problem", "passes"),
    [
        (DockerError("does not answer"), True),
        (DockerError("dockerd is starting", 500), True),
        (DockerError("dockerd is starting", 503), True),
        (DockerError("no such driver", 404), False),
        (DockerError("not such a network", 400), False),
        (OSError(errno.ENOSPC, "full"), True),
        (OSError(errno.ENOTCONN, "the FUSE process died"), True),
        (OSError(errno.EDQUOT, "its owner must act"), False),
        (PermissionError(errno.EACCES, "denied"), False),
        (FileNotFoundError(errno.ENOENT, "none"), False),
        (UnavailableError("later"), True),
        (InvalidParametersError("never"), False),
        (ValueError("a bug"), False),
    ],
)
def test_only_an_outage_may_pass(problem, passes) -> None:
    assert may_pass(problem) is passes


def _mounted(mounts: BindMounts, home) -> None:
    """Mount while the process may open one file only: enough for the volume's root, too little for the folder."""
    lowest = os.dup(0)
    os.close(lowest)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 1, hard))
    try:
        mounts.mount(MOUNT, home)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_folder_that_cannot_be_opened_just_now_is_an_outage_and_one_that_is_missing_is_not(tmp_path) -> None:
    folder = tmp_path / folder_path(MOUNT.quota_scope, MOUNT.folder)
    folder.mkdir(parents=True)
    mounts = BindMounts({"volume1": tmp_path}, (1000, 1000))

    with pytest.raises(UnavailableError, match="cannot mount the folder data"):
        _mounted(mounts, tmp_path / "home")
    folder.rmdir()
    with pytest.raises(InvalidParametersError, match="cannot mount the folder data"):
        mounts.mount(MOUNT, tmp_path / "home")
