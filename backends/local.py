"""What CAs share whose keys this server uses: certificates from plans, certificates from files."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_public_key

from backends.local_template import Rights, template
from est_server.errors import BackendRejected, BackendUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from est_server.ports.ca import IssuanceOrder


class CertificateMaker:
    """Makes everything of a CA's certificates but their signatures."""

    def __init__(self, issuer: x509.Certificate) -> None:
        self._end = issuer.not_valid_after_utc
        # builders never change: what the plans of a profile have in common is built once
        self._template = lru_cache(maxsize=64)(partial(template, issuer))

    def builder(self, order: IssuanceOrder) -> x509.CertificateBuilder:
        """Return the certificate of `order`, to be signed.

        Raises:
            BackendRejected: ``ca.outlives``.
        """
        plan = order.plan
        if plan.not_after > self._end:
            raise BackendRejected("ca.outlives", "the certificate would outlive its issuer")
        key = load_der_public_key(plan.spki)
        builder = (
            self._template(Rights.of(plan))
            .subject_name(plan.subject)
            .public_key(key)  # type: ignore[arg-type]  # a signature key: the plan's algorithm is one of ours
            .serial_number(order.serial_number)
            .not_valid_before(plan.not_before)
            .not_valid_after(plan.not_after)
            # RFC 5280 4.2.1.2 method 1: what devices and directories expect to compute
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)  # type: ignore[arg-type]  # as above
        )
        if plan.subject_alternative_names:
            # RFC 5280 4.2.1.6: critical when it is the only name
            san = x509.SubjectAlternativeName(plan.subject_alternative_names)
            builder = builder.add_extension(san, critical=not plan.subject.rdns)
        return builder


def require_ca(name: str, certificate: x509.Certificate) -> None:
    """Return if `certificate` may sign certificates.

    Raises:
        BackendUnavailable: ``ca.unusable``.
    """
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        raise unusable(name, "its certificate is no CA certificate", "check `certificate`") from (
            error
        )
    if not basic.ca or not usage.key_cert_sign:
        raise unusable(name, "its certificate may not sign certificates", "check `certificate`")


def read_certificate(name: str, path: Path) -> x509.Certificate:
    """Return the certificate in a file of CA `name`.

    Raises:
        BackendUnavailable: ``ca.unusable``.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise unusable(name, f"{path.name} can't be read: {error.strerror}", str(error)) from error
    except ValueError as error:
        raise unusable(name, f"{path.name} is no PEM certificate", f"check {path}") from error


def unusable(name: str, message: str, hint: str) -> BackendUnavailable:
    """Return what to raise when CA `name` can't be opened."""
    return BackendUnavailable("ca.unusable", f"CA {name}: {message}", hint=hint)
