"""The openb trace (Alibaba's cluster-trace-gpu-v2023): its files, and the rule of a run.

CARAVAN_OPENB names the folder: ``openb_node_list_gpu_node.csv.gz``, ``openb_pod_list_<workload>.csv.gz``, and
``published.csv`` (per workload and policy the share of GPU capacity that is allocated at the end, in percent).
"""

import csv
import gzip
import os
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tests.bench.scheduler.cluster import DEVICES, MILLION, Arm, Nodes, Request

SEEDS = range(42, 52)
LOAD = 1.3
"""Requests are drawn until they reach this much of the GPU capacity."""
MIB = 1 << 20


class MissingTraceError(Exception):
    """The folder of the trace is not named, or is not one."""


@dataclass(frozen=True)
class Trace:
    """The trace's folder."""

    folder: Path

    @classmethod
    def from_environment(cls) -> "Trace":
        """Return the trace that CARAVAN_OPENB names. Raises MissingTraceError."""
        folder = os.environ.get("CARAVAN_OPENB")
        if not folder or not (Path(folder) / "published.csv").exists():
            raise MissingTraceError("CARAVAN_OPENB names no folder with the openb trace (its csv.gz and published.csv)")
        return cls(Path(folder))

    def published(self, policy: str) -> dict[str, float]:
        """Return the published allocation of a policy for each workload, in percent."""
        with (self.folder / "published.csv").open() as lines:
            return {row["workload"]: float(row[policy]) for row in csv.DictReader(lines)}

    def nodes(self, shuffled: int | None = None) -> Nodes:
        """Return the cluster in the order of names; with a seed, the names are dealt anew."""
        rows = sorted(self._rows("openb_node_list_gpu_node"), key=lambda row: row["sn"])
        names = [row["sn"] for row in rows]
        if shuffled is not None:
            random.Random(shuffled).shuffle(rows)
        models = sorted({row["model"] for row in rows})
        gpu = np.full((len(rows), DEVICES), -1, dtype=np.int64)
        for place, row in enumerate(rows):
            gpu[place, : int(row["gpu"])] = MILLION
        return Nodes(
            names=names,
            models=models,
            model=np.array([models.index(row["model"]) for row in rows]),
            cpu=np.array([int(row["cpu_milli"]) * 1000 for row in rows]),
            mem=np.array([int(row["memory_mib"]) * MIB for row in rows]),
            gpu=gpu,
        )

    def requests(self, workload: str) -> list[Request]:
        """Return a workload's requests in the order of their names."""
        rows = sorted(self._rows(f"openb_pod_list_{workload}"), key=lambda row: row["name"])
        return [_request(row) for row in rows]

    def _rows(self, name: str) -> list[dict[str, str]]:
        with gzip.open(self.folder / f"{name}.csv.gz", "rt") as lines:
            return list(csv.DictReader(lines))


def _request(row: dict[str, str]) -> Request:
    count, milli = int(row["num_gpu"]), int(row["gpu_milli"] or 0)
    is_part = count == 1 and milli < 1000
    return Request(
        cpu=int(row["cpu_milli"]) * 1000,
        mem=int(row["memory_mib"]) * MIB,
        whole=0 if is_part else count,
        part=milli * 1000 if is_part else 0,
        models=frozenset(filter(None, (row.get("gpu_spec") or "").split("|"))),
    )


def arrivals(requests: list[Request], capacity: int, seed: int) -> list[Request]:
    """Return the requests as they come: shuffled, then drawn anew until they reach 1.3 x the capacity."""
    rng = random.Random(seed)
    coming = list(requests)
    rng.shuffle(coming)
    total = sum(request.gpu for request in coming)
    while total < LOAD * capacity:
        coming.append(requests[rng.randrange(len(requests))])
        total += coming[-1].gpu
    return coming


@dataclass(frozen=True)
class Outcome:
    """How a run ended: GPU capacity that is allocated in percent, and placements that the map of devices refused."""

    allocated: float
    refused: int


def replay(arm: Arm, nodes: Nodes, coming: list[Request]) -> Outcome:
    """Let the requests arrive one at a time; none leaves, and one that fits nowhere is dropped."""
    capacity, allocated, refused = nodes.capacity, 0, 0
    for request in coming:
        placement = arm.place(request)
        if placement is None:
            continue
        if nodes.take(request, placement) is None:
            allocated += request.gpu
        else:
            refused += 1
    return Outcome(100 * allocated / capacity, refused)
