"""A key in a TPM, certified: what two real TPMs say, and every way to say something else."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from attacks import attack
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from device_tpm import ECC_EK, RSA_EK
from tpm_world import (
    CERTIFY,
    QUOTE,
    SECRET,
    Device,
    certify_statement,
    challenge,
    octets,
    quote_context,
    refused,
)

from est_server.ports.verifier import EvidenceRefused
from est_server.wire.der import children, read_element
from est_server.wire.tpm_attest import MAGIC
from est_server.wire.tpm_public import parse_public


@pytest.fixture(scope="module")
def a(tpm_a):
    return Device(tpm_a, RSA_EK)


@pytest.fixture(scope="module")
def b(tpm_b):
    return Device(tpm_b, ECC_EK)


@pytest.fixture(scope="module")
def said(a):
    """Return TPMS_ATTEST, TPMT_SIGNATURE and TPMT_PUBLIC of an honest statement."""
    return parts(a.certified().statement)


def parts(statement: bytes) -> list[bytes]:
    found = []
    for part in children(statement):
        _, start, end = read_element(part)
        found.append(part[start:end])
    return found


def statement(a, attest=None, signature=None, public=None, said=None):
    return a.evidence(certify_statement(attest or said[0], signature or said[1], public or said[2]))


def resigned(key: ec.EllipticCurvePrivateKey, attest: bytes) -> bytes:
    """Return TPMT_SIGNATURE that software made."""
    r, s = decode_dss_signature(key.sign(attest, ec.ECDSA(hashes.SHA256())))
    parts = (number.to_bytes(32, "big") for number in (r, s))
    return bytes.fromhex("0018000b") + b"".join(b"\x00\x20" + part for part in parts)


def ecc_public(key: ec.EllipticCurvePublicKey, like: bytes) -> bytes:
    """Return a TPMT_PUBLIC of P-256 with another key in it."""
    numbers = key.public_numbers()
    point = b"".join(b"\x00\x20" + n.to_bytes(32, "big") for n in (numbers.x, numbers.y))
    return like[: -len(point)] + point


@pytest.mark.parametrize("command", ["certify", "creation"])
@pytest.mark.parametrize("which", ["a", "b"])
def test_a_key_of_a_real_tpm_is_believed(which, command, request):
    device = request.getfixturevalue(which)
    nonce = device.activate(made := challenge(device, device.info()))
    assert (nonce, made.hidden) == (SECRET, True)
    evidence = device.certified(nonce)
    if command == "creation":
        said = device.soft.tpm.certify_creation(device.key, device.attestation, nonce)
        evidence = device.evidence(certify_statement(*said, device.key.public))
    assert CERTIFY.nonce(evidence, None) == nonce
    found = CERTIFY.verify(evidence, device.context(kept=made.kept))
    assert (found.binds_key, found.fresh) == (True, True)
    assert {one.kind for one in found.platform} == {"ek", "ak"}
    assert found.claims["manufacturer"] == "id:00001014"
    assert found.claims["protection"] == "hardware"
    assert all(check.passed for check in found.checks)


def test_a_bare_rsa_value_is_taken_with_the_hash_of_the_keys_scheme(a, said):
    bare = statement(a, signature=said[1][6:], said=said)
    assert CERTIFY.verify(bare, a.context()).binds_key


# -- the nonce


@attack(1)
def test_another_nonce(a):
    assert refused(a.certified(bytes(32)), a.context()) == "tpm2.nonce"


@attack(2)
def test_an_empty_nonce(a):
    evidence = a.certified(b"")
    assert CERTIFY.nonce(evidence, None) is None
    assert refused(evidence, a.context(nonce=None)) == "tpm2.no-nonce"
    assert refused(evidence, a.context(nonce=b"")) == "tpm2.no-nonce"


@attack(3)
def test_the_beginning_of_the_nonce(a):
    assert refused(a.certified(SECRET[:16]), a.context()) == "tpm2.nonce"


# -- the key


@attack(4)
def test_the_csr_has_another_key(a, b):
    assert refused(a.certified(), a.context(spki=b.spki)) == "tpm2.key-mismatch"


@attack(5)
def test_the_public_area_of_another_key_of_the_tpm(a, said):
    other = a.soft.tpm.key(a.parent)
    evidence = statement(a, public=other.public, said=said)
    context = a.context(spki=parse_public(other.public).spki)
    assert refused(evidence, context) == "tpm2.name-mismatch"


@attack(6)
def test_a_software_key_in_the_public_area(a, said):
    public = ecc_public(ec.generate_private_key(ec.SECP256R1()).public_key(), said[2])
    context = a.context(spki=parse_public(public).spki)
    assert refused(statement(a, public=public, said=said), context) == "tpm2.name-mismatch"


@attack(7)
def test_software_signs(b):
    attest, _, public = parts(b.certified().statement)
    signature = resigned(ec.generate_private_key(ec.SECP256R1()), attest)
    evidence = b.evidence(certify_statement(attest, signature, public))
    assert refused(evidence, b.context()) == "tpm-signature.invalid"


@attack(8)
def test_what_one_tpm_says_under_the_key_of_another(a, b, tpm_b):
    # b's RSA key signs as a's would
    device = Device(tpm_b, RSA_EK)
    evidence = replace(device.certified(), certificates=a.certificates)
    context = a.context(spki=device.spki)
    assert refused(evidence, context) == "tpm-signature.invalid"


@attack(9)
@pytest.mark.parametrize("endorsement", [RSA_EK, ECC_EK])
def test_a_credential_for_another_endorsement_key(tpm_a, tpm_b, endorsement):
    a, b = Device(tpm_a, endorsement), Device(tpm_b, endorsement)
    made = challenge(a, a.info(b.attestation))  # its EK, my AK
    with pytest.raises(RuntimeError, match="activatecredential"):
        b.activate(made)


@attack(10)
def test_a_credential_for_another_attestation_key(a, b):
    made = challenge(a, a.info(b.attestation))
    with pytest.raises(RuntimeError, match="activatecredential"):
        a.activate(made)


@attack(11)
def test_an_imported_key_genuinely_certified(a):
    imported = a.soft.import_key(a.parent)
    evidence = a.certified(key=imported)
    context = a.context(spki=parse_public(imported.public).spki)
    assert refused(evidence, context) == "tpm2.key-imported"


@attack(12)
def test_a_key_that_may_leave(a):
    key = a.soft.tpm.key(a.parent, attributes="sensitivedataorigin|userwithauth|sign")
    context = a.context(spki=parse_public(key.public).spki)
    assert refused(a.certified(key=key), context) == "tpm2.key-duplicable"


@attack(13)
def test_a_quote_for_a_certification(a):
    said = a.soft.tpm.quote(a.attestation, SECRET, "sha256:0,7")
    evidence = a.evidence(certify_statement(*said, a.key.public))
    assert refused(evidence, a.context()) == "tpm2.not-a-certification"


@attack(14)
def test_a_certification_for_a_quote(a, said):
    _, signature = parts(certify_statement(*said))[:2]
    evidence = a.evidence(certify_statement(said[0], signature, None)[:])
    body = b"".join(children(evidence.statement)) + b"\x30\x00"
    quote = replace(evidence, statement=b"\x30\x82" + len(body).to_bytes(2, "big") + body)
    assert refused(quote, quote_context(a), QUOTE) == "tpm2.not-a-quote"


def test_a_restricted_key_is_no_key_for_tls(a):
    evidence = a.certified(key=a.attestation)
    context = a.context(spki=parse_public(a.attestation.public).spki)
    assert refused(evidence, context) == "tpm2.key-restricted"


def test_a_key_that_only_decrypts(a):
    key = a.soft.tpm.key(
        a.parent, "rsa2048", "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|decrypt"
    )
    context = a.context(spki=parse_public(key.public).spki)
    assert refused(a.certified(key=key), context) == "tpm2.key-does-not-sign"


def test_a_statement_without_the_public_area(a, said):
    evidence = a.evidence(certify_statement(said[0], said[1], None))
    assert refused(evidence, a.context()) == "tpm2.no-public"


# -- the attestation key


def signed_by(a, attestation):
    """Return a certification by a key that is no attestation key, and its context."""
    said = a.soft.certify(a.key, attestation, SECRET)
    evidence = a.evidence(certify_statement(*said, a.key.public))
    return evidence, a.context(kept=a.kept(attestation))


SIGNING = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"


@attack(19)
def test_an_attestation_key_that_signs_anything(a):
    key = a.soft.tpm.primary("ecc256:ecdsa-sha256:null", SIGNING)
    assert refused(*signed_by(a, key)) == "tpm2.ak-not-restricted"


@attack(19)
def test_what_such_a_key_signs_may_be_forged(a, said):
    key = a.soft.tpm.primary("ecc256:ecdsa-sha256:null", SIGNING)
    public = ecc_public(ec.generate_private_key(ec.SECP256R1()).public_key(), a.key.public)
    name = parse_public(public).name
    forged = said[0].replace(parse_public(a.key.public).name, name, 1)
    r, s = decode_dss_signature(a.soft.tpm.sign(key, hashlib.sha256(forged).digest()))
    signature = b"".join(b"\x00\x20" + n.to_bytes(32, "big") for n in (r, s))
    evidence = a.evidence(certify_statement(forged, bytes.fromhex("0018000b") + signature, public))
    context = a.context(kept=a.kept(key), spki=parse_public(public).spki)
    assert refused(evidence, context) == "tpm2.ak-not-restricted"


@attack(20)
def test_a_restricted_key_signs_no_forgery(b, said):
    with pytest.raises(RuntimeError, match="sign"):
        b.soft.tpm.sign(b.attestation, hashlib.sha256(said[0]).digest())


@attack(21)
def test_a_storage_key_for_an_attestation_key(a, said):
    context = a.context(kept=a.kept(a.parent))
    assert refused(statement(a, said=said), context) == "tpm2.ak-decrypts"


@attack(22)
def test_the_endorsement_key_for_an_attestation_key(a, said):
    endorsement = replace(a.attestation, public=a.soft.tpm.public(RSA_EK))
    context = a.context(kept=a.kept(endorsement))
    assert refused(statement(a, said=said), context) == "tpm2.ak-decrypts"


def test_an_attestation_key_that_may_leave(a):
    key = a.soft.tpm.primary(
        "ecc256:ecdsa-sha256:null",
        "fixedparent|sensitivedataorigin|userwithauth|sign|restricted".replace("fixedparent|", ""),
    )
    assert refused(*signed_by(a, key)) == "tpm2.ak-duplicable"


# -- the octets


@attack(23)
def test_another_magic_well_signed(a, said):
    key = a.soft.tpm.primary("ecc256:ecdsa-sha256:null", SIGNING)
    forged = (MAGIC + 1).to_bytes(4, "big") + said[0][4:]
    r, s = decode_dss_signature(a.soft.tpm.sign(key, hashlib.sha256(forged).digest()))
    signature = bytes.fromhex("0018000b") + b"".join(
        b"\x00\x20" + n.to_bytes(32, "big") for n in (r, s)
    )
    # as if that key were restricted: the magic alone is wrong
    kept = dict(a.kept(key))
    public = bytearray.fromhex(kept["ak"])
    public[5] |= 1  # objectAttributes, bit 16
    kept["ak"] = public.hex()
    evidence = a.evidence(certify_statement(forged, signature, said[2]))
    assert refused(evidence, a.context(kept=kept)) == "tpm-attest.magic"


def forged(a, said, change):
    """Return evidence whose attest is changed and signed by software in the AK's place."""
    key = ec.generate_private_key(ec.SECP256R1())
    software = bytes.fromhex("0023000b0005007200000010" + "0018000b" + "00030010")
    like = software + b"\x00\x20" + bytes(32) + b"\x00\x20" + bytes(32)
    public = ecc_public(key.public_key(), like)
    attest = change(said[0])
    evidence = a.evidence(certify_statement(attest, resigned(key, attest), said[2]))
    return evidence, a.context(kept={**a.kept(), "ak": public.hex()})


def test_a_signed_statement_is_believed_if_nothing_is_changed(a, said):
    evidence, context = forged(a, said, lambda attest: attest)
    assert CERTIFY.verify(evidence, context).binds_key


@attack(24)
def test_octets_behind_the_statement(a, said):
    found = forged(a, said, lambda attest: attest + b"\0")
    assert refused(*found) == "tpm-attest.trailing-bytes"


@attack(25)
@pytest.mark.parametrize("left", [0, 3, 5, 40, -1])
def test_a_statement_cut_short(a, said, left):
    found = forged(a, said, lambda attest: attest[:left])
    assert refused(*found) == "tpm-attest.truncated"


@attack(26)
def test_octets_behind_the_public_area(a, said):
    evidence = statement(a, public=said[2] + b"\0", said=said)
    assert refused(evidence, a.context()) == "tpm-public.trailing-bytes"


@attack(27)
def test_octets_behind_the_signature(a, said):
    evidence = statement(a, signature=said[1] + b"\0", said=said)
    assert refused(evidence, a.context()) == "tpm-signature.trailing-bytes"


@attack(28)
def test_a_length_beyond_the_end(a, said):
    found = forged(a, said, lambda attest: attest[:6] + b"\xff\xff" + attest[8:])
    assert refused(*found) == "tpm-attest.truncated"


@attack(29)
def test_a_huge_statement(a, said):
    found = forged(a, said, lambda attest: attest + bytes(64 * 1024))
    assert refused(*found) == "tpm-attest.too-large"


@attack(30)
def test_a_flipped_bit_of_the_statement(a, said):
    for at in range(0, len(said[0]), 7):
        changed = bytearray(said[0])
        changed[at] ^= 1
        evidence = statement(a, attest=bytes(changed), said=said)
        assert refused(evidence, a.context()) == "tpm-signature.invalid"


@attack(31)
def test_a_flipped_bit_of_the_signature(a, said):
    changed = said[1][:-1] + bytes([said[1][-1] ^ 1])
    evidence = statement(a, signature=changed, said=said)
    assert refused(evidence, a.context()) == "tpm-signature.invalid"


@attack(32)
def test_zero_for_a_signature(b):
    attest, _, public = parts(b.certified().statement)
    zero = bytes.fromhex("0018000b") + (b"\x00\x20" + bytes(32)) * 2
    evidence = b.evidence(certify_statement(attest, zero, public))
    assert refused(evidence, b.context()) == "tpm-signature.invalid"


@attack(33, 35, 36)
@pytest.mark.parametrize(
    ("head", "code"),
    [
        ("00140004", "tpm-signature.hash"),
        ("0005000b", "tpm-signature.algorithm"),
        ("0010", "tpm-signature.algorithm"),
    ],
)
def test_sha1_hmac_and_nothing_for_a_signature(a, said, head, code):
    changed = bytes.fromhex(head) + said[1][4:]
    assert refused(statement(a, signature=changed, said=said), a.context()) == code


@attack(34)
def test_an_rsa_signature_of_an_ec_key(a, b, said):
    evidence = replace(b.certified(), statement=certify_statement(*said))
    assert refused(evidence, b.context()) == "tpm-signature.algorithm"


@attack(37)
def test_a_point_off_its_curve(a, said):
    changed = said[2][:-1] + bytes([said[2][-1] ^ 1])
    assert refused(statement(a, public=changed, said=said), a.context()) == "tpm-public.key"


@attack(38)
def test_a_name_by_sha1(a, said):
    changed = said[2][:2] + b"\x00\x04" + said[2][4:]
    evidence = statement(a, public=changed, said=said)
    assert refused(evidence, a.context()) == "tpm-public.name-algorithm"


@attack(39)
def test_a_keyed_hash_for_a_key(a, said):
    changed = b"\x00\x08" + said[2][2:]
    assert refused(statement(a, public=changed, said=said), a.context()) == "tpm-public.type"


@attack(40)
def test_edited_attributes(a):
    imported = a.soft.import_key(a.parent)
    attest, signature, public = parts(a.certified(key=imported).statement)
    edited = public[:4] + a.key.public[4:8] + public[8:]
    evidence = a.evidence(certify_statement(attest, signature, edited))
    context = a.context(spki=parse_public(edited).spki)
    assert refused(evidence, context) == "tpm2.name-mismatch"


# -- the challenge


@pytest.mark.parametrize(
    ("info", "code"),
    [
        ({}, "tpm2.challenge"),
        ([], "tpm2.challenge"),
        ({"ek": "!", "ak": ""}, "tpm2.challenge"),
        ({"ek": 7, "ak": ""}, "tpm2.challenge"),
        ({"ek": "AA" * 5000, "ak": ""}, "tpm2.challenge"),
        ({"ek": "AA", "ak": ""}, "certificate.malformed"),
    ],
)
def test_a_challenge_for_nothing(a, info, code):
    with pytest.raises(EvidenceRefused) as caught:
        challenge(a, info)
    assert caught.value.code == code


def test_a_nonce_that_no_credential_can_hold(a):
    from est_server.attestation.tpm_challenge import credential_challenge

    with pytest.raises(EvidenceRefused) as caught:
        credential_challenge(a.info(), bytes(33), {})
    assert caught.value.code == "tpm2.nonce-length"


def test_padding_behind_an_endorsement_certificate(a):
    padded = octets(a.info()["ek"]) + b"\xff" * 300
    context = a.context(kept=a.kept())
    evidence = replace(a.certified(), certificates=(a.soft.issuer, padded))
    assert CERTIFY.verify(evidence, context).binds_key
