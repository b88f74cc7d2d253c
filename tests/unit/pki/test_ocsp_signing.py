"""Responses as the library makes them and as they are put together here, read by other eyes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from asn1crypto import ocsp as asn1_ocsp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from est_server.pki import ocsp as signing
from est_server.pki.authority import make_root
from est_server.pki.ocsp import CERT_ID_HASHES, ResponseSigner
from est_server.wire.ocsp import CertId, parse_ocsp_request
from est_server.wire.ocsp_response import SingleResponse, unsuccessful

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
REASONS = [
    reason for reason in x509.ReasonFlags if reason.name not in {"unspecified", "remove_from_crl"}
]
EXAMPLES = settings(
    max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)


def signer(algorithm="Ed25519"):
    made = make_root("responder", algorithm, lifetime=timedelta(days=3650), now=NOW)
    return ResponseSigner(made.certificate, made.key)


ED25519 = signer()


def cert_id(serial=5, name="sha1", usual=True):
    size = CERT_ID_HASHES[name].digest_size
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        b"n" * size, b"k" * size, serial, CERT_ID_HASHES[name]()
    )
    (found,) = parse_ocsp_request(builder.build().public_bytes(Encoding.DER)).cert_ids
    if usual:
        return found
    algorithm = asn1_ocsp.CertId.load(found.der)
    del algorithm["hash_algorithm"]["parameters"]
    return CertId(algorithm.dump(force=True), name, b"n" * size, b"k" * size, serial, usual=False)


CERT_IDS = st.builds(cert_id, st.integers(0, 2**159 - 1), st.sampled_from(sorted(CERT_ID_HASHES)))
TIMES = st.integers(600_000_000, 4_500_000_000).map(lambda at: datetime.fromtimestamp(at, UTC))


@st.composite
def singles(draw):
    status = draw(st.sampled_from(("good", "unknown", "revoked")))
    fields = {}
    if status == "revoked":
        reason = draw(st.sampled_from([None, *REASONS]))
        fields = {
            "revocation_time": draw(TIMES),
            "revocation_reason": reason,
        }
    begin, end = sorted((draw(TIMES), draw(TIMES)))
    return SingleResponse(draw(CERT_IDS), status, begin, end, **fields)


@EXAMPLES
@given(
    single=singles(), nonce=st.none() | st.binary(min_size=1, max_size=130), revoke=st.booleans()
)
def test_both_ways_give_the_same_octets(single, nonce, revoke):
    options = {"nonce": nonce, "extended_revoke": revoke}
    by_library = ED25519.sign([single], produced_at=NOW, **options)
    produced = ocsp.load_der_ocsp_response(by_library).produced_at_utc
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signing, "_library_can", lambda _: False)
        assert ED25519.sign([single], produced_at=produced, **options) == by_library


@EXAMPLES
@given(found=st.lists(singles(), min_size=1, max_size=6), cutoff=st.none() | TIMES)
def test_several_come_back_in_their_order(found, cutoff):
    asked = [
        SingleResponse(
            one.cert_id, one.status, one.this_update, one.next_update, one.revocation_time,
            one.revocation_reason, cutoff,
        )
        for one in found
    ]  # fmt: skip
    response = ocsp.load_der_ocsp_response(ED25519.sign(asked, produced_at=NOW))
    if len(found) > 1:  # about one, the library takes the time itself
        assert response.produced_at_utc == NOW
    for one, read in zip(asked, response.responses, strict=True):
        assert read.serial_number == one.cert_id.serial_number
        assert read.certificate_status.name.lower() == one.status
        assert read.this_update_utc == one.this_update
        assert read.next_update_utc == one.next_update
        assert read.revocation_time_utc == one.revocation_time
        assert read.revocation_reason == one.revocation_reason
    raw = asn1_ocsp.OCSPResponse.load(ED25519.sign(asked, produced_at=NOW)).basic_ocsp_response
    for one, read in zip(asked, raw["tbs_response_data"]["responses"], strict=True):
        assert read["cert_id"].dump() == one.cert_id.der
        assert (None if cutoff is None else read.archive_cutoff_value.native) == cutoff


def verify(response, certificate):
    key, data = certificate.public_key(), response.tbs_response_bytes
    if isinstance(key, ec.EllipticCurvePublicKey):
        key.verify(response.signature, data, ec.ECDSA(response.signature_hash_algorithm))
    elif isinstance(key, rsa.RSAPublicKey):
        key.verify(response.signature, data, PKCS1v15(), response.signature_hash_algorithm)
    else:
        key.verify(response.signature, data)


@pytest.mark.parametrize(
    "algorithm", ["EC-P256", "EC-P384", "EC-P521", "RSA-2048", "Ed25519", "Ed448", "ML-DSA-44"]
)
def test_signatures_fit_their_algorithm_both_ways(algorithm):
    made = signer(algorithm)
    for single in (
        SingleResponse(cert_id(), "good", NOW, LATER),
        SingleResponse(cert_id(), "good", NOW, LATER, archive_cutoff=NOW),
    ):
        response = ocsp.load_der_ocsp_response(made.sign([single], produced_at=NOW))
        verify(response, made.certificate)
        assert response.certificates == [made.certificate]
        public = x509.SubjectKeyIdentifier.from_public_key(made.certificate.public_key())
        assert response.responder_key_hash == public.digest


def test_a_negative_number_can_be_asked_for():
    asked = CertId(cert_id(0).der[:-1] + b"\xfb", "sha1", b"n" * 20, b"k" * 20, -5, usual=True)
    der = ED25519.sign([SingleResponse(asked, "unknown", NOW, LATER)], produced_at=NOW)
    assert asked.der in der


def test_a_cert_id_in_another_form_is_echoed_as_it_was_sent():
    odd = cert_id(usual=False)
    der = ED25519.sign([SingleResponse(odd, "good", NOW, LATER)], produced_at=NOW)
    assert odd.der in der
    assert cert_id().der not in der
    assert isinstance(ocsp.load_der_ocsp_response(der).hash_algorithm, hashes.SHA1)


@pytest.mark.parametrize(
    "status", ["malformed_request", "internal_error", "try_later", "unauthorized"]
)
def test_no_answer_has_no_signature(status):
    wanted = ocsp.OCSPResponseBuilder.build_unsuccessful(ocsp.OCSPResponseStatus[status.upper()])
    assert unsuccessful(status) == wanted.public_bytes(Encoding.DER)


def test_a_key_is_not_shown():
    assert "key" not in repr(ED25519).replace("key_hash", "")
