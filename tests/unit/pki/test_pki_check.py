"""A certificate that differs from its plan in one thing is refused by that thing's rule."""

from __future__ import annotations

from dataclasses import replace

import pytest
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from cryptography.x509.oid import ExtensionOID
from paths_world import DAY, NOW, UNKNOWN

from backends.soft import SoftAuthority
from est_server.errors import BackendRejected
from est_server.pki.authority import authority_key_identifier, make_issuing, make_root
from est_server.pki.check import check_issued
from est_server.pki.keys import generate_key
from est_server.pki.plan import CertificatePlan, Pointers
from est_server.pki.usages import CLIENT_AUTH, EXTENDED_KEY_USAGES
from est_server.ports.ca import CaCertificates, IssuanceOrder

SERIAL = 0x1234_5678_9ABC_DEF0_1234
ROOT = make_root("root", "EC-P256", lifetime=900 * DAY, now=NOW)
ISSUING = make_issuing(ROOT, "issuing", "EC-P256", lifetime=800 * DAY, now=NOW)
# the same name, another key
TWIN = make_issuing(ROOT, "issuing", "EC-P256", lifetime=800 * DAY, now=NOW)
ISSUER = ISSUING.certificate


def spki(key):
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


KEY, OTHER_KEY = generate_key("EC-P256"), generate_key("EC-P256")
URL = "http://pki.example/"
PLAN = CertificatePlan(
    ca="issuing",
    subject=x509.Name.from_rfc4514_string("CN=SN-1,O=Example"),
    subject_alternative_names=(x509.DNSName("a.example"), x509.DNSName("b.example")),
    spki=spki(KEY),
    key_algorithm="EC-P256",
    not_before=NOW,
    not_after=NOW + 90 * DAY,
    key_usage=("digitalSignature", "keyEncipherment"),
    extended_key_usage=(CLIENT_AUTH, EXTENDED_KEY_USAGES["ipsecIKE"]),
    certificate_policies=("1.3.6.1.4.1.99999.1",),
    pointers=Pointers((URL + "crl",), (URL + "delta",), (URL + "ocsp",), (URL + "aia",)),
)


async def issued(changes=None, serial=SERIAL, by=ISSUING):
    """Return what the soft CA makes of PLAN with `changes`."""
    ca = SoftAuthority(by.key, CaCertificates(by.certificate, (ROOT.certificate,)))
    order = IssuanceOrder(replace(PLAN, **(changes or {})), serial, "r_1", b"", NOW)
    return await ca.issue(order)


def check(certificate, *, exact=True, own=(), plan=PLAN, issuer=ISSUER, late=0 * DAY):
    own = frozenset(own if exact else (*own, "validity", "extensions"))
    check_issued(plan, certificate, issuer, serial_number=SERIAL, own=own, late=late)


def refuse(rule, certificate, **options):
    with pytest.raises(BackendRejected) as refused:
        check(certificate, **options)
    assert refused.value.rule == rule


def pointers(**urls):
    return {"pointers": replace(PLAN.pointers, **urls)}


# changes to the plan that a CA might have carried out: the rule that sees it where the certificate
# must equal the plan, and where it must only not be wider
CHANGES = {
    "key": ({"spki": spki(OTHER_KEY)}, "issued.key", "issued.key"),
    "subject": (
        {"subject": x509.Name.from_rfc4514_string("CN=SN-2,O=Example")},
        "issued.subject",
        "issued.subject",
    ),
    "a-name-more": (
        {"subject_alternative_names": (*PLAN.subject_alternative_names, x509.DNSName("c"))},
        "issued.names",
        "issued.names",
    ),
    "a-name-less": (
        {"subject_alternative_names": PLAN.subject_alternative_names[:1]},
        "issued.names",
        "issued.names",
    ),
    "no-names": ({"subject_alternative_names": ()}, "issued.names", "issued.names"),
    "later-end": ({"not_after": NOW + 91 * DAY}, "issued.validity", "issued.validity"),
    "earlier-end": ({"not_after": NOW + 89 * DAY}, "issued.validity", None),
    "later-begin": ({"not_before": NOW + DAY}, "issued.validity", None),
    "a-usage-more": (
        {"key_usage": (*PLAN.key_usage, "keyAgreement")},
        "issued.usage",
        "issued.usage",
    ),
    "a-usage-less": ({"key_usage": PLAN.key_usage[:1]}, "issued.usage", None),
    "certificate-signing": (
        {"key_usage": (*PLAN.key_usage, "keyCertSign")},
        "issued.usage",
        "issued.usage",
    ),
    "no-usages": ({"key_usage": ()}, "issued.usage", "issued.usage"),
    "a-purpose-more": (
        {"extended_key_usage": (*PLAN.extended_key_usage, EXTENDED_KEY_USAGES["serverAuth"])},
        "issued.usage",
        "issued.usage",
    ),
    "a-purpose-less": ({"extended_key_usage": (CLIENT_AUTH,)}, "issued.usage", None),
    "every-purpose": ({"extended_key_usage": ()}, "issued.usage", "issued.usage"),
    "another-policy": ({"certificate_policies": ("1.2.3",)}, "issued.extensions", None),
    "no-policy": ({"certificate_policies": ()}, "issued.extensions", None),
    "another-crl": (pointers(crl=(URL + "x",)), "issued.extensions", None),
    "a-crl-more": (pointers(crl=(URL + "crl", URL + "x")), "issued.extensions", None),
    "another-delta": (pointers(freshest_crl=(URL + "x",)), "issued.extensions", None),
    "no-delta": (pointers(freshest_crl=()), "issued.extensions", None),
    "another-responder": (pointers(ocsp=(URL + "x",)), "issued.extensions", None),
    "no-responder": (pointers(ocsp=()), "issued.extensions", None),
    "another-issuer-url": (pointers(ca_issuers=(URL + "x",)), "issued.extensions", None),
    "no-urls": ({"pointers": Pointers()}, "issued.extensions", None),
    "nocheck": ({"ocsp_nocheck": True}, "issued.extensions", "issued.extensions"),
}


@pytest.mark.parametrize("exact", [True, False])
async def test_what_was_planned_passes(exact):
    certificate = await issued()
    check(certificate, exact=exact)
    check(certificate, exact=exact, own={"serial"})


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("exact", [True, False])
async def test_one_difference(name, exact):
    changes, *rules = CHANGES[name]
    certificate = await issued(changes)
    rule = rules[0] if exact else rules[1]
    if rule is None:
        check(certificate, exact=exact)
    else:
        refuse(rule, certificate, exact=exact)


async def test_names_that_read_the_same_are_the_same():
    names = {
        "subject": x509.Name.from_rfc4514_string("CN=sn-1,O=EXAMPLE"),
        "subject_alternative_names": (x509.DNSName("B.example"), x509.DNSName("a.EXAMPLE")),
    }
    check(await issued(names))


@pytest.mark.parametrize("exact", [True, False])
async def test_another_serial_number(exact):
    refuse("issued.serial", await issued(serial=SERIAL + 1), exact=exact)
    check(await issued(serial=SERIAL + 1), exact=exact, own={"serial"})


async def test_a_validity_of_the_cas_own_begins_when_it_decides():
    later = await issued({"not_before": NOW + DAY, "not_after": NOW + 91 * DAY})
    check(later, own={"validity"}, late=DAY)
    refuse("issued.validity", later, own={"validity"}, late=DAY / 2)
    check(await issued({"not_before": NOW - DAY}), own={"validity"})
    longer = await issued({"not_after": NOW + 91 * DAY})
    refuse("issued.validity", longer, own={"validity"}, late=DAY)
    refuse("issued.validity", await issued({"not_after": NOW}), own={"validity"})


async def test_it_does_not_outlive_its_issuer():
    short = make_issuing(ROOT, "issuing", "EC-P256", lifetime=60 * DAY, now=NOW)
    certificate = await issued()
    refuse("issued.validity", certificate, exact=False, issuer=short.certificate)


@pytest.mark.parametrize("exact", [True, False])
async def test_another_authority(exact):
    by_twin = await issued(by=TWIN)
    # exactly, the key identifier tells already
    refuse("issued.extensions" if exact else "issued.signature", by_twin, exact=exact)
    by_root = await issued(by=ROOT)
    refuse("issued.extensions" if exact else "issued.issuer", by_root, exact=exact)


def built(*, ca=False, extra=(), signer=ISSUING.key, key=KEY, serial=SERIAL):
    """Return PLAN as another program might build it: without what gives no right."""
    public = load_der_public_key(spki(key))
    builder = (
        x509.CertificateBuilder(ISSUER.subject, PLAN.subject, public, serial)
        .not_valid_before(PLAN.not_before)
        .not_valid_after(PLAN.not_after)
        .add_extension(x509.SubjectAlternativeName(PLAN.subject_alternative_names), critical=False)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(authority_key_identifier(ISSUER), critical=False)
    )
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(signer, ISSUER.signature_hash_algorithm)


BARE = replace(
    PLAN, key_usage=(), extended_key_usage=(), certificate_policies=(), pointers=Pointers()
)


def test_a_ca_certificate_is_nobodys_device_certificate():
    check(built(), exact=False, plan=BARE)
    for exact in (True, False):
        refuse("issued.is-ca", built(ca=True), exact=exact, plan=BARE)


def test_extensions_that_nobody_planned():
    refuse("issued.extensions", built(extra=[(UNKNOWN, False)]), plan=BARE)
    refuse("issued.extensions", built(), plan=BARE)  # its own key identifier is missing


def test_key_identifiers_are_those_of_the_keys():
    own = x509.SubjectKeyIdentifier.from_public_key
    check(built(extra=[(own(KEY.public_key()), False)]), plan=BARE)
    other = built(extra=[(own(OTHER_KEY.public_key()), False)])
    refuse("issued.extensions", other, plan=BARE)


def test_a_signature_by_another_key():
    refuse("issued.signature", built(signer=OTHER_KEY), exact=False, plan=BARE)


def damaged(change):
    """Return a certificate whose octets were changed; its signature no longer matters."""
    return x509.load_der_x509_certificate(change(built().public_bytes(Encoding.DER)))


def twice(der):
    raw = asn1_x509.Certificate.load(der)
    extensions = raw["tbs_certificate"]["extensions"]
    extensions.append(extensions[0].copy())
    return raw.dump(force=True)


def garbled(der):
    no_ca, nothing = b"\x04\x02\x30\x00", b"\x04\x02\x30\x05"
    assert der.count(no_ca) == 1
    return der.replace(no_ca, nothing)


@pytest.mark.parametrize("change", [twice, garbled])
@pytest.mark.parametrize("exact", [True, False])
def test_extensions_that_can_not_be_read_are_refused(change, exact):
    refuse("issued.extensions", damaged(change), exact=exact, plan=BARE)


def test_a_key_of_no_known_kind_is_refused():
    der = built().public_bytes(Encoding.DER)
    known, unknown = bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d0209")
    certificate = x509.load_der_x509_certificate(der.replace(known, unknown, 1))
    refuse("issued.key", certificate, exact=False, plan=BARE)


async def test_the_plan_knows_which_extensions_there_are():
    certificate = await issued({"ocsp_nocheck": True})
    assert ExtensionOID.OCSP_NO_CHECK in {extension.oid for extension in certificate.extensions}
    check(certificate, plan=replace(PLAN, ocsp_nocheck=True))
    refuse("issued.extensions", await issued(), plan=replace(PLAN, ocsp_nocheck=True), exact=False)
