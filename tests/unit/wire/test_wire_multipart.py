import contextlib
import email
import email.policy
from base64 import b64decode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from est_server.errors import Malformed
from est_server.wire.multipart import BOUNDARY, Part, encode_multipart, parse_multipart

TYPE = f"multipart/mixed; boundary={BOUNDARY}"
KEY = Part("application/pkcs8", b"\x30\x82\x01\x00" + bytes(256))
CERTIFICATE = Part("application/pkcs7-mime; smime-type=certs-only", b"\x30\x03\x02\x01\x05")


def test_the_body_is_what_every_reader_of_rfc_2046_finds():
    body = encode_multipart([KEY, CERTIFICATE])
    head = f"MIME-Version: 1.0\r\nContent-Type: {TYPE}\r\n\r\n".encode()
    message = email.message_from_bytes(head + body, policy=email.policy.compat32)
    assert not message.defects
    parts = message.get_payload()
    assert [part["Content-Type"] for part in parts] == [KEY.content_type, CERTIFICATE.content_type]
    assert {part["Content-Transfer-Encoding"] for part in parts} == {"base64"}
    assert [part.get_payload(decode=True) for part in parts] == [KEY.der, CERTIFICATE.der]


def test_each_part_is_headers_an_empty_line_and_one_object_in_short_lines():
    body = encode_multipart([KEY, CERTIFICATE])
    assert body.startswith(f"--{BOUNDARY}\r\nContent-Type: application/pkcs8\r\n".encode())
    assert body.endswith(f"\r\n--{BOUNDARY}--\r\n".encode())
    assert max(map(len, body.split(b"\r\n"))) == 64
    assert b"\n" not in body.replace(b"\r\n", b"")
    first = body.split(b"\r\n\r\n")[1].split(b"\r\n--")[0]
    assert b64decode(first) == KEY.der
    assert BOUNDARY.replace("-", "").isalnum()  # needs no quotes in the header


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_it_is_read_back_whatever_its_line_ends(end, quote):
    body = encode_multipart([KEY, CERTIFICATE]).replace(b"\r\n", end)
    content_type = f"Multipart/Mixed;boundary={quote}{BOUNDARY}{quote}"
    assert parse_multipart(content_type, body) == (KEY, CERTIFICATE)


def test_text_before_and_behind_is_left_alone():
    body = b"preamble\r\n" + encode_multipart([CERTIFICATE]) + b"epilogue"
    assert parse_multipart(TYPE, body) == (CERTIFICATE,)


@pytest.mark.parametrize(
    ("content_type", "body", "rule"),
    [
        ("text/plain", b"", "multipart.type"),
        ("multipart/mixed", b"", "multipart.type"),
        ("multipart/mixed; boundary=", b"", "multipart.type"),
        (TYPE, b"", "multipart.encoding"),
        (TYPE, encode_multipart([KEY])[:-5], "multipart.encoding"),
        (TYPE, f"--{BOUNDARY}\r\nAA==\r\n--{BOUNDARY}--\r\n".encode(), "multipart.encoding"),
        (TYPE, encode_multipart([KEY]).replace(b"Type:", b"Type"), "multipart.encoding"),
        (TYPE, encode_multipart([CERTIFICATE] * 9), "multipart.too-many"),
        (TYPE, encode_multipart([CERTIFICATE]).replace(b"MAMC", b"!!!!"), "body.base64"),
        (TYPE, bytes(262145), "multipart.too-large"),
    ],
)
def test_what_is_no_multipart_is_malformed(content_type, body, rule):
    with pytest.raises(Malformed) as refused:
        parse_multipart(content_type, body)
    assert refused.value.rule == rule


@given(st.text(max_size=80), st.binary(max_size=300), st.integers(0, 400))
def test_no_octets_give_anything_but_parts_or_malformed(text, noise, at):
    good = encode_multipart([KEY, CERTIFICATE])
    for content_type, body in ((text, noise), (TYPE, noise), (TYPE, good[:at] + noise + good[at:])):
        with contextlib.suppress(Malformed):
            assert parse_multipart(content_type, body) is not None
