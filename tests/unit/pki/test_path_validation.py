"""Which chains are believed: two ways of ours and openssl's, over one table of defects."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from fuzzing import counted, examples
from hypothesis import given
from hypothesis import strategies as st
from mutations import mutated
from paths_world import DAY, NOW, UNKNOWN, authority, der, make, openssl_verify

from est_server.errors import Unauthenticated
from est_server.pki.path import LONGEST_CHAIN, PathValidator, TrustStore

SERVER, ANY = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SECOND = timedelta(seconds=1)
ROOT = authority("root", end=NOW + 1000 * DAY)
MIDDLE = authority("middle", "root", path_length=0)
GOOD = make("device", "middle")


def dns(name):
    return [(x509.SubjectAlternativeName([x509.DNSName(name)]), False)]


def narrow(permitted=None, excluded=None):
    """Return a CA that may name only some devices."""
    names = x509.NameConstraints(
        permitted and [x509.DNSName(permitted)], excluded and [x509.DNSName(excluded)]
    )
    return authority("narrow", "root", extensions=[(names, True)])


# what was sent, and the rule that refuses it
CASES = {
    "good": ([GOOD, MIDDLE], None),
    "good-below-the-root": ([make("device", "root")], None),
    "good-with-the-root": ([GOOD, MIDDLE, ROOT], None),
    "good-with-a-ca-too-many": ([GOOD, authority("other", "root"), MIDDLE], None),
    "good-without-purposes": ([make("device", "middle", purposes=()), MIDDLE], None),
    "good-for-any-purpose": ([make("device", "middle", purposes=(ANY,)), MIDDLE], None),
    "good-for-two": ([make("device", "middle", purposes=(SERVER, CLIENT)), MIDDLE], None),
    "good-without-usages": ([make("device", "middle", usage=()), MIDDLE], None),
    "good-name-permitted": (
        [make("device", "narrow", extensions=dns("x.a.example")), narrow("a.example")],
        None,
    ),
    "expired": ([make("device", "middle", end=NOW - DAY), MIDDLE], "path.expired"),
    "expired-a-second-ago": (
        [make("device", "middle", end=NOW - SECOND), MIDDLE],
        "path.expired",
    ),
    "expires-now": ([make("device", "middle", end=NOW), MIDDLE], None),
    "begins-now": ([make("device", "middle", begin=NOW), MIDDLE], None),
    "not-yet-valid": ([make("device", "middle", begin=NOW + SECOND), MIDDLE], "path.not-yet-valid"),
    "expired-above": (
        [make("device", "old"), authority("old", "root", end=NOW - DAY)],
        "path.expired",
    ),
    "not-yet-valid-above": (
        [make("device", "new"), authority("new", "root", begin=NOW + DAY)],
        "path.not-yet-valid",
    ),
    "wrong-purpose": ([make("device", "middle", purposes=(SERVER,)), MIDDLE], "path.purpose"),
    "wrong-usage": ([make("device", "middle", usage=("keyEncipherment",)), MIDDLE], "path.purpose"),
    "missing-intermediate": ([make("device", "absent")], "path.unknown-issuer"),
    "a-ca": ([authority("sub", "middle"), MIDDLE], "path.is-ca"),
    "path-length": (
        [make("device", "below"), authority("below", "middle"), MIDDLE],
        "path.invalid",
    ),
    "issued-by-a-device": (
        [make("device", "leaf"), make("leaf", "root", usage=("digitalSignature", "keyCertSign"))],
        "path.invalid",
    ),
    "issuer-signs-crls-only": (
        [make("device", "crls"), authority("crls", "root", usage=("cRLSign",))],
        "path.invalid",
    ),
    "name-not-permitted": (
        [make("device", "narrow", extensions=dns("b.example")), narrow("a.example")],
        "path.invalid",
    ),
    "name-excluded": (
        [make("device", "narrow", extensions=dns("x.a.example")), narrow(None, "a.example")],
        "path.invalid",
    ),
    "forged-in-the-roots-name": ([make("device", "root", signer="forger")], "path.unknown-issuer"),
    "forged-in-a-cas-name": (
        [make("device", "middle", signer="forger"), MIDDLE],
        "path.unknown-issuer",
    ),
    "forged-signature": (
        [make("device", "middle", signer="forger", named="middle"), MIDDLE],
        "path.invalid",
    ),
    "forged-with-its-ca": (
        [
            make("device", "middle", signer="forger"),
            authority("middle", "root", holder="forger", signer="forger"),
        ],
        "path.unknown-issuer",
    ),
    "unknown-issuer": ([make("device", "stranger")], "path.unknown-issuer"),
    "unknown-hierarchy": (
        [make("device", "stranger"), authority("stranger", "strangers"), authority("strangers")],
        "path.unknown-issuer",
    ),
    "self-signed": ([make("device")], "path.unknown-issuer"),
    "self-signed-with-a-chain": ([make("device"), MIDDLE, ROOT], "path.unknown-issuer"),
    "self-signed-in-the-roots-name": (
        [make("root", holder="forger", signer="forger")],
        "path.unknown-issuer",
    ),
    "critical-extension": (
        [make("device", "middle", extensions=[(UNKNOWN, True)]), MIDDLE],
        "path.critical-extension",
    ),
    "critical-extension-above": (
        [make("device", "odd"), authority("odd", "root", extensions=[(UNKNOWN, True)])],
        "path.invalid",
    ),
    "uncritical-extension": (
        [make("device", "middle", extensions=[(UNKNOWN, False)]), MIDDLE],
        None,
    ),
}
WE_DIFFER = {
    # RFC 5280 4.2.1.12 leaves it to us whether anyExtendedKeyUsage is enough: IDevIDs have it
    "good-for-any-purpose",
    # RFC 5280 4.1.2.5: notAfter itself is in; to openssl it is over
    "expires-now",
}


def validator(*intermediates, anchors=(ROOT,)):
    return PathValidator(TrustStore("acme", anchors, intermediates))


async def rule(judge, chain, at=NOW):
    """Return the rule that refuses `chain`, or None."""
    try:
        found = await judge.validate(der(*chain), at)
    except Unauthenticated as refused:
        return refused.rule
    assert found.leaf == chain[0]
    found.leaf.verify_directly_issued_by(found.issuer)
    return None


@pytest.mark.parametrize("name", CASES)
async def test_a_validator_that_knows_nothing(name):
    chain, expected = CASES[name]
    assert await rule(validator(), chain) == expected


@pytest.mark.parametrize("name", CASES)
async def test_a_validator_that_knows_every_good_issuer(name):
    chain, expected = CASES[name]
    judge = validator()
    for known, refused in CASES.values():
        if refused is None:
            assert await rule(judge, known) is None
    assert await rule(judge, chain) == expected
    assert await rule(judge, chain) == expected, "the second time too"


@pytest.mark.parametrize("name", CASES)
def test_openssl_is_of_the_same_opinion(name, tmp_path):
    chain, expected = CASES[name]
    good, why = openssl_verify(tmp_path, ROOT, chain)
    assert good == (expected is None) or name in WE_DIFFER, why


async def test_a_short_chain_is_completed_from_the_trust_store_and_from_memory():
    assert await rule(validator(), [GOOD]) == "path.unknown-issuer"
    assert await rule(validator(MIDDLE), [GOOD]) is None
    judge = validator()
    assert await rule(judge, [GOOD, MIDDLE]) is None
    assert await rule(judge, [make("another", "middle")]) is None


async def test_memory_ends_with_the_first_certificate_of_the_chain_that_does():
    short = authority("middle", "root", end=NOW + DAY)
    judge = validator()
    assert await rule(judge, [GOOD, short]) is None
    assert await rule(judge, [GOOD], NOW + DAY) is None
    assert await rule(judge, [GOOD], NOW + DAY + SECOND) == "path.unknown-issuer"
    assert await rule(judge, [GOOD, short], NOW + DAY + SECOND) == "path.expired"
    assert await rule(judge, [GOOD, MIDDLE], NOW + DAY + SECOND) is None


async def test_issuers_whose_names_are_constrained_are_not_remembered():
    judge = validator()
    ca = narrow("a.example")
    good = make("device", "narrow", extensions=dns("x.a.example"))
    assert await rule(judge, [good, ca]) is None
    assert await rule(judge, [make("device", "narrow", extensions=dns("b.example"))]) is not None
    assert await rule(judge, [good]) == "path.unknown-issuer"


async def proven(judge, *chain):
    """Let a validator prove a device twice, so that it knows issuer and device."""
    assert [await rule(judge, chain) for _ in range(2)] == [None, None]


async def test_a_device_that_was_proven_is_proven_again_without_its_issuer(monkeypatch):
    judge = validator()
    await proven(judge, GOOD, MIDDLE)
    monkeypatch.setattr("est_server.pki.path._signed_by", lambda *_: False)
    judge._issuers.clear()
    assert await rule(judge, [GOOD]) is None
    assert await rule(judge, [make("device", "middle")]) == "path.unknown-issuer"


@pytest.mark.parametrize("ends", ["device", "middle"])
async def test_a_device_is_proven_until_it_or_its_issuer_ends(ends):
    end = {ends: NOW + DAY}
    middle = authority("middle", "root", begin=NOW - DAY, end=end.get("middle", NOW + 9 * DAY))
    device = make("device", "middle", begin=NOW - 2 * DAY, end=end.get("device", NOW + 9 * DAY))
    judge = validator()
    await proven(judge, device, middle)
    assert await rule(judge, [device, middle], NOW + DAY) is None
    assert await rule(judge, [device, middle], NOW + DAY + SECOND) == "path.expired"
    assert await rule(judge, [device, middle], NOW - DAY - SECOND) == "path.not-yet-valid"


async def test_a_device_that_was_proven_still_sends_no_longest_chain_and_no_other_leaf():
    judge = validator()
    await proven(judge, GOOD, MIDDLE)
    forged = make("device", "middle", signer="forger")
    assert await rule(judge, [forged, GOOD, MIDDLE]) == "path.unknown-issuer"
    assert await rule(judge, [GOOD, *[MIDDLE] * LONGEST_CHAIN]) == "path.too-long"


async def test_of_devices_the_latest_are_remembered(monkeypatch):
    monkeypatch.setattr("est_server.pki.path.LEAVES_KEPT", 2)
    devices = [make(name, "middle") for name in ("one", "two", "three")]
    judge = validator()
    for device in devices:
        await proven(judge, device, MIDDLE)
    judge._issuers.clear()
    kept = [await rule(judge, [device]) for device in devices]
    assert kept == ["path.unknown-issuer", None, None]


async def test_an_anchor_is_trusted_for_what_it_is_even_when_it_has_expired():
    """RFC 5280 6.1.1 (d): an anchor is a name and a key; the operator takes it away."""
    old = authority("root", end=NOW - DAY)
    judge = validator(anchors=(old,))
    assert await rule(judge, [make("device", "root")]) is None
    assert await rule(judge, [make("another", "root")]) is None


async def test_an_anchor_is_nobodys_device_certificate():
    pinned = make("pinned")
    assert await rule(validator(anchors=(ROOT, pinned)), [pinned]) == "path.is-anchor"
    assert await rule(validator(), [ROOT]) == "path.is-ca"


async def test_chains_have_a_longest_length():
    chain = [GOOD, *[MIDDLE] * (LONGEST_CHAIN - 1)]
    assert await rule(validator(), chain) is None
    for wrong in ([*chain, MIDDLE], []):
        with pytest.raises(Unauthenticated) as refused:
            await validator().validate(der(*wrong), NOW)
        assert refused.value.rule == "path.too-long"


@pytest.mark.parametrize("cut", [0, 1, 10, 200])
async def test_what_is_no_certificate_is_malformed(cut):
    [leaf, above] = der(GOOD, MIDDLE)
    for chain in ([leaf[:cut], above], [leaf, above[:cut]], [leaf + b"x", above]):
        with pytest.raises(Unauthenticated) as refused:
            await validator().validate(chain, NOW)
        assert refused.value.rule == "path.malformed"


X400 = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), bytes.fromhex("3004a3023000"))


async def test_a_name_of_a_kind_that_nobody_reads_is_malformed():
    """An x400Address in subjectAltName: cryptography has an exception of its own for it."""
    for issuer in ("middle", "stranger"):
        leaf = make("device", issuer, extensions=[(X400, False)])
        assert await rule(validator(), [leaf, MIDDLE]) in {"path.malformed", UNKNOWN}
    above = authority("middle", "root", extensions=[(X400, False)])
    assert await rule(validator(), [GOOD, above]) in {None, "path.malformed"}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("knows", [True, False])
async def test_every_octet_of_a_chain_matters(knows, number):
    """No chain that was changed is believed, and none raises anything but a refusal."""
    judge = validator()
    if knows:
        assert await rule(judge, [make("device", "root")]) is None
    chain = der(GOOD, MIDDLE)
    for at in range(len(chain[number])):
        changed = bytearray(chain[number])
        changed[at] ^= 0x11
        with pytest.raises(Unauthenticated):
            await judge.validate([*chain[:number], bytes(changed), *chain[number + 1 :]], NOW)


@examples(100, 0.02)
@given(random=st.randoms(use_true_random=False))
def test_any_chain_is_believed_or_refused(random):
    chain = [mutated(random, [one]) if random.random() < 0.7 else one for one in der(GOOD, MIDDLE)]
    with contextlib.suppress(Unauthenticated):
        found = counted("path", lambda: asyncio.run(validator().validate(chain, NOW)))
        assert found.leaf == GOOD


async def test_of_issuers_the_latest_are_remembered(monkeypatch):
    monkeypatch.setattr("est_server.pki.path.ISSUERS_KEPT", 2)
    judge = validator()
    for name in ("one", "two", "three"):
        assert await rule(judge, [make("device", name), authority(name, "root")]) is None
    kept = [await rule(judge, [make("device", name)]) for name in ("one", "two", "three")]
    assert kept == ["path.unknown-issuer", None, None]
