"""F: the request is bound to its connection (RFC 7030 3.5, RFC 5929, RFC 9266, RFC 7894)."""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from datetime import UTC, datetime

import pytest
from cases import case
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from interop.conformance.asking import (
    CHALLENGE_PASSWORD,
    attribute,
    base64,
    certification_request,
    challenge,
    common_name,
    der,
    new_key,
    oid,
)

LINKING = "1.2.840.113549.1.9.16.2.58"
CMC_RA = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28")
STRINGS = {
    "PrintableString": (0x13, "ascii"),
    "UTF8String": (0x0C, "utf-8"),
    "TeletexString": (0x14, "latin-1"),
    "IA5String": (0x16, "ascii"),
    "BMPString": (0x1E, "utf-16-be"),
    "UniversalString": (0x1C, "utf-32-be"),
}


def csr(*attributes: bytes, key=None) -> bytes:
    name = common_name(f"bound-{secrets.token_hex(6)}")
    return base64(certification_request(key or new_key(), name, attributes))


def linking(value: str) -> bytes:
    return attribute(LINKING, der(0x13, value.encode()))


def enroll(asker, *attributes: bytes, on=None):
    """Return status and text of one simpleenroll."""
    answer = asker.ask("simpleenroll", csr(*attributes), on=on)
    return answer.status, answer.body.decode()


@pytest.fixture(scope="session")
def bound(lab, lab_server):
    """Return somebody at a profile that requires the binding."""
    name = f"bound-{secrets.token_hex(4)}"
    return lab.with_(label="bound", credential=lab_server.credential(name, "bound"))


@case(90)
def test_no_binding_where_none_is_required(lab):
    assert enroll(lab)[0] == 200


@case(91)
def test_no_binding_where_it_is_required_is_refused_with_its_reason(bound):
    status, text = enroll(bound)
    assert status == 400
    assert text.startswith("pop.required: linking identity and proof of possession")


@case(92, 97)
@pytest.mark.parametrize("attribute_of", [challenge, linking])
def test_the_binding_of_this_connection_is_accepted(bound, attribute_of):
    # tls-unique on TLS 1.2, tls-exporter on TLS 1.3
    with bound.connect() as connection:
        assert len(connection.binding) == (16 if bound.version == "1.2" else 44)
        assert enroll(bound, attribute_of(connection.binding), on=connection)[0] == 200
        # the value is the connection's: a second request on it carries the same
        assert enroll(bound, attribute_of(connection.binding), on=connection)[0] == 200


@case(30, 92, 97)
def test_a_resumed_connection_has_a_binding_of_its_own(bound):
    with bound.connect() as first:
        assert enroll(bound, challenge(first.binding), on=first)[0] == 200
        session, before = first.session, first.binding
    with bound.connect(session) as second:
        assert second.resumed
        assert second.binding != before
        assert enroll(bound, challenge(second.binding), on=second)[0] == 200
        assert enroll(bound, challenge(before), on=second)[0] == 403


@case(93)
@pytest.mark.parametrize("attribute_of", [challenge, linking])
def test_a_wrong_binding_is_refused_even_where_none_is_required(lab, bound, attribute_of):
    for asker in (lab, bound):
        for value in ("", "secret", b64encode(bytes(12)).decode(), b64encode(bytes(32)).decode()):
            status, text = enroll(asker, attribute_of(value))
            assert status == 403
            assert text.startswith("pop.mismatch: ")


@case(94)
@pytest.mark.parametrize("changed", [
    lambda value: value + "A", lambda value: value + "AAAA", lambda value: value[:-1],
    lambda value: value[:-4], lambda value: value + "\n", str.swapcase,
    lambda value: ("B" if value[0] == "A" else "A") + value[1:],
])  # fmt: skip
def test_a_binding_with_more_less_or_other_octets_is_refused(lab, changed):
    with lab.connect() as connection:
        value = changed(connection.binding).encode()
        assert enroll(lab, challenge(value, "utf8"), on=connection)[0] == 403


@case(95)
@pytest.mark.parametrize("kind", [CHALLENGE_PASSWORD, LINKING])
@pytest.mark.parametrize("string", STRINGS)
def test_every_string_type_is_read_alike(bound, string, kind):
    tag, encoding = STRINGS[string]
    with bound.connect() as connection:
        right = attribute(kind, der(tag, connection.binding.encode(encoding)))
        assert enroll(bound, right, on=connection)[0] == 200
        wrong = attribute(kind, der(tag, ("A" + connection.binding[1:]).encode(encoding)))
        expected = 200 if connection.binding[0] == "A" else 403
        assert enroll(bound, wrong, on=connection)[0] == expected


@case(96)
def test_tls_unique_means_nothing_on_tls_13(lab):
    lab = lab.with_(version="1.3")
    with lab.connect() as connection:
        assert connection.finished  # both ends know it all the same
        value = b64encode(connection.finished).decode()
        assert enroll(lab, challenge(value), on=connection)[0] == 403
        assert enroll(lab, linking(value), on=connection)[0] == 403


@case(98)
def test_the_binding_of_another_connection_is_refused(lab, bound):
    for asker in (lab, bound):
        with asker.connect() as other, asker.connect() as connection:
            assert enroll(asker, challenge(other.binding), on=connection)[0] == 403
            assert enroll(asker, challenge(other.binding), on=other)[0] == 200


@case(99)
def test_a_registrar_of_ours_forwards_requests_of_other_connections(lab, lab_server):
    device = bound_elsewhere(lab)
    name = f"registrar-{secrets.token_hex(4)}"
    ours = lab.with_(label="registrar", credential=lab_server.credential(name, "registrar"))
    certificate, key = ours.enroll()
    registrar = lab.with_(identity=lab.keep(certificate, key))
    assert registrar.ask("simpleenroll", device).status == 200
    # a certificate of ours without id-kp-cmcRA excuses nothing
    certificate, key = lab.enroll()
    plain = lab.with_(identity=lab.keep(certificate, key))
    assert plain.ask("simpleenroll", bound_elsewhere(lab)).status == 403
    # nor does id-kp-cmcRA by anybody else
    stranger = lab.with_(identity=lab.keep(*self_signed_registrar()))
    assert stranger.ask("simpleenroll", bound_elsewhere(lab)).status == 403
    # and a request that is bound to nothing stays unbound where that is not enough
    name = f"bound-{secrets.token_hex(4)}"
    strict = registrar.with_(label="bound", credential=lab_server.credential(name, "bound"))
    assert strict.ask("simpleenroll", bound_elsewhere(lab)).status == 200
    assert strict.ask("simpleenroll", csr()).status == 400


@case(100)
def test_csrattrs_asks_for_the_binding_where_it_is_required(lab, bound):
    for asker, expected in ((lab, 0), (bound, 2)):  # in the list, and in the template
        attributes = b64decode(asker.ask("csrattrs").body)
        assert attributes.count(oid(CHALLENGE_PASSWORD)) == expected


@case(102)
def test_the_link_wins_over_a_challenge_password(lab):
    with lab.connect() as connection:
        right, wrong = connection.binding, b64encode(bytes(12)).decode()
        assert enroll(lab, linking(right), challenge(wrong), on=connection)[0] == 200
        assert enroll(lab, linking(wrong), challenge(right), on=connection)[0] == 403


def bound_elsewhere(asker) -> bytes:
    """Return a request with the binding of a connection that is gone."""
    with asker.connect() as connection:
        return csr(challenge(connection.binding))


def self_signed_registrar():
    key, name = new_key(), common_name("registrar")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2049, 1, 1, tzinfo=UTC))
        .add_extension(x509.ExtendedKeyUsage([CMC_RA]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return certificate, key
