from pathlib import Path

import pytest
from asn1crypto import core

from est_server.errors import Malformed
from est_server.wire.challenges import (
    CHALLENGE_PASSWORD,
    EST_IDENTITY_LINKING,
    OTP_CHALLENGE,
    challenge_text,
    without_texts,
)
from est_server.wire.pkcs10 import Attribute, parse_csr

VECTORS = Path(__file__).parents[2] / "vectors" / "rfc2986"
ATTRIBUTES = (CHALLENGE_PASSWORD, OTP_CHALLENGE, EST_IDENTITY_LINKING)
STRINGS = (
    core.PrintableString,
    core.UTF8String,
    core.TeletexString,
    core.IA5String,
    core.BMPString,
    core.UniversalString,
)
BINDING = "a+b/9MBqtyD9g0E6Rr7r=="  # every kind of character that base64 has


@pytest.mark.parametrize("oid", ATTRIBUTES)
@pytest.mark.parametrize("string", STRINGS, ids=lambda kind: kind.__name__)
def test_each_attribute_reads_alike_in_every_string_type(oid, string):
    attributes = (Attribute("1.2.3", (b"\5\0",)), Attribute(oid, (string(BINDING).dump(),)))
    assert challenge_text(attributes, oid) == BINDING
    assert [challenge_text(attributes, other) for other in ATTRIBUTES if other != oid] == [None] * 2


def test_the_attributes_have_the_identifiers_of_rfc_7894():
    assert OTP_CHALLENGE == "1.2.840.113549.1.9.16.2.56"
    assert EST_IDENTITY_LINKING == "1.2.840.113549.1.9.16.2.58"


@pytest.mark.parametrize("oid", ATTRIBUTES)
def test_more_characters_than_the_upper_bound_are_refused(oid):
    fits = (Attribute(oid, (core.BMPString("\u20ac" * 255).dump(),)),)
    longer = (Attribute(oid, (core.PrintableString("s" * 256).dump(),)),)
    assert challenge_text(fits, oid) == "\u20ac" * 255
    with pytest.raises(Malformed, match="more than 255 characters"):
        challenge_text(longer, oid)


def test_a_request_may_hold_a_link_beside_its_challenge_password():
    csr = parse_csr((VECTORS / "identity_linking_beside_challenge.der").read_bytes())
    assert (csr.challenge_password, csr.est_identity_linking) == ("secret", "link")
    assert csr.otp_challenge is None


@pytest.mark.parametrize("kind", ["utf8", "printable", "ia5", "teletex", "bmp", "universal"])
def test_a_text_is_overwritten_in_its_own_encoding(kind):
    csr = parse_csr((VECTORS / f"challenge_{kind}.der").read_bytes())
    kept = without_texts(csr, {CHALLENGE_PASSWORD})
    assert len(kept) == len(csr.der)
    assert parse_csr(kept).challenge_password == "******"
    assert without_texts(csr, {OTP_CHALLENGE}) == csr.der


def test_only_the_texts_that_are_named_are_overwritten():
    csr = parse_csr((VECTORS / "identity_linking_beside_challenge.der").read_bytes())
    kept = parse_csr(without_texts(csr, {CHALLENGE_PASSWORD, OTP_CHALLENGE}))
    assert (kept.challenge_password, kept.est_identity_linking) == ("******", "link")
    assert (kept.subject_der, kept.spki) == (csr.subject_der, csr.spki)
    assert without_texts(csr, ()) == csr.der


def test_a_request_without_attributes_stays_as_it_is():
    csr = parse_csr((VECTORS / "subject_empty.der").read_bytes())
    assert without_texts(csr, ATTRIBUTES) == csr.der
