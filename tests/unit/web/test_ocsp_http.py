"""The path of a GET, the header fields, and what a client may keep."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from est_server.revocation.ocsp_memory import OcspAnswer
from est_server.web.ocsp import _unchanged, header_fields, is_ocsp, request_in_path

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
# base64 with +, /, // and padding
DER = b"\x30\x0b" + base64.b64decode("+/+//z8/Pj4+/w==") + b"?"
TEXT = base64.b64encode(DER).decode()


def test_the_sample_needs_escapes():
    assert {"+", "/", "="} <= set(TEXT)
    assert "//" in TEXT


@pytest.mark.parametrize(
    "path",
    [
        f"/ocsp/{quote(TEXT, safe='')}",
        f"/ocsp/{TEXT}",
        f"/ocsp/{quote(TEXT, safe='/')}",
        f"/ocsp/{TEXT.rstrip('=')}",
        f"/ocsp//{TEXT}",
        f"//ocsp/{TEXT}",
        f"//ocsp//{quote(TEXT, safe='')}",
        f"/ocsp/{TEXT[:8]}%0A{TEXT[8:]}%0d%0a",
        f"/ocsp/{TEXT.replace('+', '%2b').replace('/', '%2f').replace('=', '%3d')}",
        f"http://ocsp.example.net/ocsp/{TEXT}",
    ],
)
def test_every_way_to_write_a_path(path):
    assert is_ocsp(path)
    assert request_in_path(path) == DER


@pytest.mark.parametrize(
    "path", ["/ocsp", "/ocsp/", "/ocsp/?", "/ocsp/M", "/ocsp/MF*w", "/ocsp/MF-_", "/ocsp/MA==MA"]
)
def test_what_is_no_base64_is_no_request(path):
    assert is_ocsp(path)
    assert not request_in_path(path)


@pytest.mark.parametrize("path", ["/", "/ocspx", "/ocsp.crl", "/x/ocsp", "/crl/ocsp", "*", ""])
def test_other_paths_are_others(path):
    assert not is_ocsp(path)


@given(st.text() | st.binary().map(lambda octets: octets.decode("latin-1")))
def test_any_path_is_answered(text):
    found = request_in_path("/ocsp/" + text)
    assert found is None or isinstance(found, bytes)


@given(st.binary(min_size=1, max_size=200).map(lambda content: b"\x30" + content), st.booleans())
def test_any_request_comes_back(der, escaped):
    text = base64.b64encode(der).decode()
    assert request_in_path("/ocsp/" + (quote(text, safe="") if escaped else text)) == der


def test_what_may_be_kept_says_how_long():
    answer = OcspAnswer(b"der", "good", NOW, NOW + timedelta(hours=1))
    fields = header_fields(answer, NOW + timedelta(seconds=600, microseconds=9))
    assert fields["Last-Modified"] == "Tue, 24 Nov 2026 12:00:00 GMT"
    assert fields["Expires"] == "Tue, 24 Nov 2026 13:00:00 GMT"
    assert fields["Date"] == "Tue, 24 Nov 2026 12:10:00 GMT"
    assert fields["Cache-Control"] == "max-age=2999, public, no-transform, must-revalidate"
    assert len(fields["ETag"]) == 42
    assert header_fields(answer, NOW + timedelta(hours=2))["Cache-Control"].startswith("max-age=0,")


def test_what_may_not_be_kept_says_so():
    fields = header_fields(OcspAnswer(b"der", "try_later"), NOW)
    assert fields["Cache-Control"] == "no-store"
    assert not {"ETag", "Expires", "Last-Modified"} & set(fields)
    assert not _unchanged({"If-None-Match": "*"}, fields)


@pytest.mark.parametrize(
    ("asked", "same"),
    [
        ({}, False),
        ({"If-None-Match": "TAG"}, True),
        ({"If-None-Match": 'W/TAG, "x"'}, True),
        ({"If-None-Match": "*"}, True),
        ({"If-None-Match": '"x"'}, False),
        ({"If-None-Match": '"x"', "If-Modified-Since": "Tue, 24 Nov 2026 12:00:00 GMT"}, False),
        ({"If-Modified-Since": "Tue, 24 Nov 2026 12:00:00 GMT"}, True),
        ({"If-Modified-Since": "Tue, 24 Nov 2026 11:59:59 GMT"}, False),
        ({"If-Modified-Since": "yesterday"}, False),
        ({"If-Modified-Since": "Tue, 99 Nov 2026 12:00:00 GMT"}, False),
        ({"If-Modified-Since": ""}, False),
    ],
)
def test_a_client_that_has_it_gets_a_304(asked, same):
    fields = header_fields(OcspAnswer(b"der", "good", NOW, NOW + timedelta(hours=1)), NOW)
    asked = {name: value.replace("TAG", fields["ETag"]) for name, value in asked.items()}
    assert _unchanged(asked, fields) is same
