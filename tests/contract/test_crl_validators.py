"""OpenSSL, GnuTLS, BouncyCastle and pyhanko-certvalidator agree with us about every certificate."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from crl_world import HOUR, SECOND, URL, CrlWorld, authority
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from ledger_adapters import LEDGERS
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import PathValidationError, RevokedError

from est_server.pki.plan import SHARD, CertificatePlan, Pointers
from est_server.ports.ca import IssuanceOrder
from est_server.ports.crl import crl_file
from est_server.revocation.checker import check_delta, check_list
from est_server.wire.crl_reading import read_crl

BOUNCYCASTLE = "/usr/share/java/bcprov.jar"
CASES = ("good", "revoked", "held", "released", "unknown", "late", "freed")
"""good and unknown have no event; revoked, held and released are so in the complete list already;
late and freed are revoked and released since, as only the delta says."""
EXPECTED = {
    "base": {"revoked", "held", "freed"},
    "delta": {"revoked", "held", "late"},
}


@dataclass
class Fleet:
    """Certificates in every state, and the lists that say so."""

    folder: Path
    world: Any
    shards: int
    certificates: dict[str, x509.Certificate]
    lists: dict[str, dict[int, Path]]

    def leaf(self, case):
        return self.folder / f"{case}.pem"

    @property
    def ca(self):
        return self.folder / "ca.pem"

    def shard(self, case):
        return self.certificates[case].serial_number % self.shards + 1 if self.shards else 0

    def files(self, case, *kinds):
        return [self.lists[kind][self.shard(case)] for kind in kinds]


async def fleet(folder, shards, now):
    (folder / "ledger").mkdir()
    ledger = LEDGERS["sqlite"](folder / "ledger")()
    world = CrlWorld(ledger, shards=shards, now=now)
    signer = world.publisher.issuers["ca"].signer
    certificates = {}
    part = SHARD if shards else 0
    pointers = Pointers(
        crl=(URL + crl_file("ca", part, "base"),),
        freshest_crl=(URL + crl_file("ca", part, "delta"),),
    )
    for number, case in enumerate((*CASES, "expired"), 0x1001):
        end = now.replace(microsecond=0) + (-HOUR if case == "expired" else timedelta(90))
        spki = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )  # fmt: skip
        plan = CertificatePlan(
            ca="ca", subject=x509.Name.from_rfc4514_string(f"CN={case}"),
            subject_alternative_names=(), spki=spki, key_algorithm="EC-P256",
            not_before=now.replace(microsecond=0) - 2 * HOUR,
            not_after=end,
            key_usage=("digitalSignature",), extended_key_usage=("1.3.6.1.5.5.7.3.2",),
            pointers=pointers,
        ).numbered(number, shards)  # fmt: skip
        made = await signer.issue(IssuanceOrder(plan, number, "x", b"", now))
        certificates[case] = made
        (folder / f"{case}.pem").write_bytes(made.public_bytes(Encoding.PEM))
        if case != "unknown":
            await world.issue(number, shard=plan.crl_shard, not_after=plan.not_after)
    serials = {case: found.serial_number for case, found in certificates.items()}
    await world.publisher.start()
    for case in ("revoked", "expired"):
        await world.revoke(serials[case], "keyCompromise")
    for case in ("held", "released", "freed"):
        await world.revoke(serials[case], "certificateHold")
    await world.release(serials["released"])
    await world.turn()
    world.now += SECOND
    await world.turn()
    await world.revoke(serials["late"], "superseded")
    await world.release(serials["freed"])
    world.now += SECOND
    await world.turn()
    lists = {"base": {}, "delta": {}}
    for shard in range(shards + 1):
        for kind, paths in lists.items():
            paths[shard] = folder / crl_file("ca", shard, kind)
            paths[shard].write_bytes(world.der(shard, kind))
    (folder / "ca.pem").write_bytes(authority("EC-P256").certificate.public_bytes(Encoding.PEM))
    await ledger.close()
    return Fleet(folder, world, shards, certificates, lists)


@pytest.fixture(scope="module", params=[0, 3], ids=["complete", "partial"])
def ships(request, tmp_path_factory):
    import asyncio

    from est_server.app.clock import system_clock

    now = system_clock() - 10 * SECOND  # validators look at the real clock
    return asyncio.run(fleet(tmp_path_factory.mktemp("fleet"), request.param, now))


def openssl(ships, case, *kinds, options=()):
    lists = [part for path in ships.files(case, *kinds) for part in ("-CRLfile", str(path))]
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", str(ships.ca), "-crl_check", "-extended_crl",
         "-use_deltas", *options, *lists, str(ships.leaf(case))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return True
    assert "error 23 " in done.stderr, done.stderr
    return False


def test_an_expired_certificate_is_revoked_too(ships, need):
    """Whoever checks an old signature looks at a certificate that has ended."""
    need("openssl", "openssl")
    for kinds in (("base",), ("base", "delta")):
        assert openssl(ships, "expired", *kinds, options=["-no_check_time"]) is False


def bouncycastle(run, ships, case, *kinds):
    said = run(
        "bouncycastle/revocation", ships.folder.parent, ships.ca, ships.leaf(case),
        *ships.files(case, *kinds),
    )  # fmt: skip
    if said == "good\n":
        return True
    assert "revo" in said, said
    return False


async def certvalidator(ships, case, *kinds):
    from asn1crypto import x509 as asn1

    def load(certificate):
        return asn1.Certificate.load(certificate.public_bytes(Encoding.DER))

    context = ValidationContext(
        trust_roots=[load(authority("EC-P256").certificate)],
        crls=[path.read_bytes() for path in ships.files(case, *kinds)],
        revocation_mode="hard-fail",
        allow_fetching=False,
    )
    validator = CertificateValidator(load(ships.certificates[case]), validation_context=context)
    try:
        await validator.async_validate_usage({"digital_signature"})
    except RevokedError:
        return False
    except PathValidationError as error:
        raise AssertionError(f"{case}: {error}") from error
    return True


@pytest.mark.parametrize("case", CASES)
def test_openssl(ships, need, case):
    need("openssl", "openssl")
    assert openssl(ships, case, "base") is (case not in EXPECTED["base"])
    assert openssl(ships, case, "base", "delta") is (case not in EXPECTED["delta"])


@pytest.mark.parametrize("case", CASES)
def test_bouncycastle(ships, need, run, case):
    need("default-jdk-headless", "java")
    need("libbcprov-java", BOUNCYCASTLE)
    assert bouncycastle(run, ships, case, "base") is (case not in EXPECTED["base"])
    assert bouncycastle(run, ships, case, "base", "delta") is (case not in EXPECTED["delta"])


@pytest.mark.parametrize("case", CASES)
async def test_certvalidator(ships, case):
    """It insists on a delta where the list says that there is one."""
    assert await certvalidator(ships, case, "base", "delta") is (case not in EXPECTED["delta"])


@pytest.mark.parametrize("case", CASES)
def test_gnutls(ships, need, case):
    """GnuTLS knows no delta CRLs: the complete list alone."""
    need("gnutls-bin", "certtool")
    [path] = ships.files(case, "base")
    pem = ships.folder / f"{path.name}.pem"
    pem.write_bytes(x509.load_der_x509_crl(path.read_bytes()).public_bytes(Encoding.PEM))
    signed = subprocess.run(
        ["certtool", "--verify-crl", "--load-ca-certificate", str(ships.ca), "--infile", str(pem)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Verified" in signed.stdout, signed.stdout + signed.stderr
    done = subprocess.run(
        ["certtool", "--verify", "--verify-allow-broken", "--load-ca-certificate", str(ships.ca),
         "--load-crl", str(pem), "--infile", str(ships.leaf(case))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = done.stdout.rpartition("Chain verification output: ")[2]
    revoked = case in EXPECTED["base"]
    assert ("revoked" in said) is revoked, done.stdout + done.stderr
    assert said.startswith("Not verified" if revoked else "Verified"), done.stdout + done.stderr


def test_our_own_checker_finds_nothing(ships):
    issuer = authority("EC-P256").certificate
    for shard, path in ships.lists["base"].items():
        base, delta = path.read_bytes(), ships.lists["delta"][shard].read_bytes()
        url = URL + path.name
        for der in (base, delta):
            assert list(check_list(read_crl(der), der, issuer, ships.world.now, url)) == []
        assert list(check_delta(read_crl(delta), read_crl(base))) == []


@pytest.mark.parametrize("ships", [3], ids=["partial"], indirect=True)
def test_a_list_of_another_part_is_no_list_for_openssl(ships, need):
    need("openssl", "openssl")
    other = ships.lists["base"][ships.shard("good") % ships.shards + 1]
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", str(ships.ca), "-crl_check", "-extended_crl",
         "-CRLfile", str(other), str(ships.leaf("good"))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "error 44 " in done.stderr, done.stderr


def test_an_expired_certificate_is_refused_by_everybody(ships, need, run):
    need("openssl", "openssl")
    need("gnutls-bin", "certtool")
    need("default-jdk-headless", "java")
    need("libbcprov-java", BOUNCYCASTLE)
    leaf, [path] = ships.leaf("expired"), ships.files("expired", "base")
    pem = ships.folder / "expired-crl.pem"
    pem.write_bytes(x509.load_der_x509_crl(path.read_bytes()).public_bytes(Encoding.PEM))
    for command in (
        ["openssl", "verify", "-CAfile", str(ships.ca), "-crl_check", "-extended_crl",
         "-CRLfile", str(path), str(leaf)],
        ["certtool", "--verify", "--verify-allow-broken", "--load-ca-certificate", str(ships.ca),
         "--load-crl", str(pem), "--infile", str(leaf)],
    ):  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert "expired" in done.stdout + done.stderr, done.stdout + done.stderr
    said = run("bouncycastle/revocation", ships.folder.parent, ships.ca, leaf, path)
    assert said.startswith("refused: "), said
    assert "expired" in said, said


async def test_an_expired_certificate_is_refused_by_certvalidator(ships):
    with pytest.raises(AssertionError, match="expired"):
        await certvalidator(ships, "expired", "base", "delta")
