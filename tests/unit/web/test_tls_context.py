"""What a context is made of, and what it refuses."""

import asyncio
import ssl

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from tls_peers import Holder, ask, client_context, connected, context, issue, serving

from est_server.web.tls import ServerTls
from est_server.web.tls_context import server_context


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)]
)
async def test_server_keys(key):
    root = issue("root", ca=True)
    holder = issue("localhost", root, key=key, above=(root.certificate,))

    def peer(port):
        with connected(port, client_context()) as tls:
            return tls.getpeercert(binary_form=True)

    async with serving(ServerTls(context(holder))) as served:
        assert await asyncio.to_thread(peer, served.port) == holder.ders[0]


async def test_the_intermediates_are_sent(tmp_path):
    root = issue("root", ca=True)
    middle = issue("middle", root, ca=True)
    server = issue("localhost", middle, above=(middle.certificate,))
    client = client_context()
    client.load_verify_locations(cadata=root.ders[0])
    client.verify_mode = ssl.CERT_REQUIRED
    async with serving(ServerTls(context(server))) as served:
        await asyncio.to_thread(ask, served.port, client)
    with pytest.raises(ssl.SSLCertVerificationError):
        async with serving(ServerTls(context(Holder(server.certificate, server.key)))) as served:
            await asyncio.to_thread(ask, served.port, client)


@pytest.mark.parametrize(
    ("chain", "key"),
    [
        ([], issue("a").key),
        ([issue("a").certificate], issue("b").key),
        ([issue("a").certificate], x25519.X25519PrivateKey.generate()),
        ([issue("a").certificate], ed25519.Ed25519PrivateKey.generate()),
    ],
)
def test_what_does_not_fit_is_refused(chain, key):
    with pytest.raises(ValueError, match=r"TLS can't use|not enough values"):
        server_context(chain, key, request_client_certificate=True)


def test_a_weak_key_is_refused():
    weak = issue("weak", key=rsa.generate_private_key(65537, 1024))
    with pytest.raises(ValueError, match="too small"):
        server_context([weak.certificate], weak.key, request_client_certificate=True)


async def test_a_session_of_one_listener_does_not_resume_on_another():
    client = client_context(ssl.TLSVersion.TLSv1_2)
    async with serving(ServerTls(context())) as one:
        with_session = await asyncio.to_thread(_session, one.port, client)
    async with serving(ServerTls(context())) as two:
        facts = await asyncio.to_thread(ask, two.port, client, session=with_session)
    assert facts["resumed"] is False


def _session(port, client):
    with connected(port, client) as tls:
        return tls.session
