"""What a process tells Prometheus: the one `/metrics` handler, and the request metrics that every service has."""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest

REQUESTS = Counter("caravan_http_requests_total", "Answered requests", ["service", "method", "route", "status"])
DURATIONS = Histogram(
    "caravan_http_request_duration_seconds",
    "Time to answer a request",
    ["service", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)


async def metrics(_request: web.Request) -> web.Response:
    """Answer with the process's metrics in Prometheus' text format."""
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})
