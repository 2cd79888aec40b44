"""Reference arms: Fragmentation Gradient Descent (Weng et al., USENIX ATC 2023) and best fit, written from the paper.

Both score in whole hundredths, as the published runs did: many nodes are equal, so the tie rule decides much. It is
either the smallest name, or the tightest node (what is left of CPU, memory and GPU, each as a share of the largest
node's) and then the smallest name.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tests.bench.scheduler.cluster import MILLION, Floats, Ints, Nodes, Placement, Request

COVERED = 0.95
"""Typical requests are the most frequent shapes that cover this much of the list."""
ROWS = 512
"""Nodes at a time: what is computed of them stays in the processor's cache."""


@dataclass(slots=True)
class _Scores:
    values: Floats
    seen: int
    accepted: npt.NDArray[np.bool_]


class Scored(ABC):
    """An arm that takes the node with the least score; scores are kept, and computed anew where a node has changed."""

    def __init__(self, nodes: Nodes, *, tightest: bool) -> None:
        self.nodes = nodes.copy()
        self._tightest = tightest
        self._kept: dict[Request, _Scores] = {}
        self._changes: list[int] = []
        self._largest = [max(int(free.max()), 1) for free in (nodes.cpu, nodes.mem, self._gpu(slice(None)))]

    @abstractmethod
    def scores(self, request: Request, rows: Ints) -> Floats:
        """Return the scores of nodes that can take the request."""

    def device(self, request: Request, node: int) -> int:
        """Return which device gives a share: the tightest that has it."""
        free = self.nodes.gpu[node]
        return int(np.where(free >= request.part, free, 2 * MILLION).argmin())

    @abstractmethod
    def took(self, node: int) -> None:
        """Note that a node has less now."""

    def place(self, request: Request) -> Placement | None:
        """Place the request on the node with the least score."""
        scores = self._scores(request)
        best = scores.min()
        if best == np.inf:
            return None
        rows = np.flatnonzero(scores == best)
        node = int(rows[self._left(request, rows).argmin()] if self._tightest and len(rows) > 1 else rows[0])
        placement = Placement(node, self._devices(request, node))
        if refusal := self.nodes.take(request, placement):
            raise AssertionError(refusal)
        self._changes.append(node)
        self.took(node)
        return placement

    def _scores(self, request: Request) -> Floats:
        kept = self._kept.get(request)
        if kept is None:
            accepted = np.array([not request.models or model in request.models for model in self.nodes.models])
            kept = self._kept[request] = _Scores(np.empty(len(self.nodes.names)), 0, accepted)
            rows = np.arange(len(self.nodes.names))
        else:
            rows = np.array(sorted(set(self._changes[kept.seen :])), dtype=np.int64)
        kept.seen = len(self._changes)
        if len(rows):
            kept.values[rows] = np.inf
            rows = rows[self._fits(request, rows, kept.accepted)]
            if len(rows):
                kept.values[rows] = self.scores(request, rows)
        return kept.values

    def _fits(self, request: Request, rows: Ints, accepted: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        nodes, gpu = self.nodes, self.nodes.gpu[rows]
        fits: npt.NDArray[np.bool_] = (nodes.cpu[rows] >= request.cpu) & (nodes.mem[rows] >= request.mem)
        fits &= accepted[nodes.model[rows]] & ((gpu == MILLION).sum(1) >= request.whole)
        return fits & (gpu >= request.part).any(1) if request.part else fits

    def _left(self, request: Request, rows: Ints) -> Floats:
        nodes, (cpu, mem, gpu) = self.nodes, self._largest
        left: Floats = (nodes.cpu[rows] - request.cpu) / cpu + (nodes.mem[rows] - request.mem) / mem
        return left + (self._gpu(rows) - request.gpu) / gpu

    def _gpu(self, rows: Ints | slice) -> Ints:
        total: Ints = np.maximum(self.nodes.gpu[rows], 0).sum(1)
        return total

    def _devices(self, request: Request, node: int) -> tuple[tuple[int, int], ...]:
        if request.part:
            return ((self.device(request, node), request.part),)
        free = np.flatnonzero(self.nodes.gpu[node] == MILLION)[: request.whole]
        return tuple((int(device), MILLION) for device in free)


class BestFit(Scored):
    """Least CPU and GPU left, each as a share of the largest node's."""

    def scores(self, request: Request, rows: Ints) -> Floats:
        """Return the scores of nodes that can take the request."""
        cpu, _, gpu = self._largest
        left = ((self.nodes.cpu[rows] - request.cpu) / cpu + (self._gpu(rows) - request.gpu) / gpu) / 2
        return -np.floor(100 * (1 - left))

    def took(self, node: int) -> None:
        """Nothing is kept of nodes."""


class Fgd(Scored):
    """Least growth of the fragmentation that typical requests would see."""

    def __init__(self, nodes: Nodes, typical: Iterable[Request], *, tightest: bool) -> None:
        super().__init__(nodes, tightest=tightest)
        top = _most_frequent(typical)
        self._weight = np.array([count for _, count in top]) / sum(count for _, count in top)
        shapes = [shape for shape, _ in top]
        self._cpu = np.array([shape.cpu for shape in shapes])[:, None]
        self._whole = np.array([shape.whole for shape in shapes])[:, None]
        self._asks = np.array([shape.gpu > 0 for shape in shapes])[:, None]
        need = np.array([1000 if shape.whole else shape.part // 1000 for shape in shapes])
        self._levels, self._level = np.unique(need, return_inverse=True)
        self._accepts = np.array([[not s.models or model in s.models for model in nodes.models] for s in shapes])
        self._before = self._fragments(nodes.cpu, nodes.gpu, nodes.model)

    def scores(self, request: Request, rows: Ints) -> Floats:
        """Return the scores of nodes that can take the request, each with its best device."""
        gpu = self.nodes.gpu[rows]
        if not request.part:
            full = gpu == MILLION
            return self._after(request, rows, np.where(full & (full.cumsum(1) <= request.whole), 0, gpu))
        earlier = np.tril(np.ones((gpu.shape[1], gpu.shape[1]), dtype=bool), -1)
        equals_an_earlier = ((gpu[:, :, None] == gpu[:, None, :]) & earlier).any(2)
        at, device = np.nonzero((gpu >= request.part) & ~equals_an_earlier)
        taken = gpu[at]
        taken[np.arange(len(at)), device] -= request.part
        best = np.full(len(rows), np.inf)
        np.minimum.at(best, at, self._after(request, rows[at], taken))
        return best

    def device(self, request: Request, node: int) -> int:
        """Return the device with the least score, the first of equals."""
        devices = np.flatnonzero(self.nodes.gpu[node] >= request.part)
        taken = np.repeat(self.nodes.gpu[node : node + 1], len(devices), axis=0)
        taken[np.arange(len(devices)), devices] -= request.part
        return int(devices[self._after(request, np.full(len(devices), node), taken).argmin()])

    def took(self, node: int) -> None:
        """Note that a node has less now."""
        row = slice(node, node + 1)
        self._before[row] = self._fragments(self.nodes.cpu[row], self.nodes.gpu[row], self.nodes.model[row])

    def _after(self, request: Request, rows: Ints, gpu: Ints) -> Floats:
        after = self._fragments(self.nodes.cpu[rows] - request.cpu, gpu, self.nodes.model[rows])
        return -np.floor(100 / (1 + np.exp((after - self._before[rows]) / 1000)) + 1e-9)

    def _fragments(self, cpu: Ints, gpu: Ints, model: Ints) -> Floats:
        """Return the GPU, in thousandths, that a typical request is expected not to be able to use."""
        chunks = [slice(start, start + ROWS) for start in range(0, len(cpu), ROWS)]
        return np.concatenate([self._fragments_of(cpu[rows], gpu[rows], model[rows]) for rows in chunks])

    def _fragments_of(self, cpu: Ints, gpu: Ints, model: Ints) -> Floats:
        free = (np.maximum(gpu, 0).T // 1000).astype(np.float64)
        usable = np.stack([np.where(free >= level, free, 0.0).sum(0) for level in self._levels])[self._level]
        fits = (cpu >= self._cpu) & ((free == 1000.0).sum(0) >= self._whole) & self._accepts[:, model] & self._asks
        fragments: Floats = free.sum(0) - self._weight @ (usable * fits)
        return fragments


def _most_frequent(typical: Iterable[Request]) -> list[tuple[Request, int]]:
    counts = Counter(Request(one.cpu, 0, one.whole, one.part, one.models) for one in typical)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0].cpu, item[0].gpu, sorted(item[0].models)))
    top, covered = [], 0
    for shape, count in ordered:
        top.append((shape, count))
        covered += count
        if covered >= COVERED * counts.total():
            break
    return top
