"""NVIDIA's GPUs, by NVML: whole, in shares, or the instances of those that are partitioned (MIG).

Device files are `/dev/nvidia<minor>` and those that all GPUs have in common; a MIG instance has the files of its
capabilities, too, whose numbers are in `/proc/driver/nvidia-caps/mig-minors` (NVIDIA's MIG user guide, "Device nodes").

By default the container gets the driver's libraries as mounts, so that no container runtime of NVIDIA's is needed. With
``runtime = "nvidia"`` NVIDIA's runtime does all of it, and is told by mounts (its settings
`accept-nvidia-visible-devices-as-volume-mounts = true` and `accept-nvidia-visible-devices-envvar-when-unprivileged =
false`; it must be Docker's default runtime).

A share is a promise between programs of good will: GPUs switch between processes (time slicing), and the memory limit
is in variables that a limiter, if one is configured, or MPS, goes by. What holds against ill will is a MIG instance.
Programs that use MPS reach its daemon by the sockets in its pipe folder and by its shared memory: containers get both,
as from NVIDIA's device plugin for Kubernetes ("MPS Support in the GPU Device Plugin"). So those who share a GPU by MPS
share one /dev/shm, each can read what the others have there, and it must be a file system of its own, with a size.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import structlog
from pydantic import Field, ValidationInfo, field_validator

from caravan_agent_driver.devices.kind import Access, DeviceFile, Given, HostPath, Shares, Statistics, slot_of
from caravan_agent_driver.devices.nvml import Handle, Nvml, load_nvml
from caravan_common.config import Section
from caravan_common.wire.devices import SHARED_MEMORY, Device

log = structlog.get_logger()

COMMON_FILES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
CAPABILITIES = Path("driver/nvidia-caps/mig-minors")
LIBRARIES = (
    "libcuda.so.1",
    "libcudadebugger.so.1",
    "libnvidia-ml.so.1",
    "libnvidia-ptxjitcompiler.so.1",
    "libnvidia-nvvm.so.4",
    "libnvidia-opencl.so.1",
    "libnvidia-encode.so.1",
    "libnvcuvid.so.1",
)
PLACE = Path("/usr/local/nvidia")
BY_MOUNTS = Path("/var/run/nvidia-container-devices")
FAULTS_OF_PROGRAMS = frozenset({13, 31, 43, 45, 68, 109})
"""XIDs that a program brings about and the GPU survives (NVIDIA's list "Xid Errors")."""
MIG_NAME = re.compile(r"\bMIG (?P<profile>\S+)$")
MOST_EVENTS = 64
MEBIBYTE = 1024**2

Value = TypeVar("Value")


class CudaOptions(Section):
    """``[kinds.cuda]`` of the device file."""

    shares: Shares = 20
    """Parts of one GPU; 1 gives it whole, as ``cuda.device``. A GPU that is partitioned (MIG) has no shares."""
    runtime: Literal["files", "nvidia"] = "files"
    sharing: Literal["time-slicing", "mps"] = "time-slicing"
    mps_pipe: Path = Path("/tmp/nvidia-mps")  # noqa: S108 - where NVIDIA's daemon listens unless it is told otherwise
    mps_shm: str | None = Field(default=None, validate_default=True)
    """The /dev/shm of MPS's daemon, as the node sees it: ``/run/nvidia-mps/<name>``, a tmpfs of its own with a size."""
    limiter: Path | None = None
    """A library that holds programs to their share, preloaded into those of kernels that have a part of a GPU."""
    libraries: list[Path] = [
        Path("/usr/lib/x86_64-linux-gnu"),
        Path("/usr/lib/aarch64-linux-gnu"),
        Path("/usr/lib64"),
        Path("/usr/lib"),
    ]
    """Folders with the driver's libraries; the first that has one counts."""
    dev: Path = Path("/dev")
    proc: Path = Path("/proc")
    sys: Path = Path("/sys")

    @field_validator("mps_shm")
    @classmethod
    def _check_mps_shm(cls, folder: str | None, info: ValidationInfo) -> str | None:
        wanted = (
            "/run/nvidia-mps/<name> (letters, digits, '_' and '-'), a tmpfs of its own with a size that MPS's daemon "
            "has as /dev/shm: every container that shares a GPU by MPS gets it"
        )
        if folder is None and info.data.get("sharing") == "mps":
            raise ValueError(f'sharing = "mps" needs it: {wanted}')
        if folder is not None and not re.fullmatch(SHARED_MEMORY, folder):
            raise ValueError(f"it must be {wanted}")
        return folder


@dataclass(frozen=True, slots=True)
class _Found:
    """A device with what NVML calls it. ``instance`` is the GPU's minor number, and of a MIG instance its two IDs."""

    device: Device
    handle: Handle
    minor: int
    instance: tuple[int, int] | None = None


class CudaDevices:
    """The GPUs of the machine. ``load`` gives the library, when the driver is there."""

    def __init__(self, options: Mapping[str, object], load: Callable[[], Nvml | None] = load_nvml) -> None:
        self._options = CudaOptions.model_validate(options)
        self._load = load
        self._nvml: Nvml | None = None
        self._events: object = None
        self._watched: dict[str, str] = {}
        self._xids: dict[str, int] = {}
        self._found: dict[str, _Found] = {}

    # --- what there is ---------------------------------------------------------------------------------------------

    def list_devices(self) -> Sequence[Device]:
        """Return the GPUs, and in place of a partitioned one its instances. One that does not answer any more is ill.

        A critical error makes a GPU ill until the device file is changed, or the process started, again.
        """
        if self._nvml is None:
            self._nvml = self._load()
        if self._nvml is None:
            return []
        found: dict[str, _Found] = {}
        self._read_events(self._nvml)
        for index in range(self._nvml.nvmlDeviceGetCount()):
            try:
                for one in self._at(self._nvml, index):
                    found[one.device.id] = one
            except self._nvml.NVMLError as err:
                log.warning("gpu.unreadable", index=index, error=str(err))
        if not found and not self._found and self._nvml.nvmlDeviceGetCount():
            raise RuntimeError("no GPU answers")
        for name, lost in self._found.items():
            if name not in found and self._is_lost(found, lost):
                found[name] = _ill(lost, "it does not answer any more")
        self._found = found
        return [one.device for one in found.values()]

    def _is_lost(self, found: Mapping[str, _Found], before: _Found) -> bool:
        """Say whether the GPU itself is gone: one that was partitioned anew is there under other names."""
        return all(one.minor != before.minor for one in found.values())

    def _at(self, nvml: Nvml, index: int) -> list[_Found]:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        uuid = nvml.nvmlDeviceGetUUID(handle)
        minor = nvml.nvmlDeviceGetMinorNumber(handle)
        problem = self._problem(nvml, handle, uuid)
        numa = self._numa_node(nvml.nvmlDeviceGetPciInfo(handle).busId)
        if self._partitioned(nvml, handle):
            return [self._mig_instance(nvml, part, minor, numa, problem) for part in self._parts(nvml, handle)]
        device = Device(
            id=uuid,
            slot=slot_of("cuda", self._options.shares),
            model=nvml.nvmlDeviceGetName(handle),
            shares=self._options.shares,
            memory=nvml.nvmlDeviceGetMemoryInfo(handle).total,
            numa_node=numa,
            healthy=not problem,
            problem=problem,
            shared_memory=self._shared_memory(),
        )
        return [_Found(device, handle, minor)]

    def _shared_memory(self) -> str:
        """Return what must be /dev/shm of those who have a part of a GPU."""
        by_mps = self._options.sharing == "mps" and self._options.shares > 1
        return (self._options.mps_shm or "") if by_mps else ""

    def _partitioned(self, nvml: Nvml, handle: Handle) -> bool:
        mode = _supported(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle))
        return mode is not None and mode[0] == nvml.NVML_DEVICE_MIG_ENABLE

    def _parts(self, nvml: Nvml, handle: Handle) -> list[Handle]:
        parts: list[Handle] = []
        for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            try:
                parts.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, index))
            except nvml.NVMLError:  # no instance has this number
                continue
        return parts

    def _mig_instance(self, nvml: Nvml, handle: Handle, minor: int, numa: int | None, problem: str) -> _Found:
        model = nvml.nvmlDeviceGetName(handle)  # "NVIDIA H100 80GB HBM3 MIG 1g.10gb"
        matched = MIG_NAME.search(model)
        profile = matched["profile"] if matched else "unknown"
        device = Device(
            id=nvml.nvmlDeviceGetUUID(handle),
            slot=f"cuda.device:{profile.replace('+', '-')}-mig",
            model=model,
            memory=nvml.nvmlDeviceGetMemoryInfo(handle).total,
            numa_node=numa,
            healthy=not problem,
            problem=problem,
        )
        instance = (nvml.nvmlDeviceGetGpuInstanceId(handle), nvml.nvmlDeviceGetComputeInstanceId(handle))
        return _Found(device, handle, minor, instance)

    def _numa_node(self, bus: str) -> int | None:
        address = bus.lower()[-12:]
        try:
            node = int((self._options.sys / "bus/pci/devices" / address / "numa_node").read_text())
        except (OSError, ValueError):
            return None
        return node if node >= 0 else None

    # --- how it does -----------------------------------------------------------------------------------------------

    def _problem(self, nvml: Nvml, handle: Handle, uuid: str) -> str:
        """Say what is wrong with a GPU, or nothing."""
        self._watch(nvml, handle, uuid)
        if uuid in self._xids:
            return f"critical error (XID {self._xids[uuid]})"
        rows = _supported(nvml, lambda: nvml.nvmlDeviceGetRemappedRows(handle))
        if rows is not None and rows[3]:
            return "its memory is worn out: a row could not be remapped"
        if rows is not None and rows[2]:
            return "it must be reset: a row of its memory waits to be remapped"
        kind, counter = nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        errors = _supported(nvml, lambda: nvml.nvmlDeviceGetTotalEccErrors(handle, kind, counter))
        if errors and rows is None:  # a GPU that remaps rows has dealt with them
            return f"{errors} memory errors that could not be corrected"
        return ""

    def _watch(self, nvml: Nvml, handle: Handle, uuid: str) -> None:
        """Have the GPU's critical errors told."""
        if uuid in self._watched:
            return
        try:
            if self._events is None:
                self._events = nvml.nvmlEventSetCreate()
            nvml.nvmlDeviceRegisterEvents(handle, nvml.nvmlEventTypeXidCriticalError, self._events)
            self._watched[uuid] = "watched"
        except nvml.NVMLError as err:  # not on every GPU, and not in every container
            self._watched[uuid] = str(err)
            log.info("gpu.errors_not_told", device=uuid, error=str(err))

    def _read_events(self, nvml: Nvml) -> None:
        """Remember the errors since the last time."""
        if self._events is None:
            return
        for _ in range(MOST_EVENTS):
            try:
                event = nvml.nvmlEventSetWait_v2(self._events, 0)
            except nvml.NVMLError_Timeout:
                return
            if event.eventData not in FAULTS_OF_PROGRAMS:
                uuid = nvml.nvmlDeviceGetUUID(event.device)
                log.warning("gpu.critical_error", device=uuid, xid=event.eventData)
                self._xids[uuid] = event.eventData

    def statistics(self) -> Mapping[str, Statistics]:
        """Return how the GPUs do. Of a MIG instance NVML tells the memory only."""
        nvml = self._nvml
        return {} if nvml is None else {name: _statistics(nvml, one.handle) for name, one in self._found.items()}

    # --- what a container gets -------------------------------------------------------------------------------------

    def access(self, device: Device) -> Access:
        """Return the device files and the driver's libraries; or what tells NVIDIA's runtime to see to both."""
        place = PLACE / device.id
        extra = tuple(
            HostPath(host, container, read_only)
            for host, container, read_only in (
                (self._options.limiter, place / "limiter.so", True),
                (self._options.mps_pipe if self._options.sharing == "mps" else None, place / "mps", False),
            )
            if host is not None and device.shares > 1
        )
        if self._options.runtime == "nvidia":
            told = HostPath(Path("/dev/null"), BY_MOUNTS / device.id)
            return Access(paths=(told, *extra))
        found = self._found[device.id]
        names = [f"nvidia{found.minor}", *COMMON_FILES]
        if found.instance is not None:
            names += [f"nvidia-caps/nvidia-cap{number}" for number in self._capabilities(found.minor, found.instance)]
        files = [DeviceFile(path, Path("/dev") / name) for name in names if (path := self._options.dev / name).exists()]
        libraries = tuple(HostPath(host, place / "lib64" / host.name) for host in self._libraries())
        return Access(tuple(files), libraries + extra)

    def _libraries(self) -> list[Path]:
        candidates = [[folder / name for folder in self._options.libraries] for name in LIBRARIES]
        return [path for paths in candidates if (path := next((p for p in paths if p.exists()), None)) is not None]

    def _capabilities(self, minor: int, instance: tuple[int, int]) -> list[str]:
        """Return the numbers of the files that open a MIG instance: ``gpu0/gi1/ci0/access 13`` has 13."""
        gpu, compute = instance
        wanted = {f"gpu{minor}/gi{gpu}/access", f"gpu{minor}/gi{gpu}/ci{compute}/access"}
        try:
            lines = (self._options.proc / CAPABILITIES).read_text().splitlines()
        except OSError:
            return []
        pairs = [line.split() for line in lines]
        return [pair[1] for pair in pairs if len(pair) == 2 and pair[0] in wanted]

    def environment(self, given: Sequence[Given]) -> Mapping[str, str]:
        """Return which GPUs CUDA sees, in this order, and the limits of shares.

        ``CUDA_DEVICE_MEMORY_LIMIT_<n>`` and ``CUDA_DEVICE_SM_LIMIT`` (per cent) are those of the limiter HAMi-core;
        those of MPS are in NVIDIA's guide to it. CARAVAN_LIBRARY_PATH is put before the image's LD_LIBRARY_PATH.
        """
        place = PLACE / given[0].device.id
        environ = {
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "CUDA_VISIBLE_DEVICES": ",".join(one.device.id for one in given),
        }
        if self._options.runtime == "files":
            environ["CARAVAN_LIBRARY_PATH"] = str(place / "lib64")
        if self._options.sharing == "mps" and given[0].device.shares > 1:
            environ["CUDA_MPS_PIPE_DIRECTORY"] = str(place / "mps")
        parts = [(number, one) for number, one in enumerate(given) if one.amount < 1]
        if not parts:
            return environ
        percent = max(1, int(100 * min(one.amount for _, one in parts)))
        if self._options.sharing == "mps":
            limits = ",".join(f"{number}={one.memory // MEBIBYTE}M" for number, one in parts)
            environ |= {
                "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT": limits,
                "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE": str(percent),
            }
        environ |= {f"CUDA_DEVICE_MEMORY_LIMIT_{number}": f"{one.memory // MEBIBYTE}m" for number, one in parts}
        environ["CUDA_DEVICE_SM_LIMIT"] = str(percent)
        if self._options.limiter is not None:
            environ["LD_PRELOAD"] = str(PLACE / parts[0][1].device.id / "limiter.so")
        return environ


def _ill(found: _Found, problem: str) -> _Found:
    device = found.device.model_copy(update={"healthy": False, "problem": problem})
    return _Found(device, found.handle, found.minor, found.instance)


def _supported(nvml: Nvml, ask: Callable[[], Value]) -> Value | None:
    """Return the answer, or None where the GPU has no such thing."""
    try:
        return ask()
    except nvml.NVMLError_NotSupported:
        return None


def _statistics(nvml: Nvml, handle: Handle) -> Statistics:
    def ask(question: Callable[[], Value]) -> Value | None:
        try:
            return question()
        except nvml.NVMLError:
            return None

    use = ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    milliwatts = ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    degrees = ask(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    return Statistics(
        utilization=None if use is None else float(use.gpu),
        memory_used=None if memory is None else memory.used,
        power=None if milliwatts is None else milliwatts / 1000,
        temperature=None if degrees is None else float(degrees),
    )
