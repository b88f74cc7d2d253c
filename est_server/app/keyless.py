"""CAs as a process sees them that has no key: their certificates, from the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.errors import BackendUnavailable
from est_server.ports.ca import CaCertificates, CertificateAuthority, Health
from est_server.ports.validation import ShownCa

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.ports.ca import Capabilities, IssuanceOrder
    from est_server.ports.validation import Validation


@dataclass(slots=True)
class KeylessAuthority:
    """A `CertificateAuthority` that signs nothing.

    Attributes:
        name: in server.yaml, or a successor's.
        capabilities: those that it has where its key is.
        validation: where its certificates are.
    """

    name: str
    capabilities: Capabilities
    validation: Validation
    _certificates: CaCertificates | None = None

    async def connect(self) -> None:
        """Read its certificates.

        Raises:
            BackendUnavailable: ``ca.not-shown``: nobody wrote them.
        """
        shown = await self.validation.ca(self.name)
        if shown is None:
            text = f"the certificates of CA {self.name} are not in the ledger"
            hint = "a process with role publisher writes them as soon as it can use this CA"
            raise BackendUnavailable("ca.not-shown", text, hint=hint)
        issuer, *chain = map(x509.load_der_x509_certificate, (shown.issuer, *shown.chain))
        self._certificates = CaCertificates(issuer, tuple(chain))

    def certificates(self) -> CaCertificates:
        """Return issuer and chain."""
        if self._certificates is None:
            raise RuntimeError("connect comes first")
        return self._certificates

    async def issue(self, order: IssuanceOrder) -> NoReturn:  # noqa: ARG002 - the port's signature
        """Refuse.

        Raises:
            BackendUnavailable: ``ca.keyless``.
        """
        raise BackendUnavailable("ca.keyless", f"CA {self.name} has no key in this process")

    async def health(self) -> Health:
        """Read its certificates again."""
        try:
            await self.connect()
        except BackendUnavailable as error:
            return Health(ok=False, detail=error.message)
        return Health(ok=True, detail="its certificates are known; there is no key here")

    async def close(self) -> None:
        """Nothing is open."""


async def show(validation: Validation, authorities: Mapping[str, CertificateAuthority]) -> None:
    """Write the certificates of these CAs for processes without keys, where they have changed.

    Raises:
        BackendUnavailable: the ledger is away.
    """
    for name, authority in [*authorities.items()]:
        found = authority.certificates()
        issuer, *chain = (one.public_bytes(Encoding.DER) for one in (found.issuer, *found.chain))
        shown = ShownCa(issuer, tuple(chain))
        if await validation.ca(name) != shown:
            await validation.show_ca(name, shown)


_: type[CertificateAuthority] = KeylessAuthority
