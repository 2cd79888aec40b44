"""What the storage proxy tells Prometheus beside the requests."""

from prometheus_client import Counter

SENT = Counter("caravan_storage_sent_bytes_total", "Bytes of files sent to clients")
RECEIVED = Counter("caravan_storage_received_bytes_total", "Bytes of files received from clients")
SWEPT = Counter("caravan_storage_swept_total", "Deleted folders and abandoned uploads that were removed", ["volume"])
