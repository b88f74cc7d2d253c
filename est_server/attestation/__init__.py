"""Evidence x Endorsements x Reference Values -> Attestation Result (RFC 9334).

One file each for the formats that verifiers read; all of them are found by entry point, as those
that others write are.
"""
