"""What is answered, about every status, by every kind of CA."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from asn1crypto import ocsp as asn1_ocsp
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from ocsp_world import SHA1, SHA256, START, code

from est_server.enrollment.responder import RESPONDER
from est_server.errors import BackendUnavailable
from est_server.revocation import ocsp as service_module
from est_server.revocation.ocsp_memory import TRUSTED_FOR

GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus
HOUR = timedelta(hours=1)


async def test_statuses(world):
    world.add_ca()
    good, bad, plain, held = [await world.certificate() for _ in range(4)]
    await world.revoke(bad)
    await world.revoke(plain, "unspecified")
    await world.revoke(held, "certificateHold")
    for algorithm in (SHA1, SHA256):
        found = await world.status(good, algorithm=algorithm)
        assert (found.certificate_status, found.revocation_time_utc) == (GOOD, None)
        assert (found.this_update_utc, found.next_update_utc) == (START, START + HOUR)
        assert isinstance(found.hash_algorithm, type(algorithm))
        found = await world.status(bad, algorithm=algorithm)
        assert (found.certificate_status, found.revocation_time_utc) == (REVOKED, START)
        assert found.revocation_reason is x509.ReasonFlags.key_compromise
    found = await world.status(plain)
    assert (found.certificate_status, found.revocation_reason) == (REVOKED, None)
    found = await world.status(held)
    assert found.revocation_reason is x509.ReasonFlags.certificate_hold
    world.time.pass_(1)
    await world.release(held)
    assert (await world.status(held)).certificate_status is GOOD


@pytest.mark.parametrize("status", [None, "presumed"])
async def test_what_nobody_was_given_is_unknown_or_revoked_by_choice(world, status):
    world.add_ca("plain")
    world.add_ca("strict", never_issued="revoked")
    plain, strict = 5, 5
    if status:
        plain, strict = [await world.certificate(ca, status, der=None) for ca in world.cas]
    found = await world.status(plain, ca="plain")
    assert found.certificate_status is UNKNOWN
    assert found.next_update_utc == START + timedelta(minutes=5)
    extended = x509.ObjectIdentifier("1.3.6.1.5.5.7.48.1.9")
    with pytest.raises(x509.ExtensionNotFound):
        found.extensions.get_extension_for_oid(extended)
    found = await world.status(strict, ca="strict")
    assert found.certificate_status is REVOKED
    assert found.revocation_time_utc == datetime(1970, 1, 1, tzinfo=UTC)
    assert found.revocation_reason is x509.ReasonFlags.certificate_hold
    assert found.extensions.get_extension_for_oid(extended).value.value == b"\x05\x00"
    assert len(world.cas["plain"].memory) == len(world.cas["strict"].memory) == 0
    if status:
        await world.revoke(plain, ca="plain")
        assert (await world.status(plain, ca="plain")).certificate_status is REVOKED


async def test_an_expired_one_has_an_archive_cutoff(world):
    world.add_ca()
    good, bad = [await world.certificate(not_after=START + HOUR) for _ in range(2)]
    await world.revoke(bad)

    async def cutoff(serial):
        answer, _ = await world.asked(world.request(serial))
        basic = asn1_ocsp.OCSPResponse.load(answer.der).basic_ocsp_response
        return basic["tbs_response_data"]["responses"][0].archive_cutoff_value

    assert [await cutoff(good), await cutoff(bad)] == [None, None]
    world.time.pass_(3601)
    begin = world.issuer().not_valid_before_utc
    assert [(await cutoff(serial)).native for serial in (good, bad)] == [begin, begin]
    assert (await world.status(good)).certificate_status is GOOD


async def test_several_in_one_request(world):
    world.add_ca()
    serials = [await world.certificate() for _ in range(2)]
    await world.revoke(serials[1])
    parts = [asn1_ocsp.OCSPRequest.load(world.request(serial)) for serial in (*serials, 99)]
    asked = asn1_ocsp.OCSPRequest(
        {
            "tbs_request": {
                "request_list": [part["tbs_request"]["request_list"][0] for part in parts]
            }
        }
    )
    answer, slot = await world.asked(asked.dump())
    found = list(ocsp.load_der_ocsp_response(answer.der).responses)
    assert [one.certificate_status for one in found] == [GOOD, REVOKED, UNKNOWN]
    assert [one.serial_number for one in found] == [*serials, 99]
    assert answer.next_update == START + timedelta(minutes=5)
    assert (answer.outcome, slot) == ("several", None)


async def test_a_nonce_comes_back_and_nobody_keeps_the_answer(world):
    world.add_ca()
    serial = await world.certificate()
    nonce = x509.OCSPNonce(b"n" * 32)
    answer, slot = await world.asked(world.request(serial, nonce=nonce))
    found = ocsp.load_der_ocsp_response(answer.der)
    assert found.extensions.get_extension_for_class(x509.OCSPNonce).value == nonce
    assert (answer.this_update, answer.next_update, slot) == (None, None, None)
    bare = x509.UnrecognizedExtension(x509.OCSPNonce.oid, b"n" * 16)
    answer, _ = await world.asked(world.request(serial, nonce=bare))
    assert bytes.fromhex("06092b0601050507300102 0410") + b"n" * 16 in answer.der


async def test_whom_we_do_not_answer_for(world):
    world.add_ca()
    world.add_ca("other")
    ours, theirs = await world.certificate(), await world.certificate("other")
    assert (await world.status(theirs)).certificate_status is UNKNOWN
    mixed = asn1_ocsp.OCSPRequest.load(world.request(ours))
    mixed["tbs_request"]["request_list"].append(
        asn1_ocsp.OCSPRequest.load(world.request(theirs, ca="other"))["tbs_request"][
            "request_list"
        ][0]
    )
    answer, _ = await world.asked(mixed.dump(force=True))
    assert code(answer) == "unauthorized"
    foreign = world.request(ours)
    del world.service._issuers[next(iter(world.service._issuers))]
    answer, _ = await world.asked(foreign)
    assert code(answer) == "unauthorized"
    assert answer.this_update is None
    for request in (b"", b"\x30\x00", world.request(ours) + b"\0"):
        answer, _ = await world.asked(request)
        assert (code(answer), answer.this_update) == ("malformed_request", None)


@pytest.mark.parametrize("ca", ["EC-P384", "RSA-2048", "Ed25519", "ML-DSA-44"])
@pytest.mark.parametrize("responder", ["EC-P256", "RSA-2048", "Ed25519", "ML-DSA-44"])
async def test_the_responder_is_the_cas_own_delegate(world, ca, responder):
    world.add_ca(algorithm=ca, responder_key=responder)
    found = await world.status(await world.certificate())
    [certificate] = found.certificates
    issuer = world.issuer()
    certificate.verify_directly_issued_by(issuer)
    assert certificate.public_key() != issuer.public_key()
    extensions = certificate.extensions
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.OCSP_SIGNING]
    assert extensions.get_extension_for_class(x509.OCSPNoCheck).critical is False
    usage = extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert not usage.key_cert_sign
    assert not usage.crl_sign
    assert extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    digest = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest
    assert (found.responder_key_hash, found.responder_name) == (digest, None)
    [row] = await world.ledger.certificates(profile=RESPONDER)
    assert row.der == certificate.public_bytes(Encoding.DER)


async def test_a_response_does_not_outlive_its_signer(world):
    world.add_ca(lifetime=timedelta(days=3), responder_lifetime=timedelta(hours=12))
    found = await world.status(await world.certificate())
    assert found.next_update_utc == found.certificates[0].not_valid_after_utc


async def test_a_responder_renews_itself_and_the_old_one_stays_good(world):
    world.add_ca(responder_lifetime=timedelta(days=3))
    responder = world.cas["issuing"].responder
    await responder.renew()
    first = responder.certificate
    await responder.renew()
    assert responder.certificate is first
    world.time.pass_(2 * 86400)
    await responder.renew()
    second = responder.certificate
    assert second is not first
    assert second.not_valid_before_utc < first.not_valid_after_utc
    found = await world.status(await world.certificate())
    assert found.certificates == [second]
    assert len(await world.ledger.certificates(profile=RESPONDER)) == 2


async def test_a_responder_that_is_never_renewed_in_time_is_replaced_when_asked(world):
    world.add_ca(responder_lifetime=timedelta(hours=6))
    serial = await world.certificate()
    [first] = (await world.status(serial)).certificates
    world.time.pass_(6 * 3600 - 320)
    [second] = (await world.status(serial)).certificates
    assert second.serial_number != first.serial_number


async def test_a_revoked_responder_signs_no_more(world):
    world.add_ca()
    serial = await world.certificate()
    [first] = (await world.status(serial)).certificates
    await world.follower.look()
    await world.revoke(first.serial_number)
    await world.follower.look()
    [second] = (await world.status(serial)).certificates
    assert second.serial_number != first.serial_number


async def test_no_responder_is_try_later_and_the_ca_is_not_asked_all_the_time(world):
    world.add_ca()
    serial = await world.certificate()
    asked = []

    async def fail():
        asked.append(1)
        raise BackendUnavailable("ca.away", "no answer")

    world.issue = fail
    for _ in range(3):
        answer, _ = await world.asked(world.request(serial))
        assert (code(answer), answer.this_update) == ("try_later", None)
    assert len(asked) == 1
    world.issue = None
    world.time.pass_(11)
    assert (await world.status(serial)).certificate_status is GOOD


async def test_an_expired_ca_is_try_later(world):
    world.add_ca()
    serial = await world.certificate()
    world.time.pass_(3650 * 86400)
    answer, _ = await world.asked(world.request(serial))
    assert code(answer) == "try_later"


async def test_no_ledger_is_try_later(world, monkeypatch):
    world.add_ca()
    serial = await world.certificate()
    await world.status(serial)

    async def away(*_):
        raise BackendUnavailable("ledger.unavailable", "away")

    monkeypatch.setattr(type(world.ledger), "certificate", away)
    answer, _ = await world.asked(world.request(serial))
    assert code(answer) == "try_later"


async def test_a_status_that_took_too_long_to_read_is_not_given(world, monkeypatch):
    world.add_ca()
    serial = await world.certificate()
    await world.status(serial)
    read = type(world.ledger).certificate

    async def slow(*arguments):
        found = await read(*arguments)
        world.time.pass_(TRUSTED_FOR + 0.1)
        return found

    monkeypatch.setattr(type(world.ledger), "certificate", slow)
    answer, _ = await world.asked(world.request(serial))
    assert code(answer) == "try_later"


# -- memory ----------------------------------------------------------------------------------------


async def test_an_answer_is_used_again_for_a_third_of_its_life(world):
    world.add_ca()
    serial = await world.certificate()
    await world.follower.look()
    first, slot = await world.asked(world.request(serial))
    assert slot.answer is first
    world.time.pass_(1199)
    again, same = await world.asked(world.request(serial))
    assert (again, same) == (first, slot)
    world.time.pass_(2)
    later, same = await world.asked(world.request(serial))
    assert (later is not first, same) == (True, slot)
    assert slot.answer is later
    assert later.this_update == START + timedelta(seconds=1201)


async def test_what_was_asked_for_is_signed_again_and_the_rest_forgotten(world):
    world.add_ca()
    wanted, unwanted = [await world.certificate() for _ in range(2)]
    await world.follower.look()
    _, slot = await world.asked(world.request(wanted))
    _, other = await world.asked(world.request(unwanted))
    other.asked = False
    assert await world.service.refresh(1.0) == 0
    world.time.pass_(1201)
    assert await world.service.refresh(1.0) == 1
    assert slot.answer.this_update == START + timedelta(seconds=1201)
    assert (other.answer, slot.asked) == (None, False)
    assert len(world.cas["issuing"].memory) == 1
    world.time.pass_(1201)
    assert await world.service.refresh(1.0) == 0
    assert len(world.cas["issuing"].memory) == 0


async def test_a_turn_of_signing_again_ends_in_time(world, monkeypatch):
    world.add_ca()
    for _ in range(10):
        await world.follower.look()
        await world.asked(world.request(await world.certificate()))
    world.time.pass_(1201)
    sign = service_module._sign

    def slow(*arguments):
        world.time.elapsed += 0.004
        return sign(*arguments)

    monkeypatch.setattr(service_module, "_sign", slow)
    assert await world.service.refresh(0.01) == 3
    assert await world.service.refresh(0.01) == 3


async def test_nothing_is_kept_where_it_is_switched_off(world):
    world.add_ca(presign=False)
    serial = await world.certificate()
    await world.follower.look()
    assert (await world.asked(world.request(serial)))[1] is None
    assert len(world.cas["issuing"].memory) == 0


async def test_each_form_of_the_question_has_its_own_answer(world):
    world.add_ca()
    serial = await world.certificate()
    await world.follower.look()
    one = await world.status(serial, algorithm=SHA1)
    two = await world.status(serial, algorithm=SHA256)
    assert len(one.issuer_key_hash) < len(two.issuer_key_hash)
    assert len(world.cas["issuing"].memory) == 2
    await world.revoke(serial)
    await world.follower.look()
    assert len(world.cas["issuing"].memory) == 0


async def test_the_ledger_is_believed_before_memory(world):
    """No look at the events is needed for the truth, only for leaving out the ledger."""
    world.add_ca()
    serial = await world.certificate()
    await world.follower.look()
    await world.asked(world.request(serial))
    await world.revoke(serial)
    assert (await world.status(serial)).certificate_status is REVOKED


async def test_signatures_verify(world):
    world.add_ca()
    found = await world.status(await world.certificate())
    key = found.certificates[0].public_key()
    key.verify(found.signature, found.tbs_response_bytes, ec.ECDSA(found.signature_hash_algorithm))


async def test_the_reason_of_a_revocation_may_get_worse(world):
    world.add_ca()
    serial = await world.certificate()
    await world.revoke(serial, "superseded")
    assert (await world.status(serial)).revocation_reason is x509.ReasonFlags.superseded
    await world.revoke(serial, "keyCompromise")
    assert (await world.status(serial)).revocation_reason is x509.ReasonFlags.key_compromise
