"""J: what /csrattrs asks for, and what becomes of a request without it (RFC 7030 4.5, RFC 9908)."""

from __future__ import annotations

import secrets
from base64 import b64decode

import pytest
from asn1crypto import core
from cases import case
from cryptography import x509

from interop.conformance.asking import (
    alternative_names,
    attribute,
    base64,
    certification_request,
    common_name,
    der,
    extension,
    extension_request,
    new_key,
    oid,
)

MAC_ADDRESS = "1.3.6.1.1.1.1.22"
EXTENSION_REQUEST, EXTENSION_TEMPLATE = "1.2.840.113549.1.9.14", "1.2.840.113549.1.9.16.2.62"
TEMPLATE = "1.2.840.113549.1.9.16.2.61"
EC, P384, ECDSA_SHA384 = "1.2.840.10045.2.1", "1.3.132.0.34", "1.2.840.10045.4.3.3"
KEY_USAGE, SAN, EKU = "2.5.29.15", "2.5.29.17", "2.5.29.37"
MAC = attribute(MAC_ADDRESS, der(0x16, b"00:00:5e:00:53:01"))
NAMES = alternative_names(x509.DNSName("a.example.net"))


class Values(core.SetOf):
    _child_spec = core.Any


@pytest.fixture(scope="session")
def demanding(lab, lab_server):
    """Return somebody at a profile that demands an attribute, an extension and a name."""
    name = f"demanding-{secrets.token_hex(4)}"
    return lab.with_(label="demanding", credential=lab_server.credential(name, "demanding"))


def parts(octets: bytes) -> list[bytes]:
    """Return the elements inside one DER element, whatever its tag."""
    content = octets[_header(octets) :]
    found = []
    while content:
        end = _header(content) + _length(content)
        assert end <= len(content), "cut short"
        found.append(content[:end])
        content = content[end:]
    return found


def _header(octets: bytes) -> int:
    return 2 if octets[1] < 0x80 else 2 + (octets[1] & 0x7F)


def _length(octets: bytes) -> int:
    return octets[1] if octets[1] < 0x80 else int.from_bytes(octets[2 : _header(octets)], "big")


def csrattrs(asker) -> dict[str, list[bytes] | None]:
    """Return what a label asks for: the values by OID, None for one that is an OID alone."""
    answer = asker.ask("csrattrs")
    assert (answer.status, answer.media_type) == (200, "application/csrattrs")
    found: dict[str, list[bytes] | None] = {}
    for item in parts(b64decode(answer.body)):
        if item[0] == 0x06:
            name, values = core.ObjectIdentifier.load(item).dotted, None
        else:
            kind, several = parts(item)
            name = core.ObjectIdentifier.load(kind).dotted
            values = [value.dump() for value in Values.load(several, strict=True)]
        assert name not in found, f"{name} stands there twice"
        found[name] = values
    return found


def status(asker, *attributes: bytes, name: x509.Name | None = None) -> tuple[int, str]:
    subject = common_name(f"asked-{secrets.token_hex(6)}") if name is None else name
    body = base64(certification_request(new_key(), subject, attributes))
    answer = asker.ask("simpleenroll", body)
    return answer.status, answer.body.decode()


@case(132)
def test_a_label_with_nothing_to_say_answers_204_without_a_body(lab, lab_server):
    answer = lab.with_(label="silent").ask("csrattrs")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.get("Content-Length") in {None, "0"}
    assert answer.get("Content-Type") is None
    name = f"silent-{secrets.token_hex(4)}"
    silent = lab.with_(label="silent", credential=lab_server.credential(name, "silent"))
    assert status(silent)[0] == 200


@case(132)
def test_an_unknown_label_has_an_empty_404(lab):
    answer = lab.with_(label="nowhere").ask("csrattrs")
    assert (answer.status, answer.body) == (404, b"")


@case(133, 135)
def test_csrattrs_is_base64_of_der_for_everybody(lab):
    answer = lab.with_(credential=None).ask("csrattrs")
    assert (answer.status, answer.media_type) == (200, "application/csrattrs")
    assert parts(b64decode(answer.body, validate=False))


@case(136, 138)
def test_the_key_is_named_once_with_the_hash_of_its_strength(demanding):
    found = csrattrs(demanding)
    assert found[EC] == [oid(P384)]
    assert ECDSA_SHA384 in found
    assert "1.2.840.113549.1.1.1" not in found


@case(138)
def test_the_size_of_an_rsa_key_is_an_integer(lab_server, lab):
    found = csrattrs(lab.with_(label="rsa"))
    assert found["1.2.840.113549.1.1.1"] == [core.Integer(3072).dump()]
    (template,) = found[TEMPLATE] or []
    key = parts(template)[1]
    placeholder = core.OctetBitString.load(parts(key)[1]).native
    modulus, exponent = parts(placeholder)
    assert core.Integer.load(modulus).native.bit_length() == 3072
    assert core.Integer.load(exponent).native == 65537


@case(137)
def test_whole_extensions_stand_in_one_id_extension_req(demanding):
    (extensions,) = csrattrs(demanding)[EXTENSION_REQUEST] or []
    names = [core.ObjectIdentifier.load(parts(one)[0]).dotted for one in parts(extensions)]
    assert names == [KEY_USAGE, EKU]
    assert all(parts(one)[-1][0] == 0x04 for one in parts(extensions))


@case(139)
def test_the_template_has_what_is_demanded_and_nothing_else(demanding):
    (template,) = csrattrs(demanding)[TEMPLATE] or []
    version, subject, key, attributes = parts(template)
    assert version == b"\x02\x01\x00"
    # the subject: one attribute without a value, which the device fills in
    (relative,) = parts(subject)
    assert [parts(one.dump()) for one in Values.load(relative)] == [[oid("2.5.4.3")]]
    # the key: algorithm and curve, and no placeholder, which is for the size of an RSA key
    (algorithm,) = parts(key)
    assert parts(algorithm) == [oid(EC), oid(P384)]
    # the attributes: id-ExtensionReq or its template, not both
    found = {}
    for one in parts(attributes):
        kind, values = parts(one)
        found[core.ObjectIdentifier.load(kind).dotted] = Values.load(values)
    assert found.keys() == {MAC_ADDRESS, EXTENSION_TEMPLATE}
    (extensions,) = found[EXTENSION_TEMPLATE]
    shapes = {
        core.ObjectIdentifier.load(parts(one)[0]).dotted: len(parts(one))
        for one in parts(extensions.dump())
    }
    assert shapes == {KEY_USAGE: 2, EKU: 2, SAN: 1}


@case(139)
def test_a_template_without_demands_on_the_subject_has_none(lab):
    (template,) = csrattrs(lab)[TEMPLATE] or []
    assert [part[0] for part in parts(template)] == [0x02, 0xA0, 0xA1]


@case(140)
@pytest.mark.parametrize("label", [None, "bound", "demanding", "rsa", "registrar"])
def test_list_and_template_fit_into_what_libest_reads(lab, label):
    answer = lab.with_(label=label).ask("csrattrs", None, ("User-Agent", "libest 3.2.0"))
    assert len(answer.body) <= 1024
    assert max(map(len, answer.body.splitlines())) == 64
    assert oid(TEMPLATE) in b64decode(answer.body)


@case(141)
def test_a_request_that_misses_what_is_demanded_is_refused_by_name(demanding):
    assert status(demanding, MAC, NAMES)[0] == 200
    code, text = status(demanding, NAMES)
    assert (code, MAC_ADDRESS in text, SAN in text) == (400, True, False)
    code, text = status(demanding, MAC)
    assert (code, MAC_ADDRESS in text, SAN in text) == (400, False, True)
    code, text = status(demanding)
    assert (code, MAC_ADDRESS in text, SAN in text) == (400, True, True)
    code, text = status(demanding, MAC, NAMES, name=x509.Name([]))
    assert (code, "2.5.4.3" in text) == (400, True)
    # another extension, or the OID as the name of an extension, is not what was asked for
    usage = extension_request(
        extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]))
    )
    assert status(demanding, MAC, usage)[0] == 400


@case(141)
def test_a_key_that_was_not_asked_for_is_refused_by_name(demanding):
    body = base64(certification_request(new_key("rsa"), common_name("rsa"), [MAC, NAMES]))
    answer = demanding.ask("simpleenroll", body)
    assert answer.status == 400
    assert answer.body.startswith(b"key.not-allowed: RSA-2048 is not allowed")
