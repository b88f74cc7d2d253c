"""What links a request to its connection: whole values, the right attribute, no guess."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from est_server.enrollment.channel_binding import channel_binding
from est_server.ports.tls import TlsFacts
from est_server.wire.pkcs10 import CertificationRequest, parse_csr

UNIQUE, EXPORTED = bytes(range(12)), bytes(range(100, 132))
PLAIN = TlsFacts("TLSv1.2", "", None, False, None, (), None, None)
TLS_12 = replace(PLAIN, tls_unique=UNIQUE)
TLS_13 = replace(PLAIN, version="TLSv1.3", tls_exporter=EXPORTED)


@cache
def unlinked() -> CertificationRequest:
    key = ec.generate_private_key(ec.SECP256R1())
    built = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return parse_csr(built.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))


def outcome(
    tls: TlsFacts, challenge: Any = None, linking: Any = None, meaning: Any = "binding"
) -> str:
    csr = replace(unlinked(), challenge_password=challenge, est_identity_linking=linking)
    return channel_binding(csr, tls, meaning)


def text(value: bytes) -> str:
    return b64encode(value).decode()


@pytest.mark.parametrize(("tls", "value"), [(TLS_12, UNIQUE), (TLS_13, EXPORTED)])
def test_either_attribute_links_and_what_is_wrong_does_not(tls: TlsFacts, value: bytes) -> None:
    right = text(value)
    assert outcome(tls) == "absent"
    assert outcome(tls, right) == outcome(tls, None, right) == "matched"
    for wrong in ("", right[:-1], right + "=", right + "AAAA", right + "\n", right.lower()):
        assert outcome(tls, wrong) == "mismatched", wrong
        assert outcome(tls, None, wrong) == "mismatched", wrong


def test_the_value_of_the_other_version_does_not_link() -> None:
    assert outcome(TLS_13, text(UNIQUE)) == "mismatched"
    assert outcome(TLS_12, text(EXPORTED)) == "mismatched"


def test_a_connection_without_a_binding_checks_nothing_and_believes_nothing() -> None:
    assert outcome(PLAIN) == "absent"
    assert outcome(PLAIN, text(UNIQUE)) == outcome(PLAIN, "") == "unavailable"


def test_the_link_of_rfc_7894_wins_over_a_challenge_password() -> None:
    right = text(UNIQUE)
    assert outcome(TLS_12, "revoke me", right) == "matched"
    assert outcome(TLS_12, right, "wrong") == "mismatched"


def test_a_challenge_password_that_is_a_one_time_password_is_no_link() -> None:
    right = text(UNIQUE)
    assert outcome(TLS_12, right, meaning="otp") == "absent"
    assert outcome(TLS_12, "the password", right, meaning="otp") == "matched"


@given(st.text())
def test_no_text_links_but_the_one(sent: str) -> None:
    assert outcome(TLS_12, sent) == ("matched" if sent == text(UNIQUE) else "mismatched")
