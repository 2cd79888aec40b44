"""How many requests a manager answers, and how fast, beside a manager of Backend.AI in the same run."""

import json
import statistics
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from tests.bench.conftest import Manager, Note
from tests.bench.load import Load, Report, measure

pytestmark = [pytest.mark.bench, pytest.mark.stack, pytest.mark.timeout(1200)]

ROUNDS = 5
SECONDS = 2.0
CONNECTIONS = 8
SESSIONS = 20
LIST = """query($limit: Int!, $offset: Int!, $access_key: String, $status: String) {
  compute_session_list(limit: $limit, offset: $offset, access_key: $access_key, status: $status) {
    items { name access_key priority id group_name type image status status_info status_changed result }
    total_count
  }
}"""
"""What `backend.ai session list` sends."""
PAGE = {"query": LIST, "variables": {"limit": SESSIONS, "offset": 0, "access_key": None, "status": None}}
REQUESTS: dict[str, tuple[str, str, object]] = {
    "GET /auth": ("GET", "/auth?echo=hello", None),
    "GET /session/<name>": ("GET", "/session/listed-07", None),
    "GraphQL list of 20 sessions": ("POST", "/admin/gql", PAGE),
}


@pytest.mark.parametrize(
    ("what", "times"), [("GET /auth", 10), ("GET /session/<name>", 10), ("GraphQL list of 20 sessions", 5)]
)
def test_requests_beside_backend_ai(
    what: str, times: float, ours: Manager, peer: Manager | None, note: Note, bar: Callable[..., None],
    floor: Callable[..., None],
) -> None:  # fmt: skip
    arms = {"caravan": ours} | ({} if peer is None else {"backend.ai": peer})
    loads = {name: _load(manager, what) for name, manager in arms.items()}
    reports: dict[str, list[Report]] = {name: [] for name in arms}
    for _ in range(ROUNDS):
        for name, load in loads.items():
            reports[name].append(measure(load))
    for name, of_arm in reports.items():
        assert all(set(report.statuses) == {"200"} for report in of_arm), [report.statuses for report in of_arm]
        note(f"figure: {what}, {name}: {_figures(of_arm)}")
    if peer is None:
        note(f"{what}: no peer was named (CARAVAN_PEER, see tests/bench/conftest.py), so its bars are not judged")
        return
    mine, other = reports["caravan"], reports["backend.ai"]
    floor(f"{what}, requests a second", _median(mine, _rate) / _median(other, _rate), times, "x Backend.AI's")
    bar(f"{what}, p99", _median(mine, _p99) / _median(other, _p99), 0.5, "x Backend.AI's")


def _load(manager: Manager, what: str) -> Load:
    _make_sessions(manager)
    endpoint = manager.endpoint
    prepared = endpoint.prepared(*REQUESTS[what])
    return Load(endpoint.host, endpoint.port, prepared, CONNECTIONS, SECONDS, [manager.process])


def _make_sessions(manager: Manager) -> None:
    """Make the sessions that are asked for; those of an earlier run are taken again. They only wait in the queue."""
    for number in range(SESSIONS):
        body = {
            "name": f"listed-{number:02}",
            "image": manager.image,
            "type": "batch",
            "startupCommand": "true",
            "config": {"resources": {"cpu": "1", "mem": "512m"}, "scaling_group": "default"},
            "starts_at": "2100-01-01T00:00:00+00:00",
            "enqueueOnly": True,
        }
        _call(manager, "POST", "/session", body)


def _call(manager: Manager, method: str, path: str, body: object) -> None:
    endpoint = manager.endpoint
    request = urllib.request.Request(
        f"http://{endpoint.host}:{endpoint.port}{path}",
        data=json.dumps(body).encode(),
        headers=endpoint.headers(method, path, datetime.now(UTC)),
        method=method,
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


def _rate(report: Report) -> float:
    return report.rate


def _p99(report: Report) -> float:
    return report.percentile(0.99)


def _cpu(report: Report) -> float:
    return report.cpu_seconds / len(report.latencies)


def _median(reports: list[Report], of: Callable[[Report], float]) -> float:
    return statistics.median(of(report) for report in reports)


def _figures(reports: list[Report]) -> str:
    size = statistics.median(report.bytes_received / len(report.latencies) for report in reports)
    client = statistics.median(report.client_cpu_seconds / len(report.latencies) for report in reports)
    return (
        f"{_median(reports, _rate):.0f} a second, p50 {_median(reports, lambda r: r.percentile(0.5)) * 1e3:.1f} ms, "
        f"p99 {_median(reports, _p99) * 1e3:.1f} ms, CPU {_median(reports, _cpu) * 1e3:.3f} ms and {size:.0f} bytes "
        f"each; the load's own CPU {client * 1e3:.3f} ms each"
    )
