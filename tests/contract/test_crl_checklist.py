"""RFC 5280 5 field by field, on what the publisher makes; each test is one demand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from asn1crypto import crl as asn1
from asn1crypto import x509 as asn1_x509
from crl_world import HOUR, SECOND, START, TIMES, URL, CrlWorld, applied, authority, listed
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.pki.plan import SHARD, CertificatePlan, Pointers
from est_server.ports.crl import crl_file
from est_server.revocation.checker import check_delta, check_list
from est_server.revocation.planning import CrlTimes
from est_server.wire.crl_reading import read_crl

KEYS = ["EC-P256", "EC-P384", "RSA-2048", "Ed25519", "Ed448", "ML-DSA-65"]


async def made(ledger, *, serials=(1, 2, 3), **fields):
    world = CrlWorld(ledger, **fields)
    for serial in serials:
        await world.issue(serial, shard=serial % world.shards + 1 if world.shards else 0)
    await world.settle()
    return world


async def changed(world, *orders):
    for serial, reason in orders:
        await world.revoke(serial, reason)
    world.now += SECOND
    await world.turn()
    return world


def parsed(der):
    return asn1.CertificateList.load(der, strict=True)


def both(world, shard=0):
    return [world.der(shard, kind) for kind in ("base", "delta")]


# -- 5.1: the complete CRL, and what a delta has in common with it ---------------------------------


@pytest.mark.parametrize("algorithm", KEYS)
async def test_every_key_signs_version_2_with_one_algorithm_under_the_cas_own_name(
    ledger, algorithm
):
    world = await changed(await made(ledger, algorithm=algorithm), (1, "superseded"))
    issuer = authority(algorithm).certificate
    for der in both(world):
        found = parsed(der)
        assert found["tbs_cert_list"]["version"].native == "v2"
        inner, outer = found["tbs_cert_list"]["signature"], found["signature_algorithm"]
        assert inner.dump() == outer.dump()
        assert read_crl(der).issuer == issuer.subject.public_bytes() != b""
        assert x509.load_der_x509_crl(der).is_signature_valid(issuer.public_key())
        assert list(check_list(read_crl(der), der, issuer, world.now)) == []
        chosen = x509.load_der_x509_crl(der).signature_hash_algorithm
        assert chosen is None or chosen.digest_size >= 32
    assert list(check_delta(world.crl(kind="delta"), world.crl())) == []


@pytest.mark.parametrize(
    ("now", "tags"),
    [
        (datetime(2026, 11, 24, 12, 0, 0, 999999, UTC), (0x17, 0x17)),
        (datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC), (0x17, 0x18)),
        (datetime(2050, 1, 1, 0, 0, 2, tzinfo=UTC), (0x18, 0x18)),
    ],
)
async def test_times_are_utc_through_2049_then_generalized(ledger, now, tags):
    world = await made(ledger, now=now)
    tbs = parsed(world.der())["tbs_cert_list"]
    for name, tag in zip(("this_update", "next_update"), tags, strict=True):
        der = tbs[name].dump()
        assert der[0] == tag
        assert der.endswith(b"Z")
        assert b"." not in der
        assert len(der) == (15 if tag == 0x17 else 17)
    crl = world.crl()
    assert crl.this_update <= now
    assert crl.next_update == crl.this_update + 24 * HOUR


async def test_an_empty_list_is_absent(ledger):
    world = await made(ledger, serials=())
    for der in both(world):
        assert parsed(der)["tbs_cert_list"]["revoked_certificates"].native is None
        assert not read_crl(der).empty_list


async def test_serial_numbers_are_unique_positive_and_as_long_as_they_may_be(ledger):
    serials = (1, 127, 128, (1 << 159) - 1, 1 << 158)
    world = await made(ledger, serials=serials)
    await changed(world, *((serial, "superseded") for serial in serials))
    found = [entry.serial_number for entry in world.crl(kind="delta").entries()]
    assert found == sorted(serials)


async def test_the_authority_key_identifier_is_the_cas_subject_key_identifier(ledger):
    world = await made(ledger)
    certificate = authority("EC-P256").certificate
    ski = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    for der in both(world):
        found = x509.load_der_x509_crl(der).extensions
        aki = found.get_extension_for_class(x509.AuthorityKeyIdentifier)
        assert (aki.value.key_identifier, aki.critical) == (ski, False)


async def test_numbers_are_not_critical_and_rise_over_both_kinds(ledger):
    world = await made(ledger)
    for hours in range(1, 30):
        world.now = START + hours * HOUR
        if hours in {3, 6, 9}:
            await world.revoke(hours // 3)
        await world.turn()
    last = {}
    for one in world.published:
        crl = one.crl
        assert crl.number >= max(last.values(), default=0)
        assert crl.number > last.get(crl.kind, 0)
        last[crl.kind] = crl.number
    number = x509.load_der_x509_crl(world.der()).extensions.get_extension_for_class(x509.CRLNumber)
    assert not number.critical


async def test_made_together_base_and_delta_have_one_number_and_say_the_same(ledger):
    world = await made(ledger)
    first = world.crl()
    await changed(world, (1, "superseded"), (2, "certificateHold"))
    await world.release(2)
    world.now = START + 8 * HOUR
    assert [kind for kind, _ in await world.turn()] == ["base", "delta"]
    base, delta = world.crl(), world.crl(kind="delta")
    assert (base.number, base.this_update) == (delta.number, delta.this_update)
    assert listed(base) == applied(first, delta)


async def test_a_partial_list_says_so_critically_and_where_certificates_say_it_is(ledger):
    world = await made(ledger, shards=3)
    for shard in (1, 2, 3):
        for der in both(world, shard):
            extensions = x509.load_der_x509_crl(der).extensions
            found = extensions.get_extension_for_class(x509.IssuingDistributionPoint)
            assert found.critical
            # DER has no FALSE: the one field there is, is the name of the place
            assert parsed(der)["tbs_cert_list"]["crl_extensions"]
            assert found.value.full_name[0].value == URL + crl_file("ca", shard, "base")
            flags = ("user_certs", "ca_certs", "attribute_certs")
            assert not any(getattr(found.value, f"only_contains_{flag}") for flag in flags)
            assert read_crl(der).scope.count(b"\x01\x01\x00") == 0
    plain = x509.load_der_x509_crl(world.der(0)).extensions
    with pytest.raises(x509.ExtensionNotFound):
        plain.get_extension_for_class(x509.IssuingDistributionPoint)


def test_the_pointer_of_a_certificate_is_the_scope_of_its_list_octet_by_octet():
    url = URL + crl_file("ca", SHARD, "base")
    plan = CertificatePlan(
        ca="ca", subject=x509.Name([]), subject_alternative_names=(), spki=b"", key_algorithm="",
        not_before=START, not_after=START, key_usage=(), extended_key_usage=(),
        pointers=Pointers(crl=(url,), freshest_crl=(URL + crl_file("ca", SHARD, "delta"),)),
    )  # fmt: skip
    seen = set()
    for serial in range(1, 50):
        found = plan.numbered(serial, 3)
        seen.add(found.crl_shard)
        assert found.pointers.crl == (URL + crl_file("ca", found.crl_shard, "base"),)
        assert found.pointers.freshest_crl == (URL + crl_file("ca", found.crl_shard, "delta"),)
        assert found == plan.numbered(serial, 3)
    assert seen == {1, 2, 3}
    assert plan.numbered(5, 0) is plan


async def test_the_partial_lists_hold_every_certificate_once_and_the_complete_one_all(ledger):
    world = await made(ledger, serials=range(1, 20), shards=3)
    await changed(world, *((serial, "superseded") for serial in range(1, 20)))
    parts = [listed(world.crl(shard, "delta")) for shard in (1, 2, 3)]
    assert sorted(serial for part in parts for serial in part) == list(range(1, 20))
    assert listed(world.crl(0, "delta")).keys() == set(range(1, 20))


async def test_fewer_parts_in_the_configuration_take_none_away(ledger):
    world = await made(ledger, serials=range(1, 7), shards=3)
    world.shards = 1
    fresh = world.publisher = world.new_publisher()
    await fresh.start()
    await changed(world, (5, "superseded"))  # in part 3
    assert listed(world.crl(3, "delta")).keys() == {5}
    assert world.crl(3).only_at == URL + "ca-3.crl"


async def test_the_complete_list_tells_where_its_deltas_are_and_a_delta_does_not(ledger):
    world = await made(ledger, shards=1)
    for shard in (0, 1):
        base, delta = both(world, shard)
        found = x509.load_der_x509_crl(base).extensions.get_extension_for_class(x509.FreshestCRL)
        [point] = found.value
        assert not found.critical
        assert point.full_name[0].value == URL + crl_file("ca", shard, "delta")
        assert point.reasons is point.crl_issuer is point.relative_name is None
        with pytest.raises(x509.ExtensionNotFound):
            x509.load_der_x509_crl(delta).extensions.get_extension_for_class(x509.FreshestCRL)


async def test_an_expired_certificate_stays_until_one_list_has_shown_it(ledger):
    world = await made(ledger)
    await world.issue(7, not_after=START + HOUR)
    await changed(world, (7, "superseded"))
    for shown in (True, False):
        world.now += 9 * HOUR
        await world.turn()
        assert (7 in listed(world.crl())) is shown
    assert world.crl().expired_since is None


async def test_expired_certificates_that_are_kept_are_announced(ledger):
    times = CrlTimes(24 * HOUR, 8 * HOUR, HOUR, timedelta(30))
    world = await made(ledger, times=times)
    await world.issue(7, not_after=START + HOUR)
    await changed(world, (7, "superseded"))
    for _ in range(6):
        world.now += 5 * 24 * HOUR
        await world.turn()
        crl = world.crl()
        assert "2.5.29.60" not in crl.critical
        if crl.expired_since <= START + HOUR:
            assert 7 in listed(crl), "what is announced is kept"
        assert crl.expired_since >= crl.this_update - timedelta(30) - 6 * 24 * HOUR
    for _ in range(2):
        world.now += 5 * 24 * HOUR
        await world.turn()
    assert 7 not in listed(world.crl())
    time = parsed(world.der())["tbs_cert_list"]["crl_extensions"][-1]
    assert time["extn_value"].contents[:1] == b"\x18"


REASONS = [
    ("unspecified", None), ("keyCompromise", 1), ("affiliationChanged", 3), ("superseded", 4),
    ("cessationOfOperation", 5), ("certificateHold", 6), ("privilegeWithdrawn", 9),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "number"), REASONS)
async def test_reasons_are_enumerated_and_zero_is_left_out(ledger, reason, number):
    world = await made(ledger)
    await world.revoke(1, reason, invalidity_date=world.now - HOUR)
    await world.revoke(2, reason)
    await changed(world)
    entries = {entry.serial_number: entry for entry in world.crl(kind="delta").entries()}
    coded = b"" if number is None else bytes((0x0A, 0x01, number))
    assert (b"\x55\x1d\x15" in entries[2].der) is (number is not None)
    assert coded in entries[1].der
    assert entries[1].invalidity_date == world.now.replace(microsecond=0) - HOUR - SECOND
    assert b"\x55\x1d\x18" in entries[1].der
    assert b"\x55\x1d\x18" not in entries[2].der
    assert b"\x01\x01\xff" not in entries[1].der, "no entry's extension is critical"
    assert b"\x55\x1d\x17" not in entries[1].der, "no holdInstruction"
    if number is None:
        revoked = parsed(world.der(kind="delta"))["tbs_cert_list"]["revoked_certificates"]
        assert revoked[1]["crl_entry_extensions"].native is None


async def test_what_is_read_and_encoded_again_is_the_same(ledger):
    world = await made(ledger, shards=2, times=CrlTimes(24 * HOUR, 8 * HOUR, HOUR, HOUR))
    await changed(world, (1, "keyCompromise"), (2, "unspecified"), (3, "certificateHold"))
    for shard in (0, 1, 2):
        for der in both(world, shard):
            assert parsed(der).dump(force=True) == der
            assert x509.load_der_x509_crl(der).public_bytes(Encoding.DER) == der
            assert read_crl(der).this_update <= world.now


# -- 5.2: the delta --------------------------------------------------------------------------------


async def test_the_indicator_is_critical_and_names_a_list_in_force(ledger):
    world = await made(ledger)
    for _ in range(5):
        world.now += 5 * HOUR
        await world.turn()
        der = world.der(kind="delta")
        found = x509.load_der_x509_crl(der).extensions.get_extension_for_class(
            x509.DeltaCRLIndicator
        )
        base, delta = world.crl(), read_crl(der)
        assert found.critical
        assert delta.base_number <= base.number
        assert delta.number > delta.base_number
        assert base.next_update > world.now


async def test_base_and_delta_are_of_one_issuer_key_and_scope(ledger):
    world = await made(ledger, shards=1)
    for shard in (0, 1):
        base, delta = (read_crl(der) for der in both(world, shard))
        assert base.issuer == delta.issuer
        assert base.key_identifier == delta.key_identifier
        assert base.scope == delta.scope
        assert base.algorithms == delta.algorithms


async def test_a_delta_is_cumulative(ledger):
    world = await made(ledger)
    for serial in (1, 2, 3):
        await changed(world, (serial, "superseded"))
    assert listed(world.crl(kind="delta")).keys() == {1, 2, 3}


async def test_a_hold_that_became_a_revocation_has_the_new_reason(ledger):
    world = await made(ledger)
    await changed(world, (1, "certificateHold"))
    await changed(world, (1, "keyCompromise"))
    reason, date, _ = listed(world.crl(kind="delta"))[1]
    assert reason == "key_compromise"
    assert date == START.replace(second=2), "the date is that of the hold"


async def test_remove_from_crl_is_in_a_delta_and_never_in_a_complete_list(ledger):
    world = await made(ledger)
    await changed(world, (1, "certificateHold"), (2, "certificateHold"))
    world.now = START + 8 * HOUR
    await world.turn()
    assert listed(world.crl()).keys() == {1, 2}
    await world.release(1)
    await changed(world)
    assert listed(world.crl(kind="delta"))[1][0] == "remove_from_crl"
    assert listed(world.crl(kind="delta"))[2][0] == "certificate_hold"
    world.now += 9 * HOUR
    await world.turn()
    assert listed(world.crl()).keys() == {2}


async def test_a_certificate_that_never_was_on_a_list_is_not_removed_from_it(ledger):
    world = await made(ledger)
    await changed(world, (2, "superseded"))
    assert 1 not in listed(world.crl(kind="delta"))


def test_the_times_of_the_tests_are_the_defaults():
    from est_server.config.crl import Crl

    assert Crl().times() == TIMES
    assert asn1_x509.Time({"utc_time": START}).native == START
