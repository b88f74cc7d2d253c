"""Prometheus metrics; labels are bounded: no serial numbers, no names of devices.

Workers of one supervisor count together, in files that each of them can read: whichever is asked
tells of all. What a gauge then says is its mode: a sum, the least, the most, or what was set last,
among the workers that live.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

REQUESTS = Counter(
    "est_server_requests_total", "EST requests by operation and HTTP status", ("op", "status")
)
ENROLL_REQUESTS = Counter(
    "est_server_enrollments_total", "certificates handed out", ("profile", "op", "outcome")
)
ENROLL_SECONDS = Histogram(
    "est_server_enroll_duration_seconds",
    "from the request's headers to its answer",
    ("op",),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
RELOAD_SUCCESS = Gauge(
    "est_server_config_reload_success",
    "1 if the last reload of the configuration took effect",
    multiprocess_mode="livemin",
)
RELOAD_TIME = Gauge(
    "est_server_config_reload_timestamp_seconds",
    "when the configuration last took effect",
    multiprocess_mode="livemin",
)
ISSUER_NOT_AFTER = Gauge(
    "est_server_issuer_not_after_timestamp_seconds",
    "when a CA certificate expires",
    ("ca",),
    multiprocess_mode="livemin",
)
SERVER_CERTIFICATE_NOT_AFTER = Gauge(
    "est_server_tls_not_after_timestamp_seconds",
    "when the listener's certificate expires",
    multiprocess_mode="livemin",
)
PENDING_REQUESTS = Gauge(
    "est_server_pending_requests",
    "requests that wait for a person's decision",
    multiprocess_mode="livemostrecent",
)
PENDING_OLDEST = Gauge(
    "est_server_pending_oldest_seconds",
    "how long the oldest of them has waited, 0 without any",
    multiprocess_mode="livemostrecent",
)
CA_HEALTH = Gauge(
    "est_server_ca_healthy",
    "1 if the last test signature succeeded",
    ("ca",),
    multiprocess_mode="livemin",
)
CA_ORDERS = Gauge(
    "est_server_ca_orders",
    "requests at a CA that are not settled: waiting for it, with an unknown outcome, or with an "
    "answer that was refused",
    ("ca", "state"),
    multiprocess_mode="livemostrecent",
)
CA_REVOCATIONS_BEHIND = Gauge(
    "est_server_ca_revocations_behind",
    "events that were not carried to a CA yet",
    ("ca",),
    multiprocess_mode="livemostrecent",
)
CA_REVOCATIONS_REFUSED = Gauge(
    "est_server_ca_revocations_refused",
    "revocations that a CA refused",
    ("ca",),
    multiprocess_mode="livemostrecent",
)
EPHEMERAL_AWAY = Gauge(
    "est_server_ephemeral_away",
    "1 while Redis is away: each process counts for itself and finds revocations by looking",
    multiprocess_mode="livemax",
)
_LIST = ("ca", "shard", "kind")
CRL_NUMBER = Gauge(
    "est_server_crl_number", "number of the newest list", _LIST, multiprocess_mode="livemax"
)
CRL_SIZE = Gauge(
    "est_server_crl_size_bytes",
    "octets of the newest list",
    _LIST,
    multiprocess_mode="livemostrecent",
)
CRL_THIS_UPDATE = Gauge(
    "est_server_crl_this_update_timestamp_seconds",
    "when the newest list was made",
    _LIST,
    multiprocess_mode="livemax",
)
CRL_NEXT_UPDATE = Gauge(
    "est_server_crl_next_update_timestamp_seconds",
    "when the newest list ends",
    _LIST,
    multiprocess_mode="livemax",
)
CRL_PUBLISHED = Counter(
    "est_server_crl_published_total", "lists published by this process", ("ca", "kind")
)
CRL_PROPAGATION = Histogram(
    "est_server_crl_propagation_seconds",
    "from a revocation to the first list that shows it",
    ("kind",),
    buckets=(0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 60),
)
OCSP_RESPONSES = Counter(
    "est_server_ocsp_responses_total",
    "OCSP responses by certificate status, or by why there was none",
    ("status",),
)
OCSP_FAST = Counter(
    "est_server_ocsp_from_memory_total", "OCSP responses given without asking the ledger"
)
OCSP_ANSWERS = Gauge(
    "est_server_ocsp_answers", "signed OCSP answers in memory", ("ca",), multiprocess_mode="livesum"
)
OCSP_RESPONDER_NOT_AFTER = Gauge(
    "est_server_ocsp_responder_not_after_timestamp_seconds",
    "when the certificate of a CA's OCSP responder expires; it is renewed before",
    ("ca",),
    multiprocess_mode="livemin",
)
OCSP_PROPAGATION = Histogram(
    "est_server_ocsp_propagation_seconds",
    "from a revocation until this process has forgotten the old status",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 2.5, 10),
)
OCSP_TRUSTED = Gauge(
    "est_server_ocsp_memory_trusted",
    "1 while revocation events are followed in time",
    multiprocess_mode="livemin",
)
FEED_STREAMS = Gauge(
    "est_server_feed_streams", "revocation streams that are open", multiprocess_mode="livesum"
)
FEED_EVENTS = Counter("est_server_feed_events_total", "revocation events sent into streams")
FEED_CUT = Counter(
    "est_server_feed_slow_readers_total", "streams that were cut off because nobody read them"
)
AUDIT_WAITING = Gauge(
    "est_server_audit_waiting_leaves",
    "acts that are under no checkpoint yet",
    multiprocess_mode="livemostrecent",
)
AUDIT_SIZE = Gauge(
    "est_server_audit_leaves", "leaves of the audit log", multiprocess_mode="livemax"
)
AUDIT_CHECKPOINT_TIME = Gauge(
    "est_server_audit_checkpoint_timestamp_seconds",
    "when the newest checkpoint of the audit log was signed",
    multiprocess_mode="livemax",
)
AUDIT_ANCHORED = Counter(
    "est_server_audit_anchored_total", "checkpoints written down elsewhere", ("anchor", "outcome")
)


def exposition() -> bytes:
    """Return everything in the text format: of this process, or of all workers together."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return generate_latest()
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # the library has none here
    return generate_latest(together)
