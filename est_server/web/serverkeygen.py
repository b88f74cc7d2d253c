"""The answer to serverkeygen: a private key and its certificate (RFC 7030 4.4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from est_server.web.http import SERVER
from est_server.wire.cms import certs_only
from est_server.wire.multipart import BOUNDARY, Part, encode_multipart

if TYPE_CHECKING:
    from est_server.enrollment.key_delivery import DeliveredKey

_PLAIN = "application/pkcs8"
_ENCRYPTED = "application/pkcs7-mime; smime-type=server-generated-key"
_CERTIFICATE = "application/pkcs7-mime; smime-type=certs-only"


def key_answer(key: DeliveredKey, certificate: bytes) -> web.Response:
    """Return the two parts, the key first, the certificate as simpleenroll would answer it.

    Args:
        key: the private key as it leaves.
        certificate: DER.
    """
    parts = (
        Part(_ENCRYPTED if key.encrypted else _PLAIN, key.der),
        Part(_CERTIFICATE, certs_only([certificate])),
    )
    return web.Response(
        body=encode_multipart(parts),
        headers={
            "Content-Type": f"multipart/mixed; boundary={BOUNDARY}",
            "Cache-Control": "no-store",
            "Server": SERVER,
        },
    )
