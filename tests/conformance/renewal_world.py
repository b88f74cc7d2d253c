"""A server whose profiles differ in how a certificate follows another one, and two other CAs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import yaml
from asker import Asker, issued
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from interop.conformance.asking import (
    attribute,
    base64,
    certification_request,
    common_name,
    der,
    extension,
    extension_request,
    new_key,
)

if TYPE_CHECKING:
    from pathlib import Path

    from est_process import EstServer

CHANGE_SUBJECT_NAME = "1.3.6.1.5.5.7.7.36"
BRIEF = "62s"  # two seconds, since notBefore lies a minute back
_IDEVID = {"client_certificate": {"trust": "maker"}}
PROFILES: dict[str, dict[str, Any]] = {
    "renew": {},
    "newkey": {"reenroll": {"key": "new"}},
    "window": {"reenroll": {"window": "1d"}},
    "brief": {"certificate": {"lifetime": BRIEF}},
    "grace": {"certificate": {"lifetime": BRIEF}, "reenroll": {"grace_after_expiry": "1h"}},
    "changing": {
        "reenroll": {"change_subject_name": "true"},
        "subject_alternative_names": {"dns": {"allow": ["*.example.net"], "max": "4"}},
    },
    "additional": {"enroll": {"own_certificate": "additional"}},
    "renewing": {"enroll": {"own_certificate": "renew"}, "reenroll": {"window": "20d"}},
    "supersede-now": {"reenroll": {"old": "supersede", "after": "0s"}},
    "supersede-later": {"reenroll": {"old": "supersede"}},
    "maker-replace": {"authenticate": [_IDEVID], "enroll": {"again": "replace"}},
    "registrar": {
        "registration": "registered",
        "certificate": {"lifetime": "30d", "extended_key_usage": ["clientAuth", "cmcRA"]},
    },
    "managed": {
        "reenroll": {
            "alternates": ["signing"],
            "registrar": {"identities": ["ra-1"], "find": "subject.commonName"},
        }
    },
    "managed-by-subject": {
        "reenroll": {"registrar": {"identities": ["ra-1"], "find": "subject"}},
    },
    "signing": {},
    "legacy": {"reenroll": {"other_cas": [{"trust": "legacy", "identity": "subject.commonName"}]}},
    "maker": {"authenticate": [_IDEVID]},
    "maker-once": {"authenticate": [_IDEVID], "enroll": {"again": "refuse"}},
    "maker-twice": {"authenticate": [_IDEVID], "enroll": {"most": "2"}},
    "maker-names": {"authenticate": [_IDEVID], "enroll": {"change_subject_name": "true"}},
}
_COMMON: dict[str, Any] = {
    "version": "1",
    "ca": "issuing",
    "registration": "none",
    "authenticate": [{"credential": {}}],
    "reenroll": {},
    "subject": {"as_requested": "true"},
    "subject_alternative_names": {"as_requested": "true"},
    "key": {"allow": ["EC-P256"]},
    "certificate": {"lifetime": "30d"},
}


class OtherCa:
    """A CA that this server did not make."""

    def __init__(self, name: str) -> None:
        self.key = new_key()
        self.name = common_name(name)
        self.certificate = self._sign(self.name, self.key, ca=True)

    def device(self, subject: x509.Name, key: Any) -> x509.Certificate:
        return self._sign(subject, key, ca=False)

    def _sign(self, subject: x509.Name, key: Any, *, ca: bool) -> x509.Certificate:
        now = datetime.now(UTC)  # noqa: TID251 - the server's clock is the machine's
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=ca, crl_sign=ca, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=20))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )


def configure(server: EstServer, cas: dict[str, OtherCa]) -> None:
    """Give a server, before it starts, the profiles and the trust in the other CAs."""
    for name, changes in PROFILES.items():
        text = yaml.safe_dump({**_COMMON, "labels": [name], **changes})
        (server.directory / "profiles" / f"{name}.yaml").write_text(text)
    settings = yaml.load(server.config.read_text(), Loader=yaml.BaseLoader)
    settings["trust"] = {}
    for name, ca in cas.items():
        path = server.directory / "trust" / f"{name}.pem"
        path.write_bytes(ca.certificate.public_bytes(Encoding.PEM))
        settings["trust"][name] = str(path)
    server.config.write_text(yaml.safe_dump(settings, sort_keys=False))


class World:
    """Askers of each profile."""

    def __init__(self, server: EstServer, cas: dict[str, OtherCa], folder: Path) -> None:
        self.server, self.cas = server, cas
        self._nobody = Asker(server, folder)
        self._credentials: dict[tuple[str, str], tuple[str, str]] = {}

    def asker(self, label: str, user: str | None = None, device: str | None = None) -> Asker:
        """Return somebody with a credential of a profile."""
        user = user or f"user-{label}"
        if (label, user) not in self._credentials:
            of = () if device is None else ("--device", device)
            self._credentials[label, user] = self.server.credential(user, label, *of)
        return self._nobody.with_(label=label, credential=self._credentials[label, user])

    def device(self, label: str, ca: str, name: str) -> Asker:
        """Return somebody with a certificate of another CA."""
        key = new_key()
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.SERIAL_NUMBER, name),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        identity = self._nobody.keep(self.cas[ca].device(subject, key), key)
        return self._nobody.with_(label=label, identity=identity)


def ask(asker: Asker, operation: str, subject: x509.Name | str, key: Any = None,
        names: tuple[x509.GeneralName, ...] = (), *attributes: bytes) -> Any:  # fmt: skip
    """Send a request for a subject and alternative names."""
    name = common_name(subject) if isinstance(subject, str) else subject
    asked = [extension_request(extension(x509.SubjectAlternativeName(names)))] if names else []
    csr = certification_request(key or new_key(), name, [*asked, *attributes])
    return asker.ask(operation, base64(csr))


def reenroll(asker: Asker, subject: x509.Name | str, *more: Any) -> Any:
    return ask(asker, "simplereenroll", subject, *more)


def certificate(answer: Any) -> x509.Certificate:
    assert answer.status == 200, (answer.status, answer.body)
    return issued(answer)


def refuse(answer: Any, rule: str, status: int = 403) -> None:
    assert (answer.status, answer.body.split(b":")[0]) == (status, rule.encode()), answer.body


def change(subject: x509.Name | None = None, *names: x509.GeneralName) -> bytes:
    """Return a ChangeSubjectName attribute."""
    parts = [] if subject is None else [subject.public_bytes()]
    if names:
        parts.append(x509.SubjectAlternativeName(names).public_bytes())
    return attribute(CHANGE_SUBJECT_NAME, der(0x30, *parts))
