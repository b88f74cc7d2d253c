"""A TLS connection whose client key is in the TPM, by tlslite-ng: TLS in Python, for reading.

A TLS library has to let something else sign for the client (RFC 8446 4.4.3, RFC 5246 7.4.8): here
that is one method. A device in the field has OpenSSL with PKCS #11 or a provider in its place.

tlslite-ng checks no certificates: the server's is checked here, before anything is sent.
"""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store
from tlslite.api import X509, HandshakeSettings, TLSConnection, X509CertChain
from tlslite.utils.python_ecdsakey import Python_ECDSAKey

if TYPE_CHECKING:
    from device_tpm import Key, Tpm

VERSIONS = {"1.2": (3, 3), "1.3": (3, 4)}


class TpmKey(Python_ECDSAKey):
    """A P-256 key that signs in its TPM; its public half is here."""

    def __init__(self, tpm: Tpm, key: Key) -> None:
        point = key.public[-68:]  # a TPMT_PUBLIC ends with x and y, 32 octets behind a size each
        x, y = (int.from_bytes(part, "big") for part in (point[2:34], point[36:]))
        super().__init__(x, y, "NIST256p")
        self.private_key = self.public_key  # the library asks it for its curve and nothing else
        self._tpm, self._key = tpm, key

    def _sign(self, data: bytes, hAlg: str) -> bytes:  # noqa: N803 - the library's
        """Return DER of ECDSA's r and s over a digest."""
        assert hAlg == "sha256"
        return self._tpm.sign(self._key, bytes(data))


def connect(
    host: str, port: int, root: bytes, tls: str, key: TpmKey, chain: list[bytes]
) -> TLSConnection:
    """Return a connection that the TPM's key has authenticated.

    Args:
        host: name or address that the server's certificate must have.
        port: of the server.
        root: PEM of what its chain must lead to.
        tls: 1.2 or 1.3.
        key: of the client.
        chain: DER of its certificate, and of those above.

    Raises:
        cryptography.x509.verification.VerificationError: the server is not who it should be.
    """
    settings = HandshakeSettings()
    settings.minVersion = settings.maxVersion = VERSIONS[tls]
    settings.ecdsaSigHashes = ["sha256"]
    settings.certificate_compression_send = []  # 0.8.2 compresses for servers that did not ask
    certificates = []
    for der in chain:
        certificates.append(X509())
        certificates[-1].parseBinary(bytearray(der))
    made = TLSConnection(socket.create_connection((host, port), timeout=60))
    subject = _named(host)
    sni = host if isinstance(subject, x509.DNSName) else None
    made.handshakeClientCert(X509CertChain(certificates), key, settings=settings, serverName=sni)
    _require_server(made, subject, root)
    return made


def _named(host: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _require_server(made: Any, subject: x509.DNSName | x509.IPAddress, root: bytes) -> None:
    leaf, *above = (
        x509.load_der_x509_certificate(bytes(one.bytes))
        for one in made.session.serverCertChain.x509List
    )
    now = datetime.now(UTC)  # noqa: TID251 - a device has no other clock
    builder = PolicyBuilder().store(Store(x509.load_pem_x509_certificates(root))).time(now)
    builder.build_server_verifier(subject).verify(leaf, above)
