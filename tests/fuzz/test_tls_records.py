"""Whatever bytes arrive in whatever order, the adapter raises nothing but what asyncio expects."""

import asyncio
import datetime as dt
import random
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from est_server.web.tls import ServerTls
from est_server.web.tls_context import server_context

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def _holder():
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 7)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=3650))
        .sign(key, hashes.SHA256())
    )
    return certificate, key


CERTIFICATE, KEY = _holder()
TLS = ServerTls(server_context([CERTIFICATE], KEY, request_client_certificate=True))


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    path = tmp_path_factory.mktemp("client") / "client.pem"
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(key + CERTIFICATE.public_bytes(Encoding.PEM))
    made = {}
    for version in (V12, V13):
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        client.minimum_version = client.maximum_version = version
        client.load_cert_chain(path)
        made[version] = client
    return made


class Server:
    """A connection as its transport drives it, without a socket."""

    def __init__(self):
        self.tls = TLS.connection()
        self.connected = self.failed = False
        self.received = b""

    def receive(self, data):
        """Take bytes from the peer and return the answer; a failure is final."""
        if self.failed or not data:
            return b""
        self.tls.incoming(data)
        try:
            if not self.connected:
                self.connected = self.tls.do_handshake()
            if self.connected:
                self.tls.facts()
                while piece := self.tls.read():
                    self.received += piece
                if piece == b"":
                    self.tls.say_goodbye()
        except ssl.SSLError:
            self.failed = True
        return self.tls.outgoing(1 << 20)


mutations = st.lists(
    st.tuples(
        st.sampled_from(["set", "flip", "drop", "insert", "truncate", "repeat"]),
        st.integers(0, 4000),
        st.binary(min_size=1, max_size=8),
    ),
    min_size=1,
    max_size=4,
)


def _mutated(data, changes):
    for kind, where, what in changes:
        at = where % (len(data) + 1)
        if kind == "set":
            data = data[:at] + what + data[at + len(what) :]
        elif kind == "flip":
            data = data[:at] + bytes(byte ^ what[0] for byte in data[at : at + 1]) + data[at + 1 :]
        elif kind == "drop":
            data = data[:at] + data[at + len(what) :]
        elif kind == "insert":
            data = data[:at] + what + data[at:]
        elif kind == "truncate":
            data = data[:at]
        else:
            data = data[:at] + data[max(0, at - 32) :]
    return data


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=400), max_size=4))
def test_random_bytes(pieces):
    server = Server()
    for piece in pieces:
        server.receive(piece)
    assert not server.connected


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([20, 21, 22, 23, 24, 128]),
    st.sampled_from([b"\x03\x00", b"\x03\x01", b"\x03\x03", b"\x03\x04", b"\xff\xff"]),
    st.one_of(st.integers(0, 0xFFFF), st.none()),
    st.binary(max_size=64),
)
def test_records_of_every_kind(kind, version, length, body):
    announced = len(body) if length is None else length
    server = Server()
    server.receive(bytes([kind]) + version + announced.to_bytes(2, "big") + body)
    assert not server.connected


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("flight", [0, 1, 2])
@settings(max_examples=60, deadline=None)
@given(changes=mutations, cut=st.integers(1, 3000))
def test_a_conversation_with_one_damaged_flight(clients, version, flight, changes, cut):
    """Flight 0 is the ClientHello, 1 carries the certificate, 2 application data."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = clients[version].wrap_bio(incoming, outgoing, server_hostname="localhost")
    server = Server()
    for number in range(5):
        try:
            client.do_handshake()
            client.write(b"a request" * 20)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            break
        said = outgoing.read()
        if number == flight:
            said = _mutated(said, changes)
        for piece in (said[:cut], said[cut:]):
            incoming.write(server.receive(piece))
    assert server.failed or (b"a request" * 20 * 5).startswith(server.received)


@pytest.mark.parametrize("version", [V12, V13])
def test_an_undamaged_conversation(clients, version):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = clients[version].wrap_bio(incoming, outgoing, server_hostname="localhost")
    server = Server()
    while not server.received:
        try:
            client.do_handshake()
            client.write(b"a request")
        except ssl.SSLWantReadError:
            pass
        incoming.write(server.receive(outgoing.read()))
    assert server.received == b"a request"
    assert server.tls.facts().client_chain == (CERTIFICATE.public_bytes(Encoding.DER),)


@pytest.mark.parametrize("version", [V12, V13])
def test_every_truncation_of_a_hello_waits_for_more(clients, version):
    outgoing = ssl.MemoryBIO()
    client = clients[version].wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    for length in range(0, len(hello), 3):
        server = Server()
        assert server.receive(hello[:length]) == b""
        assert not server.failed
    assert Server().receive(hello)


async def test_a_listener_goes_on_after_rubbish(clients):
    """The same over sockets: nothing unhandled reaches the loop, and the next client is served."""
    reported = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, told: reported.append(told))
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    port = sock.getsockname()[1]

    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.data_received = transport.write

    server = await loop.create_server(TLS.over(Echo), sock=sock)
    outgoing = ssl.MemoryBIO()
    client = clients[V12].wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = outgoing.read()
    dice = random.Random(7030)
    said = [hello[: dice.randrange(len(hello))] for _ in range(10)]
    said += [dice.randbytes(dice.randrange(1, 600)) for _ in range(10)]
    said += [_mutated(hello, [("set", dice.randrange(4000), dice.randbytes(3))]) for _ in range(20)]
    said += [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x80\x2e\x01\x03\x01" + bytes(41)]
    for bytes_sent in said:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(bytes_sent)
        writer.write_eof()
        try:
            await asyncio.wait_for(reader.read(), 10)
        except ConnectionResetError:
            continue
        finally:
            writer.close()
    for version in (V12, V13):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=clients[version])
        writer.write(b"still there?")
        assert await asyncio.wait_for(reader.readexactly(12), 10) == b"still there?"
        writer.close()
        await writer.wait_closed()
    server.close()
    await asyncio.sleep(0.05)
    assert reported == []
