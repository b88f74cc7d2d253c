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
