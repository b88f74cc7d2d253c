"""Requested extensions: what goes beyond the profile is refused or left out, never copied.

The certificate is made from the profile alone; asking for what it gives anyway is fine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from est_server.pki.usages import key_usage_names
from est_server.profiles.decision import Gate
from est_server.profiles.texts import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.profile import Profile


def extension_gate(profile: Profile, request: RequestFacts) -> Gate:
    """Return ``extension``: does the request ask for rights that the profile does not give?"""
    at = profile.position("certificate", "on_extra_extension")
    beyond = [
        text
        for extension in request.csr.extensions
        if (text := _beyond(profile, extension)) is not None
    ]
    if not beyond:
        return Gate("extension", ok=True, detail="nothing beyond the profile", position=at)
    listed = shown(", ".join(beyond))
    if profile.model.certificate.on_extra_extension == "drop":
        return Gate("extension", ok=True, detail=f"left out: {listed}", position=at)
    return Gate("extension.not-allowed", ok=False, detail=f"not given: {listed}", position=at)


def _beyond(profile: Profile, extension: x509.Extension[x509.ExtensionType]) -> str | None:
    """Return what this extension asks for beyond the profile, in words."""
    match extension.value:
        case (
            x509.SubjectAlternativeName()  # judged with the names
            | x509.SubjectKeyIdentifier()  # computed, whatever is asked
            | x509.AuthorityKeyIdentifier()
        ):
            return None
        case x509.BasicConstraints() as basic:
            return "basicConstraints CA:TRUE" if basic.ca else None
        case x509.KeyUsage() as usage:
            return _extra("keyUsage", key_usage_names(usage), profile.compiled.key_usage)
        case x509.ExtendedKeyUsage() as purposes:
            wanted = (purpose.dotted_string for purpose in purposes)
            given = profile.compiled.extended_key_usage
            return _extra("extendedKeyUsage", wanted, frozenset(given))
        case x509.CertificatePolicies() as policies:
            asked = (policy.policy_identifier.dotted_string for policy in policies)
            allowed = frozenset(profile.model.certificate.certificate_policies)
            return _extra("certificatePolicies", asked, allowed)
    return f"extension {extension.oid.dotted_string}"


def _extra(extension: str, asked: Iterable[str], given: frozenset[str]) -> str | None:
    extra = [name for name in asked if name not in given]
    return f"{extension} {' '.join(extra)}" if extra else None
