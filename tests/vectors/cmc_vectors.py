"""Full PKI Requests (RFC 5272) named for their defects; `generate_wire` writes them."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from der_writer import integer, oid, seq, set_of, tlv

DATA, SIGNED_DATA = "1.2.840.113549.1.7.1", "1.2.840.113549.1.7.2"
PKI_DATA, PKI_RESPONSE = "1.3.6.1.5.5.7.12.2", "1.3.6.1.5.5.7.12.3"
CONTENT_TYPE, MESSAGE_DIGEST = "1.2.840.113549.1.9.3", "1.2.840.113549.1.9.4"
TRANSACTION, NONCE, WITNESS = (f"1.3.6.1.5.5.7.7.{number}" for number in (5, 6, 11))
IDENTITY_PROOF = "1.3.6.1.5.5.7.7.34"
SHA256, SHA1 = seq(oid("2.16.840.1.101.3.4.2.1")), seq(oid("1.3.14.3.2.26"))
ECDSA_SHA256 = seq(oid("1.2.840.10045.4.3.2"))
ECDSA_SHA1 = seq(oid("1.2.840.10045.4.1"))
RSA_SHA256 = seq(oid("1.2.840.113549.1.1.11"), b"\5\0")
ML_DSA_65 = seq(oid("2.16.840.1.101.3.4.3.18"))
KEY_ID = tlv(0x80, b"k" * 20)
NAMED = seq(seq(set_of(seq(oid("2.5.4.3"), tlv(12, b"router-1")))), integer(7))

Sign = Callable[[bytes], bytes]


def indefinite(tag: int, *contents: bytes) -> bytes:
    """Return an element in BER's indefinite form."""
    return bytes([tag, 0x80]) + b"".join(contents) + b"\0\0"


def control(part: int, kind: str, *values: bytes) -> bytes:
    return seq(integer(part), oid(kind), set_of(*values))


def tagged(csr: bytes, part: int = 1, tag: int = 0xA0) -> bytes:
    return tlv(tag, integer(part), csr)


def pki_data(
    *requests: bytes,
    controls: tuple[bytes, ...] = (),
    messages: bytes = b"",
    others: bytes = b"",
) -> bytes:
    return seq(seq(*controls), seq(*requests), seq(messages), seq(others))


def attributes(content: bytes, kind: str = PKI_DATA) -> tuple[bytes, ...]:
    return (
        seq(oid(CONTENT_TYPE), set_of(oid(kind))),
        seq(oid(MESSAGE_DIGEST), set_of(tlv(4, sha256(content).digest()))),
    )


def signer(
    sign: Sign,
    *signed: bytes,
    sid: bytes = KEY_ID,
    digest: bytes = SHA256,
    algorithm: bytes = ECDSA_SHA256,
    version: int = 3,
    over: bytes | None = None,
) -> bytes:
    octets = set_of(*signed) if over is None else over
    field = tlv(0xA0, *sorted(signed)) if signed else b""
    return seq(integer(version), sid, digest, field, algorithm, tlv(4, sign(octets)))


def message(
    content: bytes,
    *infos: bytes,
    kind: str = PKI_DATA,
    certificates: bytes = b"",
    outer: str = SIGNED_DATA,
) -> bytes:
    encapsulated = seq(oid(kind), tlv(0xA0, tlv(4, content)))
    signed = seq(integer(3), set_of(SHA256), encapsulated, certificates, set_of(*infos))
    return seq(oid(outer), tlv(0xA0, signed))


def streamed(content: bytes, info: bytes) -> bytes:
    """Return a message as OpenSSL's -stream and BouncyCastle write it."""
    pieces = [tlv(4, content[at : at + 100]) for at in range(0, len(content), 100)]
    octets = indefinite(0xA0, indefinite(0x24, *pieces))
    signed = indefinite(
        0x30, integer(3), set_of(SHA256), indefinite(0x30, oid(PKI_DATA), octets), set_of(info)
    )
    return indefinite(0x30, oid(SIGNED_DATA), indefinite(0xA0, signed))


def cmc_requests(csr: bytes, sign: Sign) -> dict[str, tuple[str, str, bytes]]:
    """Return name -> (expected rule, section, octets).

    Args:
        csr: a PKCS #10 request.
        sign: gives the DER ECDSA signature, with SHA-256, of the key that vectors are checked with.
    """

    def made(content: bytes, **fields: bytes) -> bytes:
        return message(content, signer(sign, *attributes(content)), **fields)

    plain = pki_data(tagged(csr))
    one = signer(sign, *attributes(plain))
    kinds = attributes(plain)
    witness = seq(integer(0), seq(integer(1)))

    def controlled(*controls: bytes) -> bytes:
        return made(pki_data(tagged(csr), controls=controls))

    data, cms = "RFC 5272 3.2.1.1", "RFC 5652 5"
    return {
        "plain": ("accept", data, made(plain)),
        "streamed": ("accept", "RFC 5652 5.1", streamed(plain, one)),
        "signer_by_issuer_and_serial": (
            "accept", cms, message(plain, signer(sign, *kinds, sid=NAMED, version=1)),
        ),
        "all_controls": (
            "accept",
            "RFC 5272 6",
            controlled(
                control(2, TRANSACTION, integer(1 << 100)),
                control(3, NONCE, tlv(4, b"n" * 64)),
                control(4, WITNESS, witness),
            ),
        ),
        "cut_short": ("cmc.encoding", cms, made(plain)[:-1]),
        "trailing_octet": ("cmc.encoding", cms, made(plain) + b"\0"),
        "trailing_in_pki_data": ("cmc.encoding", data, made(plain + b"\0")),
        "too_large": ("cmc.too-large", cms, made(pki_data(tagged(csr)) + bytes(65536))),
        "not_signed_data": ("cmc.content-type,cmc.encoding", cms, message(plain, one, outer=DATA)),
        "content_is_a_response": (
            "cmc.content-type", data, message(plain, one, kind=PKI_RESPONSE),
        ),
        "no_signature": ("cmc.signers", cms, message(plain)),
        "two_signatures": (
            "cmc.signers", data, message(plain, one, signer(sign, *kinds, sid=NAMED)),
        ),
        "seventeen_certificates": (
            "cmc.signers", cms, made(plain, certificates=tlv(0xA0, seq() * 17)),
        ),
        "no_request": ("cmc.requests", data, made(pki_data())),
        "two_requests": ("cmc.requests", data, made(pki_data(tagged(csr), tagged(csr, 2)))),
        "crmf_request": ("cmc.unsupported", data, made(pki_data(tagged(csr, tag=0xA1)))),
        "other_request": ("cmc.unsupported", data, made(pki_data(tagged(csr, tag=0xA2)))),
        "unknown_request": ("cmc.encoding", data, made(pki_data(tagged(csr, tag=0xA3)))),
        "nested_message": (
            "cmc.unsupported",
            data,
            made(pki_data(tagged(csr), messages=seq(integer(2), seq(oid(DATA))))),
        ),
        "other_message": (
            "cmc.unsupported",
            data,
            made(pki_data(tagged(csr), others=seq(integer(2), oid(DATA), integer(1)))),
        ),
        "control_unknown": (
            "cmc.unsupported", "RFC 5272 6", controlled(control(2, "1.2.3", integer(1))),
        ),
        "control_identity_proof": (
            "cmc.unsupported", "RFC 5272 6.2", controlled(control(2, IDENTITY_PROOF, integer(1))),
        ),
        "control_twice": (
            "cmc.control",
            "RFC 5272 6.6",
            controlled(control(2, TRANSACTION, integer(1)), control(3, TRANSACTION, integer(2))),
        ),
        "control_without_value": (
            "cmc.control", "RFC 5272 6.6", controlled(control(2, TRANSACTION)),
        ),
        "control_two_values": (
            "cmc.control",
            "RFC 5272 6.6",
            controlled(control(2, NONCE, tlv(4, b"a"), tlv(4, b"b"))),
        ),
        "thirty_three_controls": (
            "cmc.control",
            "RFC 5272 6",
            controlled(*(control(part, f"1.2.{part}", integer(1)) for part in range(2, 35))),
        ),
        "transaction_id_is_text": (
            "cmc.encoding", "RFC 5272 6.6", controlled(control(2, TRANSACTION, tlv(12, b"x"))),
        ),
        "transaction_id_long": (
            "cmc.control", "RFC 5272 6.6", controlled(control(2, TRANSACTION, integer(1 << 600))),
        ),
        "nonce_long": (
            "cmc.control", "RFC 5272 6.6", controlled(control(2, NONCE, tlv(4, b"n" * 65))),
        ),
        "witness_of_a_nested_message": (
            "cmc.control",
            "RFC 5272 6.7",
            controlled(control(2, WITNESS, seq(integer(9), seq(integer(1))))),
        ),
        "witness_of_nothing": (
            "cmc.control", "RFC 5272 6.7", controlled(control(2, WITNESS, seq(integer(0), seq()))),
        ),
        "witness_of_another_request": (
            "cmc.control",
            "RFC 5272 6.7",
            controlled(control(2, WITNESS, seq(integer(0), seq(integer(5))))),
        ),
        "body_part_twice": (
            "cmc.body-part", "RFC 5272 3.2.2", controlled(control(1, NONCE, tlv(4, b"n"))),
        ),
        "body_part_zero": ("cmc.body-part", "RFC 5272 3.2.2", made(pki_data(tagged(csr, 0)))),
        "body_part_too_large": (
            "cmc.body-part", "RFC 5272 3.2.2", made(pki_data(tagged(csr, 1 << 32))),
        ),
        "content_changed": (
            "cmc.signature", cms, message(pki_data(tagged(csr, 2)), one),
        ),
        "attributes_changed": (
            "cmc.signature", cms, message(plain, signer(sign, *kinds, over=set_of(kinds[0]))),
        ),
        "attributes_signed_under_their_tag": (
            "cmc.signature",
            "RFC 5652 5.4",
            message(plain, signer(sign, *kinds, over=tlv(0xA0, *sorted(kinds)))),
        ),
        "attributes_absent": (
            "cmc.signature", "RFC 5652 5.3", message(plain, signer(sign, over=plain)),
        ),
        "digest_absent": ("cmc.signature", "RFC 5652 11.2", message(plain, signer(sign, kinds[0]))),
        "digest_twice": (
            "cmc.encoding", "RFC 5652 11.2", message(plain, signer(sign, *kinds, kinds[1])),
        ),
        "content_type_of_another": (
            "cmc.signature",
            "RFC 5652 11.1",
            message(plain, signer(sign, *attributes(plain, DATA))),
        ),
        "digest_sha1": (
            "cmc.algorithm", "RFC 5652 5.3", message(plain, signer(sign, *kinds, digest=SHA1)),
        ),
        "signature_sha1": (
            "cmc.algorithm", cms, message(plain, signer(sign, *kinds, algorithm=ECDSA_SHA1)),
        ),
        "signature_rsa_for_ec_key": (
            "cmc.algorithm", cms, message(plain, signer(sign, *kinds, algorithm=RSA_SHA256)),
        ),
        "signature_ml_dsa_for_ec_key": (
            "cmc.algorithm", cms, message(plain, signer(sign, *kinds, algorithm=ML_DSA_65)),
        ),
        "csr_alone": ("cmc.encoding", "RFC 7030 4.3.1", csr),
    }  # fmt: skip
