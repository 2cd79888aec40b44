"""Reads Alibaba's openb trace (cluster-trace-gpu-v2023): a CSV of pods, and one of nodes. Pure.

Times are seconds from the trace's begin; a pod's user is its class of service, since the trace names nobody.
"""

import csv
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal

from caravan_common.errors import InvalidParametersError
from caravan_manager.nodes.model import Device
from caravan_manager.scheduler.simulation.trace import EPOCH, Arrival, Trace, imported, made_node
from caravan_manager.scheduler.snapshot import NodeView

SLOT = "cuda.shares"
SHARES = 1000
_MILLI = Decimal(1000)
_MIB = 2**20


def is_openb(head: str) -> bool:
    """Say whether a file with this first line is a list of pods."""
    return {"name", "cpu_milli", "num_gpu"} <= set(head.split(","))


def read_pods(lines: Iterable[str]) -> Trace:
    """Read a list of pods. Raises InvalidParametersError for one without times."""
    rows = csv.DictReader(lines)
    if "creation_time" not in (rows.fieldnames or ()):
        raise InvalidParametersError("this list of pods does not say when they came and left")
    try:
        ordered = sorted(rows, key=lambda row: (float(row["creation_time"]), row["name"]))
        return Trace(tuple(_arrival(number, row) for number, row in enumerate(ordered, 1)))
    except (ValueError, ArithmeticError, TypeError) as err:
        raise InvalidParametersError(f"the list of pods has what is no number: {err!r}") from err


def read_nodes(lines: Iterable[str]) -> tuple[NodeView, ...]:
    """Read a list of nodes. Raises InvalidParametersError for anything else."""
    rows = csv.DictReader(lines)
    if not {"sn", "cpu_milli", "memory_mib"} <= set(rows.fieldnames or ()):
        raise InvalidParametersError("a list of nodes is CSV with the columns sn, cpu_milli, memory_mib, gpu and model")
    return tuple(
        made_node(
            row["sn"],
            _slots(row),
            tuple(Device(str(n), SLOT, row.get("model") or "", SHARES) for n in range(int(row.get("gpu") or 0))),
        )
        for row in rows
    )


def _arrival(number: int, row: dict[str, str]) -> Arrival:
    created, left = float(row["creation_time"]), row.get("deletion_time")
    began = float(row.get("scheduled_time") or created)
    slots, count = _slots(row), int(row["num_gpu"] or 0)
    if count:
        slots[SLOT] = Decimal(row["gpu_milli"]) / _MILLI if count == 1 else Decimal(count)
    session = imported(
        number,
        row["name"],
        EPOCH + timedelta(seconds=created),
        slots,
        user=row.get("qos") or "",
        models=frozenset(filter(None, (row.get("gpu_spec") or "").split("|"))),
    )
    return Arrival(session, timedelta(seconds=max(0.0, float(left) - began)) if left else None)


def _slots(row: dict[str, str]) -> dict[str, Decimal]:
    return {"cpu": Decimal(row["cpu_milli"]) / _MILLI, "mem": Decimal(int(row["memory_mib"]) * _MIB)}
