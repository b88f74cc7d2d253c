"""What a reload changes, and what waits for a restart."""

from __future__ import annotations

import pytest
from config_world import PROFILE, certificates, codes

from est_server.config.reload import compare

DEVICE = "profiles/device.yaml"


def test_nothing_changed(folder):
    found = compare(folder.load(), folder.load())
    assert not found


def test_profiles_are_added_removed_and_changed(folder):
    folder.write("profiles/a.yaml", PROFILE.replace("device, default", "a"))
    before = folder.load()
    (folder.folder / "profiles/a.yaml").unlink()
    folder.write("profiles/b.yaml", PROFILE.replace("device, default", "b"))
    folder.change(DEVICE, "90d", "91d")
    found = compare(before, folder.load())
    assert found
    assert (found.profiles_added, found.profiles_removed, found.profiles_changed) == (
        ("b",),
        ("a",),
        ("device",),
    )
    assert (found.trust, found.settings, found.certificates, found.restart) == ((), (), False, ())


def test_trust_and_certificates_take_effect_at_once(folder):
    before = folder.load()
    folder.write("trust/acme.pem", certificates()["issuing"])
    folder.write("tls/server.pem", certificates()["server"])
    found = compare(before, folder.load())
    assert (found.trust, found.certificates, found.restart) == (("acme",), True, ())


@pytest.mark.parametrize(
    ("text", "setting"),
    [
        ("limits: {body: 8192}\n", "limits"),
        ("log: {level: debug}\n", "log"),
        ("realm: other\n", "realm"),
        ("lenient_bodies: false\n", "lenient_bodies"),
        ('credentials: {key: "file:secrets/ca.pass"}\n', "credentials"),
    ],
)
def test_settings_take_effect_at_once(folder, text, setting):
    before = folder.load()
    folder.write("server.yaml", folder.read("server.yaml") + text)
    found = compare(before, folder.load())
    assert (found.settings, found.restart) == ((setting,), ())


def test_the_url_in_certificates_takes_effect_at_once(folder):
    before = folder.load()
    folder.change("server.yaml", "pki.example.net", "pki.example.org")
    found = compare(before, folder.load())
    assert (found.settings, found.restart) == (("listeners.public.url",), ())


@pytest.mark.parametrize(
    ("old", "new", "code", "at"),
    [
        ('net"', 'net", listen: 0.0.0.0:81', "W301", "0.0.0.0:81"),
        ("  public:", "  admin: {listen: 127.0.0.1:1}\n  public:", "W301", "127.0.0.1:1"),
        ("chain: []", "chain: [ca/issuing.pem]", "W302", "issuing:"),
        ("trust:", 'state: {ledger: "sqlite:///x.db"}\ntrust:', "W303", "state"),
    ],
)
def test_addresses_cas_and_state_wait_for_a_restart(folder, old, new, code, at):
    folder.change("server.yaml", "    passphrase", "    chain: []\n    passphrase")
    before = folder.load()
    folder.change("server.yaml", old, new)
    found = compare(before, folder.load())
    assert codes(found.restart) == [code]
    assert found.restart[0].position == folder.place("server.yaml", at)
    assert found.restart[0].severity == "warning"
    assert found.settings == ()


def test_a_ca_that_is_gone_is_reported_where_it_was(folder, monkeypatch):
    other = "{backend: soft, certificate: a, key: env:A_KEY, passphrase: env:A_KEY}"
    monkeypatch.setenv("A_KEY", "x")
    folder.change("server.yaml", "trust:", f"  old: {other}\ntrust:")
    before = folder.load()
    text = folder.read("server.yaml")
    folder.write(
        "server.yaml", "".join(x for x in text.splitlines(keepends=True) if "old" not in x)
    )
    (problem,) = compare(before, folder.load()).restart
    assert (problem.code, problem.position) == ("W302", folder.place("server.yaml", "cas"))
