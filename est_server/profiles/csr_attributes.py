"""What /csrattrs answers, from the profile that decides (RFC 7030 4.5.2, RFC 9908).

Two forms stand side by side: the list that deployed clients read, and the template of RFC 9908 3.4
for those that know it. Both come from the profile, so what is asked for, what is enforced and what
is issued can't drift apart. libest reads 1,024 octets at most; where the template does not fit
beside the list, the list is sent alone.

One key can be named (RFC 9908 3.2: exactly one attribute whose type is the key's): the first that
the profile allows, which is the operator's preference.

A profile always allows a key, so there is always something to say; the empty answer (204), which
several clients take for an error, is given only where the profile asks for it. The list has an
extension without a value by its OID alone, since id-ExtensionReq takes whole extensions only
(RFC 9908 3.2).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cryptography import x509

from est_server.pki.usages import key_usage_extension
from est_server.profiles.subject import SUBJECT_OIDS
from est_server.wire.attestation import ATTESTATION
from est_server.wire.challenges import CHALLENGE_PASSWORD, EST_IDENTITY_LINKING, OTP_CHALLENGE
from est_server.wire.csrattrs import (
    AttributeValues,
    Oid,
    RequestTemplate,
    encode_csrattrs,
    extension_request,
    integer_value,
    oid_value,
    template_attribute,
)

if TYPE_CHECKING:
    from est_server.profiles.profile import Profile

MOST_OCTETS = 744
"""DER octets whose base64 in lines of 64 fits into the 1,024 octets that libest reads."""

_EC = "1.2.840.10045.2.1"
_RSA = "1.2.840.113549.1.1.1"
_RSA_SHA256 = "1.2.840.113549.1.1.11"
_CURVES = {  # the curve, and ECDSA with the hash of its strength (RFC 5758 3.2)
    "EC-P256": ("1.2.840.10045.3.1.7", "1.2.840.10045.4.3.2"),
    "EC-P384": ("1.3.132.0.34", "1.2.840.10045.4.3.3"),
    "EC-P521": ("1.3.132.0.35", "1.2.840.10045.4.3.4"),
}
_OTHERS = {  # key and signature have the same identifier (RFC 8410 3, RFC 9881 2)
    "Ed25519": "1.3.101.112",
    "Ed448": "1.3.101.113",
    "ML-DSA-44": "2.16.840.1.101.3.4.3.17",
    "ML-DSA-65": "2.16.840.1.101.3.4.3.18",
    "ML-DSA-87": "2.16.840.1.101.3.4.3.19",
}
_RSA_SIZE = re.compile(r"RSA-([0-9]+)\+?")
_KEY_USAGE = "2.5.29.15"
_EXTENDED_KEY_USAGE = "2.5.29.37"
_SUBJECT_ALTERNATIVE_NAME = "2.5.29.17"


def csr_attributes(profile: Profile) -> bytes | None:
    """Return the DER of CsrAttrs for a profile; None where it publishes nothing."""
    wanted = profile.model.csr_attributes
    if wanted.publish == "nothing":
        return None
    usages = _usages(profile)
    items: list[Oid | AttributeValues] = []
    items.extend(map(Oid, _attributes(profile)))
    items.extend(_key(profile.model.key.allow[0]))
    if usages:
        items.append(extension_request(usages))
    items.extend(Oid(oid) for oid in _open_extensions(profile, usages))
    if wanted.publish == "list":
        return encode_csrattrs(tuple(items))
    whole = encode_csrattrs((*items, template_attribute(_template(profile, usages))))
    return whole if len(whole) <= MOST_OCTETS else encode_csrattrs(tuple(items))


def _attributes(profile: Profile) -> tuple[str, ...]:
    """Return the attributes that every request must have, each once, the proofs first."""
    evidence = () if profile.model.attestation is None else (ATTESTATION,)
    wanted = (*_proofs(profile), *evidence, *profile.model.csr_attributes.require)
    return tuple(dict.fromkeys(wanted))


def _open_extensions(profile: Profile, usages: tuple[tuple[str, bytes], ...]) -> tuple[str, ...]:
    """Return the extensions that every request must have, and whose value is the device's."""
    told = {oid for oid, _ in usages}
    wanted = dict.fromkeys(profile.model.csr_attributes.require_extensions)
    return tuple(oid for oid in wanted if oid not in told)


def _proofs(profile: Profile) -> tuple[str, ...]:
    """Return the attributes that must hold the channel binding and the one-time password."""
    wanted = profile.model.proof_of_possession
    found = []
    if wanted.challenge == "binding":
        if wanted.channel_binding == "required":
            found.append(CHALLENGE_PASSWORD)  # RFC 7030 4.5.2: MUST
        if wanted.otp == "required":
            found.append(OTP_CHALLENGE)
    else:
        if wanted.otp == "required":
            found.append(CHALLENGE_PASSWORD)
        if wanted.channel_binding == "required":
            found.append(EST_IDENTITY_LINKING)
    return tuple(found)


def _key(algorithm: str) -> tuple[Oid | AttributeValues, ...]:
    """Return the key's attribute, then the signature algorithm that goes with it."""
    if algorithm in _CURVES:
        curve, signature = _CURVES[algorithm]
        return AttributeValues(_EC, (oid_value(curve),)), Oid(signature)
    if (size := _RSA_SIZE.fullmatch(algorithm)) is not None:
        return AttributeValues(_RSA, (integer_value(int(size[1])),)), Oid(_RSA_SHA256)
    return (AttributeValues(_OTHERS[algorithm], ()),)


def _usages(profile: Profile) -> tuple[tuple[str, bytes], ...]:
    """Return the extensions that every certificate of the profile gets, with their values."""
    found = []
    if usage := profile.model.certificate.key_usage:
        found.append((_KEY_USAGE, key_usage_extension(usage).public_bytes()))
    if purposes := profile.compiled.extended_key_usage:
        extension = x509.ExtendedKeyUsage(map(x509.ObjectIdentifier, purposes))
        found.append((_EXTENDED_KEY_USAGE, extension.public_bytes()))
    return tuple(found)


def _template(profile: Profile, usages: tuple[tuple[str, bytes], ...]) -> RequestTemplate:
    model = profile.model
    algorithm = model.key.allow[0]
    size = _RSA_SIZE.fullmatch(algorithm)
    curve, _ = _CURVES.get(algorithm, (None, None))
    names = any(kind.patterns or kind.networks for kind in profile.compiled.names)
    filled_in = ((_SUBJECT_ALTERNATIVE_NAME,) if names else ()) + _open_extensions(profile, usages)
    return RequestTemplate(
        subject=_template_subject(profile),
        key_algorithm=_EC if curve else _RSA if size else _OTHERS[algorithm],
        curve=curve,
        rsa_bits=int(size[1]) if size else None,
        extensions=(*usages, *((oid, None) for oid in dict.fromkeys(filled_in))),
        attributes=_attributes(profile),
    )


def _template_subject(profile: Profile) -> tuple[tuple[str, str | None], ...]:
    """Return the attributes that a request is expected to have (RFC 9908 3.4), no others.

    Those that the profile makes by itself are expected only where a request is held to them.
    """
    subject = profile.model.subject
    held = subject.on_mismatch == "reject"
    return tuple(
        (SUBJECT_OIDS[name].dotted_string, rule.fixed)
        for name, rule in subject.fields().items()
        if rule.required and (held or rule.allow is not None or rule.from_ == "request")
    )
