"""Whatever arrives at the public listener: no 5xx, no silence, nothing in the log.

Its OCSP requests go through the protocol in front of aiohttp, or past it. Long form: `make fuzz`.
"""

from __future__ import annotations

import base64
from random import Random
from urllib.parse import quote_from_bytes

import pytest
from fuzzing import INPUTS, examples
from hypothesis import given
from hypothesis import strategies as st
from mutations import mutated, seeds
from surface_world import BATCH, Request, Surface, any_octets, request

ASKED = seeds("ocsp")


@pytest.fixture(scope="module")
def surface(new_server, serve, runner, tmp_path_factory):
    made = new_server(tmp_path_factory.mktemp("public") / "s", "--interop")
    with made.config.open("a") as config:
        config.write("limits: {body_timeout: 1s, idle_timeout: 1s}\n")
    with serve(made):
        found = Surface(made, (), "/aia/issuing.cer")
        yield found
        runner.run(found.close())
        assert found.failures() == []
        if INPUTS:
            print(dict(sorted(found.statuses.items())))


def in_the_path(random: Random, der: bytes) -> bytes:
    """Return the target of a GET for OCSP, as clients write it, or nearly."""
    text = base64.b64encode(der)
    match random.randint(0, 5):
        case 0:
            text = quote_from_bytes(text, safe="").encode()
        case 1:
            text = base64.urlsafe_b64encode(der)
        case 2:
            text = text.rstrip(b"=")
        case 3:
            at = random.randint(0, len(text))
            text = (
                text[:at]
                + random.choice((b"/", b"//", b"%2f", b"%", b"%00", b"?", b" "))
                + text[at:]
            )
    return b"/ocsp" + random.choice((b"/", b"/", b"//", b"")) + text


def damaged(random: Random) -> Request:
    """Return an OCSP request made from the vectors; some are left as they are."""
    der = random.choice(ASKED) if random.random() < 0.2 else mutated(random, ASKED)
    if random.random() < 0.5:
        return request(in_the_path(random, der)[:9000].replace(b" ", b"%20"), method=b"GET")
    media = random.choice((b"application/ocsp-request",) * 6 + (b"text/plain", b""))
    chunks = random.choice((0, 0, 0, 3))
    return request(b"/ocsp", der, ((b"Content-Type", media),), chunks=chunks)


def test_ocsp_requests_made_from_the_vectors(surface, runner):
    random = Random(6960)
    for _ in range(max(400, INPUTS // 4) // 400):
        batch = [damaged(random) for _ in range(400)]
        runner.run(surface.ask_all("ocsp", batch))
    runner.run(surface.weigh("ocsp"))


TEXTS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=30).map(
    lambda text: text.encode("latin-1")
)
NAMES = st.sampled_from([b"issuing", b"root", b"nobody", b"..", b"%2e%2e", b"", b"x" * 300]) | TEXTS
ENDINGS = st.sampled_from(
    [
        *(b".crl", b"-delta.crl", b"-0.crl", b"-1.crl", b"-99999999999999999999.crl"),
        *(b"-1-delta.crl", b".set", b".cer", b".CRL", b"", b"/", b".crl/x"),
    ]
)
NUMBERS = st.sampled_from([b"0", b"1", b"-1", b"99999999999999999999", b"1e9", b"", b"%00"]) | TEXTS
TARGETS = st.one_of(
    st.tuples(st.sampled_from([b"/crl/", b"/aia/", b"/crl//", b"/x/"]), NAMES, ENDINGS).map(
        b"".join
    ),
    st.tuples(st.just(b"/revocations?since="), NUMBERS, st.just(b"&limit="), NUMBERS).map(b"".join),
    st.tuples(st.just(b"/revocations?"), TEXTS).map(b"".join),
    st.tuples(st.sampled_from([b"/ocsp", b"/ocsp/", b"/ocsp//", b"/OCSP/"]), TEXTS).map(b"".join),
)
METHODS = st.sampled_from([b"GET"] * 4 + [b"HEAD", b"POST", b"PUT", b"OPTIONS", b"get", b"TRACE"])
HEADERS = st.one_of(
    st.tuples(st.sampled_from([b"If-None-Match", b"If-Modified-Since", b"Range"]), TEXTS),
    st.sampled_from(
        [
            (b"If-None-Match", b"*"),
            (b"If-Modified-Since", b"Thu, 01 Jan 2099 00:00:00 GMT"),
            (b"Accept-Encoding", b"gzip"),
            (b"Accept-Encoding", b"gzip;q=0, identity;q=0"),
            (b"Content-Type", b"application/ocsp-request"),
            (b"Expect", b"100-continue"),
            (b"Connection", b"close"),
            (b"Last-Event-ID", b"x"),
        ]
    ),
)


@st.composite
def requests(draw):
    """Draw a request that is whole, whatever is in it."""
    headers = tuple(draw(st.lists(HEADERS, max_size=4)))
    body = draw(st.just(b"") | st.binary(max_size=100) | st.just(b"A" * 70_000))
    return request(draw(TARGETS), body, headers, draw(METHODS))


def test_any_request(surface, runner):
    @examples(15, 0.15 / BATCH)
    @given(batch=st.lists(requests(), min_size=BATCH, max_size=BATCH))
    def holds(batch):
        runner.run(surface.ask_all("public requests", batch))

    holds()
    runner.run(surface.weigh("public requests"))


FRAGMENTS = st.sampled_from(
    [
        *(b"GET /ocsp/", b"POST /ocsp HTTP/1.1\r\n", b"GET /ocsp/x HTTP/1.1\r\n", b"GET "),
        *(b"HEAD ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/1.1\n", b"\r\n", b"\n", b"\r"),
        *(b" ", b"Host: x\r\n", b"Content-Length: 5\r\n", b"content-length:5\r\n"),
        *(b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n"),
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        *(b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"hello"),
        *(b"Content-Type: application/ocsp-request\r\n", b"Connection: close\r\n", b"X: \x00\r\n"),
        *(b" folded\r\n", b"\x00", b"\xff\xfe", b"A" * 9000, b"H: v\r\n" * 70),
        *(base64.b64encode(asked) for asked in ASKED[:6]),
        *ASKED[:6],
    ]
) | st.binary(max_size=30)  # fmt: skip


def test_any_octets(surface, runner):
    any_octets(runner, surface, "public octets", FRAGMENTS, 0.1)
