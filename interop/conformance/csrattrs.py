"""J: CSR attributes (RFC 7030 4.5, RFC 9908).

CsrAttrs ::= SEQUENCE SIZE (0..MAX) OF AttrOrOID
AttrOrOID ::= CHOICE { oid OBJECT IDENTIFIER, attribute Attribute {{AttrSet}} }
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asn1crypto import core, x509

from interop.conformance.case import Failed, case, require, skip
from interop.conformance.target import Target, decoded

if TYPE_CHECKING:
    from interop.conformance.http import Response

_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_TEMPLATE = "1.2.840.113549.1.9.16.2.61"
_KEYS = frozenset(
    {
        "1.2.840.113549.1.1.1", "1.2.840.10045.2.1", "1.3.101.112", "1.3.101.113",
        "2.16.840.1.101.3.4.3.17", "2.16.840.1.101.3.4.3.18", "2.16.840.1.101.3.4.3.19",
    }
)  # fmt: skip
_LIBEST = 1024  # octets of base64 that libest reads


class _Values(core.SetOf):
    _child_spec = core.Any


class _Attribute(core.Sequence):
    _fields = [("type", core.ObjectIdentifier), ("values", _Values)]  # noqa: RUF012 - asn1crypto's way


class _AttrOrOid(core.Choice):
    _alternatives = [("oid", core.ObjectIdentifier), ("attribute", _Attribute)]  # noqa: RUF012


class _CsrAttrs(core.SequenceOf):
    _child_spec = _AttrOrOid


def read(octets: bytes) -> list[tuple[str, list[bytes] | None]]:
    """Return (type, DER values or None for a bare OID) of each item.

    Raises:
        Failed: this is not CsrAttrs.
    """
    try:
        found: list[tuple[str, list[bytes] | None]] = []
        for item in _CsrAttrs.load(octets, strict=True):
            if item.name == "oid":
                found.append((item.chosen.dotted, None))
            else:
                values = [value.dump() for value in item.chosen["values"]]
                found.append((item.chosen["type"].dotted, values))
    except (ValueError, TypeError) as error:
        raise Failed(f"this is not CsrAttrs: {error}") from error
    return found


def oids(octets: bytes) -> set[str]:
    """Return the bare OIDs and the types of the attributes."""
    return {kind for kind, _ in read(octets)}


def _csrattrs(target: Target) -> Response:
    answer = target.get("csrattrs")
    if answer.status in {204, 404}:
        skip("the server asks for no attributes")
    require(answer.status == 200, f"status {answer.status} in place of 200")
    return answer


@case(132, "RFC 7030 4.5.2")
def nothing_to_say(target: Target) -> None:
    """Nothing to ask for is 204 or 404, with an empty body."""
    answer = target.get("csrattrs")
    if answer.status == 200:
        skip("the server asks for attributes")
    require(answer.status in {204, 404}, f"status {answer.status}")
    require(not answer.body, "there is a body, on which BouncyCastle fails")


@case(133, "RFC 7030 4.5.2")
def base64_of_csrattrs(target: Target) -> None:
    """The answer is application/csrattrs, base64 of DER."""
    answer = _csrattrs(target)
    require(answer.media_type == "application/csrattrs", f"Content-Type: {answer.media_type}")
    read(decoded(answer))


@case(135, "RFC 7030 4.5.1", "should")
def without_authentication(target: Target) -> None:
    """Csrattrs needs no authentication."""
    answer = target.get("csrattrs")
    require(answer.status in {200, 204, 404}, f"status {answer.status}")


@case(137, "RFC 9908 3.2")
def one_extension_request(target: Target) -> None:
    """Extensions stand in one extensionRequest with one value, none twice."""
    requests = [values for kind, values in read(decoded(_csrattrs(target)))
                if kind == _EXTENSION_REQUEST]  # fmt: skip
    require(len(requests) <= 1, f"{len(requests)} extensionRequest attributes")
    for values in requests:
        if values is None:
            continue  # RFC 7030's own example has the bare OID
        require(len(values) == 1, f"extensionRequest has {len(values)} values")
        try:
            kinds = [
                found["extn_id"].dotted for found in x509.Extensions.load(values[0], strict=True)
            ]
        except (ValueError, TypeError):
            skip("the extensionRequest is RFC 7030's list of OIDs")
        require(len(kinds) == len(set(kinds)), "an extension stands there twice")


@case(138, "RFC 9908 3.2")
def one_key(target: Target) -> None:
    """At most one attribute names the key."""
    keys = [kind for kind, values in read(decoded(_csrattrs(target)))
            if kind in _KEYS and values is not None]  # fmt: skip
    require(len(keys) <= 1, f"{len(keys)} attributes name a key")


@case(139, "RFC 9908 3.4")
def the_template(target: Target) -> None:
    """There is at most one template, with one value, of version v1."""
    templates = [values for kind, values in read(decoded(_csrattrs(target))) if kind == _TEMPLATE]
    if not templates:
        skip("the server sends no template")
    require(len(templates) == 1, f"{len(templates)} templates")
    values = templates[0] or []
    require(len(values) == 1, f"the template has {len(values)} values")
    try:
        version = core.SequenceOf.load(values[0], strict=True, spec=core.Any)[0].parse()
    except (ValueError, TypeError, IndexError) as error:
        raise Failed(f"the template is no CertificationRequestInfoTemplate: {error}") from error
    require(isinstance(version, core.Integer) and version.native == 0, "its version is not v1")


@case(140, "RFC 7030 4.5.2", "interop")
def within_what_libest_reads(target: Target) -> None:
    """The answer is within what libest reads."""
    size = len(_csrattrs(target).body)
    require(size <= _LIBEST, f"{size} octets of base64; libest reads {_LIBEST}")
