"""OCSP requests named for their defects; `generate_wire` writes them."""

from __future__ import annotations

from der_writer import extension, integer, oid, seq, tlv, utf8

SHA1, SHA256 = "1.3.14.3.2.26", "2.16.840.1.101.3.4.2.1"
NONCE, RESPONSES = "1.3.6.1.5.5.7.48.1.2", "1.3.6.1.5.5.7.48.1.4"
PREFERRED, LOCATOR = "1.3.6.1.5.5.7.48.1.8", "1.3.6.1.5.5.7.48.1.7"
NULL, TRUE = b"\5\0", b"\1\1\xff"
SERIAL = integer(0x1122334455667788)


def cert_id(
    serial: bytes = SERIAL,
    *,
    hashed: str = SHA1,
    size: int = 20,
    parameters: bytes = NULL,
) -> bytes:
    algorithm = seq(oid(hashed), parameters)
    return seq(algorithm, tlv(4, b"\x11" * size), tlv(4, b"\x22" * size), serial)


def one(found: bytes = b"", *extensions: bytes) -> bytes:
    extra = tlv(0xA0, seq(*extensions)) if extensions else b""
    return seq(found or cert_id(), extra)


def request(*requests: bytes, version: bytes = b"", name: bytes = b"", extra: bytes = b"") -> bytes:
    return seq(seq(version, name, seq(*(requests or (one(),))), extra))


def asking(*extensions: bytes) -> bytes:
    return request(extra=tlv(0xA2, seq(*extensions)))


def nonce(size: int) -> bytes:
    return asking(extension(NONCE, tlv(4, b"n" * size)))


def _nonces() -> dict[str, tuple[str, str, bytes]]:
    section = "RFC 9654 2.1"
    once = extension(NONCE, tlv(4, b"n" * 32))
    return {
        "nonce_of_32": ("accept", section, nonce(32)),
        "nonce_of_1": ("accept", section, nonce(1)),
        "nonce_of_128": ("accept", section, nonce(128)),
        "nonce_of_129": ("ocsp.nonce", section, nonce(129)),
        "nonce_empty": ("ocsp.nonce", section, nonce(0)),
        "nonce_without_octets": ("ocsp.nonce", section, asking(extension(NONCE, b""))),
        "nonce_bare": ("accept", "RFC 2560 4.4.1", asking(extension(NONCE, b"n" * 16))),
        "nonce_bare_too_long": ("ocsp.nonce", section, asking(extension(NONCE, b"n" * 129))),
        "nonce_critical": ("accept", section, asking(extension(NONCE, tlv(4, b"n" * 32), TRUE))),
        "nonce_twice": ("ocsp.extensions", section, asking(once, once)),
    }


def _extensions() -> dict[str, tuple[str, str, bytes]]:
    section = "RFC 6960 4.4"
    preferred = seq(seq(seq(oid("1.2.840.10045.4.3.2"))))
    many = [extension(f"1.2.3.{n}", NULL) for n in range(17)]
    return {
        "acceptable_responses": (
            "accept",
            "RFC 6960 4.4.3",
            asking(extension(RESPONSES, seq(oid("1.3.6.1.5.5.7.48.1.1")))),
        ),
        "preferred_algorithms": (
            "accept",
            "RFC 6960 4.4.7.1",
            asking(extension(PREFERRED, preferred)),
        ),
        "extension_unknown": ("accept", section, asking(extension("1.2.3.4", NULL))),
        "extension_critical_unknown": (
            "ocsp.critical-extension",
            section,
            asking(extension("1.2.3.4", NULL, TRUE)),
        ),
        "extension_seventeen": ("ocsp.extensions", section, asking(*many)),
        "service_locator": (
            "accept",
            "RFC 6960 4.4.6",
            request(one(b"", extension(LOCATOR, seq(seq())))),
        ),
        "single_extension_critical": (
            "ocsp.critical-extension",
            section,
            request(one(b"", extension("1.2.3.4", NULL, TRUE))),
        ),
        "extension_not_a_sequence": ("ocsp.encoding", section, request(extra=tlv(0xA2, NULL))),
    }


def _cert_ids() -> dict[str, tuple[str, str, bytes]]:
    section, serial = "RFC 6960 4.1.1", "RFC 5280 4.1.2.2"
    sha256 = cert_id(hashed=SHA256, size=32)
    return {
        "sha1": ("accept", section, request()),
        "sha256": ("accept", "RFC 9654 2.1", request(one(sha256))),
        "hash_without_parameters": ("accept", section, request(one(cert_id(parameters=b"")))),
        "hash_unknown": ("accept", section, request(one(cert_id(hashed="1.2.3.4")))),
        "two_certificates": ("accept", section, request(one(), one(cert_id(integer(2))))),
        "both_hashes": ("accept", section, request(one(), one(sha256))),
        "thirty_two_certificates": ("accept", section, request(*[one()] * 32)),
        "thirty_three_certificates": ("ocsp.too-many", section, request(*[one()] * 33)),
        "no_certificate": ("ocsp.too-many", section, seq(seq(seq()))),
        "serial_zero": ("accept", serial, request(one(cert_id(integer(0))))),
        "serial_negative": ("accept", serial, request(one(cert_id(tlv(2, b"\xfb"))))),
        "serial_of_20_octets": ("accept", serial, request(one(cert_id(integer(2**159 - 1))))),
        "serial_of_21_octets": ("accept", serial, request(one(cert_id(integer(2**160 - 1))))),
        "serial_of_22_octets": (
            "ocsp.serial-number",
            serial,
            request(one(cert_id(integer(2**168)))),
        ),
        "serial_empty": ("ocsp.serial-number", serial, request(one(cert_id(tlv(2))))),
        "serial_not_an_integer": ("ocsp.encoding", serial, request(one(cert_id(utf8("5"))))),
        "cert_id_of_three": ("ocsp.encoding", section, request(one(cert_id(b"")))),
        "cert_id_not_a_sequence": ("ocsp.encoding", section, request(one(integer(1)))),
    }


def ocsp_requests() -> dict[str, tuple[str, str, bytes]]:
    """Return (expectation, section, octets) by the vector's name."""
    section = "RFC 6960 4.1.1"
    good = request()
    signature = seq(seq(oid("1.2.840.10045.4.3.2")), tlv(3, b"\0", b"no signature"))
    name = tlv(0xA1, tlv(0xA4, seq()))
    return {
        **_cert_ids(),
        **_nonces(),
        **_extensions(),
        "version_written_out": ("accept", section, request(version=tlv(0xA0, integer(0)))),
        "version_two": ("ocsp.version", section, request(version=tlv(0xA0, integer(1)))),
        "requestor_name": ("accept", section, request(name=name)),
        "signed": ("accept", "RFC 6960 4.1.2", seq(good[2:], tlv(0xA0, signature))),
        "trailing_octet": ("ocsp.trailing-bytes", section, good + b"\0"),
        "trailing_inside": ("ocsp.encoding", section, seq(good[2:], NULL)),
        "cut_short": ("ocsp.encoding", section, good[:-1]),
        "empty": ("ocsp.encoding", section, b""),
        "empty_sequence": ("ocsp.encoding", section, seq()),
        "indefinite_length": ("ocsp.encoding", section, b"\x30\x80" + good[2:] + b"\0\0"),
        "response_shaped": ("ocsp.encoding", section, seq(tlv(10, b"\1"))),
        "too_large": ("ocsp.too-large", section, nonce(16384)),
    }
