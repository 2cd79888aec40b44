"""Loads one HTTP server with prepared requests, in a process of its own, so that the client is not what is measured.

Run as ``python -m tests.bench.load``: a plan comes in on standard input and a report goes out, both JSON. It speaks
just enough HTTP/1.1 for that: kept connections, one request on each at a time, answers with a length or in chunks.
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

import uvloop

REPOSITORY = Path(__file__).resolve().parents[2]
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Load:
    """What to send: raw requests in turn over so many connections, for a while."""

    host: str
    port: int
    requests: list[str]
    """Each a whole request, base64."""
    connections: int
    seconds: float
    processes: list[int] = field(default_factory=list)
    """Whose CPU time is measured, with that of their children."""
    warm_up_seconds: float = 0.3


@dataclass(frozen=True)
class Report:
    """What came of it. Latencies in seconds, sorted; CPU in seconds over the measured while."""

    latencies: list[float]
    seconds: float
    statuses: dict[str, int]
    bytes_received: int
    cpu_seconds: float
    client_cpu_seconds: float

    @property
    def rate(self) -> float:
        """Answers in a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency below which ``share`` of the answers came."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def measure(load: Load) -> Report:
    """Run the load in another process. Raises CalledProcessError when it fails."""
    ended = subprocess.run(
        [sys.executable, "-m", "tests.bench.load"],
        input=json.dumps(asdict(load)).encode(),
        stdout=subprocess.PIPE,
        cwd=REPOSITORY,
        check=True,
        timeout=load.seconds + load.warm_up_seconds + 60,
    )
    return Report(**json.loads(ended.stdout))


def cpu_seconds(processes: list[int]) -> float:
    """Return the CPU time that the processes and their living children took so far."""
    return sum(_cpu_of(process) for parent in processes for process in _family(parent))


def _cpu_of(process: int) -> float:
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _family(process: int) -> list[int]:
    children = [child for tasks in Path(f"/proc/{process}/task").glob("*/children") for child in _numbers(tasks)]
    return [process, *[member for child in children for member in _family(child)]]


def _numbers(path: Path) -> list[int]:
    try:
        return [int(number) for number in path.read_text().split()]
    except OSError:
        return []


class _Tally:
    """Counts answers while ``counting`` is true."""

    def __init__(self, requests: list[bytes]) -> None:
        self._requests = requests
        self._next = 0
        self.counting = False
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.bytes = 0

    def request(self) -> bytes:
        """Return the next request to send."""
        self._next += 1
        return self._requests[self._next % len(self._requests)]

    def answered(self, status: str, size: int, seconds: float) -> None:
        """Note an answer."""
        if self.counting:
            self.latencies.append(seconds)
            self.statuses[status] += 1
            self.bytes += size


class _Connection(asyncio.Protocol):
    """Sends a request, reads its answer, and so on."""

    def __init__(self, tally: _Tally) -> None:
        self._tally = tally
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._sent_at = 0.0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own is none by class
        self._send()

    def _send(self) -> None:
        assert self._transport is not None
        self._sent_at = time.perf_counter()
        self._transport.write(self._tally.request())

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if not _is_whole(self._buffer):
            return
        self._tally.answered(self._buffer[9:12].decode(), len(self._buffer), time.perf_counter() - self._sent_at)
        self._buffer = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(exc)

    def close(self) -> None:
        """Hang up."""
        assert self._transport is not None
        self._transport.abort()


def _is_whole(answer: bytes) -> bool:
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = answer[:end].lower()
    at = head.find(b"content-length:")
    if at >= 0:
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        return len(answer) >= end + 4 + length
    return answer.endswith(b"0\r\n\r\n") if b"chunked" in head else True


async def _run(load: Load) -> Report:
    tally = _Tally([base64.b64decode(request) for request in load.requests])
    loop = asyncio.get_running_loop()
    made = [
        (await loop.create_connection(lambda: _Connection(tally), load.host, load.port))[1]
        for _ in range(load.connections)
    ]
    await asyncio.sleep(load.warm_up_seconds)
    before, mine, began = cpu_seconds(load.processes), time.process_time(), time.perf_counter()
    tally.counting = True
    await asyncio.sleep(load.seconds)
    tally.counting = False
    took = time.perf_counter() - began
    after, my_end = cpu_seconds(load.processes), time.process_time()
    if any(connection.closed.done() for connection in made):
        raise ConnectionError("the server closed a connection under load")
    for connection in made:
        connection.close()
    return Report(
        latencies=sorted(tally.latencies),
        seconds=took,
        statuses=dict(tally.statuses),
        bytes_received=tally.bytes,
        cpu_seconds=after - before,
        client_cpu_seconds=my_end - mine,
    )


if __name__ == "__main__":
    report = uvloop.run(_run(Load(**json.load(sys.stdin))))
    # A writer of its own: where Python was told not to buffer, `print` loses what one write to a pipe does not take.
    with open(sys.stdout.fileno(), "wb", closefd=False) as out:
        out.write(json.dumps(asdict(report)).encode())
