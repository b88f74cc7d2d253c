"""Whatever arrives over TLS: no 5xx, no silence, nothing in the log. Long form: `make fuzz`."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from device_world import csr, issued, post, session
from fuzzing import INPUTS, examples
from hypothesis import given
from hypothesis import strategies as st
from mutations import as_body, mutated, seeds
from surface_world import BATCH, Request, Surface, any_octets, basic, request

WHOLE = seeds("csr")
CMC = seeds("cmc")
DAMAGED = WHOLE + seeds("csrattrs") + seeds("certs-only") + CMC
BODIES = seeds("body")
USER = "tester"
PROFILE = """\
version: 1
labels: [{name}]
ca: issuing
registration: none
authenticate: [{{credential: {{}}}}]
reenroll: {{key: new-or-same}}
subject: {{as_requested: true}}
subject_alternative_names: {{as_requested: true}}
key: {{allow: [EC-P256, EC-P384, RSA-2048+]}}
certificate: {{lifetime: 7d, key_usage: [digitalSignature], extended_key_usage: [clientAuth]}}
full_cmc: true
"""
ENROLLMENTS = ("simpleenroll", "simpleenroll", "simplereenroll")
OTHERS = {  # each with a user of its name
    "review": "approval: {mode: manual, retry_after: 60s}\n",
    "keys": "server_key_generation: {algorithms: [EC-P256], encryption: optional}\n",
}


@pytest.fixture(scope="module")
def server(new_server, serve, tmp_path_factory):
    """Serve the lax profile without a label, others under theirs, with short timeouts."""
    made = new_server(tmp_path_factory.mktemp("surface") / "s", "--interop")
    with made.config.open("a") as config:
        config.write(
            "limits: {body_timeout: 1s, idle_timeout: 1s, attempts_per_user: 999999/1s,"
            " attempts_per_address: 999999/1s}\n"
        )
    (made.directory / "profiles" / "strict.yaml").write_text(
        "version: 1\nlabels: [strict]\nca: issuing\nregistration: registered\n"
        "authenticate: [{credential: {}}]\nreenroll: {window: 1d}\n"
        "subject: {common_name: {from: device.id}}\nkey: {allow: [EC-P256]}\n"
        "certificate: {lifetime: 7d, key_usage: [digitalSignature],"
        " extended_key_usage: [clientAuth]}\n"
    )
    for name, more in OTHERS.items():
        profile = made.directory / "profiles" / f"{name}.yaml"
        profile.write_text(PROFILE.format(name=name) + more)
    with serve(made):
        yield made


@pytest.fixture(scope="module")
def users(server):
    """Who may ask, by label: user names and passwords."""
    tester = server.credential(USER, "interop")
    others = {name: server.credential(name, name) for name in OTHERS}
    return {"": tester, "interop": tester, "strict": tester, **others}


@pytest.fixture(scope="module")
def surface(server, users, runner, tmp_path_factory):
    """Connections of both TLS versions, with the server's own certificate and without."""
    bundle = tmp_path_factory.mktemp("own") / "own.pem"

    async def enroll():
        key = ec.generate_private_key(ec.SECP256R1())
        async with session(server, users[""]) as client:
            status, body, _ = await post(client, server, csr("own", key))
        assert status == 200
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        bundle.write_bytes(private + issued(body).public_bytes(Encoding.PEM))

    runner.run(enroll())
    contexts = []
    for own in (True, False):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = ssl.create_default_context(cafile=server.root)
            context.minimum_version = context.maximum_version = version
            if own:
                context.load_cert_chain(bundle)
            contexts.append(context)
    found = Surface(server, contexts, "/.well-known/est/cacerts")
    yield found
    runner.run(found.close())
    assert found.failures() == []
    if INPUTS:
        print(dict(sorted(found.statuses.items())))


def damaged(random: Random, users: dict[str, tuple[str, str]]) -> Request:
    """Return an enrollment whose body is made from the vectors; some are left as they are."""
    operation = random.choice((*ENROLLMENTS, *ENROLLMENTS, "fullcmc", "serverkeygen"))
    found = CMC if operation == "fullcmc" and random.random() < 0.8 else DAMAGED
    label = random.choice(("", "", "interop", "strict", "review", "keys"))
    if operation == "serverkeygen":
        label = "keys"
    der = random.choice(WHOLE) if random.random() < 0.2 else mutated(random, found)
    body = mutated(random, BODIES) if random.random() < 0.2 else as_body(random, der)
    media = b"pkcs7-mime; smime-type=CMC-request" if operation == "fullcmc" else b"pkcs10"
    headers = (
        (b"Content-Type", b"application/" + media),
        (b"Authorization", basic(*users[label])),
    )
    target = "/.well-known/est/" + "/".join(filter(None, (label, operation)))
    return request(target.encode(), body, headers, chunks=random.choice((0, 0, 0, 3)))


def test_bodies_made_from_the_vectors(surface, users, runner):
    random = Random(7030)
    for _ in range(max(400, INPUTS // 2) // 400):
        batch = [damaged(random, users) for _ in range(400)]
        runner.run(surface.ask_all("http bodies", batch))
    runner.run(surface.weigh("http bodies"))


TOKENS = st.text("abcXYZ-_.!0%", min_size=1, max_size=12).map(str.encode)
TEXTS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=40).map(
    lambda text: text.encode("latin-1")
)
PREFIXES = st.sampled_from(
    [b"/.well-known/est/"] * 6
    + [b"/interop/.well-known/est/", b"/.well-known/est//", b"/.well-known/", b"/.WELL-KNOWN/EST/"]
    + [b"//.well-known/est/", b"/", b"https://localhost/.well-known/est/", b"/x/y/.well-known/est/"]
)
LABELS = st.one_of(
    st.sampled_from(
        [b"", b"", b"interop/", b"strict/", b"default/", b"../", b"%2e%2e%2f", b"%00/"]
    ),
    st.sampled_from([b"review/", b"keys/"]),
    st.sampled_from([b"%ff%fe/", b"%/", b"a/b/", b"x" * 200 + b"/", b"%C3%A9/", b"\xc3\xa9/"]),
    TEXTS.map(lambda text: text + b"/"),
)
OPERATIONS = st.one_of(
    st.sampled_from([b"cacerts", b"csrattrs", b"simpleenroll", b"simplereenroll", b"fullcmc"]),
    st.sampled_from([b"serverkeygen", b"nonce", b"", b"cacerts/", b"CACERTS", b"simpleenroll/x"]),
    TOKENS,
)
QUERIES = st.sampled_from(
    [b"", b"", b"", b"?", b"?a=b&a=c", b"#x", b";x=1", b"?%", b"?" + b"q" * 999]
)
METHODS = st.one_of(
    st.sampled_from([b"POST"] * 4 + [b"GET"] * 2 + [b"HEAD", b"PUT", b"DELETE", b"OPTIONS"]),
    st.sampled_from([b"PATCH", b"TRACE", b"PROPFIND", b"get", b"M-SEARCH"]),
)
HEADERS = st.one_of(
    st.tuples(
        st.just(b"Content-Type"),
        st.sampled_from([b"application/pkcs10", b"Application/PKCS10; charset=x", b"text/plain"])
        | st.sampled_from([b"", b";;;", b"multipart/form-data; boundary=x", b"application/x-www"])
        | TEXTS,
    ),
    st.tuples(
        st.just(b"Authorization"),
        st.sampled_from([b"Basic", b"Basic ", b"Basic Og==", b"Basic !!!", b"Bearer x", b"basic ="])
        | TEXTS
        | TEXTS.map(lambda text: b"Basic " + base64.b64encode(text)),
    ),
    st.sampled_from(
        [
            (b"Expect", b"100-continue"), (b"Expect", b"anything"), (b"Connection", b"close"),
            (b"Connection", b"keep-alive"), (b"Content-Encoding", b"gzip"),
            (b"Content-Encoding", b"zstd"), (b"User-Agent", b"libest 3.2"),
            (b"Accept-Encoding", b"gzip, br"), (b"Range", b"bytes=0-1"), (b"Host", b"other"),
            (b"If-None-Match", b"*"), (b"Cookie", b"a=b; c"), (b"Accept", b"application/json"),
            (b"Content-Transfer-Encoding", b"binary"), (b"X-HTTP-Method-Override", b"GET"),
            (b"If-Modified-Since", b"Thu, 32 Foo"), (b"Forwarded", b"for=1;"), (b"Date", b"x"),
        ]
    ),
    st.tuples(TOKENS, TEXTS),
)  # fmt: skip
BODY = st.one_of(
    st.just(b""),
    st.randoms(use_true_random=False).map(lambda random: as_body(random, mutated(random, DAMAGED))),
    st.binary(max_size=200),
    st.sampled_from([b"A" * 70_000, b"-----BEGIN CERTIFICATE REQUEST-----\n" * 100]),
)


@st.composite
def requests(draw, users):
    """Draw a request that is whole, whatever is in it."""
    target = draw(PREFIXES) + draw(LABELS) + draw(OPERATIONS) + draw(QUERIES)
    headers = tuple(draw(st.lists(HEADERS, max_size=5)))
    if draw(st.booleans()):
        headers += (
            (b"Content-Type", b"application/pkcs10"),
            (b"Authorization", basic(*users[""])),
        )
    return request(
        target, draw(BODY), headers, draw(METHODS), draw(st.sampled_from((0, 0, 0, 1, 7)))
    )


def test_any_request(surface, users, runner):
    @examples(15, 0.3 / BATCH)
    @given(batch=st.lists(requests(users), min_size=BATCH, max_size=BATCH))
    def holds(batch):
        runner.run(surface.ask_all("http requests", batch))

    holds()
    runner.run(surface.weigh("http requests"))


FRAGMENTS = st.sampled_from(
    [
        *(b"GET ", b"POST ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT x:1 HTTP/1.1\r\n"),
        *(b"/.well-known/est/cacerts", b"/.well-known/est/simpleenroll", b" HTTP/1.1\r\n"),
        *(b" HTTP/1.0\r\n", b" HTTP/9.9\r\n", b" HTTP/1.1\n", b"\r\n", b"\n", b"\r", b" ", b"\t"),
        *(b"Host: x\r\n", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n"),
        *(b"Content-Length: 99999999999999999999\r\n", b"Content-Length: 0x5\r\n"),
        *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n"),
        *(b"Transfer-Encoding: chunked, chunked\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"-1\r\n"),
        *(b"fffffffffffffffff\r\n", b"5;x=y\r\nhel", b"Connection: upgrade\r\n"),
        *(b"Upgrade: websocket\r\n", b"Upgrade: h2c\r\n", b"Sec-WebSocket-Key: x\r\n"),
        *(b"Expect: 100-continue\r\n", b"Content-Type: application/pkcs10\r\n", b"X: \x00\r\n"),
        *(b": empty\r\n", b"X : y\r\n", b" folded\r\n", b"\x00", b"\xff\xfe", b"\x16\x03\x01"),
        *(b"A" * 9000, b"H: v\r\n" * 70, b"Authorization: Basic Og==\r\n", b"\x80" * 50),
    ]
) | st.binary(max_size=30)  # fmt: skip


def test_any_octets(surface, runner):
    any_octets(runner, surface, "http octets", FRAGMENTS, 0.2)


def test_octets_that_are_not_tls(surface, server, runner):
    host, _, port = server.est.rpartition(":")

    async def say(octets):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(octets)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(30):
                await reader.read()
        writer.transport.abort()

    async def say_all():
        random = Random(8446)
        for _ in range(max(40, INPUTS // 100) // 20):
            await asyncio.gather(
                *(
                    say(random.choice((b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01"))
                        + random.randbytes(random.randint(0, 600)))
                    for _ in range(20)
                )
            )  # fmt: skip
        await surface.ask_all("not tls", [request(b"/.well-known/est/cacerts", method=b"GET")] * 16)

    runner.run(say_all())
