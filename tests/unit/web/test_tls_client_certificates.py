"""A client certificate is a fact for others to judge; only its key's possession is checked here."""

import asyncio
import socket
import ssl

import pytest
from asn1crypto import keys
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL
from tls_peers import BOTH, V12, Holder, ask, client_context, context, issue, serving

from est_server.web.tls import ServerTls

CA = issue("a CA that nobody knows", ca=True)
RSA_CA = issue("an RSA CA", ca=True, key=rsa.generate_private_key(65537, 2048))
OFFERED = {
    "self-signed": issue("self-signed"),
    "expired": issue("expired", CA, days=-1),
    "unknown CA, with its certificate": issue("unknown", CA, above=(CA.certificate,)),
    "unknown CA, alone": issue("alone", CA),
    "not signed by its issuer": issue("forged", CA, signer=issue("x").key, above=(CA.certificate,)),
    "RSA signature of another key": issue(
        "forged", RSA_CA, signer=rsa.generate_private_key(65537, 2048), above=(RSA_CA.certificate,)
    ),
    "a CA": CA,
    "chain in disorder": issue("disorder", above=(RSA_CA.certificate, CA.certificate)),
    "RSA of 1024 bits": issue("weak", key=rsa.generate_private_key(65537, 1024)),
    "P-521": issue("P-521", key=ec.generate_private_key(ec.SECP521R1())),
}


@pytest.mark.parametrize("version", BOTH)
@pytest.mark.parametrize("offered", OFFERED)
async def test_every_certificate_reaches_the_handler_as_offered(offered, version, tmp_path):
    device = OFFERED[offered]
    client = client_context(BOTH[version], device.pem(tmp_path))
    async with serving() as served:
        facts = await asyncio.to_thread(ask, served.port, client)
    assert facts["client_chain"] == [der.hex() for der in device.ders]


async def test_no_certificate_is_asked_for_where_none_is_wanted(tmp_path):
    client = client_context(certificate=OFFERED["self-signed"].pem(tmp_path))
    async with serving(ServerTls(context(request_client_certificate=False))) as served:
        facts = await asyncio.to_thread(ask, served.port, client)
    assert facts["client_chain"] == []


def _pretender(victim: Holder, own: ec.EllipticCurvePrivateKey, folder):
    """Return a PEM with the victim's certificate and a key that signs with another scalar."""
    point = victim.key.public_key().public_numbers()
    sec1 = keys.ECPrivateKey(
        {
            "version": "ecPrivkeyVer1",
            "private_key": own.private_numbers().private_value,
            "parameters": keys.ECDomainParameters(name="named", value="secp256r1"),
            "public_key": keys.ECPointBitString.from_coords(point.x, point.y),
        }
    )
    path = folder / "pretender.pem"
    encoded = ssl.DER_cert_to_PEM_cert(sec1.dump()).replace("CERTIFICATE", "EC PRIVATE KEY")
    path.write_bytes(encoded.encode() + victim.certificate.public_bytes(Encoding.PEM))
    return path


@pytest.mark.parametrize("version", BOTH)
async def test_a_certificate_without_its_key_is_refused(version, tmp_path):
    victim = issue("victim")
    honest = client_context(BOTH[version], _pretender(victim, victim.key, tmp_path))
    forged = _pretender(victim, ec.generate_private_key(ec.SECP256R1()), tmp_path)
    async with serving() as served:
        facts = await asyncio.to_thread(ask, served.port, honest)
        assert facts["client_chain"] == [victim.ders[0].hex()]
        with pytest.raises(ssl.SSLError, match=r"decrypt error|bad signature"):
            await asyncio.to_thread(ask, served.port, client_context(BOTH[version], forged))
        await asyncio.to_thread(ask, served.port, honest)


def _handshake_with(port, client, change):
    """Do a handshake in memory, with what the client says passed through `change`."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = client.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        while True:
            try:
                peer.do_handshake()
            except ssl.SSLWantReadError:
                pass
            else:
                return
            plain.sendall(change(outgoing.read()))
            piece = plain.recv(65536)
            if not piece:
                raise ConnectionResetError
            incoming.write(piece)


GARBAGE = {
    "zeroes": lambda der: bytes(len(der)),
    "ones": lambda der: b"\xff" * len(der),
    "an endless length": lambda der: b"\x30\x80" + der[2:],
    "not a certificate": lambda der: b"\x04" + der[1:],
    "a version that is none": lambda der: der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x09"),
    "an unknown key algorithm": lambda der: der.replace(
        bytes.fromhex("06072a8648ce3d0201"), bytes.fromhex("06072a8648ce3d0277")
    ),
    "a point off the curve": lambda der: der.replace(b"\x03\x42\x00\x04", b"\x03\x42\x00\x05"),
}


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_a_certificate_that_is_none_ends_the_handshake_with_an_alert(garbage, tmp_path):
    device = OFFERED["self-signed"]
    der = device.ders[0]
    changed = GARBAGE[garbage](der).ljust(len(der), b"\0")[: len(der)]
    assert changed != der
    client = client_context(V12, device.pem(tmp_path))
    async with serving() as served:
        with pytest.raises(ssl.SSLError, match="alert"):
            await asyncio.to_thread(
                _handshake_with, served.port, client, lambda said: said.replace(der, changed)
            )
        facts = await asyncio.to_thread(ask, served.port, client)
    assert facts["client_chain"] == [der.hex()]


async def test_a_certificate_that_only_openssl_reads_is_passed_on(tmp_path):
    """A negative serial number: OpenSSL takes it, cryptography does not; nobody here parses it."""
    device = issue("negative", key=ec.generate_private_key(ec.SECP256R1()))
    der = device.ders[0]
    at = der.index(b"\xa0\x03\x02\x01\x02") + 5
    assert der[at] == 2
    length = der[at + 1]
    negative = der[: at + 2] + b"\x80" + b"\1" * (length - 1) + der[at + 2 + length :]
    path = tmp_path / "negative.pem"
    key = device.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(key + ssl.DER_cert_to_PEM_cert(negative).encode())
    async with serving() as served:
        facts = await asyncio.to_thread(ask, served.port, client_context(V12, path))
    assert facts["client_chain"] == [negative.hex()]


async def test_a_chain_over_the_limit_ends_the_handshake(tmp_path):
    filler = [issue(f"filler {n}", CA, key=CA.key).certificate for n in range(400)]
    device = issue("long", CA, above=tuple(filler))
    assert sum(map(len, device.ders)) > 100 * 1024
    async with serving() as served:
        with pytest.raises((ssl.SSLError, OSError)):
            await asyncio.to_thread(ask, served.port, client_context(V12, device.pem(tmp_path)))
        await asyncio.to_thread(ask, served.port, client_context(V12))


async def test_the_names_of_the_acceptable_issuers_are_a_hint(tmp_path):
    hinted = ServerTls(context(acceptable_issuers=[CA.certificate]))
    stranger = issue("stranger")

    def names(port):
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            plain.setblocking(True)
            peer = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), plain)
            peer.set_connect_state()
            peer.do_handshake()
            return peer.get_client_ca_list(as_cryptography=True)

    async with serving(hinted) as served:
        assert await asyncio.to_thread(names, served.port) == [CA.certificate.subject]
        client = client_context(V12, stranger.pem(tmp_path))
        facts = await asyncio.to_thread(ask, served.port, client)
    assert facts["client_chain"] == [stranger.ders[0].hex()]
