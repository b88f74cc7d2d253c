"""What a ChangeSubjectName attribute asks for (RFC 6402 2.8)."""

from pathlib import Path

import pytest
from cryptography import x509

from est_server.wire.change_subject_name import change_subject_name
from est_server.wire.pkcs10 import parse_csr

VECTORS = Path(__file__).parents[2] / "vectors" / "rfc6402"
B = (x509.DNSName("b.example"),)


@pytest.mark.parametrize(
    ("vector", "subject", "names"),
    [
        ("subject", "CN=router-2", None),
        ("alternative_names", None, B),
        ("both", "CN=router-2", B),
        ("empty_subject", "", None),
    ],
)
def test_what_is_asked_for(vector, subject, names):
    found = change_subject_name(parse_csr((VECTORS / f"{vector}.der").read_bytes()))
    assert found is not None
    asked = None if found.subject is None else found.subject.rfc4514_string()
    assert (asked, found.subject_alternative_names) == (subject, names)
    if found.subject is not None:
        assert found.subject_der == found.subject.public_bytes()


def test_a_request_without_the_attribute_asks_for_nothing():
    assert change_subject_name(parse_csr((VECTORS / "absent.der").read_bytes())) is None
