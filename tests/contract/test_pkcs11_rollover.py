"""The hierarchy that follows a CA's in a token, over SoftHSM."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from pkcs11_tokens import DAY, MODULE, NOW, PIN, new_token

from backends.pkcs11 import Pkcs11Backend
from est_server.errors import BackendRejected, BackendUnavailable
from est_server.pki.authority import encrypt_key, make_issuing, make_root
from est_server.ports.ca import BackendContext
from est_server.ports.rollover import SuccessorOrder
from est_server.ports.secret import Secret

YEAR = 365 * DAY
PASSPHRASE = b"of the root"


class Site:
    """A CA in a token under a root, as `ca init` makes it."""

    def __init__(self, token, algorithm="EC-P256", *, root="token", **settings):
        self.token, self.folder = token, token.folder
        pin = Secret("file", str(token.pin))
        with Pkcs11Backend().key_store(token.uri(object=None), pin, token.folder) as store:
            key = store.generate("issuing", algorithm).key
            top = algorithm if root == "file" else store.generate("issuing-root", algorithm).key
            self.root = make_root("Root", top, lifetime=10 * YEAR, now=NOW)
            issuing = make_issuing(self.root, "Issuing CA", key, lifetime=5 * YEAR, now=NOW)
            if root == "file":
                (self.folder / "root.key").write_bytes(encrypt_key(self.root.key, PASSPHRASE))
                (self.folder / "root.pass").write_bytes(PASSPHRASE)
        for name, made in (("root", self.root), ("ca", issuing)):
            pem = made.certificate.public_bytes(Encoding.PEM)
            (self.folder / f"{name}.pem").write_bytes(pem)
        self.settings = token.settings(chain=["root.pem"], **settings)

    def order(self, generation=2, **changes):
        folder = self.folder / f"g{generation}-0a1b"
        folder.mkdir()
        made = SuccessorOrder(
            folder=folder, settled=folder.name, issuing_suffix=f" G{generation}", root_key=None,
            root_passphrase=None, algorithm="EC-P256", root_lifetime=(10 + generation) * YEAR,
            issuing_lifetime=5 * YEAR, now=NOW, dry_run=False,
        )  # fmt: skip
        return replace(made, **changes)

    def prepare(self, order, settings=None):
        context = BackendContext("next", self.folder, lambda: NOW)
        return Pkcs11Backend().make_successor(settings or self.settings, context, order)

    def open(self, made):
        settings = Pkcs11Backend.settings_model.model_validate(dict(made.settings))
        context = BackendContext("next", self.folder, lambda: NOW)
        return settings, Pkcs11Backend().open(settings, context)

    def objects(self):
        """Return the labels of all private keys."""
        done = subprocess.run(
            ["pkcs11-tool", "--module", MODULE, "--token-label", self.token.label, "--login",
             "--pin", PIN, "--list-objects", "--type", "privkey"],
            capture_output=True, text=True, check=True, timeout=60,
        )  # fmt: skip
        return sorted(line.split()[1] for line in done.stdout.splitlines() if " label:" in line)


@pytest.fixture
def token(tmp_path, monkeypatch, need):
    need("softhsm2", MODULE, "softhsm2-util")
    need("opensc", "pkcs11-tool")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm2.conf"))
    return new_token(tmp_path)


@pytest.mark.parametrize(
    ("algorithm", "others"), [("EC-P256", {"sessions": 2}), ("RSA-2048", {"rsa_padding": "PSS"})]
)
async def test_what_follows_is_whole_and_in_the_token(token, algorithm, others):
    site = Site(token, algorithm, **others)
    made = site.prepare(site.order(algorithm=algorithm))
    old, new = site.root.certificate, made.new_root
    new.verify_directly_issued_by(new)
    made.new_with_old.verify_directly_issued_by(old)
    made.old_with_new.verify_directly_issued_by(new)
    assert made.new_with_old.public_key() == new.public_key()
    assert made.old_with_new.public_key() == old.public_key()
    assert new.public_key() != old.public_key()
    settings, authority = site.open(made)
    try:
        health = await authority.health()
    finally:
        await authority.close()
    assert health.ok, health.detail
    issuer = authority.certificates().issuer
    issuer.verify_directly_issued_by(new)
    assert issuer.subject.rfc4514_string() == "CN=Issuing CA G2"
    assert authority.certificates().chain == (new,)
    kept = {name: getattr(settings, name) for name in ("timeout", *others)}
    assert kept == {name: getattr(site.settings, name) for name in kept}
    assert site.objects() == ["g2-0a1b", "g2-0a1b-root", "issuing", "issuing-root"]
    assert not [*(site.folder / "g2-0a1b").glob("*.key")]


def test_a_successor_has_successors(token):
    site = Site(token)
    settings, _ = site.open(site.prepare(site.order()))
    made = site.prepare(site.order(3), settings)
    assert site.open(made)[1].certificates().issuer.subject.rfc4514_string() == "CN=Issuing CA G3"
    assert "g3-0a1b-root" in site.objects()


def test_a_dry_run_leaves_nothing(token):
    site = Site(token)
    before = site.objects()
    site.prepare(site.order(dry_run=True))
    assert site.objects() == before == ["issuing", "issuing-root"]


def test_a_root_in_a_file_is_followed_by_one_in_a_file(token):
    site = Site(token, root="file")
    with pytest.raises(BackendUnavailable, match=r"rollover\.root-key") as missing:
        site.prepare(site.order())
    assert "no private key object=issuing-root" in missing.value.message
    assert "--root-key file:PATH" in missing.value.hint
    with pytest.raises(BackendUnavailable, match=r"not the token's PIN"):
        site.prepare(site.order(3, root_key="file:root.key"))
    passphrase = Secret("file", "root.pass")
    made = site.prepare(site.order(4, root_key="file:root.key", root_passphrase=passphrase))
    made.new_with_old.verify_directly_issued_by(site.root.certificate)
    pem = (site.folder / "g4-0a1b" / "root.key").read_bytes()
    key = load_pem_private_key(pem, PASSPHRASE)
    assert key.public_key() == made.new_root.public_key()
    assert site.objects() == ["g4-0a1b", "issuing"]


def test_the_old_root_may_be_in_another_token(token):
    site = Site(token)
    other = new_token(token.folder, "vault")
    pin = Secret("file", str(other.pin))
    with Pkcs11Backend().key_store(other.uri(object=None), pin, site.folder) as store:
        top = store.generate("company", "EC-P256").key
        issuing = Pkcs11Backend().kept(site.settings, site.folder)
        with issuing as kept:
            root = make_root("Root", top, lifetime=10 * YEAR, now=NOW)
            made = make_issuing(root, "Issuing CA", kept.key, lifetime=5 * YEAR, now=NOW)
    for name, one in (("root", root), ("ca", made)):
        (site.folder / f"{name}.pem").write_bytes(one.certificate.public_bytes(Encoding.PEM))
    # the key that is found without a word is another root's
    with pytest.raises(BackendUnavailable, match=r"not the key of the root that is in use"):
        site.prepare(site.order())
    before = site.objects()
    where = other.uri(object="company")
    made = site.prepare(site.order(3, root_key=where, root_passphrase=pin))
    made.new_with_old.verify_directly_issued_by(root.certificate)
    assert len(site.objects()) == len(before) + 2


def test_what_makes_no_sense_makes_no_key(token):
    site = Site(token)
    before = site.objects()
    with pytest.raises(BackendRejected, match=r"rollover\.lifetime"):
        site.prepare(site.order(root_lifetime=9 * YEAR))
    own = site.settings.model_copy(update={"certificate": "root.pem", "chain": ()})
    with pytest.raises(BackendRejected, match=r"rollover\.hierarchy"):
        site.prepare(site.order(3), own)
    assert site.objects() == before
