"""The texts of a request that are for the server alone (RFC 2985 5.4.1, RFC 7894).

    challengePassword   1.2.840.113549.1.9.7        DirectoryString (SIZE (1..255))
    otpChallenge        1.2.840.113549.1.9.16.2.56  DirectoryString (SIZE (1..255))
    estIdentityLinking  1.2.840.113549.1.9.16.2.58  DirectoryString (SIZE (1..255))

RFC 7030 3.5 put the channel binding into the challengePassword, which others use for a one-time
password and PKCS #9 meant for revocation; RFC 7894 gives each meaning an attribute of its own.
IA5String is no DirectoryString and is read all the same, because deployed encoders write it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.errors import Malformed
from est_server.wire.der import children, read_element

if TYPE_CHECKING:
    from collections.abc import Iterable

    from est_server.wire.pkcs10 import Attribute, CertificationRequest

CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"  # noqa: S105 - an object identifier
OTP_CHALLENGE = "1.2.840.113549.1.9.16.2.56"
EST_IDENTITY_LINKING = "1.2.840.113549.1.9.16.2.58"
CHALLENGES = frozenset({CHALLENGE_PASSWORD, OTP_CHALLENGE, EST_IDENTITY_LINKING})
MOST_CHARACTERS = 255

_RULES = {
    CHALLENGE_PASSWORD: ("csr.challenge-password", "challengePassword"),
    OTP_CHALLENGE: ("csr.otp-challenge", "otpChallenge"),
    EST_IDENTITY_LINKING: ("csr.est-identity-linking", "estIdentityLinking"),
}
_ENCODINGS = {
    12: "utf-8",  # UTF8String
    19: "ascii",  # PrintableString
    20: "latin-1",  # TeletexString, as every deployed encoder means it
    22: "ascii",  # IA5String
    28: "utf-32-be",  # UniversalString
    30: "utf-16-be",  # BMPString
}


def challenge_text(attributes: Iterable[Attribute], oid: str) -> str | None:
    """Return the text of one of the attributes above, whatever its string type; None if absent.

    Args:
        attributes: a request's, each OID once and with one value.
        oid: one of the three above.

    Raises:
        Malformed: ``csr.challenge-password``, ``csr.otp-challenge``, ``csr.est-identity-linking``.
    """
    rule, name = _RULES[oid]
    for attribute in attributes:
        if attribute.oid != oid:
            continue
        (value,) = attribute.values
        identifier, start, _ = read_element(value)
        encoding = _ENCODINGS.get(identifier)
        if encoding is None:
            raise Malformed(rule, f"the {name} is not a string")
        try:
            text = value[start:].decode(encoding)
        except ValueError as error:
            raise Malformed(rule, f"the {name} can't be read") from error
        if len(text) > MOST_CHARACTERS:
            raise Malformed(rule, f"the {name} has more than {MOST_CHARACTERS} characters")
        return text
    return None


def without_texts(csr: CertificationRequest, oids: Iterable[str]) -> bytes:
    """Return the DER of a request with the texts of some of its attributes overwritten by stars.

    It has the same length and is a request that can be read; its signature fits no more.

    Args:
        csr: read by `parse_csr`.
        oids: of attributes that hold one value.
    """
    wanted = set(oids)
    if not any(attribute.oid in wanted for attribute in csr.attributes):
        return csr.der
    der = bytearray(csr.der)
    attributes = children(csr.info_der)[-1]
    _, start, _ = read_element(attributes)
    at = csr.der.index(csr.info_der) + len(csr.info_der) - len(attributes) + start
    for attribute, encoded in zip(csr.attributes, children(attributes), strict=True):
        at += len(encoded)
        if attribute.oid in wanted:
            (value,) = attribute.values
            identifier, content, _ = read_element(value)
            star = "*".encode(_ENCODINGS.get(identifier, "ascii"))
            der[at - len(value) + content : at] = star * ((len(value) - content) // len(star))
    return bytes(der)
