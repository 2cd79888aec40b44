"""Made-up requests for the measurements of speed: the same for every arm."""

import random
from typing import Any

from tests.bench.scheduler.cluster import MILLION, Nodes, Request

GIB = 1 << 30
SHAPES = [
    Request(2 * MILLION, 8 * GIB, part=100_000),
    Request(4 * MILLION, 16 * GIB, part=250_000),
    Request(4 * MILLION, 16 * GIB, part=300_000),
    Request(6 * MILLION, 24 * GIB, part=500_000),
    Request(8 * MILLION, 32 * GIB, part=700_000),
    Request(8 * MILLION, 48 * GIB, whole=1),
    Request(12 * MILLION, 64 * GIB, whole=1),
    Request(16 * MILLION, 96 * GIB, whole=2),
    Request(32 * MILLION, 192 * GIB, whole=4),
    Request(64 * MILLION, 384 * GIB, whole=8),
    Request(4 * MILLION, 16 * GIB),
]
WEIGHTS = [10, 10, 6, 14, 6, 24, 8, 8, 6, 2, 6]


def requests(count: int, seed: int) -> list[Request]:
    """Return requests of eleven shapes, small ones more often."""
    return random.Random(seed).choices(SHAPES, WEIGHTS, k=count)


def as_slots(request: Request) -> dict[str, str]:
    """Return a request in Backend.AI's slots."""
    slots = {"cpu": str(request.cpu / MILLION), "mem": str(request.mem)}
    return slots | ({"cuda.shares": str(request.gpu / MILLION)} if request.gpu else {})


def as_agents(nodes: Nodes) -> list[dict[str, Any]]:
    """Return nodes as Backend.AI's selector is given them."""
    free = nodes.gpu.clip(0).sum(1)
    return [
        {
            "name": name,
            "slots": {"cpu": str(cpu / MILLION), "mem": str(mem), "cuda.shares": str(gpu / MILLION)},
        }
        for name, cpu, mem, gpu in zip(nodes.names, nodes.cpu.tolist(), nodes.mem.tolist(), free.tolist(), strict=True)
    ]
