"""A CA, a device and a profile, and every way to ask: what the tests of the decision share."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AttributeOID, NameOID

from est_server.errors import Position
from est_server.pki.plan import Pointers
from est_server.ports.ledger import CertificateRecord, Device
from est_server.profiles.decide import decide
from est_server.profiles.decision import Decision, Identity, KeyDelivery, RequestFacts
from est_server.profiles.model import ProfileModel
from est_server.profiles.profile import Issuer, Profile
from est_server.wire.pkcs10 import CertificationRequest, parse_csr

NOW = datetime(2026, 6, 1, 12, 0, 0, 654321, tzinfo=UTC)
DAY = timedelta(days=1)
IN_TEN_DAYS = NOW.replace(microsecond=0) + 10 * DAY
STRICT: dict[str, Any] = {
    "version": "1",
    "labels": ["default"],
    "ca": "issuing",
    "authenticate": [{"credential": {}}],
    "reenroll": {"window": "30d", "grace_after_expiry": "7d"},
    "subject": {"organization": {"fixed": "Example"}, "common_name": {"from": "device.id"}},
    "key": {"allow": ["EC-P256", "RSA-2048+"]},
    "certificate": {"lifetime": "90d"},
}


@cache
def ec_key(number: int = 0, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> Any:
    return ec.derive_private_key(number + 12345, curve())


@cache
def rsa_key(bits: int, exponent: int = 65537) -> Any:
    return rsa.generate_private_key(exponent, bits)


def name(**attributes: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(getattr(NameOID, key), value) for key, value in attributes.items()]
    )


DEVICE_NAME = name(ORGANIZATION_NAME="Example", COMMON_NAME="SN-1")


@cache
def issuer(first: datetime = NOW - 100 * DAY, last: datetime = NOW + 1000 * DAY) -> Issuer:
    key = ec_key(1)
    subject = name(COMMON_NAME="Issuing")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(first)
        .not_valid_after(last)
        .sign(key, hashes.SHA256())
    )
    urls = Pointers(("http://p/crl",), ("http://p/delta",), ("http://p/ocsp",), ("http://p/aia",))
    return Issuer("issuing", certificate, urls)


def profile(changes: dict[str, Any] | None = None, **parts: Any) -> Profile:
    """Return STRICT with top-level keys replaced; None removes one."""
    text = {key: value for key, value in {**STRICT, **(changes or {})}.items() if value is not None}
    model = ProfileModel.model_validate(text)
    return Profile("router", repr(text), model, parts.pop("issuer", issuer()), **parts)


def csr(
    subject: x509.Name | None = None,
    names: tuple[x509.GeneralName, ...] = (),
    key: Any = None,
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = (),
    challenge: str | None = None,
) -> CertificationRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        DEVICE_NAME if subject is None else subject
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    if challenge is not None:
        builder = builder.add_attribute(AttributeOID.CHALLENGE_PASSWORD, challenge.encode())
    signed = builder.sign(ec_key() if key is None else key, hashes.SHA256())
    return parse_csr(signed.public_bytes(Encoding.DER))


def dns(*names: str) -> tuple[x509.GeneralName, ...]:
    return tuple(x509.DNSName(text) for text in names)


def ip(*addresses: str) -> tuple[x509.GeneralName, ...]:
    return tuple(x509.IPAddress(ipaddress.ip_address(text)) for text in addresses)


def issued(
    subject: x509.Name | None = None,
    names: tuple[x509.GeneralName, ...] = (),
    key: Any = None,
    expires: datetime = IN_TEN_DAYS,
    **changes: Any,
) -> CertificateRecord:
    """Return the record of a certificate that the CA made for the device."""
    key = key or ec_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(DEVICE_NAME if subject is None else subject)
        .issuer_name(name(COMMON_NAME="Issuing"))
        .public_key(key.public_key())
        .serial_number(0x2A)
        .not_valid_before(expires - 90 * DAY)
        .not_valid_after(expires)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    der = builder.sign(ec_key(1), hashes.SHA256()).public_bytes(Encoding.DER)
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    record = CertificateRecord(
        ca="issuing",
        serial_number=0x2A,
        status="good",
        der=der,
        spki_sha256=sha256(spki).digest(),
        subject="",
        profile="router",
        identity="SN-1",
        device_id="SN-1",
        request_id="r1",
        not_before=expires - 90 * DAY,
        not_after=expires,
        issued_at=expires - 90 * DAY,
    )
    return replace(record, **changes)


ACTIVE = Device("SN-1", "router", NOW - DAY)
BY_CREDENTIAL = Identity("SN-1", "credential", credential_id="c1")


@dataclass(frozen=True)
class Question:
    """A request that is allowed, to be spoilt in one place."""

    profile: dict[str, Any] = field(default_factory=dict)
    csr: CertificationRequest = field(default_factory=csr)
    device: Device | None = ACTIVE
    operation: Any = "simpleenroll"
    identity: Identity = BY_CREDENTIAL
    binding: Any = "absent"
    otp: Any = "absent"
    registrar: bool = False
    delivery: KeyDelivery | None = None
    witness: bool = False
    change: Any = None
    others: tuple[CertificateRecord, ...] = ()
    now: datetime = NOW
    issuer: Issuer = field(default_factory=issuer)
    rules: tuple[Any, ...] = ()
    compromised: bool = False

    def facts(self) -> RequestFacts:
        return RequestFacts(
            operation=self.operation,
            label=None,
            csr=self.csr,
            identity=self.identity,
            channel_binding=self.binding,
            otp=self.otp,
            registrar=self.registrar,
            key_compromised=self.compromised,
            change=self.change,
            others=self.others,
            delivery=self.delivery,
            pop_witness=self.witness,
        )

    def ask(self) -> Decision:
        where = {("subject",): Position("router.yaml", 7, 1)}
        made = profile(self.profile, issuer=self.issuer, rules=self.rules, positions=where)
        return decide(made, self.facts(), self.device, self.now)


def renewal(record: CertificateRecord | None = None, **changes: Any) -> Question:
    """Return a renewal that is allowed."""
    record = record or issued()
    own = Identity("SN-1", "own-certificate", certificate=record)
    return replace(Question(operation="simplereenroll", identity=own), **changes)
