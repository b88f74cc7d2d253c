"""Another EST server as the CA: what is learned of it, and what is kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtensionOID
from fake_est import FakeEst, answering

from backends.est_upstream import EstUpstreamBackend, EstUpstreamSettings
from est_server.errors import BackendUnavailable
from est_server.pki.authority import make_issuing, make_next_root
from est_server.pki.keys import generate_key
from est_server.ports.ca import BackendContext

NOW = datetime.now(UTC)  # noqa: TID251 - certificates that are valid now
YEAR = timedelta(days=365)


@pytest.fixture
def fake(tmp_path):
    (tmp_path / "password").write_text("secret")
    return FakeEst(tmp_path)


def opened(fake, port):
    settings = EstUpstreamSettings.model_validate(
        {
            "url": f"https://127.0.0.1:{port}",
            "trust": ["root.pem"],
            "credential": {"username": "ra", "password": "file:password"},
            "timeout": "5s",
        }
    )
    return EstUpstreamBackend().open(settings, BackendContext("up", fake.folder, lambda: NOW))


async def test_what_can_not_be_read_replaces_nothing(fake):
    with answering(fake) as port:
        authority = opened(fake, port)
        await authority.connect()
        known = authority.certificates()
        assert (known.issuer, *known.chain) == tuple(fake.cacerts)
        fake.cacerts = []
        assert not (await authority.health()).ok
        assert authority.certificates() == known
        await authority.close()


async def test_a_certificate_with_a_name_that_nobody_reads_is_no_issuer(fake):
    """An x400Address in subjectAltName: cryptography has an exception of its own for it."""
    name = ExtensionOID.SUBJECT_ALTERNATIVE_NAME
    x400 = x509.UnrecognizedExtension(name, bytes.fromhex("3004a3023000"))
    with answering(fake) as port:
        authority = opened(fake, port)
        await authority.connect()
        known = authority.certificates()
        key, issuer = generate_key("EC-P256"), fake.cacerts[0]
        stranger = (
            x509.CertificateBuilder(issuer.issuer, issuer.subject, key.public_key(), 1, NOW, NOW)
            .add_extension(x400, critical=False)
            .sign(key, SHA256())
        )
        fake.cacerts = [stranger, *fake.cacerts]
        assert (await authority.health()).ok
        found = authority.certificates()
        assert (found.issuer, *found.chain) == (known.issuer, *known.chain)
        await authority.close()


async def test_a_restart_needs_no_upstream(fake):
    with answering(fake) as port:
        first = opened(fake, port)
        await first.connect()
        await first.close()
    second = opened(fake, port)
    await second.connect()
    assert second.certificates() == first.certificates()
    assert not (await second.health()).ok
    await second.close()


async def test_nothing_known_and_nobody_there(fake):
    authority = opened(fake, 1)
    with pytest.raises(BackendUnavailable) as caught:
        await authority.connect()
    assert caught.value.nothing_issued
    await authority.close()


async def test_a_new_root_is_trusted_for_tls_too(fake):
    old = fake.issuer.root.certificate
    root = make_next_root(old, "EC-P256", lifetime=YEAR, now=NOW)
    issuing = make_issuing(root, "Next issuing", "EC-P256", lifetime=YEAR, now=NOW)
    with answering(fake) as port:
        authority = opened(fake, port)
        await authority.connect()
        before = fake.cacerts
        fake.cacerts = [*before, root.certificate, issuing.certificate]
        assert (await authority.health()).ok
        found = authority.certificates()
        assert (found.issuer, found.chain) == (issuing.certificate, (root.certificate,))
        assert {*found.others} == {*before}, "what the old one signed is still good"
    object.__setattr__(fake.issuer, "root", root)
    with answering(fake, port):  # its TLS certificate is under the new root from now on
        assert (await authority.health()).ok
    await authority.close()
