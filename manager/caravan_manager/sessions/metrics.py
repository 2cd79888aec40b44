"""What sessions tell Prometheus."""

from prometheus_client import Counter, Gauge

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
