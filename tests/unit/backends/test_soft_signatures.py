"""The soft CA signs what this server makes, small and large."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from backends.soft import SoftAuthority
from est_server.errors import BackendUnavailable
from est_server.pki.authority import make_root
from est_server.ports.ca import CaCertificates

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture(params=["EC-P256", "Ed25519", "ML-DSA-44"])
def made(request):
    root = make_root("Root", request.param, lifetime=timedelta(1), now=NOW)
    return root, SoftAuthority(root.key, CaCertificates(root.certificate, ()))


@pytest.mark.parametrize("size", [1, 1 << 20])
async def test_what_it_signs_verifies(made, size):
    root, soft = made
    assert soft.capabilities.signs_tbs
    text = b"x" * size
    signature = await soft.sign_tbs(text)
    key = root.certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(signature, text, ec.ECDSA(hashes.SHA256()))
    else:
        key.verify(signature, text)


async def test_a_key_that_fails_is_unavailable_and_unhealthy(made, monkeypatch):
    _, soft = made

    def broken(*_):
        raise ValueError("no")

    monkeypatch.setattr("backends.soft.sign_and_check", broken)
    with pytest.raises(BackendUnavailable, match=r"ca\.signature"):
        await soft.sign_tbs(b"x")
    assert not (await soft.health()).ok
