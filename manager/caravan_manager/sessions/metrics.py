"""What sessions tell Prometheus."""

import re
from collections.abc import Generator
from contextlib import contextmanager

from prometheus_client import Counter, Gauge

from caravan_common.errors import CaravanError

EVENTS = Counter("caravan_session_events_total", "Events of sessions that moved in this process", ["event"])
PUBLISHED = Counter("caravan_session_news_published_total", "News of sessions that went to the other managers")
DROPPED = Counter(
    "caravan_session_events_dropped_total",
    "News that found the outbox full (outbox), streams that ended because their reader was slow (slow-reader)",
    ["where"],
)
STREAMS = Gauge("caravan_session_event_streams", "Streams of events that are open")
ILL_DEVICES = Gauge(
    "caravan_session_ill_devices",
    "Ill devices that sessions hold, at this process' last sweep",
    ["slot"],
)
WAITERS = Gauge("caravan_session_waiters", "Requests that wait for a session to run")
REFUSALS = Counter("caravan_session_refusals_total", "Requests for sessions that were refused, by reason", ["reason"])


@contextmanager
def counted_refusals() -> Generator[None]:
    """Count a refusal by the class of its error, of which there is a fixed number: ``too-many-containers``."""
    try:
        yield
    except CaravanError as err:
        words = re.findall(r"[A-Z][a-z]+", type(err).__name__.removesuffix("Error"))
        REFUSALS.labels("-".join(words).lower()).inc()
        raise
