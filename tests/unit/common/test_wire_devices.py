"""What an agent may say of a node's devices: nothing that makes the manager mount what it likes."""

import pytest
from pydantic import ValidationError

from caravan_common.wire.devices import Device

OTHER_FOLDERS = [
    "/root",
    "/..",
    "/run/nvidia-mps",
    "/run/nvidia-mps/",
    "/run/nvidia-mps/..",
    "/run/nvidia-mps/../..",
    "/run/nvidia-mps/shm/..",
    "/run/nvidia-mps/shm\n",
    "/run/nvidia-mps/shm:rw",
    "/run/nvidia-mps/${attr}",
    "/run/nvidia-mps2/shm",
    "/mnt/run/nvidia-mps/shm",
    "/dev/shm",
    "run/nvidia-mps/shm",
]
"""Paths that cannot be the shared memory of a device."""


@pytest.mark.parametrize("folder", OTHER_FOLDERS)
def test_no_other_folder_can_be_said_to_be_a_device_s_shared_memory(folder: str) -> None:
    with pytest.raises(ValidationError, match="shared_memory"):
        Device(id="GPU-1", slot="cuda.shares", model="A100", shared_memory=folder)


def test_a_device_s_shared_memory_has_a_place_of_its_own() -> None:
    for folder in ("", "/run/nvidia-mps/shm", "/run/nvidia-mps/gpu_0-1"):
        assert Device(id="GPU-1", slot="cuda.shares", model="A100", shared_memory=folder).shared_memory == folder
