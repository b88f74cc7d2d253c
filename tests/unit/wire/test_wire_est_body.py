import base64
from pathlib import Path

import pytest

from est_server.errors import Malformed
from est_server.wire.est_body import LIMIT, decode_body, encode_body, wraps

VECTORS = Path(__file__).parents[2] / "vectors"
DER = base64.b64decode((VECTORS / "rfc8951/one_line.body").read_bytes())


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("lf_wrapped_at_64", "base64"),
        ("crlf_wrapped_at_76", "base64"),
        ("cr_wrapped", "base64"),
        ("one_line", "base64"),
        ("spaces_and_tabs", "base64"),
        ("byte_order_mark", "base64"),
        ("pem", "pem"),
        ("pem_new_crlf", "pem"),
        ("raw_der", "der"),
    ],
)
def test_each_form_gives_the_same_der_and_its_name(name, form):
    decoded = decode_body((VECTORS / f"rfc8951/{name}.body").read_bytes())
    assert (decoded.der, decoded.form) == (DER, form)


@pytest.mark.parametrize("name", ["pem", "pem_new_crlf", "raw_der"])
def test_the_letter_of_the_rfc_is_base64_only(name):
    with pytest.raises(Malformed) as caught:
        decode_body((VECTORS / f"rfc8951/{name}.body").read_bytes(), lenient=False)
    assert caught.value.rule == "body.form"


def test_base64_needs_no_leniency():
    assert decode_body(base64.encodebytes(DER), lenient=False).der == DER


def test_the_limit_holds_to_the_octet():
    body = b" " * (LIMIT - 4) + b"MAA="
    assert decode_body(body).der == b"\x30\x00"
    with pytest.raises(Malformed) as caught:
        decode_body(b" " + body)
    assert caught.value.rule == "body.too-large"
    with pytest.raises(Malformed) as caught:
        decode_body(b"MAA=", limit=3)
    assert caught.value.rule == "body.too-large"


def test_an_answer_is_one_line_with_its_newline():
    assert encode_body(bytes(100), wrap=False) == base64.b64encode(bytes(100)) + b"\n"


@pytest.mark.parametrize("size", [2, 47, 48, 49, 96, 1000])
def test_a_wrapped_answer_has_lines_of_64_and_only_the_last_is_shorter(size):
    lines = encode_body(bytes(size), wrap=True).split(b"\n")
    assert lines[-1] == b""
    assert all(len(line) == 64 for line in lines[:-2])
    assert 0 < len(lines[-2]) <= 64
    assert base64.b64decode(b"".join(lines)) == bytes(size)


@pytest.mark.parametrize(
    ("user_agent", "short_lines"),
    [
        ("libest 3.2.0", True),
        ("libest", True),
        ("curl/8.5.0 libest", False),
        ("", False),
        (None, False),
    ],
)
def test_only_libest_gets_short_lines(user_agent, short_lines):
    assert wraps(user_agent) is short_lines
