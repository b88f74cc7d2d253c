"""Write the wire corpus, bodies and messages named for their defects, and its manifest.json.

Run it from anywhere; it writes beside itself and gives the same octets each time: fixed keys,
deterministic signatures (RFC 6979), DER put together by hand so that it can be wrong on purpose.
`--check` writes nothing and fails if a file differs.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

from cmc_vectors import cmc_requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from der_writer import extension, integer, oid, seq, set_of, tlv, utf8
from ocsp_vectors import ocsp_requests

HERE = Path(__file__).parent
KEY = ec.derive_private_key(0x1234567890ABCDEF, ec.SECP256R1())
OTHER_KEY = ec.derive_private_key(0xFEDCBA0987654321, ec.SECP256R1())
EDWARDS_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

CN, C, UID = "2.5.4.3", "2.5.4.6", "2.5.4.45"
CHALLENGE, EXTENSIONS = "1.2.840.113549.1.9.7", "1.2.840.113549.1.9.14"
OTP, LINKING = "1.2.840.113549.1.9.16.2.56", "1.2.840.113549.1.9.16.2.58"
MICROSOFT_EXTENSIONS = "1.3.6.1.4.1.311.2.1.14"
SAN = "2.5.29.17"
EC, P256, RSA = "1.2.840.10045.2.1", "1.2.840.10045.3.1.7", "1.2.840.113549.1.1.1"


def rdn(kind: str, value: bytes) -> bytes:
    return set_of(seq(oid(kind), value))


def attribute(kind: str, *values: bytes) -> bytes:
    return seq(oid(kind), set_of(*values))


def san(*names: bytes) -> bytes:
    return extension(SAN, seq(*names))


def spki(key: object = KEY) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_info(algorithm: bytes, key: bytes) -> bytes:
    return seq(algorithm, tlv(3, b"\0", key))


ECDSA_SHA256 = seq(oid("1.2.840.10045.4.3.2"))
ECDSA_SHA1 = seq(oid("1.2.840.10045.4.1"))
SUBJECT = seq(rdn(CN, utf8("router-1")))


def sign(info: bytes, algorithm: hashes.HashAlgorithm | None = None, key: object = KEY) -> bytes:
    hashed = algorithm or hashes.SHA256()
    return key.sign(info, ec.ECDSA(hashed, deterministic_signing=True))


def request(
    *,
    subject: bytes = SUBJECT,
    key: bytes | None = None,
    attributes: bytes = b"",
    algorithm: bytes = ECDSA_SHA256,
    version: bytes = b"\0",
    signature: bytes | None = None,
    context: bytes | None = None,
) -> bytes:
    content = context if context is not None else tlv(0xA0, attributes)
    info = seq(tlv(2, version), subject, key or spki(), content)
    signed = sign(info) if signature is None else signature
    return seq(info, algorithm, tlv(3, b"\0", signed))


def asking(*extensions: bytes) -> bytes:
    return request(attributes=attribute(EXTENSIONS, seq(*extensions)))


def named(*names: bytes) -> bytes:
    return asking(san(*names))


PASSWORD = utf8("secret")


def challenged(value: bytes) -> bytes:
    return request(attributes=attribute(CHALLENGE, value))


GOOD = challenged(utf8("???>>>~~~~"))
POINT = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
COMPRESSED = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
EXPLICIT_P256 = seq(
    integer(1),
    seq(oid("1.2.840.10045.1.1"), integer(PRIME)),
    seq(
        tlv(4, (PRIME - 3).to_bytes(32, "big")),
        tlv(4, bytes.fromhex("5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b")),
    ),
    tlv(
        4,
        b"\x04",
        bytes.fromhex("6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"),
        bytes.fromhex("4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"),
    ),
    integer(ORDER),
    integer(1),
)


def lines(der: bytes, width: int, end: bytes) -> bytes:
    text = base64.b64encode(der)
    return b"".join(text[at : at + width] + end for at in range(0, len(text), width))


def pem(label: str, der: bytes, end: bytes = b"\n") -> bytes:
    frame = label.encode()
    return b"-----BEGIN %b-----%b%b-----END %b-----%b" % (
        frame,
        end,
        lines(der, 64, end),
        frame,
        end,
    )


def bodies() -> dict[str, tuple[str, str, bytes]]:
    text = base64.b64encode(GOOD)
    safe = base64.urlsafe_b64encode(GOOD)
    padded = base64.b64encode(GOOD + b"\0" * (-len(GOOD) % 3 + 1))
    assert safe != text, "the request must need + or /"
    assert padded.endswith(b"="), "this one must need padding"
    section = "RFC 8951 3.1"
    return {
        "lf_wrapped_at_64": ("accept", section, lines(GOOD, 64, b"\n")),
        "crlf_wrapped_at_76": ("accept", section, lines(GOOD, 76, b"\r\n")),
        "cr_wrapped": ("accept", section, lines(GOOD, 64, b"\r")),
        "one_line": ("accept", section, text),
        "spaces_and_tabs": ("accept", section, lines(GOOD, 5, b" \t")),
        "byte_order_mark": ("accept", section, b"\xef\xbb\xbf" + text + b"\n"),
        "pem": ("accept", "RFC 7468 7", pem("CERTIFICATE REQUEST", GOOD)),
        "pem_new_crlf": ("accept", "RFC 7468 7", pem("NEW CERTIFICATE REQUEST", GOOD, b"\r\n")),
        "raw_der": ("accept", "RFC 2986 4.2", GOOD),
        "empty": ("body.empty", section, b""),
        "white_space_only": ("body.empty", section, b" \r\n\t"),
        "byte_order_mark_only": ("body.empty", section, b"\xef\xbb\xbf\n"),
        "url_safe_alphabet": ("body.base64", "RFC 4648 4", safe),
        "percent_encoded": ("body.base64", "RFC 4648 4", padded.replace(b"=", b"%3D")),
        "padding_missing": ("body.base64", "RFC 4648 3.2", padded.rstrip(b"=")),
        "padding_in_the_middle": ("body.base64", "RFC 4648 3.3", b"MAA=" + text),
        "padding_too_long": ("body.base64", "RFC 4648 3.2", text + b"===="),
        "padding_alone": ("body.base64", "RFC 4648 3.2", b"===="),
        "nul_inside": ("body.base64", "RFC 4648 3.3", text[:40] + b"\0" + text[40:]),
        "not_ascii": ("body.base64", "RFC 4648 3.3", text[:40] + b"\xc3\xa9" + text[40:]),
        "form_feed_inside": ("body.base64", section, text[:40] + b"\x0c" + text[40:]),
        "html": ("body.base64", "RFC 4648 3.3", b"<html><body>502</body></html>"),
        "not_der": ("body.encoding", "RFC 2986 4.2", base64.b64encode(b"hello, world")),
        "der_of_a_set": ("body.encoding", "RFC 2986 4.2", base64.b64encode(tlv(0x31, b"\5\0"))),
        "indefinite_length": (
            "body.encoding",
            "X.690 10.1",
            base64.b64encode(b"\x30\x80" + GOOD[4:] + b"\0\0"),
        ),
        "length_not_shortest": (
            "body.encoding",
            "X.690 10.1",
            base64.b64encode(b"\x30\x83\x00" + GOOD[2:]),
        ),
        "length_of_five_octets": (
            "body.encoding",
            "X.690 8.1.3",
            base64.b64encode(b"\x30\x85\x01\x00\x00\x00\x00" + GOOD[4:]),
        ),
        "cut_short": ("body.encoding", "X.690 8.1.3", base64.b64encode(GOOD[:-1])),
        "one_octet": ("body.encoding", "X.690 8.1", base64.b64encode(b"\x30")),
        "trailing_octet": ("body.trailing-bytes", "RFC 2986 4.2", base64.b64encode(GOOD + b"\0")),
        "two_requests": ("body.trailing-bytes", "RFC 2986 4.2", base64.b64encode(GOOD + GOOD)),
        "raw_der_trailing": ("body.trailing-bytes", "RFC 2986 4.2", GOOD + b"\r\n"),
        "pem_of_a_certificate": ("body.pem", "RFC 7468 7", pem("CERTIFICATE", GOOD)),
        "pem_labels_differ": (
            "body.pem",
            "RFC 7468 2",
            pem("CERTIFICATE REQUEST", GOOD).replace(b"END ", b"END NEW "),
        ),
        "pem_without_end": (
            "body.pem",
            "RFC 7468 2",
            pem("CERTIFICATE REQUEST", GOOD).partition(b"-----END")[0],
        ),
        "pem_begin_cut": (
            "body.pem",
            "RFC 7468 2",
            pem("CERTIFICATE REQUEST", GOOD).replace(b"REQUEST-----\n", b"REQUEST\n", 1),
        ),
        "pem_empty": ("body.pem", "RFC 7468 2", pem("CERTIFICATE REQUEST", b"")),
        "pem_twice": ("body.base64", "RFC 7468 2", pem("CERTIFICATE REQUEST", GOOD) * 2),
        "pem_with_headers": (
            "body.base64",
            "RFC 7468 2",
            pem("CERTIFICATE REQUEST", GOOD).replace(b"-\nM", b"-\nProc-Type: 4\n\nM", 1),
        ),
        "dashes_alone": ("body.pem", "RFC 7468 2", b"-----"),
    }


def _subjects() -> dict[str, tuple[str, str, bytes]]:
    def one(kind: str, value: bytes) -> bytes:
        return request(subject=seq(rdn(kind, value)))

    section = "RFC 5280 4.1.2.6"
    long_name = seq(*(rdn("2.5.4.11", utf8("x" * 60)) for _ in range(80)))
    return {
        "subject_empty": ("accept", section, request(subject=seq())),
        "subject_unique_identifier": ("accept", section, one(UID, tlv(3, b"\0\1"))),
        "subject_not_a_string": ("csr.subject", section, one(CN, integer(5))),
        "subject_bit_string": ("csr.subject", section, one(CN, tlv(3, b"\0\1"))),
        "subject_bad_utf8": ("csr.subject", section, one(CN, tlv(12, b"\xff\xfe"))),
        "subject_latin1_teletex": ("csr.subject", section, one(CN, tlv(20, b"\xe9"))),
        "subject_nul": ("csr.subject", section, one(CN, utf8("good.example\0.evil.example"))),
        "subject_line_break": ("csr.subject", section, one("2.5.4.10", utf8("a\nb"))),
        "subject_empty_common_name": ("csr.subject", "RFC 5280 A.1", one(CN, utf8(""))),
        "subject_long_common_name": ("csr.subject", "RFC 5280 A.1", one(CN, utf8("x" * 65))),
        "subject_three_letter_country": ("csr.subject", "RFC 5280 A.1", one(C, tlv(19, b"SWE"))),
        "subject_too_large": ("csr.subject", section, request(subject=long_name)),
        "subject_odd_bmp_string": ("csr.encoding", section, one(CN, tlv(30, b"abc"))),
        "subject_high_printable_string": ("csr.encoding", section, one(CN, tlv(19, b"\xe9"))),
        "subject_oid_too_long": (
            "csr.encoding",
            section,
            one(".".join(["2.5.4.3", *["99999999999"] * 40]), utf8("x")),
        ),
    }


def _keys() -> dict[str, tuple[str, str, bytes]]:
    curve = seq(oid(EC), oid(P256))
    exchange = x25519.X25519PrivateKey.from_private_bytes(bytes(range(32)))
    modulus = 2**2047 + 1

    def rsa(numbers: bytes, parameters: bytes = b"\5\0", kind: str = RSA) -> bytes:
        return request(key=key_info(seq(oid(kind), parameters), numbers))

    dsa = seq(
        oid("1.2.840.10040.4.1"),
        seq(integer(2**1023 + 1155), integer(2**159 + 7), integer(2**1000 + 1)),
    )
    return {
        "key_compressed_point": (
            "accept",
            "RFC 5480 2.2",
            request(key=key_info(curve, COMPRESSED)),
        ),
        "key_of_another_kind_of_signature": (
            "csr.signature",
            "RFC 2986 4.2",
            request(key=spki(EDWARDS_KEY)),
        ),
        "key_explicit_curve": (
            "csr.key-unsupported",
            "RFC 5480 2.1.1",
            request(key=key_info(seq(oid(EC), EXPLICIT_P256), POINT)),
        ),
        "key_explicit_curve_changed": (
            "csr.key-unsupported",
            "RFC 5480 2.1.1",
            request(
                key=key_info(seq(oid(EC), EXPLICIT_P256.replace(b"\xfc\x04", b"\xfb\x04")), POINT)
            ),
        ),
        "key_implicit_curve": (
            "csr.key-unsupported",
            "RFC 5480 2.1.1",
            request(key=key_info(seq(oid(EC), b"\5\0"), POINT)),
        ),
        "key_unknown_curve": (
            "csr.key-unsupported",
            "RFC 5480 2.1.1",
            request(key=key_info(seq(oid(EC), oid("1.2.3.4")), POINT)),
        ),
        "key_without_curve": (
            "csr.encoding",
            "RFC 5480 2.1.1",
            request(key=key_info(seq(oid(EC)), POINT)),
        ),
        "key_not_on_curve": (
            "csr.key",
            "RFC 5480 2.2",
            request(key=key_info(curve, POINT[:-1] + bytes([POINT[-1] ^ 1]))),
        ),
        "key_at_infinity": ("csr.key", "RFC 5480 2.2", request(key=key_info(curve, b"\0"))),
        "key_x25519": (
            "csr.key-unsupported",
            "RFC 8410 3",
            request(key=spki(exchange)),
        ),
        "key_dsa": (
            "csr.key-unsupported",
            "RFC 3279 2.3.2",
            request(key=key_info(dsa, integer(2**999 + 1))),
        ),
        "key_unknown_algorithm": (
            "csr.key-unsupported",
            "RFC 5280 4.1.2.7",
            request(key=key_info(seq(oid("1.2.3.4")), b"x")),
        ),
        "key_rsa_pss": (
            "csr.key-unsupported",
            "RFC 4055 1.2",
            rsa(seq(integer(modulus), integer(65537)), b"", "1.2.840.113549.1.1.10"),
        ),
        "key_rsa_without_null": (
            "csr.key-unsupported",
            "RFC 3279 2.3.1",
            rsa(seq(integer(modulus), integer(65537)), b""),
        ),
        "key_rsa_negative": (
            "csr.key",
            "RFC 3279 2.3.1",
            rsa(seq(tlv(2, b"\xff" * 256), integer(65537))),
        ),
        "key_rsa_zero": ("csr.key", "RFC 3279 2.3.1", rsa(seq(tlv(2, b"\0"), integer(65537)))),
        "key_rsa_exponent_one": ("csr.key", "RFC 8017 3.1", rsa(seq(integer(modulus), integer(1)))),
        "key_rsa_trailing": (
            "csr.key",
            "RFC 3279 2.3.1",
            rsa(seq(integer(modulus), integer(65537)) + b"x"),
        ),
        "key_rsa_huge": (
            "csr.signature-algorithm",
            "RFC 8017 3.1",
            request(
                key=key_info(
                    seq(oid(RSA), b"\5\0"), seq(integer(2**100000 + 1), integer(2**99999 + 1))
                ),
                algorithm=seq(oid("1.2.840.113549.1.1.99"), b"\5\0"),
            ),
        ),
        "key_ed25519_short": (
            "csr.key",
            "RFC 8410 4",
            request(key=key_info(seq(oid("1.3.101.112")), b"abc")),
        ),
        "key_ml_dsa_short": (
            "csr.key",
            "RFC 9881 4",
            request(key=key_info(seq(oid("2.16.840.1.101.3.4.3.18")), b"abc")),
        ),
    }


def _signatures() -> dict[str, tuple[str, str, bytes]]:
    section = "RFC 7030 4.2.1"
    info = seq(integer(0), SUBJECT, spki(), tlv(0xA0))
    edwards = seq(integer(0), SUBJECT, spki(EDWARDS_KEY), tlv(0xA0))
    ed25519_oid = seq(oid("1.3.101.112"))
    return {
        "signature_good": ("accept", section, request()),
        "signature_ed25519": (
            "accept",
            section,
            seq(edwards, ed25519_oid, tlv(3, b"\0", EDWARDS_KEY.sign(edwards))),
        ),
        "signature_of_another_key": (
            "csr.signature",
            section,
            request(signature=sign(info, key=OTHER_KEY)),
        ),
        "signature_of_another_request": (
            "csr.signature",
            section,
            request(subject=seq(rdn(CN, utf8("router-2"))), signature=sign(info)),
        ),
        "signature_empty": ("csr.signature", section, request(signature=b"")),
        "signature_not_der": ("csr.signature", section, request(signature=b"\xff" * 70)),
        "signature_zero": (
            "csr.signature",
            section,
            request(signature=seq(integer(0), integer(0))),
        ),
        "signature_sha1": (
            "csr.weak-hash",
            "RFC 9155 1",
            seq(info, ECDSA_SHA1, tlv(3, b"\0", sign(info, hashes.SHA1()))),
        ),
        "signature_md5": (
            "csr.weak-hash",
            "RFC 6151 2.1",
            request(algorithm=seq(oid("1.2.840.113549.1.1.4"), b"\5\0")),
        ),
        "signature_md2": (
            "csr.signature-algorithm",
            "RFC 3279 2.2.1",
            request(algorithm=seq(oid("1.2.840.113549.1.1.2"), b"\5\0")),
        ),
        "signature_unknown_algorithm": (
            "csr.signature-algorithm",
            section,
            request(algorithm=seq(oid("1.2.3.4"))),
        ),
        "signature_pss_without_parameters": (
            "csr.signature-algorithm",
            "RFC 4055 3.1",
            request(algorithm=seq(oid("1.2.840.113549.1.1.10"))),
        ),
        "signature_rsa_for_ec_key": (
            "csr.signature",
            section,
            request(algorithm=seq(oid("1.2.840.113549.1.1.11"), b"\5\0")),
        ),
        "signature_ecdsa_with_null": (
            "csr.encoding",
            "RFC 5758 3.2",
            request(algorithm=seq(oid("1.2.840.10045.4.3.2"), b"\5\0")),
        ),
    }


def _attributes() -> dict[str, tuple[str, str, bytes]]:
    section = "RFC 2986 4.1"
    challenge = attribute(CHALLENGE, PASSWORD)
    asks = seq(san(tlv(0x82, b"a.example")))
    return {
        "attribute_unknown": ("accept", section, request(attributes=attribute("1.2.3.4", b"\5\0"))),
        "attribute_two_kinds": (
            "accept",
            section,
            request(
                attributes=b"".join(
                    sorted((challenge, attribute(EXTENSIONS, asks)), key=lambda one: one)
                )
            ),
        ),
        "attribute_twice": (
            "csr.duplicate-attribute",
            section,
            request(attributes=challenge + challenge),
        ),
        "attribute_extension_request_twice": (
            "csr.duplicate-attribute",
            section,
            request(
                attributes=b"".join(
                    sorted(
                        (
                            attribute(EXTENSIONS, asks),
                            attribute(EXTENSIONS, seq(san(tlv(0x82, b"b.example")))),
                        )
                    )
                )
            ),
        ),
        "attribute_both_extension_requests": (
            "csr.duplicate-attribute",
            section,
            request(
                attributes=attribute(MICROSOFT_EXTENSIONS, asks)
                + attribute(EXTENSIONS, seq(san(tlv(0x82, b"another.example.net"))))
            ),
        ),
        "attribute_without_value": (
            "csr.attributes",
            section,
            request(attributes=attribute("1.2.3.4")),
        ),
        "attribute_two_values": (
            "csr.attributes",
            section,
            request(attributes=attribute("1.2.3.4", b"\5\0", integer(1))),
        ),
        "attribute_long_tag": (
            "csr.attributes",
            section,
            request(attributes=attribute("1.2.3.4", b"\x1f\x81\x01\0")),
        ),
        "attribute_thirty_three": (
            "csr.attributes",
            section,
            request(attributes=b"".join(attribute(f"1.2.3.{n}", b"\5\0") for n in range(33))),
        ),
        "attribute_unsorted": (
            "csr.encoding",
            "X.690 11.6",
            request(attributes=attribute("1.2.4", b"\5\0") + attribute("1.2.3", b"\5\0")),
        ),
        "attribute_field_absent": ("csr.encoding", section, request(context=b"")),
        "challenge_utf8": ("accept", "RFC 2985 5.4.1", challenged(utf8("secret"))),
        "challenge_printable": ("accept", "RFC 2985 5.4.1", challenged(tlv(19, b"secret"))),
        "challenge_ia5": ("accept", "RFC 2985 5.4.1", challenged(tlv(22, b"secret"))),
        "challenge_teletex": ("accept", "RFC 2985 5.4.1", challenged(tlv(20, b"secret"))),
        "challenge_bmp": (
            "accept",
            "RFC 2985 5.4.1",
            challenged(tlv(30, "secret".encode("utf-16-be"))),
        ),
        "challenge_universal": (
            "accept",
            "RFC 2985 5.4.1",
            challenged(tlv(28, "secret".encode("utf-32-be"))),
        ),
        "challenge_not_a_string": (
            "csr.challenge-password",
            "RFC 2985 5.4.1",
            challenged(integer(5)),
        ),
        "challenge_bad_utf8": (
            "csr.challenge-password",
            "RFC 2985 5.4.1",
            challenged(tlv(12, b"\xff")),
        ),
        "challenge_bad_printable": (
            "csr.challenge-password",
            "RFC 2985 5.4.1",
            challenged(tlv(19, b"\xe9")),
        ),
        "challenge_lone_surrogate": (
            "csr.challenge-password",
            "RFC 2985 5.4.1",
            challenged(tlv(30, b"\xd8\0")),
        ),
        "challenge_255_characters": (
            "accept",
            "RFC 2985 5.4.1",
            challenged(tlv(30, ("\xe9" * 255).encode("utf-16-be"))),
        ),
        "challenge_256_characters": (
            "csr.challenge-password",
            "RFC 2985 5.4.1",
            challenged(utf8("s" * 256)),
        ),
        "otp_challenge": ("accept", "RFC 7894 3.1", request(attributes=attribute(OTP, PASSWORD))),
        "otp_challenge_not_a_string": (
            "csr.otp-challenge",
            "RFC 7894 3.1",
            request(attributes=attribute(OTP, integer(5))),
        ),
        "identity_linking": (
            "accept",
            "RFC 7894 3.3",
            request(attributes=attribute(LINKING, PASSWORD)),
        ),
        "identity_linking_not_a_string": (
            "csr.est-identity-linking",
            "RFC 7894 3.3",
            request(attributes=attribute(LINKING, b"\x04\1a")),
        ),
        "identity_linking_twice": (
            "csr.duplicate-attribute",
            "RFC 7894 3.3",
            request(attributes=attribute(LINKING, PASSWORD) + attribute(LINKING, PASSWORD)),
        ),
        "identity_linking_beside_challenge": (
            "accept",
            "RFC 7894 3.3",
            request(attributes=challenge + attribute(LINKING, tlv(19, b"link"))),
        ),
    }


def _extensions() -> dict[str, tuple[str, str, bytes]]:
    section, names = "RFC 5280 4.2", "RFC 5280 4.2.1.6"
    long_name = tlv(0xA4, seq(rdn(CN, utf8("x" * 65))))
    return {
        "extension_unknown": ("accept", section, asking(extension("1.2.3.4", b"\5\0"))),
        "extension_microsoft_request": (
            "accept",
            "MS-WCCE 2.2.2.7.7.2",
            request(attributes=attribute(MICROSOFT_EXTENSIONS, seq(san(tlv(0x82, b"a.example"))))),
        ),
        "extension_twice": (
            "csr.duplicate-extension",
            section,
            asking(san(tlv(0x82, b"a.example")), san(tlv(0x82, b"b.example"))),
        ),
        "extension_request_not_a_sequence": (
            "csr.extensions",
            "RFC 2985 5.4.2",
            request(attributes=attribute(EXTENSIONS, integer(1))),
        ),
        "extension_bare_oid": (
            "csr.extensions",
            "RFC 9908 3.2",
            request(attributes=attribute(EXTENSIONS, oid(SAN))),
        ),
        "extension_critical_false": (
            "csr.extensions",
            "X.690 11.5",
            asking(extension("1.2.3.4", b"\5\0", tlv(1, b"\0"))),
        ),
        "extension_critical_one": (
            "csr.extensions",
            "X.690 11.1",
            asking(extension("1.2.3.4", b"\5\0", tlv(1, b"\1"))),
        ),
        "extension_sixty_five": (
            "csr.extensions",
            section,
            asking(*(extension(f"1.2.3.{n}", b"\5\0") for n in range(65))),
        ),
        "extension_key_usage_not_bits": (
            "csr.extensions",
            "RFC 5280 4.2.1.3",
            asking(extension("2.5.29.15", integer(5))),
        ),
        "extension_trailing": (
            "csr.extensions",
            section,
            asking(extension(SAN, seq(tlv(0x82, b"a.example")) + b"\0")),
        ),
        "names_other_name": (
            "accept",
            names,
            named(tlv(0xA0, oid("1.2.3"), tlv(0xA0, utf8("x")))),
        ),
        "names_uri": ("accept", names, named(tlv(0x86, b"urn:dev:mac:0024beffff804ff1"))),
        "names_ip": ("accept", names, named(tlv(0x87, bytes([192, 0, 2, 1])))),
        "names_hundred": (
            "accept",
            names,
            named(*(tlv(0x82, b"h%d.example" % n) for n in range(100))),
        ),
        "names_hundred_and_one": (
            "csr.names",
            names,
            named(*(tlv(0x82, b"h%d.example" % n) for n in range(101))),
        ),
        "names_none": ("csr.names", names, named()),
        "names_nul": ("csr.names", names, named(tlv(0x82, b"good.example\0.evil.example"))),
        "names_space": ("csr.names", names, named(tlv(0x82, b" "))),
        "names_empty_dns": ("csr.names", names, named(tlv(0x82))),
        "names_line_break_in_mail": ("csr.names", names, named(tlv(0x81, b"a@b.example\nc"))),
        "names_space_in_uri": ("csr.names", names, named(tlv(0x86, b"urn:a b"))),
        "names_ip_range": ("csr.names", names, named(tlv(0x87, b"\x0a\0\0\0\xff\0\0\0"))),
        "names_directory_name_long": ("csr.extensions,csr.names", names, named(long_name)),
        "names_ip_three_octets": ("csr.extensions", names, named(tlv(0x87, b"abc"))),
        "names_not_ia5": ("csr.names", names, named(tlv(0x82, b"\xc3\xa9.example"))),
        "names_x400": ("csr.extensions", names, named(tlv(0xA3))),
        "names_edi_party": ("csr.extensions", names, named(tlv(0xA5))),
        "names_unknown_tag": ("csr.extensions", names, named(tlv(0x89, b"x"))),
    }


def requests() -> dict[str, tuple[str, str, bytes]]:
    section = "RFC 2986 4.2"
    return {
        **_subjects(),
        **_keys(),
        **_signatures(),
        **_attributes(),
        **_extensions(),
        "not_a_request": ("csr.encoding", section, seq(integer(1))),
        "version_two": ("csr.encoding", "RFC 2986 4.1", request(version=b"\1")),
        "trailing_octet": ("csr.trailing-bytes", section, GOOD + b"\0"),
        "trailing_inside": ("csr.encoding", section, seq(GOOD[4:], b"\5\0")),
        "cut_short": ("csr.encoding", section, GOOD[:-1]),
        "certificate_shaped": ("csr.encoding", section, seq(seq(tlv(0xA0, integer(2))), b"\5\0")),
    }


def change_subject_name() -> dict[str, tuple[str, str, bytes]]:
    section, refused = "RFC 6402 2.8", "csr.change-subject-name"
    name, names = seq(rdn(CN, utf8("router-2"))), seq(tlv(0x82, b"b.example"))

    def change(*parts: bytes, whole: bytes | None = None) -> bytes:
        value = seq(*parts) if whole is None else whole
        return request(attributes=attribute("1.3.6.1.5.5.7.7.36", value))

    return {
        "subject": ("accept", section, change(name)),
        "alternative_names": ("accept", section, change(names)),
        "both": ("accept", section, change(name, names)),
        "empty_subject": ("accept", section, change(seq())),
        "absent": ("accept", section, request()),
        "nothing": (refused, section, change()),
        "out_of_order": (refused, section, change(names, name)),
        "two_subjects": (refused, section, change(name, name)),
        "three_parts": (refused, section, change(name, names, names)),
        "no_alternative_name": (refused, section, change(name, seq())),
        "mixed_part": (refused, section, change(seq(rdn(CN, utf8("a")), tlv(0x82, b"a.b")))),
        "integer_part": (refused, section, change(integer(1))),
        "no_sequence": (refused, section, change(whole=utf8("router-2"))),
        "subject_with_nul": (refused, section, change(seq(rdn(CN, utf8("a\0b"))))),
        "subject_too_long": (refused, section, change(seq(rdn(CN, utf8("a" * 65))))),
        "name_with_space": (refused, section, change(seq(tlv(0x82, b"a b")))),
        "names_hundred_and_one": (
            refused,
            section,
            change(seq(*(tlv(0x82, b"a%d.example" % number) for number in range(101)))),
        ),
    }


def csrattrs() -> dict[str, tuple[str, str, bytes]]:
    section = "RFC 7030 4.5.2"
    template, extension_template = "1.2.840.113549.1.9.16.2.61", "1.2.840.113549.1.9.16.2.62"
    example = base64.b64decode(
        "MEEGCSqGSIb3DQEJBzASBgcqhkjOPQIBMQcGBSuBBAAiMBYGCSqGSIb3DQEJDjEJ"
        "BgcrBgEBAQEWBggqhkjOPQQDAw=="
    )
    wanted = seq(
        seq(oid(SAN), tlv(4, seq(tlv(0x82, b"www.myServer.com"), tlv(0x87)))),
        seq(oid("2.5.29.37")),
    )
    filled_in = seq(
        integer(0),
        seq(rdn_template(CN), rdn("2.5.4.11", utf8("myDept")), rdn("2.5.4.11", utf8("myGroup"))),
        tlv(0xA0, seq(oid(EC), oid(P256))),
        tlv(0xA1, attribute(extension_template, wanted)),
    )
    rsa_size = seq(
        integer(0),
        tlv(
            0xA0,
            seq(oid(RSA), b"\5\0"),
            tlv(3, b"\0", seq(integer(2**3071), integer(65537))),
        ),
        tlv(0xA1),
    )
    return {
        "rfc7030_example": ("accept", section, example),
        "empty": ("accept", section, seq()),
        "challenge_password": ("accept", section, seq(oid(CHALLENGE))),
        "key_without_values": ("accept", "RFC 9908 3.2", seq(seq(oid("1.3.101.112"), tlv(0x31)))),
        "rsa_size": ("accept", "RFC 9908 3.2", seq(attribute(RSA, integer(4096)))),
        "extension_request": (
            "accept",
            "RFC 9908 3.2",
            seq(attribute(EXTENSIONS, seq(san(tlv(0x82, b"a.example"))))),
        ),
        "template": ("accept", "RFC 9908 3.4", seq(attribute(template, filled_in))),
        "template_rsa_size": ("accept", "RFC 9908 3.4", seq(attribute(template, rsa_size))),
        "not_a_sequence": ("csrattrs.encoding", section, oid(CHALLENGE)),
        "trailing_octet": ("csrattrs.trailing-bytes", section, example + b"\0"),
        "cut_short": ("csrattrs.encoding", section, example[:-1]),
        "integer_item": ("csrattrs.encoding", section, seq(integer(1))),
        "attribute_without_set": ("csrattrs.encoding", section, seq(seq(oid(CHALLENGE)))),
        "attribute_values_not_a_set": (
            "csrattrs.encoding",
            section,
            seq(seq(oid(CHALLENGE), seq(utf8("x")))),
        ),
        "attribute_of_three": (
            "csrattrs.encoding",
            section,
            seq(seq(oid(CHALLENGE), tlv(0x31), b"\5\0")),
        ),
        "oid_cut_short": ("csrattrs.encoding", section, seq(b"\x06\x09\x2a")),
        "sixty_five_items": ("csrattrs.too-many", section, seq(*[oid(CHALLENGE)] * 65)),
        "too_large": ("csrattrs.too-large", section, seq(attribute(CHALLENGE, utf8("x" * 16384)))),
    }


def rdn_template(kind: str) -> bytes:
    return tlv(0x31, seq(oid(kind)))


def certs_only() -> dict[str, tuple[str, str, bytes]]:
    section = "RFC 5652 5.1"
    name = seq(rdn(CN, utf8("a")))
    times = seq(tlv(23, b"250101000000Z"), tlv(23, b"350101000000Z"))

    def certificate(serial_number: int) -> bytes:
        content = seq(
            tlv(0xA0, integer(2)), integer(serial_number), ECDSA_SHA256, name, times, name, spki()
        )
        return seq(content, ECDSA_SHA256, tlv(3, b"\0", sign(content)))

    def message(*certificates: bytes, kind: str = "1.2.840.113549.1.7.2") -> bytes:
        signed = seq(
            integer(1),
            tlv(0x31),
            seq(oid("1.2.840.113549.1.7.1")),
            tlv(0xA0, *certificates) if certificates else b"",
            tlv(0x31),
        )
        return seq(oid(kind), tlv(0xA0, signed))

    one = message(certificate(1))
    inner = one[one.index(oid("1.2.840.113549.1.7.2")) :]
    return {
        "one_certificate": ("accept", section, one),
        "two_certificates": ("accept", section, message(certificate(1), certificate(2))),
        "indefinite_length": ("accept", section, b"\x30\x80" + inner + b"\0\0"),
        "trailing_octet": ("cms.trailing-bytes", section, one + b"\0"),
        "cut_short": ("cms.encoding", section, one[:-1]),
        "no_certificates": ("cms.encoding", section, message()),
        "not_signed_data": ("cms.encoding", section, message(kind="1.2.840.113549.1.7.1")),
        "certificate_is_not_one": ("cms.encoding", section, message(seq(integer(1)))),
        "bare_certificate": ("cms.encoding", section, certificate(1)),
        "too_many": ("cms.too-many", section, message(*(certificate(n) for n in range(101)))),
        "pem": ("cms.encoding", section, pem("PKCS7", one)),
    }


def full_pki_requests() -> dict[str, tuple[str, str, bytes]]:
    return cmc_requests(GOOD, sign)


CODECS = {
    "body": ("rfc8951", "body", bodies),
    "csr": ("rfc2986", "der", requests),
    "csrattrs": ("rfc9908", "der", csrattrs),
    "certs-only": ("rfc5652", "der", certs_only),
    "ocsp": ("rfc6960", "der", ocsp_requests),
    "change-subject-name": ("rfc6402", "der", change_subject_name),
    "cmc": ("rfc5272", "der", full_pki_requests),
}
PUBLISHED = {"rfc9908/rfc7030_example.der": "RFC 7030 4.5.2, as printed"}


def corpus() -> dict[str, bytes]:
    """Return every file of the corpus, the manifest included, by its path beside this script."""
    files: dict[str, bytes] = {}
    manifest = []
    for codec, (folder, suffix, make) in CODECS.items():
        for name, (expect, section, content) in make().items():
            path = f"{folder}/{name}.{suffix}"
            files[path] = content
            manifest.append(
                {
                    "file": path,
                    "codec": codec,
                    "expect": expect.split(","),
                    "section": section,
                    "source": PUBLISHED.get(path, "made for its defect"),
                    "generator": Path(__file__).name,
                }
            )
    files["manifest.json"] = (json.dumps(manifest, indent=1) + "\n").encode()
    return files


def main() -> int:
    files = corpus()
    if "--check" in sys.argv[1:]:
        different = [
            path
            for path, content in files.items()
            if not (HERE / path).is_file() or (HERE / path).read_bytes() != content
        ]
        print("\n".join(different))
        return 1 if different else 0
    for path, content in files.items():
        (HERE / path).parent.mkdir(exist_ok=True)
        (HERE / path).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
