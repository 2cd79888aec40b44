"""What the agent tells Prometheus about itself."""

from prometheus_client import Counter, Gauge, Histogram

_FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

KERNELS = Gauge("caravan_agent_kernels", "Kernels that the agent holds something of", ["phase"])
PREPARED = Histogram("caravan_agent_prepare_seconds", "Time to prepare a kernel", ["outcome"], buckets=_FAST)
START_TOLD = Histogram(
    "caravan_agent_start_told_seconds", "From a container's start to the event in the stream", buckets=_FAST
)
EVENTS = Counter("caravan_agent_events_total", "Events written to the stream", ["type"])
EVENT_FAILURES = Counter("caravan_agent_event_failures_total", "Attempts to write an event that failed")
DOCKER_CONNECTED = Gauge("caravan_agent_docker_connected", "Whether Docker's events are being read")
