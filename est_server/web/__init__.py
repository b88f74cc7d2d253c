"""The edges: TLS, HTTP and the one mapping from failures to statuses."""
