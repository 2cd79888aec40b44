"""NVIDIA's management library, as far as it is used here. Names and numbers are those of the module `pynvml`.

The module is an extra (`pip install caravan[nvidia]`), and finds the driver's own library when it is initialised.
"""

import importlib
from collections.abc import Sequence
from typing import Protocol, cast

Handle = object


class Memory(Protocol):
    """Bytes."""

    total: int
    used: int


class Pci(Protocol):
    """``busId`` is ``00000000:3B:00.0``."""

    busId: str


class Utilization(Protocol):
    """Per cent."""

    gpu: int


class Event(Protocol):
    """An event of one device; ``eventData`` of a critical error is its XID."""

    eventData: int
    device: Handle


class Nvml(Protocol):
    """The functions that are used. Each raises ``NVMLError`` or a class below it."""

    NVMLError: type[Exception]
    NVMLError_NotSupported: type[Exception]
    NVMLError_Timeout: type[Exception]
    NVML_TEMPERATURE_GPU: int
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED: int
    NVML_VOLATILE_ECC: int
    NVML_DEVICE_MIG_ENABLE: int
    nvmlEventTypeXidCriticalError: int

    def nvmlInit(self) -> None: ...
    def nvmlDeviceGetCount(self) -> int: ...
    def nvmlDeviceGetHandleByIndex(self, index: int, /) -> Handle: ...
    def nvmlDeviceGetUUID(self, handle: Handle, /) -> str: ...
    def nvmlDeviceGetName(self, handle: Handle, /) -> str: ...
    def nvmlDeviceGetMinorNumber(self, handle: Handle, /) -> int: ...
    def nvmlDeviceGetMemoryInfo(self, handle: Handle, /) -> Memory: ...
    def nvmlDeviceGetPciInfo(self, handle: Handle, /) -> Pci: ...
    def nvmlDeviceGetUtilizationRates(self, handle: Handle, /) -> Utilization: ...
    def nvmlDeviceGetPowerUsage(self, handle: Handle, /) -> int: ...
    def nvmlDeviceGetTemperature(self, handle: Handle, sensor: int, /) -> int: ...
    def nvmlDeviceGetMigMode(self, handle: Handle, /) -> Sequence[int]: ...
    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Handle, /) -> int: ...
    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Handle, index: int, /) -> Handle: ...
    def nvmlDeviceGetGpuInstanceId(self, handle: Handle, /) -> int: ...
    def nvmlDeviceGetComputeInstanceId(self, handle: Handle, /) -> int: ...
    def nvmlDeviceGetTotalEccErrors(self, handle: Handle, kind: int, counter: int, /) -> int: ...
    def nvmlDeviceGetRemappedRows(self, handle: Handle, /) -> Sequence[int]: ...
    def nvmlEventSetCreate(self) -> object: ...
    def nvmlDeviceRegisterEvents(self, handle: Handle, kinds: int, events: object, /) -> None: ...
    def nvmlEventSetWait_v2(self, events: object, milliseconds: int, /) -> Event: ...


def load_nvml() -> Nvml | None:
    """Return the library, initialised; None on a machine that has neither module nor driver."""
    try:
        nvml = cast(Nvml, importlib.import_module("pynvml"))
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return None
    return nvml
