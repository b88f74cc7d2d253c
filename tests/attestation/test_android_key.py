"""Android key attestation: what is believed, and which attacks end with which code."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from android_device import (
    BOOT_KEY,
    SIGNER,
    application,
    attested,
    described,
    description,
    number,
    octets,
    root_of_trust,
    statement,
)
from attacks import attack
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import ValidationError
from signers import MADE, Signer, root
from tokens import der, spki

from est_server.attestation.android_key import AndroidKey
from est_server.attestation.android_policy import AndroidPolicy, AndroidSettings
from est_server.attestation.chains import spki as spki_of
from est_server.attestation.reading import sha256
from est_server.pki.path import TrustStore
from est_server.ports.verifier import (
    Evidence,
    EvidenceRefused,
    VerificationContext,
    VerifiedEvidence,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "android-key"
NONCE = b"n" * 32
ANDROID, SETTINGS = AndroidKey(), AndroidSettings()
ROOT = root("Google")
MAKER = ROOT.issue("Droid CA")
TEE = MAKER.issue("TEE")
KEY = ec.generate_private_key(ec.SECP256R1())
TRUST = {"google": TrustStore("google", (ROOT.certificate,))}
ABOVE = (TEE, MAKER)


def policy(files: dict[str, bytes] | None = None, **wanted: Any) -> AndroidPolicy:
    context = None if files is None else {"file": files.__getitem__}
    return AndroidPolicy.model_validate(wanted, context=context)


def context(wanted: AndroidPolicy | None = None, **changes: Any) -> VerificationContext:
    found = VerificationContext(
        spki=spki(KEY), nonce=NONCE, now=MADE, settings=SETTINGS, trust=TRUST,
        policy=wanted or policy(),
    )  # fmt: skip
    return replace(found, **changes)


def evidence(leaf: Signer, *above: Signer) -> Evidence:
    certificates = (*(one.der for one in above or ABOVE), leaf.der)
    return Evidence(SETTINGS.statement_type, statement(leaf), certificates)


def verified(wanted: AndroidPolicy | None = None, **said: Any) -> VerifiedEvidence:
    return ANDROID.verify(evidence(attested(TEE, NONCE, KEY, **said)), context(wanted))


def failed(wanted: AndroidPolicy | None = None, **said: Any) -> set[str]:
    return {check.code for check in verified(wanted, **said).checks if not check.passed}


def refused(said: Evidence, where: VerificationContext | None = None) -> str:
    with pytest.raises(EvidenceRefused) as error:
        ANDROID.verify(said, where or context())
    return error.value.code


# -- what is believed


def test_a_key_in_a_trusted_execution_environment():
    said = verified()
    assert (said.binds_key, said.fresh) == (True, True)
    assert all(check.passed for check in said.checks)
    assert said.claims["security_level"] == "tee"
    assert said.claims["boot"]["key"] == BOOT_KEY.hex()
    assert said.claims["os_patch_level"] == 202605
    good = evidence(attested(TEE, NONCE, KEY))
    assert ANDROID.nonce(good, SETTINGS) == NONCE
    assert not ANDROID.verify(good, context(nonce=None)).fresh


@pytest.mark.parametrize("version", [1, 2, 3, 4, 100, 200, 300, 400])
def test_every_version(version):
    assert failed(version=version) == set()


def published(name: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates((VECTORS / name).read_bytes())


def of_google(certificates: list[x509.Certificate], leaf: x509.Certificate) -> Any:
    """Return evidence with the certificate of `leaf`, and where its challenge was a nonce."""
    ders = [one.public_bytes(Encoding.DER) for one in certificates]
    digest = sha256(leaf.public_bytes(Encoding.DER))
    anchor = published("chain.pem")[-1]
    where = context(
        spki=spki_of(leaf), nonce=b"challenge", now=datetime(2023, 3, 1, tzinfo=UTC),
        trust={"google": TrustStore("google", (anchor,))},
    )  # fmt: skip
    return Evidence(SETTINGS.statement_type, octets(digest), tuple(ders)), where


def test_a_key_of_a_real_device():
    chain = published("chain.pem")
    said, where = of_google(chain[:-1], chain[0])
    found = ANDROID.verify(said, where)
    assert all(check.passed for check in found.checks)
    assert found.claims["keymint_version"] == 200
    assert found.claims["packages"] == ["com.google.attestationexample"]
    assert ANDROID.nonce(said, SETTINGS) == b"challenge"
    late = replace(where, now=datetime(2023, 6, 1, tzinfo=UTC))
    assert refused(said, late) == "android-key.unknown-issuer"
    warned = ANDROID.verify(said, replace(late, policy=policy(expired_issuers="warn")))
    (check,) = [check for check in warned.checks if not check.passed]
    assert (check.code, check.rating) == ("expired-issuer", "warning")


@attack(91)
def test_what_software_signed_with_a_genuine_key_of_a_real_device():
    forged = published("forged.pem")
    said, where = of_google([*forged, *published("chain.pem")[1:-1]], forged[0])
    march = replace(where, now=datetime(2023, 3, 10, tzinfo=UTC))
    assert refused(said, march) == "android-key.unknown-issuer"


# -- the attacks


@attack(91)
@pytest.mark.parametrize("ca", [None, True])
def test_a_description_below_a_genuine_key(ca):
    """The attacker's own description says the best of a key of his; a genuine key signed it."""
    genuine = attested(TEE, NONCE, ca=ca)
    forged = attested(genuine, NONCE, KEY, level=2)
    said = evidence(forged, genuine, *ABOVE)
    code = "android-key.extension-below" if ca else "android-key.unknown-issuer"
    assert refused(said) == code


@attack(91)
def test_a_certificate_without_a_description_below_a_genuine_key():
    genuine = attested(TEE, NONCE, ca=True)
    plain = genuine.issue("foo", ca=False, key=KEY)
    assert refused(evidence(plain, genuine, *ABOVE)) == "android-key.extension-below"


@attack(88)
@pytest.mark.parametrize("levels", [{"level": 0}, {"level": 1, "keymint": 0},
                                    {"level": 0, "keymint": 2}])  # fmt: skip
def test_a_key_in_software(levels):
    """Neither the key nor who attests it may be software."""
    assert failed(**levels) == {"security-level"}


def test_a_key_that_has_to_be_in_strongbox():
    strict = policy(security_level="strongbox")
    assert failed(strict, level=2) == set()
    assert failed(strict, level=1) == {"security-level"}
    assert failed(strict, level=2, keymint=1) == {"security-level"}


@attack(89)
def test_an_unlocked_bootloader():
    unlocked = root_of_trust(locked=False)
    assert failed(t704=unlocked) == {"bootloader"}
    assert failed(policy(bootloader="any"), t704=unlocked) == set()


@attack(89)
@pytest.mark.parametrize("state", [1, 2, 3])
def test_a_device_that_started_something_else(state):
    other = root_of_trust(state=state)
    assert failed(t704=other) == {"boot-state"}
    own = policy(boot_states=["verified", "self-signed"], boot_keys=[BOOT_KEY.hex()])
    assert failed(own, t704=other) == (set() if state == 1 else {"boot-state"})
    strange = root_of_trust(state=1, key=bytes(32))
    assert failed(own, t704=strange) == {"boot-key"}


@attack(89)
def test_a_root_of_trust_that_software_tells():
    """What stands among the software's is the operating system's word."""
    told = {"software": {704: root_of_trust()}, "t704": None}
    assert failed(**told) == {"bootloader", "boot-state"}


@attack(90)
@pytest.mark.parametrize(
    ("wanted", "tag", "least", "good", "bad"),
    [
        ("os_patch_level", "t706", "2026-05", 202605, 202604),
        ("vendor_patch_level", "t718", "2026-05-05", 20260505, 20260501),
        ("boot_patch_level", "t719", "2026-05", 202605, 20260430),
    ],
)
def test_a_patch_level_below_the_least(wanted, tag, least, good, bad):
    strict = policy(**{wanted: least})
    assert failed(strict, **{tag: number(good)}) == set()
    assert failed(strict, **{tag: number(bad)}) == {"patch-level"}
    assert failed(strict, **{tag: None}) == {"patch-level"}


@attack(90)
def test_a_patch_level_that_software_tells():
    told = {"software": {706: number(209912)}, "t706": None}
    assert failed(policy(os_patch_level="2026-05"), **told) == {"patch-level"}


@pytest.mark.parametrize("origin", [number(2), number(4), None])
def test_a_key_that_was_imported(origin):
    assert failed(t702=origin) == {"origin"}
    assert failed(policy(origin="any"), t702=origin) == set()


def test_a_key_for_other_purposes():
    strict = policy(purposes=["sign", "verify"])
    assert failed(strict) == set()
    assert failed(strict, t1=der(0x31, number(2), number(7))) == {"purposes"}
    assert failed(strict, t1=None) == {"purposes"}


def test_an_application_of_somebody_else():
    strict = policy(packages=["net.example.enroll"], package_signers=[SIGNER.hex()])
    assert failed(strict) == set()
    two = application(("net.example.enroll", "net.example.other"))
    assert failed(strict, software={709: two}) == {"package"}
    other = application(signers=(SIGNER, bytes(32)))
    assert failed(strict, software={709: other}) == {"package-signer"}
    assert failed(strict, software={709: None}) == {"package", "package-signer"}


def test_another_key_in_the_request():
    good = evidence(attested(TEE, NONCE, KEY))
    other = spki(ec.generate_private_key(ec.SECP256R1()))
    assert refused(good, context(spki=other)) == "android-key.key-mismatch"


def test_another_challenge():
    good = evidence(attested(TEE, NONCE, KEY))
    assert refused(good, context(nonce=b"m" * 32)) == "android-key.challenge"
    assert refused(good, context(nonce=NONCE[:-1])) == "android-key.challenge"


def test_a_certificate_without_a_description():
    plain = TEE.issue("key", ca=None, key=KEY)
    assert refused(evidence(plain)) == "android-key.extension-below"
    with pytest.raises(EvidenceRefused) as error:
        ANDROID.nonce(evidence(plain), SETTINGS)
    assert error.value.code == "android-key.no-description"


def test_a_chain_to_somebody_else():
    stranger = root("Stranger")
    other = attested(stranger.issue("TEE"), NONCE, KEY)
    assert refused(evidence(other, stranger)) == "android-key.unknown-issuer"
    good = attested(TEE, NONCE, KEY)
    assert refused(evidence(good), context(trust={})) == "android-key.unknown-issuer"
    assert refused(evidence(good, MAKER)) == "android-key.unknown-issuer"
    lone = replace(evidence(good), certificates=())
    assert refused(lone) == "android-key.certificate-missing"


def test_issuers_that_ended():
    ended = MAKER.issue("old TEE", until=MADE + timedelta(days=1))
    found = evidence(attested(ended, NONCE, KEY), ended, MAKER)
    late = context(now=MADE + timedelta(days=2))
    assert refused(found, late) == "android-key.unknown-issuer"
    warned = ANDROID.verify(found, replace(late, policy=policy(expired_issuers="warn")))
    assert [one.code for one in warned.checks if not one.passed] == ["expired-issuer"]
    # the key's own certificate is not excused
    value = described(description(NONCE))
    short = ended.issue("key", value, ca=None, key=KEY, until=MADE + timedelta(days=1))
    lenient = replace(late, policy=policy(expired_issuers="warn"))
    assert refused(evidence(short, ended, MAKER), lenient) == "android-key.expired"


# -- revocation

STATUS = {"entries": {f"{TEE.certificate.serial_number:x}": {"status": "SUSPENDED"}}}


@attack(82)
def test_a_certificate_on_the_status_list():
    files = {"status.json": json.dumps(STATUS).encode(), "empty.json": b'{"entries": {}}'}
    good = evidence(attested(TEE, NONCE, KEY))
    listed = policy(files, status_list="status.json")
    assert refused(good, context(listed)) == "android-key.revoked"
    assert ANDROID.verify(good, context(policy(files, status_list="empty.json"))).fresh


@pytest.mark.parametrize("written", ["{:X}", "00{:x}"])
def test_a_serial_number_counts_however_a_list_writes_it(written):
    entry = {written.format(TEE.certificate.serial_number): {"status": "REVOKED"}}
    listed = policy({"s.json": json.dumps({"entries": entry}).encode()}, status_list="s.json")
    assert refused(evidence(attested(TEE, NONCE, KEY)), context(listed)) == "android-key.revoked"


@attack(82)
def test_a_revoked_key_or_certificate():
    good = attested(TEE, NONCE, KEY)
    for barred in (sha256(TEE.der), sha256(good.spki)):
        wanted = policy(revoked=[barred.hex()])
        assert refused(evidence(good), context(wanted)) == "android-key.revoked"


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"entries": []}', b'{"entries": {"ab": {}}}', b"[" * 100_000,
     b'{"entries": {"ab": "REVOKED"}}', b"\xff", b'{"entries": {"a:b": {"status": "REVOKED"}}}',
     b'{"entries": {"": {"status": "REVOKED"}}}',
     b'{"entries": {"ab": {"status": "REVOKED"}}, "entries": {}}'],
)  # fmt: skip
def test_a_file_that_is_no_status_list(content):
    with pytest.raises(ValidationError):
        policy({"status.json": content}, status_list="status.json")


def test_files_are_read_by_who_loads_the_configuration():
    with pytest.raises(ValidationError, match="no files here"):
        policy(status_list="status.json")


@pytest.mark.parametrize("written", ["2026", "2026-5", "may", "20260", "2026-05-05-05"])
def test_a_patch_level_is_a_month_or_a_day(written):
    with pytest.raises(ValidationError, match="not a patch level"):
        policy(os_patch_level=written)
