"""Opens trace files and finds out what they are; any may be compressed by gzip."""

import gzip
from pathlib import Path

from caravan_common.errors import ConfigurationError, InvalidParametersError
from caravan_manager.scheduler.simulation import openb, recording, slurm
from caravan_manager.scheduler.simulation.trace import Trace
from caravan_manager.scheduler.snapshot import NodeView

_GZIP = b"\x1f\x8b"


def read_trace(path: Path, gpu_slot: str = slurm.SLOT) -> Trace:
    """Read a trace of any known form. Raises ConfigurationError for a file that is none."""
    raw = _bytes(path)
    head = raw.partition(b"\n")[0][:4096].decode(errors="replace").strip()
    try:
        if recording.is_recording(head):
            return recording.read(raw)
        if slurm.is_sacct(head):
            return slurm.read_jobs(raw.decode(errors="replace").splitlines(), gpu_slot)
        if openb.is_openb(head):
            return openb.read_pods(raw.decode().splitlines())
    except (InvalidParametersError, UnicodeDecodeError) as err:
        raise ConfigurationError(f"{path}: {err}") from err
    raise ConfigurationError(
        f"{path} is no trace: neither what `export-trace` wrote, nor what `sacct -P` prints, nor openb's CSV of pods"
    )


def read_nodes(path: Path) -> tuple[NodeView, ...]:
    """Read a list of nodes. Raises ConfigurationError."""
    try:
        return openb.read_nodes(_bytes(path).decode().splitlines())
    except (InvalidParametersError, ValueError, ArithmeticError) as err:
        raise ConfigurationError(f"{path}: {err}") from err


def _bytes(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if raw.startswith(_GZIP) else raw
    except (OSError, EOFError) as err:
        raise ConfigurationError(f"cannot read {path}: {err}") from err
