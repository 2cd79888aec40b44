"""What the scheduler tells Prometheus."""

from prometheus_client import Counter, Gauge, Histogram

PASS_DURATION = Histogram(
    "caravan_scheduler_pass_duration_seconds",
    "Time of one scheduling pass",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
PASS_FAILURES = Counter("caravan_scheduler_pass_failures_total", "Passes that ended in an error")
QUEUE_LENGTH = Gauge("caravan_scheduler_queue_length", "Pending sessions at the last pass", ["scaling_group"])
OLDEST = Gauge("caravan_scheduler_oldest_pending_seconds", "For how long the oldest has waited", ["scaling_group"])
WAITING = Gauge("caravan_scheduler_waiting", "Sessions that wait, by the first obstacle", ["scaling_group", "obstacle"])
RESERVED = Gauge("caravan_scheduler_reservations", "Sessions for which room is kept", ["scaling_group"])
CAPACITY = Gauge("caravan_scheduler_slots_total", "What the alive nodes have", ["scaling_group", "slot"])
USED = Gauge("caravan_scheduler_slots_used", "What sessions hold of it", ["scaling_group", "slot"])
FULLEST_QUOTA = Gauge("caravan_scheduler_fullest_quota_ratio", "Use of the fullest quota of those who wait", ["kind"])
PASSES_NOT_KEPT = Counter("caravan_scheduler_passes_not_kept_total", "Passes that are missing from the decision log")
PLACEMENTS = Counter("caravan_scheduler_placements_total", "Sessions that got their nodes")
WAITS = Counter("caravan_scheduler_waits_total", "Sessions that were told why they wait", ["obstacle"])
CANCELLATIONS = Counter("caravan_scheduler_cancellations_total", "Sessions that never left the queue", ["reason"])
PREEMPTIONS = Counter("caravan_scheduler_preemptions_total", "Sessions that were ended for another one", ["mode"])
REFUSALS = Counter("caravan_scheduler_refusals_total", "Launches that were refused, by whom", ["by", "reason"])
PLUGIN_FAILURES = Counter(
    "caravan_scheduler_plugin_failures_total", "Passes in which a plugin failed or took too long", ["plugin"]
)
