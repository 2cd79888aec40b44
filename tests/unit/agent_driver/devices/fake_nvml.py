"""NVIDIA's management library without a GPU: the functions that are used, over GPUs that a test makes."""

from collections import deque
from dataclasses import dataclass, field


class NVMLError(Exception):
    """As in `pynvml`."""


class NVMLError_NotSupported(NVMLError):
    """The GPU has no such thing."""


class NVMLError_Timeout(NVMLError):
    """There was no event."""


class NVMLError_GpuIsLost(NVMLError):
    """The GPU has fallen off the bus."""


@dataclass
class Memory:
    total: int
    used: int


@dataclass
class Pci:
    busId: str


@dataclass
class Utilization:
    gpu: int


@dataclass
class Instance:
    """A MIG instance."""

    uuid: str
    name: str
    gi: int
    ci: int
    memory: int


@dataclass
class Gpu:
    uuid: str
    minor: int
    name: str = "NVIDIA H100 80GB HBM3"
    memory: int = 80 * 1024**3
    used: int = 5 * 1024**3
    bus: str = "00000000:3B:00.0"
    rows: tuple[int, int, int, int] | None = (0, 0, 0, 0)
    ecc: int = 0
    lost: bool = False
    instances: dict[int, Instance] | None = None
    """By their number; None where MIG is off."""


@dataclass
class Event:
    eventData: int
    device: Gpu


@dataclass
class FakeNvml:
    gpus: list[Gpu]
    events: deque[Event] = field(default_factory=deque)

    NVMLError = NVMLError
    NVMLError_NotSupported = NVMLError_NotSupported
    NVMLError_Timeout = NVMLError_Timeout
    NVML_TEMPERATURE_GPU = 0
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1
    NVML_VOLATILE_ECC = 0
    NVML_DEVICE_MIG_ENABLE = 1
    nvmlEventTypeXidCriticalError = 8

    def nvmlInit(self):
        pass

    def nvmlDeviceGetCount(self):
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index):
        if self.gpus[index].lost:
            raise NVMLError_GpuIsLost("GPU is lost")
        return self.gpus[index]

    def nvmlDeviceGetUUID(self, handle):
        return handle.uuid

    def nvmlDeviceGetName(self, handle):
        return handle.name

    def nvmlDeviceGetMinorNumber(self, handle):
        return handle.minor

    def nvmlDeviceGetMemoryInfo(self, handle):
        return Memory(handle.memory, getattr(handle, "used", 0))

    def nvmlDeviceGetPciInfo(self, handle):
        return Pci(handle.bus)

    def nvmlDeviceGetUtilizationRates(self, handle):
        if isinstance(handle, Instance):
            raise NVMLError_NotSupported
        return Utilization(42)

    def nvmlDeviceGetPowerUsage(self, handle):
        if isinstance(handle, Instance):
            raise NVMLError_NotSupported
        return 250_500

    def nvmlDeviceGetTemperature(self, handle, _sensor):
        if isinstance(handle, Instance):
            raise NVMLError_NotSupported
        return 61

    def nvmlDeviceGetMigMode(self, handle):
        return [int(handle.instances is not None), 0]

    def nvmlDeviceGetMaxMigDeviceCount(self, _handle):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index):
        if index not in handle.instances:
            raise NVMLError("Not Found")
        return handle.instances[index]

    def nvmlDeviceGetGpuInstanceId(self, handle):
        return handle.gi

    def nvmlDeviceGetComputeInstanceId(self, handle):
        return handle.ci

    def nvmlDeviceGetTotalEccErrors(self, handle, _kind, _counter):
        return handle.ecc

    def nvmlDeviceGetRemappedRows(self, handle):
        if handle.rows is None:
            raise NVMLError_NotSupported
        return handle.rows

    def nvmlEventSetCreate(self):
        return object()

    def nvmlDeviceRegisterEvents(self, _handle, _kinds, _events):
        pass

    def nvmlEventSetWait_v2(self, _events, _milliseconds):
        if not self.events:
            raise NVMLError_Timeout
        return self.events.popleft()
