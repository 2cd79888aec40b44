"""Accelerators as agents report them, and as the manager gives them to kernels.

Each physical device is one device group in Nomad, :func:`nomad_device`, with ``shares`` instances named
``<id>::<k>``: Nomad takes all instances of a ``device`` block from one group, so a fraction never straddles devices.
"""

from decimal import Decimal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_serializer,
)

VENDOR = "caravan"
FINEST = 1_000_000
"""Amounts have six digits behind the point, so that a share must be one of them."""
SHARED_MEMORY = r"/run/nvidia-mps/[A-Za-z0-9_-]+"
"""The only folders of a node that a heartbeat may name, and that are mounted because it does: directly below one."""

MOST_MEMORY = 2**60
MOST_NODES = 2**20
"""What no machine has; numbers without end cannot be stored."""


class Device(BaseModel):
    """One physical device (or one hardware partition of it, as a MIG instance) of a node."""

    model_config = ConfigDict(frozen=True)

    id: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    """Unique on the node, and the same after a reboot: a GPU's UUID."""
    slot: str
    """The slot that it gives 1 of: ``cuda.device``, ``cuda.shares``, ``atom.device``."""
    model: str
    shares: int = Field(default=1, ge=1, le=1000)
    """Into how many equal parts it can be divided; 1 for a device that is given whole or not at all."""
    memory: int = Field(default=0, ge=0, le=MOST_MEMORY)
    """Its own memory in bytes; 0 where it has none."""
    numa_node: int | None = Field(default=None, ge=-1, le=MOST_NODES)
    healthy: bool = True
    problem: str = ""
    """Why it is ill, for people."""
    shared_memory: str = Field(default="", pattern=rf"^({SHARED_MEMORY})?$", max_length=256)
    """A folder of the node that must be /dev/shm of every container with a part of it; none where it is empty.

    It is said here, and not given with the device, because a container with several devices has one /dev/shm.
    """

    @field_validator("shares")
    @classmethod
    def _check_shares(cls, shares: int) -> int:
        if FINEST % shares:
            raise ValueError(f"{FINEST} parts must be whole shares: 10, 20, 25, 50 or 100, for example")
        return shares

    @property
    def kind(self) -> str:
        """The kind of accelerator, the first part of its slot's name: ``cuda``, ``atom``."""
        return kind_of(self.slot)


_BOUNDS: dict[str, tuple[float, float]] = {
    "utilization": (0, 1000),
    "memory_used": (0, MOST_MEMORY),
    "power": (0, 1_000_000),
    "temperature": (-273.15, 1000),
}
"""What a reading may be, in its unit; beyond that no device is."""


class DeviceStatistics(BaseModel):
    """How a device does now; None, and not sent, where nobody can tell.

    A reading that cannot be is not known: one odd device must not cost its node's heartbeat.
    """

    model_config = ConfigDict(frozen=True)

    utilization: FiniteFloat | None = None
    """In per cent."""
    memory_used: int | None = None
    """In bytes, of `Device.memory`."""
    power: FiniteFloat | None = None
    """In watts."""
    temperature: FiniteFloat | None = None
    """In degrees Celsius."""

    @field_validator(*_BOUNDS, mode="wrap")
    @classmethod
    def _or_unknown(
        cls, value: object, check: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> float | int | None:
        try:
            read: float | int | None = check(value)
        except ValidationError:
            return None
        least, most = _BOUNDS[info.field_name or ""]
        return read if read is not None and least <= read <= most else None

    @model_serializer(mode="wrap")
    def _without_unknown(self, dump: SerializerFunctionWrapHandler) -> dict[str, float | int]:
        return {name: value for name, value in dump(self).items() if value is not None}


class DeviceShare(BaseModel):
    """What one kernel has of one device. ``amount`` is of the slot: 1 is the whole device."""

    model_config = ConfigDict(frozen=True)

    id: str
    slot: str
    amount: Decimal = Field(gt=0, le=1)


def kind_of(slot: str) -> str:
    """Return the kind of accelerator that a slot is of."""
    return slot.partition(".")[0]


def nomad_device(slot: str, device: str) -> str:
    """Return the name of a device's group in Nomad, as ``device`` blocks select it: ``caravan/cuda/GPU-1a2b``."""
    return f"{VENDOR}/{kind_of(slot)}/{device}"
