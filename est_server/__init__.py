"""est-server: the enrollment authority for connected hardware (RFC 7030 EST in front of any CA)."""

__version__ = "0.1.0"
