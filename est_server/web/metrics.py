"""Prometheus metrics; labels are bounded: no serial numbers, no names of devices."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

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
    "est_server_config_reload_success", "1 if the last reload of the configuration took effect"
)
RELOAD_TIME = Gauge(
    "est_server_config_reload_timestamp_seconds", "when the configuration last took effect"
)
ISSUER_NOT_AFTER = Gauge(
    "est_server_issuer_not_after_timestamp_seconds", "when a CA certificate expires", ("ca",)
)
SERVER_CERTIFICATE_NOT_AFTER = Gauge(
    "est_server_tls_not_after_timestamp_seconds", "when the listener's certificate expires"
)
PENDING_REQUESTS = Gauge(
    "est_server_pending_requests", "requests that wait for a person's decision"
)
PENDING_OLDEST = Gauge(
    "est_server_pending_oldest_seconds", "how long the oldest of them has waited, 0 without any"
)
CA_HEALTH = Gauge("est_server_ca_healthy", "1 if the last test signature succeeded", ("ca",))
CA_ORDERS = Gauge(
    "est_server_ca_orders",
    "requests at a CA that are not settled: waiting for it, with an unknown outcome, or with an "
    "answer that was refused",
    ("ca", "state"),
)
CA_REVOCATIONS_BEHIND = Gauge(
    "est_server_ca_revocations_behind", "events that were not carried to a CA yet", ("ca",)
)
CA_REVOCATIONS_REFUSED = Gauge(
    "est_server_ca_revocations_refused", "revocations that a CA refused", ("ca",)
)
_LIST = ("ca", "shard", "kind")
CRL_NUMBER = Gauge("est_server_crl_number", "number of the newest list", _LIST)
CRL_SIZE = Gauge("est_server_crl_size_bytes", "octets of the newest list", _LIST)
CRL_THIS_UPDATE = Gauge(
    "est_server_crl_this_update_timestamp_seconds", "when the newest list was made", _LIST
)
CRL_NEXT_UPDATE = Gauge(
    "est_server_crl_next_update_timestamp_seconds", "when the newest list ends", _LIST
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
OCSP_ANSWERS = Gauge("est_server_ocsp_answers", "signed OCSP answers in memory", ("ca",))
OCSP_RESPONDER_NOT_AFTER = Gauge(
    "est_server_ocsp_responder_not_after_timestamp_seconds",
    "when the certificate of a CA's OCSP responder expires; it is renewed before",
    ("ca",),
)
OCSP_PROPAGATION = Histogram(
    "est_server_ocsp_propagation_seconds",
    "from a revocation until this process has forgotten the old status",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 2.5, 10),
)
OCSP_TRUSTED = Gauge(
    "est_server_ocsp_memory_trusted", "1 while revocation events are followed in time"
)
FEED_STREAMS = Gauge("est_server_feed_streams", "revocation streams that are open")
FEED_EVENTS = Counter("est_server_feed_events_total", "revocation events sent into streams")
FEED_CUT = Counter(
    "est_server_feed_slow_readers_total", "streams that were cut off because nobody read them"
)
