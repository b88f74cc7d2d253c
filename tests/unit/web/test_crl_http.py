"""Revocation lists over HTTP: caches, conditions, gzip."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest
from aiohttp.test_utils import make_mocked_request

from est_server.ports.crl import Extent, PublishedCrl
from est_server.revocation.documents import document
from est_server.web.crl import CrlEndpoint, takes_gzip

NOW = datetime(2026, 11, 24, 12, 0, 30, 500000, tzinfo=UTC)
MADE = NOW.replace(microsecond=0)
HOUR = timedelta(hours=1)
BODY = b"0123456789" * 500


def crl(kind="base", *, at=MADE, lives=24 * HOUR):
    return PublishedCrl("ca", 0, 7, kind, None, at, at + lives, Extent(1), len(BODY), NOW)


class Endpoint:
    def __init__(self, documents, keep=None):
        self.now = NOW
        keep = {("ca", "base"): 8 * HOUR, ("ca", "compact"): HOUR} if keep is None else keep
        self.endpoint = CrlEndpoint(documents, keep, lambda: self.now)

    def get(self, name="ca.crl", method="GET", **headers):
        request = make_mocked_request(method, f"/crl/{name}", headers=headers)
        return self.endpoint.answer(request)


@pytest.fixture
async def endpoint():
    return Endpoint(
        {
            "ca.crl": await document(crl(), BODY),
            "ca-delta.crl": await document(crl("delta", lives=HOUR), BODY[:50]),
        }
    )


def max_age(answer):
    return int(answer.headers["Cache-Control"].partition("max-age=")[2].partition(",")[0])


@pytest.mark.parametrize(
    ("later", "age"),
    [
        (timedelta(0), 8 * 3600 - 1),
        (7 * HOUR, 3600 - 1),
        (8 * HOUR, 1),  # the next one is due
        (24 * HOUR - timedelta(seconds=1), 0),
        (30 * HOUR, 0),
    ],
)
async def test_a_complete_list_is_kept_until_the_next_is_due_and_never_beyond_its_end(
    endpoint, later, age
):
    endpoint.now += later
    answer = endpoint.get()
    assert max_age(answer) == age
    assert max_age(answer) <= max(0, (crl().next_update - endpoint.now).total_seconds())
    expires = parsedate_to_datetime(answer.headers["Expires"])
    assert expires == endpoint.now.replace(microsecond=0) + timedelta(seconds=age)
    assert parsedate_to_datetime(answer.headers["Last-Modified"]) == crl().this_update


async def test_a_delta_is_asked_for_again_each_time(endpoint):
    assert max_age(endpoint.get("ca-delta.crl")) == 1
    alone = Endpoint({"ca.crl": await document(crl(), BODY)}, keep={})
    assert max_age(alone.get()) == 1, "without deltas the complete list may change at any time"


async def test_conditions(endpoint):
    found = endpoint.get()
    tag, modified = found.headers["ETag"], found.headers["Last-Modified"]
    for condition in (
        {"If-None-Match": tag}, {"If-None-Match": f"W/{tag}"}, {"If-None-Match": f'"a", {tag}'},
        {"If-None-Match": "*"}, {"If-Modified-Since": modified},
        {"If-None-Match": tag, "If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
    ):  # fmt: skip
        answer = endpoint.get(**condition)
        assert (answer.status, answer.body) == (304, None), condition
        assert answer.headers["ETag"] == tag
        assert "Cache-Control" in answer.headers
    for condition in (
        {"If-None-Match": '"a"'}, {"If-None-Match": tag.strip('"')},
        {"If-None-Match": '"a"', "If-Modified-Since": modified},
        {"If-Modified-Since": "Tue, 24 Nov 2036 12:00:30 GMT"},  # a clock went back since
        {"If-Modified-Since": "nonsense"},
    ):  # fmt: skip
        assert endpoint.get(**condition).status == 200, condition


async def test_gzip_for_who_takes_it(endpoint):
    plain, packed = endpoint.get(), endpoint.get(**{"Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.body) == plain.body == BODY
    assert packed.headers["Content-Encoding"] == "gzip"
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    assert plain.headers["ETag"] != packed.headers["ETag"]
    again = endpoint.get(**{"If-None-Match": packed.headers["ETag"]})
    assert again.status == 200, "the other form is another thing"
    small = endpoint.get("ca-delta.crl", **{"Accept-Encoding": "gzip"})
    assert "Content-Encoding" not in small.headers
    assert "Vary" not in small.headers


@pytest.mark.parametrize(
    ("header", "takes"),
    [
        ("gzip", True), ("deflate, GZIP;q=0.5", True), ("x-gzip", True), ("gzip;q=1", True),
        ("", False), ("identity", False), ("gzip;q=0", False), ("gzip; q=0.000", False),
        ("*", False), ("gzipped", False), ("gzip;q=0.01", True),
    ],
)  # fmt: skip
def test_accept_encoding(header, takes):
    assert takes_gzip({"Accept-Encoding": header}) is takes


async def test_what_is_not_there_and_what_is_not_done(endpoint):
    for name in ("", "x.crl", "ca.crl/", "../ca.crl", "ca.CRL", "%63a.crl/x"):
        assert endpoint.get(name).status == 404
    for method in ("POST", "DELETE", "PUT"):
        answer = endpoint.get(method=method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert endpoint.get(method="HEAD").status == 200


async def test_a_large_list_is_packed_in_a_thread_and_noise_is_not():
    large = bytes(range(256)) * 2000
    assert gzip.decompress((await document(crl(), large)).compressed) == large
    import random

    noise = random.Random(1).randbytes(5000)
    assert (await document(crl(), noise)).compressed is None
