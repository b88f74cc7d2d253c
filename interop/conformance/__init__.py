"""A conformance test of EST servers over the wire (RFC 7030, RFC 8951, RFC 9908)."""
