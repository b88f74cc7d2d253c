"""What a TLS-terminating proxy says of its client's certificate (RFC 9440 2).

    Client-Cert       = sf-item    ; a Byte Sequence
    Client-Cert-Chain = sf-list    ; of Byte Sequences, in TLS's order, without the leaf
    sf-binary         = ":" *(base64) ":"                                   RFC 8941 3.3.5

Who may say it is decided elsewhere; here it is read.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING

from est_server.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_CERTIFICATES = 10
_BYTE_SEQUENCE = re.compile(r":([A-Za-z0-9+/]*={0,2}):")


def read_client_chain(client_cert: Sequence[str], chain: Sequence[str]) -> tuple[bytes, ...]:
    """Return the DER certificates of a client, its own first; none if it has none.

    Args:
        client_cert: the values of every Client-Cert field.
        chain: the values of every Client-Cert-Chain field, in order.

    Raises:
        Malformed: ``client-cert.malformed``: more than one Client-Cert, something other than byte
            sequences, a chain without a leaf (RFC 9440 2.3), or a chain that is too long.
    """
    if len(client_cert) > 1:
        raise _malformed("more than one Client-Cert field")
    if not client_cert:
        if chain:
            raise _malformed("Client-Cert-Chain without Client-Cert (RFC 9440 2.3)")
        return ()
    # RFC 9110 5.3: the lines of a list are one list
    members = [member for value in chain for member in value.split(",")]
    if len(members) >= MOST_CERTIFICATES:
        raise _malformed(f"more than {MOST_CERTIFICATES} certificates")
    return tuple(_byte_sequence(member.strip(" \t")) for member in (client_cert[0], *members))


def _byte_sequence(text: str) -> bytes:
    match = _BYTE_SEQUENCE.fullmatch(text)
    try:
        octets = binascii.a2b_base64(match[1], strict_mode=True) if match else b""
    except binascii.Error:
        octets = b""
    if not octets:
        raise _malformed("a certificate is a byte sequence, :base64: (RFC 8941 3.3.5)")
    return octets


def _malformed(text: str) -> Malformed:
    return Malformed("client-cert.malformed", text, hint="the proxy sent it; see RFC 9440 2")
