"""What a platform booted: quotes of real TPMs, and every way to show another boot."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from attacks import attack
from device_tpm import ECC_EK, RSA_EK
from event_logs import DRIVER_CONFIG, NO_ACTION, Log, booted, variable
from pydantic import ValidationError
from tpm_world import (
    CERTIFY,
    NOW,
    QUOTE,
    SECRET,
    Device,
    failed,
    quote_context,
    quote_statement,
    refused,
)

from est_server.attestation.appraise import Asked, Finding, appraise, matches
from est_server.attestation.policy import Policy, PolicyModel, Rule
from est_server.attestation.tpm2_certify import CertifyPolicy
from est_server.attestation.tpm2_quote import QuotePolicy
from est_server.attestation.tpm_policy import CertifySettings, QuoteSettings
from est_server.errors import Malformed
from est_server.ports.verifier import ChallengeContext, ChallengeRequest
from est_server.wire.tcg_event_log import parse_event_log, replay, secure_boot

ASKED = (0, 2, 4, 7)
SHA256 = 0x000B


@pytest.fixture(scope="module")
def a(tpm_a):
    return Device(tpm_a, RSA_EK)


@pytest.fixture(scope="module")
def b(tpm_b):
    return Device(tpm_b, ECC_EK)


@pytest.fixture(scope="module")
def values(a):
    """Return the registers of `a` by index."""
    selection = f"sha256:{','.join(map(str, ASKED))}"
    return dict(zip(ASKED, a.soft.tpm.registers(selection), strict=True))


@pytest.fixture(scope="module")
def said(a):
    return a.soft.tpm.quote(a.attestation, SECRET, "sha256:0,2,4,7")


def golden(values, **more):
    return QuotePolicy(pcrs={index: (value.hex(),) for index, value in values.items()}, **more)


def test_a_quote_with_the_reference_values_is_affirmed(a, values):
    evidence = a.quoted()
    assert QUOTE.nonce(evidence, None) == SECRET
    found = QUOTE.verify(evidence, quote_context(a, golden(values)))
    assert (found.binds_key, found.fresh, failed(found)) == (False, True, [])
    assert found.claims["pcrs"] == {
        "sha256": {str(index): value.hex() for index, value in values.items()}
    }
    assert found.platform == CERTIFY.verify(a.certified(), a.context()).platform


def test_the_ecc_device_quotes_too(b):
    assert failed(QUOTE.verify(b.quoted(), quote_context(b))) == []


@attack(74)
def test_two_devices_have_nothing_in_common(a, b):
    quote = QUOTE.verify(b.quoted(), quote_context(b))
    assert not quote.platform & CERTIFY.verify(a.certified(), a.context()).platform


@attack(74)
def test_a_key_of_one_tpm_beside_the_registers_of_another(a, b):
    """Each statement is good, with a nonce that its own TPM has opened."""
    rules = [{"name": "key", "verifier": "c"}, {"name": "boot", "verifier": "q"}]
    model = PolicyModel.model_validate({"version": "1", "rules": rules})
    key = Rule(model.rules[0], CERTIFY, CertifySettings(), CertifyPolicy(), a.trust())
    boot = Rule(model.rules[1], QUOTE, QuoteSettings(), QuotePolicy(), b.trust())
    policy = Policy("both", "", model, (key, boot))

    def appraised(quoting):
        evidence = [
            replace(one, statement_type=next(iter(rule.types)))
            for one, rule in ((a.certified(), key), (quoting.quoted(), boot))
        ]
        contexts = (a.context(), quote_context(quoting))
        findings = [
            Finding(rule, one, rule.verifier.verify(one, context))
            for (rule, one), context in zip(matches(policy, evidence), contexts, strict=True)
        ]
        return appraise(policy, evidence, findings, Asked(None, "device-1"), NOW)

    assert appraised(a).status == "affirming"
    found = appraised(b)
    assert (found.status, found.code) == ("contraindicated", "attestation.platforms-differ")


def test_the_device_is_told_what_to_quote(a, values):
    request = ChallengeRequest("2.23.133.20.2", a.info())
    policy = golden(values, required=(1,))
    context = ChallengeContext(SECRET, None, None, policy, a.trust())
    made = QUOTE.challenge(request, context)
    assert made.info["pcrs"] == {"sha256": [0, 1, 2, 4, 7]}
    assert a.activate(made) == SECRET
    bare = QUOTE.challenge(ChallengeRequest("2.23.133.20.2", None), context)
    assert (bare.info, bare.hidden) == ({"pcrs": {"sha256": [0, 1, 2, 4, 7]}}, False)


@attack(15)
def test_an_altered_value(a, said, values):
    altered = {**values, 7: bytes(31) + b"\1"}
    evidence = a.evidence(quote_statement(*said, altered))
    assert refused(evidence, quote_context(a), QUOTE) == "tpm2.pcr-digest"


@attack(16)
def test_a_dropped_value(a, said, values):
    fewer = {index: value for index, value in values.items() if index != 4}
    evidence = a.evidence(quote_statement(*said, fewer))
    assert refused(evidence, quote_context(a), QUOTE) == "tpm2.pcr-values"


def test_values_in_another_order(a, said, values):
    evidence = a.evidence(quote_statement(*said, dict(reversed(values.items()))))
    assert refused(evidence, quote_context(a), QUOTE) == "tpm2.pcr-values"


@attack(17)
def test_a_required_register_is_not_covered(a):
    policy = QuotePolicy(required=(0, 1, 7))
    assert failed(QUOTE.verify(a.quoted(), quote_context(a, policy))) == ["pcr.covered"]
    reference = QuotePolicy(pcrs={1: ("00" * 32,)})
    found = QUOTE.verify(a.quoted(), quote_context(a, reference))
    assert failed(found) == ["pcr.covered", "pcr"]


@attack(18)
@pytest.mark.parametrize("pcrs", [(16,), (23,), (16, 23)])
def test_registers_that_anybody_resets(a, pcrs):
    assert refused(a.quoted(pcrs), quote_context(a), QUOTE) == "tpm2.pcr-resettable"


@attack(18)
@pytest.mark.parametrize("asked", [{"pcrs": {16: ("00" * 32,)}}, {"required": (0, 23)}])
def test_a_policy_asks_for_none_of_them(asked):
    with pytest.raises(ValidationError, match="can be reset"):
        QuotePolicy(**asked)


def test_another_bank(a, said, values):
    context = quote_context(a, QuotePolicy(bank="sha384"))
    assert refused(a.quoted(), context, QUOTE) == "tpm2.pcr-bank"
    evidence = a.evidence(quote_statement(*said, values, bank=0x0C))
    assert refused(evidence, quote_context(a), QUOTE) == "tpm2.pcr-values"


def test_firmware_that_is_not_the_reference(a, values):
    policy = golden({**values, 4: bytes(range(32))})
    found = QUOTE.verify(a.quoted(), quote_context(a, policy))
    assert failed(found) == ["pcr"]
    check = next(check for check in found.checks if not check.passed)
    assert "PCR 4" in check.expected
    assert values[4].hex() in check.actual


# -- the event log


@pytest.fixture(scope="module")
def logged(b):
    """Boot `b`: its registers have what the log says."""
    log = booted()
    for register, digest in log.extended:
        b.soft.tpm.extend(register, digest)
    return log


def with_log(device, log):
    said = device.soft.tpm.quote(device.attestation, SECRET, "sha256:0,7")
    values = dict(zip((0, 7), device.soft.tpm.registers("sha256:0,7"), strict=True))
    return device.evidence(quote_statement(*said, values, log.octets))


REQUIRED = QuotePolicy(secure_boot="required")


def test_secure_boot_is_read_from_a_log_that_the_tpm_confirms(b, logged):
    found = QUOTE.verify(with_log(b, logged), quote_context(b, REQUIRED))
    assert (failed(found), found.claims["secure_boot"]) == ([], True)


def test_a_log_of_another_boot(b, logged):
    log = booted(secure_boot=b"\0")
    assert refused(with_log(b, log), quote_context(b, REQUIRED), QUOTE) == "event-log.replay"


def test_a_log_whose_text_says_more_than_its_digest(b, logged):
    data = variable("SecureBoot", b"\1")
    log = Log()
    for register, digest in logged.extended:
        log.add(register, DRIVER_CONFIG if register == 7 else 8, data, digest)
    assert refused(with_log(b, log), quote_context(b, REQUIRED), QUOTE) == "event-log.variable"


def test_without_a_log_secure_boot_is_not_shown(b, logged):
    found = QUOTE.verify(b.quoted((0, 7)), quote_context(b, REQUIRED))
    assert (failed(found), found.claims["secure_boot"]) == (["secure_boot"], None)


def test_a_log_about_a_register_that_is_not_quoted_shows_nothing(b, logged):
    said = b.soft.tpm.quote(b.attestation, SECRET, "sha256:0")
    values = dict(zip((0,), b.soft.tpm.registers("sha256:0"), strict=True))
    evidence = b.evidence(quote_statement(*said, values, logged.octets))
    found = QUOTE.verify(evidence, quote_context(b, REQUIRED))
    assert failed(found) == ["pcr.covered", "secure_boot"]


def test_one_measurement_of_off_is_off():
    log = booted(secure_boot=b"\0").add(7, DRIVER_CONFIG, variable("SecureBoot", b"\1"))
    assert secure_boot(parse_event_log(log.octets), SHA256) is False
    other = Log().add(7, DRIVER_CONFIG, variable("SecureBoot", b"\1", bytes(16)))
    assert secure_boot(parse_event_log(other.octets), SHA256) is None


def test_register_0_begins_with_the_locality():
    log = Log().add(0, NO_ACTION, b"StartupLocality\0\x03").add(0, 8, b"x")
    start = bytes(31) + b"\x03"
    digest = hashlib.sha256(b"x").digest()
    expected = hashlib.sha256(start + digest).digest()
    assert replay(parse_event_log(log.octets), SHA256) == {0: expected}


ONE = Log().add(0, 8, b"").octets
AT = len(Log().octets)


def replaced(data, at, octets):
    return data[:at] + octets + data[at + len(octets) :]


@pytest.mark.parametrize(
    ("octets", "code"),
    [
        (b"", "event-log.truncated"),
        (bytes(256 * 1024 + 1), "event-log.too-large"),
        (replaced(Log().octets, 4, b"\x04"), "event-log.header"),
        (replaced(Log().octets, 32, b"Spec ID Event02"), "event-log.header"),
        (replaced(Log().octets, 56, b"\x09"), "event-log.header"),
        (replaced(Log().octets, 62, b"\x41"), "event-log.header"),
        (booted().octets[:-1], "event-log.truncated"),
        (Log().add(24, 8, b"").octets, "event-log.register"),
        (
            replaced(ONE, AT + 8, b"\x09"),
            "event-log.digests",
        ),
        (replaced(ONE, AT + 12, b"\4"), "event-log.digests"),
    ],
)
def test_a_damaged_log_is_refused(octets, code):
    with pytest.raises(Malformed) as caught:
        parse_event_log(octets)
    assert caught.value.rule == code


def test_a_log_has_so_many_events():
    log = Log()
    one = Log().add(0, 8, b"").octets[len(log.octets) :]
    assert len(parse_event_log(log.octets + 1024 * one)) == 1024
    with pytest.raises(Malformed, match=r"event-log\.events"):
        parse_event_log(log.octets + 1025 * one)


def test_a_log_without_the_banks_digests():
    with pytest.raises(Malformed, match=r"event-log\.digests"):
        replay(parse_event_log(booted().octets), 0x000C)
