"""EST message bodies: base64 of DER (RFC 7030 4, RFC 8951 3.1).

Whatever Content-Transfer-Encoding says, the body is base64 with CR, LF, space and tab anywhere.
Deployed clients also send PEM armour (est-client-python, curl users) and raw DER; both are read
unless the operator wants the letter of the RFC. Answers are always in the RFC's form.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass
from typing import Literal

from est_server.errors import Malformed
from est_server.wire.der import require_one_sequence

LIMIT = 65536
"""Octets of a body, and so of what comes out of it."""

_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_LINE = 48  # octets that make 64 characters of base64
_ARMOUR = b"-----"
_KINDS = frozenset({b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST", b"PKCS7", b"CMS"})


@dataclass(frozen=True, slots=True)
class DecodedBody:
    """The DER of a body and the form in which it came."""

    der: bytes
    form: Literal["base64", "pem", "der"]


def decode_body(
    body: bytes, *, lenient: bool = True, ber: bool = False, limit: int = LIMIT
) -> DecodedBody:
    """Read one message body.

    Args:
        body: as received.
        lenient: read PEM and raw DER too.
        ber: read messages whose form is BER, as CMS is; how they end is for their codec to see.
        limit: most octets.

    Raises:
        Malformed: ``body.too-large``, ``body.empty``, ``body.form`` (PEM or DER where only base64
            is read), ``body.base64``, ``body.pem``, ``body.encoding``, ``body.trailing-bytes``.
    """
    if len(body) > limit:
        raise Malformed("body.too-large", f"the body is larger than {limit} octets")
    text = body.removeprefix(_BOM)
    if text[:1] == b"\x30":  # base64 of a SEQUENCE starts with M
        der, form = text, "der"
    else:
        text = text.strip(_SPACE)
        if not text:
            raise Malformed("body.empty", "the body is empty")
        if text.startswith(_ARMOUR):
            der, form = _base64(_armoured(text)), "pem"
        else:
            der, form = _base64(text), "base64"
    if form != "base64" and not lenient:
        raise Malformed("body.form", f"the body is {form}; this server reads base64 only")
    if not ber:
        require_one_sequence(der, "body")
    return DecodedBody(der, form)  # type: ignore[arg-type]  # one of the three literals above


def encode_body(der: bytes, *, wrap: bool) -> bytes:
    """Return base64 of `der`, with a final newline.

    Args:
        der: what to send.
        wrap: break lines at 64 characters.
    """
    if not wrap:
        return binascii.b2a_base64(der)
    return b"".join(
        binascii.b2a_base64(der[start : start + _LINE]) for start in range(0, len(der), _LINE)
    )


def wraps(user_agent: str | None) -> bool:
    """Tell whether this client needs short lines.

    libest reads base64 through OpenSSL's BIO_f_base64, which takes no line above 1,024 characters;
    strongSwan before 5.9.11 takes no line break inside base64 at all. Nobody else minds.
    """
    return user_agent is not None and user_agent.startswith("libest")


def _armoured(text: bytes) -> bytes:
    lines = text.replace(b"\r", b"\n").split(b"\n")
    lines = [line.strip(_SPACE) for line in lines if line.strip(_SPACE)]
    begin, end = lines[0], lines[-1]
    kind = begin.removeprefix(b"-----BEGIN ").removesuffix(b"-----")
    if (
        len(lines) < 3
        or kind not in _KINDS
        or begin != b"-----BEGIN " + kind + b"-----"
        or end != b"-----END " + kind + b"-----"
    ):
        raise Malformed("body.pem", "the PEM armour is not that of one request")
    return b"".join(lines[1:-1])


def _base64(text: bytes) -> bytes:
    compact = text.translate(None, _SPACE)
    try:
        der = binascii.a2b_base64(compact, strict_mode=True)
    except binascii.Error as error:
        raise Malformed("body.base64", "the body is not base64 (RFC 4648 4)") from error
    if len(compact) != -(-len(der) // 3) * 4:  # padding in excess passes strict_mode
        raise Malformed("body.base64", "the body has the wrong padding (RFC 4648 3.2)")
    return der
