"""Every rule of the checker, broken once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from asn1crypto import core, x509
from asn1crypto import crl as asn1
from crl_made import BASE, DELTA, ENTRY, HOUR, NOW, OTHER, ROOT, URL, made, signed
from cryptography import x509 as cx509
from cryptography.hazmat.primitives import hashes

from est_server.pki.authority import make_root
from est_server.pki.signatures import sign_and_check, signature_algorithm
from est_server.pki.usages import key_usage_extension
from est_server.revocation.checker import check_delta, check_list
from est_server.wire.crl import encode_crl, encode_entry, encode_tbs
from est_server.wire.crl_reading import read_crl


def altered(change, content=BASE, entries=(ENTRY,)):
    """Return a list whose parts `change` spoiled, signed again."""
    tbs = asn1.TbsCertList.load(encode_tbs(content, entries))
    tbs = change(tbs) or tbs
    return signed(tbs.dump(force=True))


def rules(der, **options):
    issuer = options.pop("issuer", ROOT.certificate)
    return {one.rule for one in check_list(read_crl(der), der, issuer, NOW, **options)}


def flip(name):
    def change(tbs):
        for extension in tbs["crl_extensions"]:
            if extension["extn_id"].native == name:
                extension["critical"] = not extension["critical"].native

    return change


def without(name):
    def change(tbs):
        kept = [one for one in tbs["crl_extensions"] if one["extn_id"].native != name]
        tbs["crl_extensions"] = asn1.TBSCertListExtensions(kept)

    return change


def empty_scope(tbs):
    for extension in tbs["crl_extensions"]:
        if extension["extn_id"].native == "issuing_distribution_point":
            extension["extn_value"] = core.ParsableOctetString(b"\x30\x00")


def unknown(tbs):
    value = core.ParsableOctetString(b"\x05\x00")
    extension = asn1.TBSCertListExtension(
        {"extn_id": "1.2.3.4", "critical": True, "extn_value": value}
    )
    tbs["crl_extensions"].append(extension)


def reason(number):
    """Return an entry with a reason that encode_entry does not make."""
    value = core.ParsableOctetString(bytes((0x0A, 1, number)))
    return asn1.RevokedCertificate(
        {
            "user_certificate": 5,
            "revocation_date": x509.Time({"utc_time": NOW - HOUR}),
            "crl_entry_extensions": [{"extn_id": "crl_reason", "extn_value": value}],
        }
    ).dump()


def not_a_signer():
    """Return the CA's certificate without cRLSign."""
    certificate = ROOT.certificate
    builder = (
        cx509.CertificateBuilder()
        .subject_name(certificate.subject)
        .issuer_name(certificate.subject)
        .public_key(certificate.public_key())
        .serial_number(1)
        .not_valid_before(NOW)
        .not_valid_after(NOW + HOUR)
        .add_extension(key_usage_extension(("keyCertSign",)), critical=True)
        .add_extension(
            certificate.extensions.get_extension_for_class(cx509.SubjectKeyIdentifier).value,
            critical=False,
        )
    )
    return builder.sign(ROOT.key, hashes.SHA256())


def test_a_right_list_has_no_finding():
    assert rules(made()) == rules(made(DELTA)) == set()
    assert rules(made(), url=URL) == set()
    removed = encode_entry(5, NOW, "removeFromCRL", None)
    assert rules(made(DELTA, [removed])) == set()
    assert list(check_delta(read_crl(made(DELTA)), read_crl(made()))) == []


BAD = [
    ("crl.issuer", lambda: made(replace(BASE, issuer=b"\x30\x00")), {}),
    ("crl.key-identifier", lambda: made(replace(BASE, key_identifier=b"k")), {}),
    ("crl.key-identifier", lambda: altered(without("authority_key_identifier")), {}),
    ("crl.signature", lambda: made(key=OTHER.key), {}),
    ("crl.signer", made, {"issuer": not_a_signer()}),
    ("crl.future", lambda: made(replace(BASE, this_update=NOW + HOUR / 2)), {}),
    ("crl.next-update", lambda: made(replace(BASE, next_update=BASE.this_update)), {}),
    ("crl.ended", lambda: made(replace(BASE, next_update=NOW)), {}),
    ("crl.number", lambda: altered(without("crl_number")), {}),
    ("crl.number", lambda: made(replace(BASE, number=1 << 160)), {}),
    ("crl.critical", lambda: altered(unknown), {}),
    *(
        ("crl.criticality", lambda name=name: altered(flip(name)), {})
        for name in (
            "crl_number", "authority_key_identifier", "freshest_crl", "issuing_distribution_point",
        )
    ),
    ("crl.criticality", lambda: altered(flip("delta_crl_indicator"), DELTA), {}),
    ("crl.scope", lambda: altered(empty_scope), {}),
    ("crl.scope", made, {"url": URL.replace("-1", "-2")}),
    ("crl.freshest", lambda: made(replace(DELTA, freshest=BASE.freshest)), {}),
    ("entry.twice", lambda: made(entries=[ENTRY, ENTRY]), {}),
    ("entry.serial", lambda: made(entries=[encode_entry(0, NOW, "superseded", None)]), {}),
    ("entry.reason", lambda: made(entries=[encode_entry(5, NOW, "removeFromCRL", None)]), {}),
    ("entry.reason", lambda: made(entries=[reason(2)]), {}),
    ("entry.reason", lambda: made(DELTA, [reason(10)]), {}),
    ("entry.invalidity-date",
     lambda: made(entries=[encode_entry(5, NOW - HOUR, "superseded", NOW)]), {}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "make", "options"), BAD, ids=[rule for rule, _, _ in BAD])
def test_each_rule_of_a_list_is_found(rule, make, options):
    assert rules(make(), **options) == {rule}


def test_a_list_without_an_end_is_found():
    def change(tbs):
        del tbs["next_update"]

    assert rules(altered(change)) == {"crl.next-update"}


def test_an_empty_list_that_is_there_is_found():
    tbs = encode_tbs(BASE, ())
    found = asn1.TbsCertList.load(tbs)
    found["revoked_certificates"] = asn1.RevokedCertificates([])
    assert "crl.empty-list" in rules(signed(found.dump(force=True)))


def test_two_algorithms_are_found():
    tbs = encode_tbs(BASE, [ENTRY])
    other = signature_algorithm(make_root("x", "EC-P384", lifetime=timedelta(1), now=NOW).key)
    der = encode_crl(tbs, other, sign_and_check(ROOT.key, tbs))
    assert "crl.algorithm" in rules(der)


DELTAS = [
    ("delta.gap", replace(DELTA, base_number=8)),
    ("delta.obsolete", replace(DELTA, number=7)),
    ("delta.issuer", replace(DELTA, issuer=b"\x30\x00")),
    ("delta.key", replace(DELTA, key_identifier=b"k")),
    ("delta.scope", replace(DELTA, only_at=None)),
    ("delta.scope", replace(DELTA, only_at=URL + "x")),
    ("delta.indicator", replace(DELTA, base_number=None)),
]


@pytest.mark.parametrize(("rule", "delta"), DELTAS)
def test_each_rule_of_a_delta_is_found(rule, delta):
    found = {one.rule for one in check_delta(read_crl(made(delta)), read_crl(made()))}
    assert found == {rule}


def test_a_delta_on_a_delta_is_found():
    found = [one.rule for one in check_delta(read_crl(made(DELTA)), read_crl(made(
        replace(DELTA, number=8))))]  # fmt: skip
    assert found == ["delta.base"]


def test_a_delta_below_its_own_base_is_found():
    delta = read_crl(made(replace(DELTA, number=9, base_number=9)))
    rules_found = {one.rule for one in check_delta(delta, read_crl(made(replace(BASE, number=9))))}
    assert rules_found == {"delta.obsolete", "delta.number"}


def test_made_together_they_have_one_number():
    delta = read_crl(made(replace(DELTA, number=7, this_update=BASE.this_update)))
    assert list(check_delta(delta, read_crl(made()))) == []
