"""DICE certificate chains: what is believed, and which attacks end with which code."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from attacks import attack
from cryptography.hazmat.primitives.asymmetric import ec
from dice_device import UEID, Device, device, fresh, named, tcb
from dice_device import tcb_info as info
from signers import MADE, extension, root
from tokens import der, spki

from est_server.attestation.dice_policy import DicePolicy, DiceSettings
from est_server.attestation.dice_x509 import DiceX509
from est_server.attestation.reading import sha256
from est_server.pki.path import TrustStore
from est_server.ports.verifier import (
    Evidence,
    EvidenceRefused,
    Platform,
    VerificationContext,
    VerifiedEvidence,
)
from est_server.wire import dice

NONCE = b"n" * 32
DICE, SETTINGS = DiceX509(), DiceSettings()
MAKER = root()
KEY = ec.generate_private_key(ec.SECP256R1())
TRUST = {"testco": TrustStore("testco", (MAKER.certificate,))}
WANTED: dict[str, Any] = {
    "environments": [
        {"vendor": "TestCo", "layer": 0, "svn": 7},
        {"vendor": "TestCo", "model": "EdgeBox", "version": "1.4", "layer": 1, "svn": 7,
         "fwids": ["01" * 32]},
    ]
}  # fmt: skip
BOOTED = device(MAKER)
GOOD = BOOTED.below(tcb(layer=1), fresh(NONCE), key=KEY)


def context(policy: dict[str, Any] | None = None, **changes: Any) -> VerificationContext:
    found = VerificationContext(
        spki=spki(KEY), nonce=NONCE, now=MADE, settings=SETTINGS, trust=TRUST,
        policy=DicePolicy.model_validate({**WANTED, **(policy or {})}),
    )  # fmt: skip
    return replace(found, **changes)


def evidence(found: Device, statement: bytes | None = None) -> Evidence:
    said = found.statement() if statement is None else statement
    return Evidence(SETTINGS.statement_type, said, tuple(reversed(found.certificates)))


def verified(found: Device, where: VerificationContext | None = None) -> VerifiedEvidence:
    return DICE.verify(evidence(found), where or context())


def failed(said: VerifiedEvidence) -> set[str]:
    return {check.code for check in said.checks if not check.passed}


def refused(said: Evidence, where: VerificationContext | None = None) -> str:
    with pytest.raises(EvidenceRefused) as error:
        DICE.verify(said, where or context())
    return error.value.code


# -- what is believed


def test_the_last_layers_key_is_the_requests():
    said = verified(GOOD)
    assert (said.binds_key, said.fresh, failed(said)) == (True, True, set())
    assert DICE.nonce(evidence(GOOD), SETTINGS) == NONCE
    assert said.claims["ueid"] == UEID.hex()
    last = said.claims["environments"]["1"]
    assert (last["svn"], last["flags"], last["fwids"]) == (7, [], ["01" * 32])
    assert Platform("ueid", sha256(UEID).hex()) in said.platform


def test_the_last_layers_key_signs_for_the_requests():
    signing = BOOTED.below(tcb(layer=1))
    said = evidence(signing, signing.statement(NONCE, spki(KEY)))
    found = DICE.verify(said, context())
    assert (found.binds_key, found.fresh, failed(found)) == (True, True, set())
    assert DICE.nonce(said, SETTINGS) == NONCE


def test_without_a_nonce_it_is_a_recording():
    recorded = BOOTED.below(tcb(layer=1), key=KEY)
    assert DICE.nonce(evidence(recorded), SETTINGS) is None
    assert not verified(recorded).fresh
    assert not verified(GOOD, context(nonce=b"m" * 32)).fresh
    assert not verified(GOOD, context(nonce=None)).fresh


def test_several_environments_in_one_certificate():
    several = extension(
        dice.MULTI_TCB_INFO,
        der(0x30, info(layer=1, index=0, svn=7, flags=0), info(layer=1, index=1, svn=9, flags=0)),
    )
    found = BOOTED.below(several, fresh(NONCE), key=KEY)
    of_three = [{"layer": 0}, {"index": 0, "svn": 7}, {"index": 1, "svn": 9}]
    assert failed(verified(found, context({"environments": of_three}))) == set()
    assert failed(verified(found, context({"environments": of_three[:2]}))) == {"environments"}
    swapped = [of_three[0], of_three[2], of_three[1]]
    assert failed(verified(found, context({"environments": swapped}))) == {"index", "svn"}


def test_extensions_that_are_not_critical_are_read_too():
    plain = extension(dice.TCB_INFO, info(layer=1, svn=6, flags=0), critical=False)
    found = BOOTED.below(plain, fresh(NONCE), key=KEY)
    assert failed(verified(found)) == {"vendor", "model", "version", "svn", "fwid"}


# -- the attacks


@attack(83)
def test_the_last_layer_says_nothing_and_the_one_above_speaks_for_it():
    """Only layer 0 is measured: its TcbInfo is no word about what runs in layer 1."""
    silent = BOOTED.below(fresh(NONCE), key=KEY)
    one = context({"environments": WANTED["environments"][:1]})
    assert refused(evidence(silent), one) == "dice.no-tcb-info"


@attack(83)
def test_each_layer_is_held_against_its_own_reference_values():
    """A good layer 0 above an old layer 1, and the other way round."""
    old_last = BOOTED.below(tcb(layer=1, svn=3), fresh(NONCE), key=KEY)
    assert failed(verified(old_last)) == {"svn"}
    old_first = device(MAKER, tcb(layer=0, svn=3)).below(tcb(layer=1), fresh(NONCE), key=KEY)
    assert failed(verified(old_first)) == {"svn"}


def test_a_layer_that_the_policy_does_not_know():
    """Taken over firmware starts something else below itself."""
    more = device(MAKER, tcb(layer=0)).below(tcb(layer=1), ca=True)
    assert failed(verified(more.below(tcb(layer=2), fresh(NONCE), key=KEY))) == {"environments"}


@attack(84)
@pytest.mark.parametrize("bit", range(4))
@pytest.mark.parametrize("layer", [0, 1])
def test_debug_recovery_and_the_like(bit, layer):
    flags = {"flags": 1 << bit}
    above = tcb(layer=0, **(flags if layer == 0 else {}))
    below = tcb(layer=1, **(flags if layer == 1 else {}))
    found = device(MAKER, above).below(below, fresh(NONCE), key=KEY)
    said = verified(found)
    assert failed(said) == {"flags"}
    (check,) = [one for one in said.checks if not one.passed]
    assert dice.FLAGS[bit] in check.actual


@attack(84)
def test_flags_that_nobody_measured():
    unsaid = extension(dice.TCB_INFO, info(layer=1))
    last = {"environments": [{}, {}]}
    found = BOOTED.below(unsaid, fresh(NONCE), key=KEY)
    assert failed(verified(found, context(last))) == {"flags"}
    assert failed(verified(found, context({**last, "flags": "optional"}))) == set()
    masked = BOOTED.below(tcb(layer=1, mask=0b0111), fresh(NONCE), key=KEY)
    assert failed(verified(masked)) == {"flags"}
    whole = BOOTED.below(tcb(layer=1, mask=0b1111), fresh(NONCE), key=KEY)
    assert failed(verified(whole)) == set()
    hidden = BOOTED.below(tcb(layer=1, flags=0b1000, mask=0b0111), fresh(NONCE), key=KEY)
    assert failed(verified(hidden, context({"flags": "optional"}))) == {"flags"}


@attack(85)
@pytest.mark.parametrize("svn", [0, 6, None])
def test_a_security_version_below_the_least(svn):
    said = {"layer": 1} if svn is None else {"layer": 1, "svn": svn}
    found = BOOTED.below(extension(dice.TCB_INFO, info(flags=0, **said)), fresh(NONCE), key=KEY)
    policy = context({"environments": [{}, {"svn": 7}]})
    assert failed(verified(found, policy)) == {"svn"}


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"vendor": "Other"}, "vendor"),
        ({"model": "Other"}, "model"),
        ({"version": "1.3"}, "version"),
        ({"layer": 2}, "layer"),
        ({"fwids": [bytes(32)]}, "fwid"),
        ({"fwids": [bytes([1]) * 32, bytes(32)]}, "fwid"),
    ],
)
def test_other_firmware(said, code):
    found = BOOTED.below(tcb(**{"layer": 1, **said}), fresh(NONCE), key=KEY)
    assert failed(verified(found)) == {code}


def test_index_and_type():
    wanted = {"environments": [{}, {"index": 3, "type": "0a"}]}
    good = BOOTED.below(tcb(layer=1, index=3, type=b"\x0a"), fresh(NONCE), key=KEY)
    assert failed(verified(good, context(wanted))) == set()
    other = BOOTED.below(tcb(layer=1, index=2, type=b"\x0b"), fresh(NONCE), key=KEY)
    assert failed(verified(other, context(wanted))) == {"index", "type"}


def test_another_key_in_the_request():
    other = spki(ec.generate_private_key(ec.SECP256R1()))
    assert refused(evidence(GOOD), context(spki=other)) == "dice.key-mismatch"


def test_a_signature_for_another_key_or_nonce_or_by_somebody_else():
    signing = BOOTED.below(tcb(layer=1))
    other = spki(ec.generate_private_key(ec.SECP256R1()))
    for_other = evidence(signing, signing.statement(NONCE, other))
    assert refused(for_other) == "dice.signature"
    forged = signing.statement(NONCE, spki(KEY)).replace(NONCE, b"m" * 32)
    assert refused(evidence(signing, forged)) == "dice.signature"
    by_above = signing.statement(NONCE, spki(KEY), BOOTED.alias.key)
    assert refused(evidence(signing, by_above)) == "dice.signature"
    bare = signing.statement(b"", spki(KEY))
    assert refused(evidence(signing, bare)) == "dice.nonce-missing"


def test_a_nonce_beside_a_recording():
    """Nothing signed the nonce: the chain was made before, or for another nonce."""
    recorded = BOOTED.below(tcb(layer=1), key=KEY)
    assert refused(evidence(recorded, recorded.statement(NONCE))) == "dice.nonce"
    other = BOOTED.below(tcb(layer=1), fresh(b"m" * 32), key=KEY)
    assert refused(evidence(other, other.statement(NONCE))) == "dice.nonce"
    assert refused(evidence(other, other.statement(NONCE, spki(KEY)))) == "dice.nonce"


def test_a_chain_to_somebody_else():
    stranger = device(root("Stranger")).below(tcb(layer=1), fresh(NONCE), key=KEY)
    assert refused(evidence(stranger)) == "dice.unknown-issuer"
    namesake = device(root()).below(tcb(layer=1), fresh(NONCE), key=KEY)
    assert refused(evidence(namesake)) == "dice.unknown-issuer"
    assert refused(evidence(GOOD), context(trust={})) == "dice.unknown-issuer"
    short = replace(evidence(GOOD), certificates=(GOOD.alias.der,))
    assert refused(short) == "dice.unknown-issuer"
    assert refused(replace(short, certificates=())) == "dice.certificate-missing"


def test_the_root_itself_is_no_device():
    lonely = Device((MAKER.issue("device", tcb(layer=1), ca=False, key=KEY),))
    trusting = {"it": TrustStore("it", (lonely.alias.certificate,))}
    assert refused(evidence(lonely), context(trust=trusting)) == "dice.unknown-issuer"


@pytest.mark.parametrize("ca", [False, None])
def test_a_layer_certified_by_a_key_that_may_not(ca):
    """The alias key of a device, which firmware of the last layer has, issues nothing."""
    below = BOOTED.below(tcb(layer=1), ca=ca)
    assert refused(evidence(below.below(tcb(layer=2), fresh(NONCE), key=KEY))) == (
        "dice.unknown-issuer"
    )


def test_an_issuer_for_an_alias_key():
    issuing = BOOTED.below(tcb(layer=1), fresh(NONCE), key=KEY, ca=True)
    assert refused(evidence(issuing)) == "dice.is-ca"


def test_a_critical_extension_that_nobody_understands():
    strange = BOOTED.below(tcb(layer=1), extension("1.2.3.4", b"\x05\0"), fresh(NONCE), key=KEY)
    assert refused(evidence(strange)) == "dice.unknown-issuer"


def test_environments_in_a_form_that_is_not_read():
    packed = extension(dice.MULTI_TCB_INFO_COMP, b"0\0", critical=False)
    found = BOOTED.below(tcb(layer=1), packed, fresh(NONCE), key=KEY)
    assert refused(evidence(found)) == "dice.unsupported"


def test_time():
    ended = BOOTED.below(tcb(layer=1), fresh(NONCE), key=KEY, until=MADE + timedelta(days=1))
    assert refused(evidence(ended), context(now=MADE + timedelta(days=2))) == "dice.expired"
    assert refused(evidence(GOOD), context(now=MADE - timedelta(days=9))) == "dice.not-yet-valid"
    layer = BOOTED.below(tcb(layer=1), ca=True, until=MADE + timedelta(days=1))
    late = context({"environments": [{}, {}, {}]}, now=MADE + timedelta(days=2))
    under = layer.below(tcb(layer=2), fresh(NONCE), key=KEY)
    assert refused(evidence(under), late) == "dice.unknown-issuer"


@attack(82)
def test_a_revoked_device():
    for barred in (sha256(GOOD.layers[0].der), sha256(GOOD.layers[1].spki)):
        assert refused(evidence(GOOD), context({"revoked": [barred.hex()]})) == "dice.revoked"


def test_two_names_of_one_device():
    found = BOOTED.below(tcb(layer=1), named(b"\x01" + bytes(16)), fresh(NONCE), key=KEY)
    assert refused(evidence(found)) == "dice.ueid"


def test_many_certificates_of_one_name_cost_little():
    """Of those that may have issued the last layer, few are tried."""
    others = [root("layer 0").der for _ in range(31)]
    crowded = replace(evidence(GOOD), certificates=(*others, *GOOD.certificates))
    assert refused(crowded) == "dice.unknown-issuer"


def test_devices_have_platforms_of_their_own():
    mine = verified(GOOD).platform
    other = device(MAKER).below(tcb(layer=1), fresh(NONCE), key=KEY)
    assert {one.kind for one in mine & verified(other).platform} == {"ueid"}
