"""Two real devices, what they say of themselves, and a verifier's side that believes them."""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from device_tpm import RSA_EK

from est_server.attestation.tpm2_certify import CertifyPolicy, Tpm2Certify
from est_server.attestation.tpm2_quote import QuotePolicy, Tpm2Quote
from est_server.attestation.tpm_policy import CertifySettings, QuoteSettings
from est_server.pki.path import TrustStore
from est_server.ports.verifier import (
    Challenge,
    ChallengeContext,
    ChallengeRequest,
    Evidence,
    EvidenceRefused,
    VerificationContext,
    VerifiedEvidence,
)
from est_server.wire.der import header
from est_server.wire.tpm_public import parse_public

if TYPE_CHECKING:
    from device_tpm import Key
    from soft_tpm import SoftTpm

NOW = datetime.fromtimestamp(time.time(), tz=UTC) + timedelta(days=1)
"""A day ahead: the software TPMs get their certificates while the tests run."""

CERTIFY, QUOTE = Tpm2Certify(), Tpm2Quote()
SECRET = bytes(range(32))
SHA256 = 0x000B


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return header(tag, len(content)) + content


def certify_statement(attest: bytes, signature: bytes, public: bytes | None) -> bytes:
    parts = (attest, signature) if public is None else (attest, signature, public)
    return der(0x30, *(der(4, part) for part in parts))


def quote_statement(
    attest: bytes,
    signature: bytes,
    values: dict[int, bytes],
    log: bytes | None = None,
    bank: int = SHA256,
) -> bytes:
    registers = (
        der(0x30, der(2, bytes([bank])), der(2, bytes([index])), der(4, value))
        for index, value in values.items()
    )
    parts = (der(4, attest), der(4, signature), der(0x30, *registers))
    return der(0x30, *parts, *(() if log is None else (der(0x80, log),)))


def text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def octets(text: object) -> bytes:
    return base64.urlsafe_b64decode(str(text) + "==")


@dataclass(slots=True)
class Device:
    """A TPM with one endorsement key, one attestation key and one key for TLS.

    Attributes:
        soft: the TPM.
        endorsement: handle of its EK.
    """

    soft: SoftTpm
    endorsement: int
    parent: Key = field(init=False)
    attestation: Key = field(init=False)
    key: Key = field(init=False)
    certificate: bytes = field(init=False)

    def __post_init__(self) -> None:
        tpm = self.soft.tpm
        self.parent = tpm.storage_key()
        algorithm = "rsa2048:rsassa-sha256:null" if self.endorsement == RSA_EK else None
        self.attestation = tpm.attestation_key(algorithm or "ecc256:ecdsa-sha256:null")
        self.key = tpm.key(self.parent)
        self.certificate = tpm.endorsement_certificate(self.endorsement)

    @property
    def certificates(self) -> tuple[bytes, ...]:
        return self.soft.issuer, self.certificate

    @property
    def spki(self) -> bytes:
        return parse_public(self.key.public).spki

    def info(self, attestation: Key | None = None) -> dict[str, str]:
        """Return reqInfo."""
        public = (attestation or self.attestation).public
        return {"ek": text(self.certificate), "ak": text(public)}

    def activate(self, challenge: Challenge, attestation: Key | None = None) -> bytes:
        """Return the nonce that is hidden in a challenge."""
        info: Any = challenge.info
        return self.soft.tpm.activate(
            attestation or self.attestation,
            self.endorsement,
            octets(info["credentialBlob"]),
            octets(info["encryptedSecret"]),
        )

    def trust(self) -> dict[str, TrustStore]:
        root = x509.load_der_x509_certificate(self.soft.root)
        return {"manufacturer": TrustStore("manufacturer", (root,))}

    def kept(self, attestation: Key | None = None) -> Any:
        return challenge(self, self.info(attestation)).kept

    def certified(self, nonce: bytes = SECRET, key: Key | None = None) -> Evidence:
        """Return a statement by TPM2_Certify."""
        key = key or self.key
        said = self.soft.certify(key, self.attestation, nonce)
        return self.evidence(certify_statement(*said, key.public))

    def quoted(self, pcrs: tuple[int, ...] = (0, 2, 4, 7), nonce: bytes = SECRET) -> Evidence:
        """Return a quote."""
        selection = f"sha256:{','.join(map(str, pcrs))}"
        said = self.soft.tpm.quote(self.attestation, nonce, selection)
        values = dict(zip(pcrs, self.soft.tpm.registers(selection), strict=True))
        return self.evidence(quote_statement(*said, values))

    def evidence(self, statement: bytes) -> Evidence:
        return Evidence("2.23.133.20.1", statement, self.certificates)

    def context(self, **changed: Any) -> VerificationContext:
        """Return what fits this device's statements."""
        context = VerificationContext(
            spki=self.spki,
            nonce=SECRET,
            now=NOW,
            settings=CertifySettings(),
            policy=CertifyPolicy(),
            trust=self.trust(),
            kept=self.kept(),
        )
        return replace(context, **changed)


def challenge(device: Device, info: object) -> Challenge:
    request = ChallengeRequest("2.23.133.20.1", info)
    context = ChallengeContext(SECRET, NOW, CertifySettings(), CertifyPolicy(), device.trust())
    return CERTIFY.challenge(request, context)


def quote_context(device: Device, policy: QuotePolicy | None = None) -> VerificationContext:
    return device.context(settings=QuoteSettings(), policy=policy or QuotePolicy())


def refused(evidence: Evidence, context: VerificationContext, verifier: Any = CERTIFY) -> str:
    """Return the code with which a verifier refuses."""
    with pytest.raises(EvidenceRefused) as caught:
        verifier.verify(evidence, context)
    return caught.value.code


def failed(found: VerifiedEvidence) -> list[str]:
    """Return the codes of the checks that did not pass."""
    return [check.code for check in found.checks if not check.passed]
