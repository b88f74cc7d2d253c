"""The IDevID statement: who makes the request, by the manufacturer's certificate."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asn1crypto import core
from attacks import attack
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from evidence import sequence
from fuzzing import counted, examples
from hypothesis import given
from hypothesis import strategies as st
from mutations import mutated

from est_server.attestation.reading import sha256
from est_server.attestation.x509_idevid import CONTEXT, IdevidPolicy, IdevidSettings, X509Idevid
from est_server.pki.path import TrustStore
from est_server.ports.verifier import Evidence, EvidenceRefused, VerificationContext

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SPKI, NONCE = b"spki", b"n" * 32
SETTINGS = IdevidSettings()
IDEVID = X509Idevid()
FOREVER = datetime(9999, 12, 31, tzinfo=UTC)
ROOT_KEY = ec.derive_private_key(1, ec.SECP256R1())
KEY = ec.derive_private_key(2, ec.SECP256R1())


def name(text: str, serial: str | None = None) -> x509.Name:
    parts = [x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]
    if serial is not None:
        parts.append(x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, serial))
    return x509.Name(parts)


def certificate(subject: x509.Name, key: Any, by: Any = ROOT_KEY, issuer: str = "Acme",
                ca: bool = False, until: datetime = FOREVER) -> Any:  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW - timedelta(days=100))
        .not_valid_after(until)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    return builder.sign(by, SHA256())


ROOT = certificate(name("Acme"), ROOT_KEY, ca=True)
LEAF = certificate(name("device", "SN-1"), KEY)
TRUST = {"acme": TrustStore("acme", (ROOT,))}


def der(found: Any) -> bytes:
    return found.public_bytes(Encoding.DER)


def stmt(leaf: Any, nonce: bytes, signature: bytes) -> bytes:
    parts = (sha256(der(leaf)), nonce, signature)
    return sequence(*(core.OctetString(part).dump() for part in parts))


def signed(nonce: bytes = NONCE, spki: bytes = SPKI, key: Any = KEY, leaf: Any = LEAF) -> bytes:
    octets = CONTEXT + nonce + sha256(spki)
    match key:
        case ec.EllipticCurvePrivateKey():
            made = key.sign(octets, ec.ECDSA(SHA256()))
        case rsa.RSAPrivateKey():
            made = key.sign(octets, padding.PKCS1v15(), SHA256())
        case _:
            made = key.sign(octets)
    return stmt(leaf, nonce, made)


def context(policy: dict[str, Any] | None = None, **changes: Any) -> VerificationContext:
    found = VerificationContext(
        spki=SPKI, nonce=NONCE, now=NOW, settings=SETTINGS, trust=TRUST,
        policy=IdevidPolicy.model_validate({"vouches": True, **(policy or {})}),
    )  # fmt: skip
    return replace(found, **changes)


def evidence(statement: bytes, *certificates: Any) -> Evidence:
    return Evidence(SETTINGS.statement_type, statement, tuple(map(der, certificates or (LEAF,))))


def refused(statement: Evidence, where: VerificationContext | None = None) -> str:
    with pytest.raises(EvidenceRefused) as error:
        IDEVID.verify(statement, where or context())
    return error.value.code


def test_a_signature_speaks_for_the_key():
    found = IDEVID.verify(evidence(signed()), context())
    assert (found.binds_key, found.fresh) == (True, True)
    assert found.claims["name"] == "SN-1"
    assert [one.kind for one in found.platform] == ["idevid"]
    assert not IDEVID.verify(evidence(signed()), context({"vouches": False})).binds_key
    assert IDEVID.nonce(evidence(signed()), SETTINGS) == NONCE


def test_the_tls_connection_speaks_for_the_device():
    shown = context(client_chain=(der(LEAF),), nonce=None)
    found = IDEVID.verify(evidence(stmt(LEAF, b"", b"")), shown)
    assert (found.binds_key, found.fresh) == (False, True)
    assert IDEVID.nonce(evidence(stmt(LEAF, b"", b"")), SETTINGS) is None
    assert refused(evidence(stmt(LEAF, b"", b""))) == "idevid.not-shown"
    other = certificate(name("other", "SN-2"), KEY)
    shown = context(client_chain=(der(other), der(LEAF)))
    assert refused(evidence(stmt(LEAF, b"", b"")), shown) == "idevid.not-shown"


@pytest.mark.parametrize("key", [rsa.generate_private_key(65537, 2048),
                                 ed25519.Ed25519PrivateKey.generate()])  # fmt: skip
def test_other_keys_sign_too(key):
    leaf = certificate(name("device", "SN-1"), key)
    assert IDEVID.verify(evidence(signed(key=key, leaf=leaf), leaf), context()).fresh
    other = signed(spki=b"other", key=key, leaf=leaf)
    assert refused(evidence(other, leaf)) == "idevid.signature"


def test_another_key_another_nonce_and_another_signer_are_refused():
    assert refused(evidence(signed(spki=b"other"))) == "idevid.signature"
    assert refused(evidence(signed(key=ROOT_KEY))) == "idevid.signature"
    forged = signed().replace(NONCE, b"m" * 32)
    assert refused(evidence(forged)) == "idevid.signature"
    assert not IDEVID.verify(evidence(signed(b"m" * 32)), context()).fresh
    assert refused(evidence(signed(b""))) == "idevid.nonce-missing"


def test_the_chain_leads_to_the_manufacturer():
    stranger = certificate(name("Acme"), KEY, by=KEY, ca=True)
    forged = certificate(name("device", "SN-1"), KEY, by=KEY)
    assert refused(evidence(signed(leaf=forged), forged, stranger)) == "idevid.unknown-issuer"
    ended = certificate(name("device", "SN-1"), KEY, until=NOW - timedelta(days=1))
    assert refused(evidence(signed(leaf=ended), ended)) == "idevid.expired"
    issuing = certificate(name("device", "SN-1"), KEY, ca=True)
    assert refused(evidence(signed(leaf=issuing), issuing)) == "idevid.is-ca"
    barred = {"revoked": [sha256(der(LEAF)).hex()]}
    assert refused(evidence(signed()), context(barred)) == "idevid.revoked"
    assert refused(evidence(signed(), ROOT)) == "idevid.certificate-missing"
    nameless = certificate(name("device"), KEY)
    assert refused(evidence(signed(leaf=nameless), nameless)) == "idevid.name"


@attack(86)
def test_a_device_that_is_not_on_the_list():
    def checks(policy):
        found = IDEVID.verify(evidence(signed()), context(policy))
        return [(check.code, check.passed) for check in found.checks]

    assert checks({"names": ["SN-1", "SN-3"]}) == [("name", True)]
    assert checks({"names": ["SN-2"]}) == [("name", False)]
    assert checks({"hw_types": ["1.2.3"]}) == [("hw-type", False)]


SEEDS = [signed(), stmt(LEAF, b"", b"")]


@examples(200, 0.05)
@given(st.randoms(use_true_random=False))
def test_no_statement_gives_anything_but_an_answer(random):
    data = mutated(random, SEEDS)
    try:
        counted("idevid", lambda: IDEVID.nonce(evidence(data), SETTINGS))
        IDEVID.verify(evidence(data), context())
    except EvidenceRefused as error:
        assert error.code.startswith("idevid.")  # noqa: PT017
