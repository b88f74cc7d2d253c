"""Certificates, a server over TLS, and clients that share no code with it."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import socket
import ssl
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from est_server.web.tls import ServerTls
from est_server.web.tls_context import server_context

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
BOTH = {"TLSv1.2": V12, "TLSv1.3": V13}


@dataclasses.dataclass(frozen=True)
class Holder:
    """A certificate, its key, and the certificates above it."""

    certificate: x509.Certificate
    key: object
    above: tuple = ()

    @property
    def ders(self):
        return tuple(c.public_bytes(Encoding.DER) for c in (self.certificate, *self.above))

    def pem(self, folder: Path) -> Path:
        path = folder / f"{self.certificate.serial_number:x}.pem"
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        chain = (c.public_bytes(Encoding.PEM) for c in (self.certificate, *self.above))
        path.write_bytes(key + b"".join(chain))
        return path


def name(common_name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def issue(common_name, issuer=None, *, key=None, signer=None, days=3650, ca=False, above=None):
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = name(common_name)
    signer = signer or (issuer.key if issuer else key)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 30 * DAY)
        .not_valid_after(NOW + days * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(common_name)]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return Holder(certificate, key, above or ())


SERVER = issue("localhost")


def context(holder=SERVER, **changes):
    options = {"request_client_certificate": True, **changes}
    return server_context([holder.certificate, *holder.above], holder.key, **options)


@dataclasses.dataclass
class Served:
    port: int
    tls: ServerTls
    reported: list


async def _answer(request):
    if request.method == "POST":
        return web.Response(body=await request.read())
    facts = dataclasses.asdict(request.transport.get_extra_info("ssl_object").facts())
    return web.json_response(facts, dumps=lambda v: json.dumps(v, default=bytes.hex))


@contextlib.asynccontextmanager
async def serving(tls=None, factory=None, **options):
    """Serve on a free port; fail if the loop was told of an exception that nobody handled."""
    tls = tls or ServerTls(context())
    reported = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, told: reported.append(told))
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    http = web.Server(_answer)
    server = await loop.create_server(tls.over(factory or http, **options), sock=sock)
    try:
        yield Served(sock.getsockname()[1], tls, reported)
    finally:
        server.close()
        await http.shutdown(0.1)
        await asyncio.sleep(0.05)
        loop.set_exception_handler(None)
    assert reported == []


def client_context(version=None, certificate=None, *, ciphers="DEFAULT:@SECLEVEL=0"):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.set_ciphers(ciphers)
    if version is not None:
        made.minimum_version = made.maximum_version = version
    if certificate is not None:
        made.load_cert_chain(certificate)
    return made


@contextlib.contextmanager
def connected(port, client, *, session=None, server_hostname="localhost"):
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        client.wrap_socket(plain, server_hostname=server_hostname, session=session) as tls,
    ):
        yield tls


def get_facts(tls):
    """Return the server's view of a connection, with bytes in hex."""
    tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return json.loads(read_body(tls))


def read_body(tls):
    received = b""
    while b"\r\n\r\n" not in received:
        received += _some(tls)
    head, _, body = received.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += _some(tls)
    return body


def _some(tls):
    piece = tls.recv(65536)
    assert piece, "the server closed early"
    return piece


def ask(port, client, **how):
    with connected(port, client, **how) as tls:
        return get_facts(tls)
