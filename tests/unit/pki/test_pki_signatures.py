"""A CA's own signatures: named as the library names them, and checked before they are used."""

from __future__ import annotations

from datetime import timedelta

import pytest
from asn1crypto import x509 as asn1
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.pki.authority import make_root
from est_server.pki.keys import KEY_ALGORITHMS
from est_server.pki.signatures import sign_and_check, signature_algorithm

FAST = [name for name in KEY_ALGORITHMS if name != "RSA-4096"]


@pytest.mark.parametrize("algorithm", FAST)
def test_a_certificate_signed_again_is_as_good(algorithm, now):
    root = make_root("Root", algorithm, lifetime=timedelta(1), now=now)
    parts = asn1.Certificate.load(root.certificate.public_bytes(Encoding.DER))
    assert signature_algorithm(root.key) == parts["signature_algorithm"].dump()
    signature = sign_and_check(root.key, root.certificate.tbs_certificate_bytes)
    parts["signature_value"] = signature
    again = x509.load_der_x509_certificate(parts.dump())
    again.verify_directly_issued_by(root.certificate)


class Faulty(ec.EllipticCurvePrivateKey):
    """A key whose hardware flips a bit now and then."""

    def __init__(self, key):
        self._key = key

    def sign(self, data, signature_algorithm):
        return self._key.sign(bytes([data[0] ^ 1]) + data[1:], signature_algorithm)

    def __getattr__(self, name):
        return getattr(self._key, name)

    key_size = property(lambda self: self._key.key_size)
    curve = property(lambda self: self._key.curve)

    def public_key(self):
        return self._key.public_key()

    exchange = private_bytes = private_numbers = __copy__ = __deepcopy__ = None


def test_a_signature_that_does_not_verify_is_not_used():
    with pytest.raises(InvalidSignature):
        sign_and_check(Faulty(ec.generate_private_key(ec.SECP256R1())), b"text")
