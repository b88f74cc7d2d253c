"""The CSR's link to its TLS connection (RFC 7030 3.5, RFC 5929, RFC 9266).

The value is base64 of ``tls-unique`` on TLS 1.2 and of ``tls-exporter`` on TLS 1.3, in the CSR's
estIdentityLinking (RFC 7894) or else in its challengePassword. It is compared whole and in constant
time: a comparison of the expected length alone would let a prefix pass.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from est_server.ports.tls import TlsFacts
    from est_server.profiles.decision import ChannelBinding
    from est_server.profiles.demands import ChallengeMeaning
    from est_server.wire.pkcs10 import CertificationRequest


def channel_binding(
    csr: CertificationRequest, tls: TlsFacts, meaning: ChallengeMeaning
) -> ChannelBinding:
    """Return what became of the CSR's channel binding value.

    Args:
        csr: the request. Where it has both attributes, estIdentityLinking is the link: it has no
            other meaning, while a challengePassword beside it may be what PKCS #9 made it for.
        tls: its connection.
        meaning: what the profile takes a challengePassword for.
    """
    sent = csr.est_identity_linking
    if sent is None and meaning == "binding":
        sent = csr.challenge_password
    if sent is None:
        return "absent"
    expected = tls.tls_unique or tls.tls_exporter
    if expected is None:
        return "unavailable"
    value = sent.encode("utf-8", "surrogatepass")
    return "matched" if hmac.compare_digest(value, b64encode(expected)) else "mismatched"
