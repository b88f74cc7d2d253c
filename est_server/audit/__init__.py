"""The audit log: a Merkle tree over what was done, provable to strangers (RFC 9162 2)."""
