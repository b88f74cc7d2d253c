"""What a real TPM said is read; what no TPM says is refused, each with its own rule."""

from __future__ import annotations

import hashlib

import pytest
from captured import NONCE, SIGNERS, captured
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from est_server.errors import Malformed
from est_server.wire import tpm_algorithms as algorithms
from est_server.wire.tpm_attest import CERTIFY, CREATION, QUOTE, parse_attest
from est_server.wire.tpm_credential import make_credential
from est_server.wire.tpm_public import Attributes, parse_public
from est_server.wire.tpm_signature import parse_signature, verify_tpm_signature
from est_server.wire.tpm_statement import PcrValue, parse_certify, parse_quote

ECDSA, RSASSA = captured("ecdsa"), captured("rsassa")


def replaced(data: bytes, at: int, octets: str) -> bytes:
    put = bytes.fromhex(octets)
    return data[:at] + put + data[at + len(put) :]


def refusal(call, *arguments) -> str:
    with pytest.raises(Malformed) as caught:
        call(*arguments)
    return caught.value.rule


@pytest.mark.parametrize("signer", SIGNERS)
@pytest.mark.parametrize(
    ("part", "kind"), [("attest", CERTIFY), ("creation", CREATION), ("quote", QUOTE)]
)
def test_what_a_tpm_says_is_read_and_its_signature_fits(signer, part, kind):
    said = captured(signer)
    if part not in said:
        return
    key = parse_public(said["public"]).key
    attest = parse_attest(said[part])
    name = "signature" if part == "attest" else f"{part}_signature"
    verify_tpm_signature(parse_signature(said[name], key, algorithms.NULL), key, said[part])
    assert (attest.kind, attest.extra_data, attest.safe) == (kind, NONCE, True)
    if kind == QUOTE:
        assert [(one.bank, one.indices) for one in attest.selections] == [
            (algorithms.SHA256, (0, 2, 4, 7))
        ]
        assert attest.pcr_digest == hashlib.sha256(said["registers"]).digest()
    else:
        assert attest.name == parse_public(said["key"]).name


def test_a_public_area_says_what_the_tpm_does_with_the_key():
    public = parse_public(ECDSA["public"])
    assert isinstance(public.key, ec.EllipticCurvePublicKey)
    assert Attributes.RESTRICTED | Attributes.SIGN | Attributes.FIXED_TPM in public.attributes
    assert Attributes.DECRYPT not in public.attributes
    assert (public.scheme, public.scheme_hash) == (algorithms.ECDSA, algorithms.SHA256)
    assert public.name[:2] == bytes.fromhex("000b")
    assert isinstance(parse_public(RSASSA["public"]).key, rsa.RSAPublicKey)


def test_a_bare_rsa_value_is_read_with_the_hash_it_is_given():
    key = parse_public(RSASSA["public"]).key
    bare = RSASSA["signature"][6:]
    signature = parse_signature(bare, key, algorithms.SHA256)
    verify_tpm_signature(signature, key, RSASSA["attest"])
    assert refusal(parse_signature, bare, key, algorithms.NULL) == "tpm-signature.hash"
    other = parse_signature(bare, key, algorithms.SHA384)
    assert refusal(verify_tpm_signature, other, key, RSASSA["attest"]) == "tpm-signature.invalid"


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (replaced(ECDSA["attest"], 0, "ff544348"), "tpm-attest.magic"),
        (replaced(ECDSA["attest"], 4, "8014"), "tpm-attest.type"),
        (replaced(ECDSA["attest"], 6, "ffff"), "tpm-attest.truncated"),
        (ECDSA["attest"][:-1], "tpm-attest.truncated"),
        (ECDSA["attest"] + b"\0", "tpm-attest.trailing-bytes"),
        (ECDSA["attest"] + bytes(1024), "tpm-attest.too-large"),
        (b"", "tpm-attest.truncated"),
    ],
)
def test_a_damaged_statement_is_refused(data, rule):
    assert refusal(parse_attest, data) == rule


def test_a_quote_has_few_banks_and_registers():
    quote = ECDSA["quote"]
    at = len(quote) - 34 - 10
    assert quote[at : at + 4] == bytes.fromhex("00000001")
    assert refusal(parse_attest, replaced(quote, at, "00000011")) == "tpm-attest.selection"
    assert refusal(parse_attest, replaced(quote, at + 6, "05")) == "tpm-attest.selection"


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (replaced(ECDSA["public"], 0, "0008"), "tpm-public.type"),
        (replaced(ECDSA["public"], 2, "0004"), "tpm-public.name-algorithm"),
        (replaced(ECDSA["public"], 16, "0020"), "tpm-public.curve"),
        (ECDSA["public"][:-1] + bytes([ECDSA["public"][-1] ^ 1]), "tpm-public.key"),
        (ECDSA["public"] + b"\0", "tpm-public.trailing-bytes"),
        (ECDSA["public"] + bytes(1024), "tpm-public.too-large"),
        (ECDSA["public"][:-1], "tpm-public.truncated"),
        (replaced(RSASSA["public"], 16, "0c00"), "tpm-public.key"),
        (replaced(RSASSA["public"], 18, "00000002"), "tpm-public.key"),
    ],
)
def test_a_damaged_public_area_is_refused(data, rule):
    assert refusal(parse_public, data) == rule


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (replaced(ECDSA["signature"], 0, "0005"), "tpm-signature.algorithm"),
        (replaced(ECDSA["signature"], 0, "0010"), "tpm-signature.algorithm"),
        (replaced(ECDSA["signature"], 2, "0004"), "tpm-signature.hash"),
        (ECDSA["signature"] + b"\0", "tpm-signature.trailing-bytes"),
        (ECDSA["signature"][:-1], "tpm-signature.truncated"),
        (ECDSA["signature"] + bytes(1100), "tpm-signature.too-large"),
    ],
)
def test_a_damaged_signature_is_refused(data, rule):
    key = parse_public(ECDSA["public"]).key
    assert refusal(parse_signature, data, key, algorithms.NULL) == rule


def test_a_key_signs_by_its_own_algorithm():
    key = parse_public(ECDSA["public"]).key
    signature = parse_signature(RSASSA["signature"], key, algorithms.NULL)
    found = refusal(verify_tpm_signature, signature, key, ECDSA["attest"])
    assert found == "tpm-signature.algorithm"


def test_no_flipped_bit_of_what_is_signed_passes():
    key = parse_public(ECDSA["public"]).key
    signature = parse_signature(ECDSA["signature"], key, algorithms.NULL)
    for at in range(len(ECDSA["attest"])):
        changed = bytearray(ECDSA["attest"])
        changed[at] ^= 0x10
        found = refusal(verify_tpm_signature, signature, key, bytes(changed))
        assert found == "tpm-signature.invalid"


def test_zero_is_no_signature():
    key = parse_public(ECDSA["public"]).key
    zero = bytes.fromhex("0018000b") + (bytes.fromhex("0020") + bytes(32)) * 2
    signature = parse_signature(zero, key, algorithms.NULL)
    found = refusal(verify_tpm_signature, signature, key, ECDSA["attest"])
    assert found == "tpm-signature.invalid"


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    assert len(content) < 0x80
    return bytes([tag, len(content)]) + content


ATTEST, SIGNATURE, PUBLIC = der(4, b"attest"), der(4, b"signature"), der(4, b"public")
REGISTER = der(0x30, der(2, b"\x0b"), der(2, b"\x07"), der(4, bytes(32)))


def test_a_certify_statement_has_two_or_three_parts():
    found = parse_certify(der(0x30, ATTEST, SIGNATURE, PUBLIC))
    assert (found.attest, found.signature, found.public) == (b"attest", b"signature", b"public")
    assert parse_certify(der(0x30, ATTEST, SIGNATURE)).public is None


def test_a_quote_statement_has_registers_and_maybe_a_log():
    found = parse_quote(der(0x30, ATTEST, SIGNATURE, der(0x30, REGISTER), der(0x80, b"log")))
    assert found.pcrs == (PcrValue(11, 7, bytes(32)),)
    assert found.event_log == b"log"
    assert parse_quote(der(0x30, ATTEST, SIGNATURE, der(0x30))).event_log is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        der(0x31, ATTEST, SIGNATURE),
        der(0x30, ATTEST),
        der(0x30, ATTEST, SIGNATURE, PUBLIC, PUBLIC),
        der(0x30, ATTEST, SIGNATURE) + b"\0",
        der(0x30, ATTEST, der(2, b"\1")),
        der(0x30, ATTEST, SIGNATURE, b"\x04\x80ab\0\0"),
    ],
)
def test_a_statement_of_another_form_is_refused(data):
    assert refusal(parse_certify, data) == "tpm-statement.encoding"


@pytest.mark.parametrize(
    "registers",
    [
        (der(0x30, der(2, b"\x0b"), der(2, b"\x07")),),
        (der(0x30, der(2, b"\x00\x0b"), der(2, b"\x07"), der(4, b"")),),
        (der(0x30, der(2, b""), der(2, b"\x07"), der(4, b"")),),
        (der(0x30, der(4, b"\x0b"), der(2, b"\x07"), der(4, b"")),),
        (b"\x30\x00",) * 12,
    ],
)
def test_registers_of_another_form_are_refused(registers):
    data = der(0x30, der(4), der(4), der(0x30, *registers))
    assert refusal(parse_quote, data) == "tpm-statement.encoding"


def test_a_statement_has_an_end():
    assert refusal(parse_quote, bytes(512 * 1024 + 1)) == "tpm-statement.too-large"
    many = b"\x30\x82\x01\x04" + b"\x30\x02\x02\x00" * 65
    assert refusal(parse_quote, b"\x30\x82\x01\x0c" + b"\4\0\4\0" + many) == (
        "tpm-statement.encoding"
    )


def test_no_template_has_an_endorsement_key_of_another_size():
    key = rsa.generate_private_key(65537, 1024).public_key()
    assert refusal(make_credential, key, b"name", b"secret", bytes(64)) == (
        "tpm-credential.endorsement-key"
    )


def test_a_credential_is_for_one_name():
    key = ec.generate_private_key(ec.SECP256R1())
    same = {"secret": b"secret", "seed": b"", "ephemeral": key}
    endorsement = ec.generate_private_key(ec.SECP256R1()).public_key()
    one = make_credential(endorsement, b"one", **same)
    two = make_credential(endorsement, b"two", **same)
    assert one.encrypted_secret == two.encrypted_secret
    assert one.blob != two.blob
    assert len(one.blob) == 2 + 2 + hashes.SHA256.digest_size + 2 + len(b"secret")
