"""What /csrattrs answers, from the profile that decides (RFC 7030 4.5.2, RFC 9908).

Two forms stand side by side: the list that deployed clients read, and the template of RFC 9908 3.4
for those that know it. Both come from the profile, so what is asked for, what is enforced and what
is issued can't drift apart. libest reads 1,024 octets at most; where the template does not fit
beside the list, the list is sent alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from est_server.profiles.names import SUBJECT_OIDS
from est_server.wire.csrattrs import (
    AttributeValues,
    CsrAttrs,
    Oid,
    RequestTemplate,
    encode_csrattrs,
    integer_value,
    oid_value,
    template_attribute,
)
from est_server.wire.pkcs10 import CHALLENGE_PASSWORD

if TYPE_CHECKING:
    from est_server.profiles.profile import Profile

MOST_OCTETS = 768
"""DER octets whose base64 is 1,024 characters, all that libest reads."""

_EC = "1.2.840.10045.2.1"
_RSA = "1.2.840.113549.1.1.1"
_CURVES = {
    "EC-P256": ("1.2.840.10045.3.1.7", "1.2.840.10045.4.3.2"),
    "EC-P384": ("1.3.132.0.34", "1.2.840.10045.4.3.3"),
    "EC-P521": ("1.3.132.0.35", "1.2.840.10045.4.3.4"),
}
_OTHERS = {
    "Ed25519": "1.3.101.112",
    "Ed448": "1.3.101.113",
    "ML-DSA-44": "2.16.840.1.101.3.4.3.17",
    "ML-DSA-65": "2.16.840.1.101.3.4.3.18",
    "ML-DSA-87": "2.16.840.1.101.3.4.3.19",
}
_RSA_SHA256 = "1.2.840.113549.1.1.11"
_RSA_SIZE = re.compile(r"RSA-([0-9]+)\+?")
_SAN = "2.5.29.17"


def csr_attributes(profile: Profile) -> bytes | None:
    """Return the DER of CsrAttrs for a profile; None if it has nothing to ask for (HTTP 204)."""
    items = _list(profile)
    template = _template(profile)
    if template is not None:
        whole = encode_csrattrs((*items, template_attribute(template)))
        if len(whole) <= MOST_OCTETS:
            return whole
    return encode_csrattrs(items) if items else None


def _list(profile: Profile) -> CsrAttrs:
    items: list[Oid | AttributeValues] = []
    if profile.model.proof_of_possession.channel_binding == "required":
        items.append(Oid(CHALLENGE_PASSWORD))  # RFC 7030 4.5.2: MUST
    algorithm = _first_key(profile)
    if algorithm in _CURVES:
        curve, signature = _CURVES[algorithm]
        items.extend((AttributeValues(_EC, (oid_value(curve),)), Oid(signature)))
    elif (size := _RSA_SIZE.fullmatch(algorithm)) is not None:
        items.extend((AttributeValues(_RSA, (integer_value(int(size[1])),)), Oid(_RSA_SHA256)))
    elif algorithm in _OTHERS:
        items.append(AttributeValues(_OTHERS[algorithm], ()))
    return tuple(items)


def _first_key(profile: Profile) -> str:
    """Return the profile's preferred key: RFC 9908 3.2 allows one key specification only."""
    return profile.model.key.allow[0]


def _template(profile: Profile) -> RequestTemplate | None:
    model = profile.model
    algorithm = _first_key(profile)
    size = _RSA_SIZE.fullmatch(algorithm)
    curve = _CURVES.get(algorithm)
    if model.subject.as_requested:
        subject: tuple[tuple[str, str | None], ...] = ()
    else:
        subject = tuple(
            (SUBJECT_OIDS[name].dotted_string, rule.fixed)
            for name, rule in model.subject.fields().items()
        )
    extensions: tuple[tuple[str, bytes | None], ...] = ()
    names = model.subject_alternative_names
    if any((names.dns, names.ip, names.email, names.uri)):
        extensions = ((_SAN, None),)
    binding = model.proof_of_possession.channel_binding == "required"
    return RequestTemplate(
        subject=subject,
        key_algorithm=_EC if curve else _RSA if size else _OTHERS.get(algorithm),
        curve=curve[0] if curve else None,
        rsa_bits=int(size[1]) if size else None,
        extensions=extensions,
        attributes=(CHALLENGE_PASSWORD,) if binding else (),
    )
