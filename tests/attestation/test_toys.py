"""A verifier of somebody else's is found, set up and used, over real TLS."""

from __future__ import annotations

from asker import issued
from attestation_world import nonce_of
from toy import toy_csr

from interop.conformance.asking import base64


def test_a_device_with_good_evidence_gets_a_certificate(toys):
    with toys.connect() as connection:
        nonce = nonce_of(toys.ask("nonce", on=connection))
        answer = toys.ask("simpleenroll", base64(toy_csr(nonce)), on=connection)
        assert answer.status == 200, answer.body
        assert issued(answer).subject.rfc4514_string() == "CN=device-1"
