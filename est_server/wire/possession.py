"""What the holder of a certificate's key says for a request; ours, no standard has it.

    Possession ::= SEQUENCE {
        certificate OCTET STRING (SIZE (32)),       -- SHA-256 of a certificate beside the statement
        nonce       OCTET STRING (SIZE (0 | 8..64)),
        signature   OCTET STRING }                  -- or empty

What the signature is over is the verifier's, which puts a text of its own in front, so that no
signature of one format is one of another.
"""

from __future__ import annotations

from dataclasses import dataclass

from est_server.errors import Malformed
from est_server.wire.der import octet_strings

_DIGEST = 32
_LONGEST_SIGNATURE = 1024


@dataclass(frozen=True, slots=True)
class Possession:
    """A statement; `nonce` and `signature` may be empty."""

    certificate: bytes
    nonce: bytes
    signature: bytes


def read_possession(der: bytes, rule: str) -> Possession:
    """Read a statement.

    Raises:
        Malformed: `rule`.
    """
    try:
        found = Possession(*octet_strings(der, 3))
    except ValueError as error:
        raise Malformed(rule, str(error)) from error
    if len(found.certificate) != _DIGEST or len(found.signature) > _LONGEST_SIGNATURE:
        raise Malformed(rule, "not a SHA-256 and a signature")
    if found.nonce and not 8 <= len(found.nonce) <= 64:
        raise Malformed(rule, f"a nonce of {len(found.nonce)} octets")
    return found
