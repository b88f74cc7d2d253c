"""A CA's key for fakes of CAs elsewhere: it signs what is ordered, or something else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from est_server.app.clock import system_clock
from est_server.pki.authority import (
    Authority,
    authority_key_identifier,
    make_issuing,
    make_root,
    plain_key,
    signature_hash,
)
from est_server.pki.keys import generate_key
from est_server.pki.usages import key_usage_extension
from est_server.ports.ca import CaCertificates

if TYPE_CHECKING:
    from pathlib import Path

    from est_server.pki.plan import CertificatePlan
    from est_server.testing.world import Fault

_YEARS = timedelta(days=3650)
_WRONG_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "somebody-else")])


@dataclass(frozen=True, slots=True)
class FakeIssuer:
    """An issuing CA under a root of its own."""

    issuing: Authority
    root: Authority

    @classmethod
    def in_folder(cls, folder: Path) -> FakeIssuer:
        """Return the issuer of a folder, made by whoever asks first."""
        if not (folder / "issuing.key").exists():
            now = system_clock() - timedelta(days=1)
            root = make_root("contract root", "EC-P256", lifetime=_YEARS, now=now)
            issuing = make_issuing(root, "contract CA", "EC-P256", lifetime=_YEARS, now=now)
            for name, made in (("root", root), ("issuing", issuing)):
                (folder / f"{name}.pem").write_bytes(made.certificate.public_bytes(Encoding.PEM))
                (folder / f"{name}.key").write_bytes(plain_key(made.key))
        return cls(_read(folder, "issuing"), _read(folder, "root"))

    def certificates(self) -> CaCertificates:
        """Return issuer and root."""
        return CaCertificates(self.issuing.certificate, (self.root.certificate,))

    def certify(
        self,
        plan: CertificatePlan,
        *,
        fault: Fault | None = None,
        serial_number: int | None = None,
        own_extensions: tuple[x509.ExtensionType, ...] = (),
    ) -> x509.Certificate:
        """Return the certificate of `plan`, or one with a ``wrong-…`` fault in it.

        Args:
            plan: what was ordered.
            fault: what is to be wrong.
            serial_number: the CA's own by default.
            own_extensions: what the CA adds by itself.
        """
        signer = self.issuing
        if fault == "wrong-key":
            spki = generate_key("EC-P256").public_key()
            plan = replace(
                plan, spki=spki.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            )
        elif fault == "wrong-names":
            plan = replace(plan, subject=_WRONG_NAME)
        elif fault == "wrong-validity":
            plan = replace(plan, not_after=plan.not_after + timedelta(days=30))
        elif fault == "wrong-issuer":
            # under the same name, by another key
            signer = replace(self.issuing, key=generate_key("EC-P256"))
        key: Any = load_der_public_key(plan.spki)
        builder = (
            x509.CertificateBuilder()
            .subject_name(plan.subject)
            .issuer_name(signer.certificate.subject)
            .public_key(key)
            .serial_number(serial_number or x509.random_serial_number())
            .not_valid_before(plan.not_before)
            .not_valid_after(plan.not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(authority_key_identifier(signer.certificate), critical=False)
        )
        if plan.key_usage:
            builder = builder.add_extension(key_usage_extension(plan.key_usage), critical=True)
        if plan.extended_key_usage:
            purposes = [x509.ObjectIdentifier(oid) for oid in plan.extended_key_usage]
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        if plan.subject_alternative_names:
            san = x509.SubjectAlternativeName(plan.subject_alternative_names)
            builder = builder.add_extension(san, critical=not list(plan.subject))
        for extension in own_extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(signer.key, signature_hash(signer.key))


def _read(folder: Path, name: str) -> Authority:
    key: Any = load_pem_private_key((folder / f"{name}.key").read_bytes(), None)
    return Authority(key, x509.load_pem_x509_certificate((folder / f"{name}.pem").read_bytes()))
