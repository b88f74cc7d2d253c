"""The implicit trust anchors: those that came with the system (RFC 7030 3.1).

Only the trust list of oscrypto is used; the rest of it does not load on every OpenSSL 3.
"""

from __future__ import annotations

from cryptography import x509
from oscrypto import trust_list

from est_server.pki.path import TrustStore
from est_server.pki.usages import CLIENT_AUTH

SYSTEM = "system"
"""What server.yaml writes in place of a file; a file of that name is ``./system``."""


def system_trust_store(name: str) -> TrustStore:
    """Return the system's anchors, without those that it rejects for TLS clients.

    An anchor that can't be read is left out: nothing can lead to it.

    Args:
        name: the store's name in server.yaml.
    """
    try:
        found = trust_list.get_list(cache_length=0)
    except OSError:
        found = []
    anchors = []
    for certificate, _, rejected in found:
        if "client_auth" in rejected or CLIENT_AUTH in rejected:
            continue
        try:
            anchor = x509.load_der_x509_certificate(certificate.dump())
            anchor.public_key()
        except Exception:  # noqa: BLE001, S112 - unknown keys and versions have errors of their own
            continue
        anchors.append(anchor)
    return TrustStore(name, tuple(anchors), kind="implicit")
