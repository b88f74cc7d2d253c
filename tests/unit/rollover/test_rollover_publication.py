"""What is published and presented at each step, judged by OpenSSL."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from backends.soft import SoftBackend, SoftSettings
from est_server.errors import BackendRejected, BackendUnavailable, Conflict
from est_server.pki.authority import (
    encrypt_key,
    make_issuing,
    make_root,
    make_server_certificate,
)
from est_server.pki.keys import generate_key
from est_server.ports.ca import BackendContext
from est_server.ports.rollover import Rollover, SuccessorOrder, TlsReplacement
from est_server.rollover.lifecycle import TRANSITIONS, next_state
from est_server.rollover.publication import is_ours, issuing_name, presented, published

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
YEAR = timedelta(days=365)
SETTINGS = {
    "certificate": "ca/issuing.pem",
    "key": "file:ca/issuing.key",
    "passphrase": "file:ca.pass",
    "chain": ["ca/root.pem"],
}


def write(path, content, mode=0o600):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=mode)
    path.write_bytes(content)


def settings(values):
    return SoftSettings.model_validate({**values, "chain": tuple(values["chain"])})


class Hierarchy:
    """A soft CA in files, and the rollovers that it went through."""

    def __init__(self, folder):
        self.folder = folder
        self.context = BackendContext("issuing", folder, lambda: NOW)
        write(folder / "ca.pass", b"secret\n")
        root = make_root("Root", "EC-P256", lifetime=10 * YEAR, now=NOW)
        issuing = make_issuing(root, "Issuing", "EC-P256", lifetime=5 * YEAR, now=NOW)
        for name, made in (("root", root), ("issuing", issuing)):
            write(folder / f"ca/{name}.pem", made.certificate.public_bytes(Encoding.PEM))
            write(folder / f"ca/{name}.key", encrypt_key(made.key, b"secret"))
        self.authorities = {"issuing": SoftBackend().open(settings(SETTINGS), self.context)}
        self.latest = SETTINGS
        self.tls_key = generate_key("EC-P256")
        tls = make_server_certificate(
            issuing, ["est.example"], self.tls_key.public_key(), lifetime=YEAR, now=NOW
        )
        self.configured = (tls, issuing.certificate)
        self.rollovers = []

    def order(self, **changes):
        generation = len(self.rollovers) + 2
        folder = self.folder / f"ca/g{generation}"
        folder.mkdir(exist_ok=True)
        made = {
            "folder": folder, "settled": f"ca/g{generation}", "issuing_suffix": f" G{generation}",
            "root_key": None, "root_passphrase": None, "algorithm": "EC-P256",
            "root_lifetime": (10 + 5 * generation) * YEAR, "issuing_lifetime": 5 * YEAR, "now": NOW,
            "dry_run": False,
        }  # fmt: skip
        return SuccessorOrder(**made | changes)

    def prepare(self, **changes):
        backend = SoftBackend()
        made = backend.make_successor(settings(self.latest), self.context, self.order(**changes))
        generation = len(self.rollovers) + 2
        name = f"issuing-g{generation}"
        self.authorities[name] = backend.open(settings(made.settings), self.context)
        self.latest = made.settings
        before = self.rollovers[-1].successor if self.rollovers else "issuing"
        der = [
            certificate.public_bytes(Encoding.DER)
            for certificate in (made.new_root, made.old_with_new, made.new_with_old)
        ]
        self.rollovers.append(
            Rollover("issuing", generation, "prepared", before, name, made.settings, *der, NOW)
        )

    def become(self, state, **changes):
        self.rollovers[-1] = replace(self.rollovers[-1], state=state, **changes)

    @property
    def certificates(self):
        return {name: one.certificates() for name, one in self.authorities.items()}

    def published(self):
        return published("issuing", self.rollovers, self.certificates)

    def presented(self):
        return presented(self.configured, self.rollovers, self.certificates)

    def root(self, name):
        return self.certificates[name].chain[-1]

    def switch(self):
        self.become("switched", tls=self.replacement())

    def replacement(self):
        new = self.certificates[self.rollovers[-1].successor].issuer
        issuer = SoftBackend().open(settings(self.latest), self.context)
        from est_server.pki.authority import Authority

        leaf = make_server_certificate(
            Authority(issuer._key, new), ["est.example"], self.tls_key.public_key(),
            lifetime=YEAR, now=NOW,
        )  # fmt: skip
        digest = sha256(self.configured[0].public_bytes(Encoding.DER)).digest()
        return TlsReplacement(digest, tuple(c.public_bytes(Encoding.DER) for c in (leaf, new)))


@pytest.fixture
def made(tmp_path):
    return Hierarchy(tmp_path)


def verifies(root, leaf, others, tmp_path, purpose="any"):
    for name, certificates in (("root", [root]), ("leaf", [leaf]), ("others", others)):
        pem = b"".join(one.public_bytes(Encoding.PEM) for one in certificates)
        (tmp_path / f"{name}.pem").write_bytes(pem)
    done = subprocess.run(
        ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-attime",
         str(int(NOW.timestamp()) + 60), "-CAfile", tmp_path / "root.pem",
         "-untrusted", tmp_path / "others.pem", tmp_path / "leaf.pem"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


def self_signed(certificates):
    found = []
    for one in certificates:
        if one.issuer == one.subject:
            try:
                one.verify_directly_issued_by(one)
            except (ValueError, InvalidSignature):
                continue
            found.append(one)
    return found


@pytest.mark.parametrize("state", ["published", "switched"])
def test_both_roots_are_published_each_certified_by_the_other(made, tmp_path, state):
    old = made.published()
    made.prepare()
    assert made.published() == old, "a prepared one is nobody's business"
    made.become(state)
    found = made.published()
    assert len(found) == 6
    roots = self_signed(found)
    assert set(roots) == {made.root("issuing"), made.root("issuing-g2")}
    newest = max(roots, key=lambda one: one.not_valid_after_utc)
    assert newest == made.root("issuing-g2")
    assert [one.not_valid_after_utc for one in roots].count(newest.not_valid_after_utc) == 1
    others = [one for one in found if one not in roots]
    for certificate in others:
        for root in roots:
            assert verifies(root, certificate, others, tmp_path), (root, certificate.subject)


def test_after_retirement_the_old_root_is_gone_and_its_issuing_ca_still_verifies(made, tmp_path):
    made.prepare()
    made.become("retired")
    found = made.published()
    assert self_signed(found) == [made.root("issuing-g2")]
    old = made.certificates["issuing"].issuer
    assert old in found
    for certificate in found:
        assert verifies(made.root("issuing-g2"), certificate, found, tmp_path)
        assert certificate.not_valid_after_utc > NOW
    made.prepare()
    made.become("published")
    assert set(self_signed(made.published())) == {made.root("issuing-g2"), made.root("issuing-g3")}
    made.become("retired")
    assert self_signed(made.published()) == [made.root("issuing-g3")]
    assert issuing_name("issuing", made.rollovers) == "issuing-g3"


def test_what_was_aborted_is_published_no_more(made):
    old = made.published()
    made.prepare()
    made.become("aborted")
    assert made.published() == old
    assert issuing_name("issuing", made.rollovers) == "issuing"


def test_devices_of_either_root_validate_the_server(made, tmp_path):
    steps = {"prepared": None, "published": None, "switched": made.switch, "retired": None}
    trusts = {
        "prepared": ["issuing"],
        "published": ["issuing", "issuing-g2"],
        "switched": ["issuing", "issuing-g2"],
        "retired": ["issuing-g2"],
    }
    for state, step in steps.items():
        made.prepare() if state == "prepared" else (step or (lambda s=state: made.become(s)))()
        leaf, *above = made.presented()
        for name in ("issuing", "issuing-g2"):
            validates = verifies(made.root(name), leaf, above, tmp_path, "sslserver")
            assert validates == (name in trusts[state]), (state, name)


def test_a_tls_certificate_that_the_operator_puts_there_is_presented(made):
    made.prepare()
    made.switch()
    ours = made.presented()
    assert ours[0] != made.configured[0]
    assert is_ours(made.configured[0], made.rollovers[0], made.certificates)
    own = make_root("Elsewhere", "EC-P256", lifetime=YEAR, now=NOW).certificate
    assert not is_ours(own, made.rollovers[0], made.certificates)
    made.configured = (own,)
    assert made.presented() == (own,)
    made.become("published")
    assert made.presented() == (own,)


def test_who_issues(made):
    made.prepare()
    for state, name in (
        ("prepared", "issuing"), ("published", "issuing"), ("switched", "issuing-g2"),
        ("published", "issuing"), ("retired", "issuing-g2"),
    ):  # fmt: skip
        made.become(state)
        assert issuing_name("issuing", made.rollovers) == name
        assert issuing_name("other", made.rollovers) == "other"


def test_steps_that_are_not_in_the_table_are_refused(made):
    made.prepare()
    for state in ("prepared", "published", "switched", "retired", "aborted"):
        made.become(state)
        for action in ("publish", "switch", "back", "retire", "abort"):
            if (to := TRANSITIONS.get((state, action))) is not None:
                assert next_state(made.rollovers[0], action) == to
                continue
            with pytest.raises(Conflict, match=r"rollover\.state"):
                next_state(made.rollovers[0], action)
    made.become("published", switched_at=NOW)
    with pytest.raises(Conflict, match=r"rollover\.issued"):
        next_state(made.rollovers[0], "abort")


def test_the_names_of_the_new_hierarchy(made):
    made.prepare()
    new = made.certificates["issuing-g2"]
    assert new.chain[-1].subject == made.root("issuing").subject  # RFC 4210 4.4: self-issued
    assert new.issuer.subject.rfc4514_string() == "CN=Issuing G2"
    made.become("retired")
    made.prepare()
    assert made.certificates["issuing-g3"].issuer.subject.rfc4514_string() == "CN=Issuing G3"


def test_keys_are_encrypted_and_their_owners_alone(made):
    made.prepare()
    folder = made.folder / "ca/g2"
    assert sorted(path.name for path in folder.iterdir()) == [
        "issuing.key", "issuing.pem", "new-with-old.pem", "old-with-new.pem",
        "root.key", "root.pem",
    ]  # fmt: skip
    for key in folder.glob("*.key"):
        assert b"BEGIN ENCRYPTED PRIVATE KEY" in key.read_bytes()
        assert key.stat().st_mode & 0o077 == 0


def test_what_can_not_be_prepared_is_refused(made, tmp_path):
    with pytest.raises(BackendRejected, match=r"rollover\.lifetime"):
        made.prepare(root_lifetime=9 * YEAR)
    for file in (made.folder / "ca/g2").iterdir():
        file.unlink()
    with pytest.raises(BackendUnavailable, match=r"rollover\.root-key"):
        made.prepare(root_key="file:ca/issuing.key")
    with pytest.raises(BackendUnavailable, match=r"rollover\.root-key"):
        made.prepare(root_key="file:nowhere.key")
    made.latest = {**SETTINGS, "chain": []}
    with pytest.raises(BackendRejected, match=r"rollover\.hierarchy"):
        made.prepare()


def test_cross_certificates_are_what_rfc_4210_says(made):
    made.prepare()
    rollover = made.rollovers[0]
    old, new = made.root("issuing"), made.root("issuing-g2")
    old_with_new = x509.load_der_x509_certificate(rollover.old_with_new)
    new_with_old = x509.load_der_x509_certificate(rollover.new_with_old)
    old_with_new.verify_directly_issued_by(new)
    new_with_old.verify_directly_issued_by(old)
    assert old_with_new.public_key() == old.public_key()
    assert new_with_old.public_key() == new.public_key()
    assert old_with_new.not_valid_before_utc == old.not_valid_before_utc
    assert old_with_new.not_valid_after_utc == old.not_valid_after_utc
    assert new_with_old.not_valid_before_utc >= new.not_valid_before_utc
    assert new_with_old.not_valid_after_utc == old.not_valid_after_utc
