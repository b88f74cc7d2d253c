"""Which TPMs count: endorsement and attestation certificates, and the roots behind them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from attacks import attack
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from device_tpm import ECC_EK, RSA_EK
from tpm_world import CERTIFY, NOW, Device, failed, octets, refused

from est_server.attestation.chains import spki
from est_server.attestation.reading import sha256
from est_server.attestation.tpm2_certify import CertifyPolicy
from est_server.pki.path import TrustStore
from est_server.wire.tpm_public import parse_public

EK, AK = "2.23.133.8.1", "2.23.133.8.3"


@pytest.fixture(scope="module")
def a(tpm_a):
    return Device(tpm_a, RSA_EK)


@pytest.fixture(scope="module")
def b(tpm_b):
    return Device(tpm_b, ECC_EK)


@dataclass(slots=True)
class Authority:
    """A CA that certifies endorsement and attestation keys as a test wants it."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def named(cls, name: str) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        made = cls(key, None)
        made.certificate = made.certify(key.public_key(), name, issuer=name, ca=True, purpose=None)
        return made

    def certify(
        self,
        key,
        name="device",
        *,
        issuer=None,
        ca=False,
        purpose=EK,
        begin=NOW - timedelta(days=30),
        end=NOW + timedelta(days=30),
        san=None,
    ) -> x509.Certificate:
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]) if issuer else None
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer or self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if purpose:
            usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(purpose)])
            builder = builder.add_extension(usage, critical=False)
        if san:
            names = x509.UnrecognizedExtension(x509.ExtensionOID.SUBJECT_ALTERNATIVE_NAME, san)
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def trust(self):
        return {"made": TrustStore("made", (self.certificate,))}


@pytest.fixture(scope="module")
def authority():
    return Authority.named("attestation CA")


def der(certificate):
    return certificate.public_bytes(Encoding.DER)


def endorsed(a, authority, certificate):
    """Return evidence of `a` with another EK certificate, and what trusts its CA."""
    evidence = replace(a.certified(), certificates=(der(certificate),))
    return evidence, a.context(trust=authority.trust())


def ek_of(a):
    return x509.load_der_x509_certificate(octets(a.info()["ek"])).public_key()


# -- endorsement keys


@attack(75)
def test_another_manufacturers_root(a, b):
    # both CAs have the same name: the signature tells them apart
    assert refused(a.certified(), a.context(trust=b.trust())) == "ek.unknown-issuer"
    assert refused(a.certified(), a.context(trust={})) == "ek.unknown-issuer"


def test_a_chain_without_its_intermediate(a):
    evidence = replace(a.certified(), certificates=(a.certificate,))
    assert refused(evidence, a.context()) == "ek.unknown-issuer"
    issuer = x509.load_der_x509_certificate(a.soft.issuer)
    root = a.trust()["manufacturer"].anchors
    configured = {"manufacturer": TrustStore("manufacturer", root, (issuer,))}
    assert CERTIFY.verify(evidence, a.context(trust=configured)).binds_key


@attack(76)
def test_a_self_signed_endorsement_certificate(b):
    own = Authority.named("mine")
    alone = own.certify(own.key.public_key(), "mine", issuer="mine")
    context = b.context(kept={**b.kept(), "ek": sha256(spki(alone)).hex()})
    evidence = replace(b.certified(), certificates=(der(alone),))
    assert refused(evidence, context) == "ek.self-signed"


@attack(77)
def test_the_certificate_of_another_endorsement_key(a, b):
    evidence = replace(a.certified(), certificates=b.certificates)
    assert refused(evidence, a.context()) == "ek.not-the-challenged"
    assert refused(replace(evidence, certificates=()), a.context()) == "ek.missing"


@attack(78)
def test_an_expired_endorsement_certificate(a, authority):
    old = authority.certify(ek_of(a), end=NOW - timedelta(days=1))
    evidence, context = endorsed(a, authority, old)
    found = CERTIFY.verify(evidence, context)
    assert failed(found) == ["ek.expired"]
    assert found.checks[0].rating == "contraindicated"
    context = replace(context, policy=CertifyPolicy(ek_expired="warn"))
    assert CERTIFY.verify(evidence, context).checks[0].rating == "warning"


def test_an_endorsement_certificate_of_tomorrow(a, authority):
    new = authority.certify(ek_of(a), begin=NOW + timedelta(days=1))
    assert refused(*endorsed(a, authority, new)) == "ek.not-yet-valid"


def test_a_certificate_for_another_purpose(a, authority):
    other = authority.certify(ek_of(a), purpose="1.3.6.1.5.5.7.3.2")
    assert refused(*endorsed(a, authority, other)) == "ek.purpose"


def test_an_endorsement_certificate_that_is_a_ca(a, authority):
    assert refused(*endorsed(a, authority, authority.certify(ek_of(a), ca=True))) == "ek.is-ca"


def test_a_certificate_issued_by_a_certificate_that_is_no_ca(a, authority):
    mine = ec.generate_private_key(ec.SECP256R1())
    between = authority.certify(mine.public_key(), "between")
    leaf = Authority(mine, between).certify(ek_of(a))
    evidence = replace(a.certified(), certificates=(der(leaf), der(between)))
    context = a.context(trust=authority.trust())
    assert refused(evidence, context) == "ek.unknown-issuer"


def test_the_year_9999_comes_late_enough(a):
    certificate = x509.load_der_x509_certificate(octets(a.info()["ek"]))
    assert certificate.not_valid_after_utc.year == 9999
    context = a.context(now=datetime(2040, 1, 1, tzinfo=UTC))
    assert CERTIFY.verify(a.certified(), context).binds_key


@attack(82)
def test_a_revoked_endorsement_key_certificate_or_ca(a):
    leaf = x509.load_der_x509_certificate(octets(a.info()["ek"]))
    issuer = x509.load_der_x509_certificate(a.soft.issuer)
    for revoked in (leaf, issuer):
        for digest in (revoked.fingerprint(hashes.SHA256()), sha256(spki(revoked))):
            policy = CertifyPolicy(revoked=(digest.hex(),))
            assert refused(a.certified(), a.context(policy=policy)) == "ek.revoked"
    policy = CertifyPolicy(revoked=("00" * 32,))
    assert CERTIFY.verify(a.certified(), a.context(policy=policy)).binds_key


@attack(92)
def test_software_tpms_are_no_manufacturers_in_production(a):
    policy = CertifyPolicy(manufacturers=("id:49465800", "id:494e5443"))
    found = CERTIFY.verify(a.certified(), a.context(policy=policy))
    assert failed(found) == ["tpm.manufacturer"]
    allowed = CertifyPolicy(manufacturers=("id:00001014",))
    assert failed(CERTIFY.verify(a.certified(), a.context(policy=allowed))) == []


def test_an_allowlist_of_endorsement_keys(a):
    policy = CertifyPolicy(ek_keys=(sha256(spki_of_ek(a)).hex(),))
    assert failed(CERTIFY.verify(a.certified(), a.context(policy=policy))) == []
    other = CertifyPolicy(ek_keys=("00" * 32,))
    assert failed(CERTIFY.verify(a.certified(), a.context(policy=other))) == ["ek.key"]


def spki_of_ek(a):
    return spki(x509.load_der_x509_certificate(octets(a.info()["ek"])))


@pytest.mark.parametrize("content", [b"", b"\x30\x00", b"\x30\x03abc", bytes(20_000)])
def test_a_certificate_that_is_none(a, content):
    evidence = replace(a.certified(), certificates=(content,))
    assert refused(evidence, a.context()) == "certificate.malformed"


def test_a_certificate_with_a_name_of_a_kind_that_nobody_reads(a, authority):
    """An x400Address in subjectAltName: cryptography has an exception of its own for it."""
    der = authority.certify(ek_of(a), san=bytes.fromhex("3004a3023000")).public_bytes(Encoding.DER)
    evidence = replace(a.certified(), certificates=(der,))
    assert refused(evidence, a.context()) == "certificate.malformed"


def test_anything_but_padding_behind_a_certificate(a):
    evidence = replace(a.certified(), certificates=(a.soft.issuer, a.certificate + b"x"))
    assert refused(evidence, a.context()) == "certificate.malformed"


# -- attestation keys with a certificate


def attested(a, authority, **changed):
    """Return evidence with an AK certificate, for a plain nonce."""
    changed = {"purpose": AK, **changed}
    leaf = authority.certify(parse_public(a.attestation.public).key, **changed)
    evidence = replace(a.certified(), certificates=(der(leaf),))
    return evidence, a.context(kept={}, trust=authority.trust())


def test_an_attestation_key_with_a_certificate(a, authority):
    found = CERTIFY.verify(*attested(a, authority))
    assert {one.kind for one in found.platform} == {"ak"}
    assert (found.binds_key, found.fresh) == (True, True)


def test_of_another_ca(a, b, authority):
    evidence, context = attested(a, authority)
    assert refused(evidence, replace(context, trust=b.trust())) == "ak.unknown-issuer"


def test_no_certificate_at_all(a):
    evidence = replace(a.certified(), certificates=())
    assert refused(evidence, a.context(kept={})) == "ak.missing"


@attack(79)
def test_an_expired_attestation_certificate(a, authority):
    found = attested(a, authority, end=NOW - timedelta(seconds=1))
    assert refused(*found) == "ak.expired"


@attack(80)
@pytest.mark.parametrize("purpose", [None, EK, "2.5.29.37.0"])
def test_an_attestation_certificate_for_another_purpose(a, authority, purpose):
    assert refused(*attested(a, authority, purpose=purpose)) == "ak.purpose"


@attack(81)
def test_an_attestation_certificate_that_is_a_ca(a, authority):
    assert refused(*attested(a, authority, ca=True)) == "ak.is-ca"


@attack(82)
def test_a_revoked_attestation_key(a, authority):
    evidence, context = attested(a, authority)
    digest = sha256(parse_public(a.attestation.public).spki).hex()
    context = replace(context, policy=CertifyPolicy(revoked=(digest,)))
    assert refused(evidence, context) == "ak.revoked"


def test_an_allowlist_of_endorsement_keys_needs_one_to_be_shown(a, authority):
    evidence, context = attested(a, authority)
    context = replace(context, policy=CertifyPolicy(ek_keys=("00" * 32,)))
    assert failed(CERTIFY.verify(evidence, context)) == ["ek.key"]
