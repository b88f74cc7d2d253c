"""The outermost DER length: is this one SEQUENCE, whole, with nothing behind it? (X.690 8.1)

    identifier 0x30, then the length: one octet below 0x80, or 0x81..0x84 and that many octets,
    in the fewest octets possible (X.690 10.1). The indefinite form 0x80 is BER and refused.
"""

from __future__ import annotations

from est_server.errors import Malformed

_SEQUENCE = 0x30
_LONG_FORM = 0x80
_MOST_LENGTH_OCTETS = 4


def require_one_sequence(der: bytes, rule: str) -> None:
    """Return if `der` is exactly one definite-length SEQUENCE.

    Args:
        der: the candidate.
        rule: first part of the rules raised, for example ``csr``.

    Raises:
        Malformed: ``<rule>.encoding`` or ``<rule>.trailing-bytes``.
    """
    if len(der) < 2 or der[0] != _SEQUENCE:
        raise Malformed(f"{rule}.encoding", "this is not a DER SEQUENCE")
    first = der[1]
    if first < _LONG_FORM:
        end = 2 + first
    else:
        octets = first - _LONG_FORM
        if not 1 <= octets <= _MOST_LENGTH_OCTETS or len(der) < 2 + octets or der[2] == 0:
            raise Malformed(f"{rule}.encoding", "the DER length is not valid")
        length = int.from_bytes(der[2 : 2 + octets], "big")
        if length < _LONG_FORM:
            raise Malformed(f"{rule}.encoding", "the DER length is not in its shortest form")
        end = 2 + octets + length
    if end > len(der):
        raise Malformed(f"{rule}.encoding", "the DER is cut short")
    if end < len(der):
        raise Malformed(f"{rule}.trailing-bytes", f"{len(der) - end} octets follow the DER")
