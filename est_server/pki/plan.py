"""The certificate plan: every field of a certificate before a CA is asked for it.

A certificate is built from its plan alone, never by copying the CSR, and the certificate that
comes back is compared with it (`est_server.pki.check`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from est_server.pki.names import general_name_text, name_text

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509


SHARD = "{shard}"
"""Stands in URLs of CRLs where the number of the partial one belongs."""


@dataclass(frozen=True, slots=True)
class Pointers:
    """Where relying parties find the issuer and its revocation lists (RFC 5280 4.2.1.13, 4.2.2.1).

    Each is a tuple of URLs; an empty one leaves its extension out.
    """

    crl: tuple[str, ...] = ()
    freshest_crl: tuple[str, ...] = ()
    ocsp: tuple[str, ...] = ()
    ca_issuers: tuple[str, ...] = ()

    def in_shard(self, shard: int) -> Pointers:
        """Return the pointers of a certificate in a partial CRL: URLs with its number."""
        return replace(
            self,
            crl=tuple(url.replace(SHARD, str(shard)) for url in self.crl),
            freshest_crl=tuple(url.replace(SHARD, str(shard)) for url in self.freshest_crl),
        )


@dataclass(frozen=True, slots=True)
class CertificatePlan:
    """An end-entity certificate, completely described.

    Attributes:
        ca: name of the issuing CA in server.yaml.
        subject: the name; may be empty if `subject_alternative_names` is not.
        subject_alternative_names: in the order in which they are encoded.
        spki: DER SubjectPublicKeyInfo, exactly as in the CSR.
        key_algorithm: name of the key's algorithm (`est_server.pki.keys`).
        not_before: first second of validity.
        not_after: last second of validity; never later than the issuer's.
        key_usage: names of RFC 5280 4.2.1.3, for example ``digitalSignature``.
        extended_key_usage: dotted OIDs, in order.
        certificate_policies: dotted OIDs, in order.
        pointers: CRL, delta CRL, OCSP and issuer URLs.
        crl_shard: the partial CRL that `pointers` name; 0 without.
        ocsp_nocheck: nobody needs to ask for its status (RFC 6960 4.2.2.2.1): responders only.
    """

    ca: str
    subject: x509.Name
    subject_alternative_names: tuple[x509.GeneralName, ...]
    spki: bytes
    key_algorithm: str
    not_before: datetime
    not_after: datetime
    key_usage: tuple[str, ...]
    extended_key_usage: tuple[str, ...]
    certificate_policies: tuple[str, ...] = ()
    pointers: Pointers = Pointers()
    crl_shard: int = 0
    ocsp_nocheck: bool = False

    def numbered(self, serial_number: int, crl_shards: int) -> CertificatePlan:
        """Return the plan for a serial number, which chooses the partial CRL once and for all."""
        if not crl_shards:
            return self
        shard = serial_number % crl_shards + 1
        return replace(self, crl_shard=shard, pointers=self.pointers.in_shard(shard))

    def as_dict(self) -> dict[str, Any]:
        """Return the plan in JSON's types, for the ledger and for people."""
        return {
            "ca": self.ca,
            "subject": name_text(self.subject),
            "subject_alternative_names": [
                general_name_text(name) for name in self.subject_alternative_names
            ],
            "spki_sha256": sha256(self.spki).hexdigest(),
            "key_algorithm": self.key_algorithm,
            "not_before": self.not_before.isoformat(),
            "not_after": self.not_after.isoformat(),
            "key_usage": list(self.key_usage),
            "extended_key_usage": list(self.extended_key_usage),
            "certificate_policies": list(self.certificate_policies),
            "crl": list(self.pointers.crl),
            "crl_shard": self.crl_shard,
            "freshest_crl": list(self.pointers.freshest_crl),
            "ocsp": list(self.pointers.ocsp),
            "ca_issuers": list(self.pointers.ca_issuers),
            "ocsp_nocheck": self.ocsp_nocheck,
        }

    def as_json(self) -> str:
        """Return `as_dict` as one line of JSON."""
        return to_json(self.as_dict()).decode()
