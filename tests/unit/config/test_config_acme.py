"""An ACME server as a CA: its keys, and profiles that ask for what it does not write."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import EntryPoint

import pytest
from config_world import PROFILE, SERVER

from backends.acme_settings import AcmeUpstreamSettings, capabilities
from est_server.pki.usages import EXTENDED_KEY_USAGES

ACME = EntryPoint(
    "acme_upstream", "backends.acme_upstream:AcmeUpstreamBackend", "est_server.backends"
)
CA = """\
    backend: acme_upstream
    directory: https://acme.example.net/directory
    account_key: file:ca/issuing.key
    issuers: [ca/issuing.pem]
"""
SOFT_CA = """\
    backend: soft
    certificate: ca/issuing.pem
    key: file:ca/issuing.key
    passphrase: file:secrets/ca.pass
"""
FITS = PROFILE.replace("{lifetime: 90d}", "{lifetime: 91d, extended_key_usage: [serverAuth]}")


@pytest.fixture
def at_acme(folder):
    def written(profile=FITS, **settings):
        folder.backends = (ACME,)
        lines = "".join(f"    {key}: {value}\n" for key, value in settings.items())
        folder.write("server.yaml", SERVER.replace(SOFT_CA, CA + lines))
        folder.write("profiles/device.yaml", profile)
        return folder

    assert SOFT_CA in SERVER
    return written


def test_what_fits_has_no_problem(at_acme):
    found = at_acme(lifetime="90d").problems()
    assert [problem for problem in found if problem.severity == "error"] == []


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("common_name: {from: device.id}", "organization: {fixed: Example}",
         "subject.organization"),
        ("lifetime: 91d", "lifetime: 90d", "certificate.lifetime"),
        ("[serverAuth]", "[clientAuth]", "certificate.extended_key_usage"),
        ("[serverAuth]", "[serverAuth, clientAuth]", "certificate.extended_key_usage.1"),
        ("[serverAuth]", "[serverAuth], certificate_policies: [1.2.3]",
         "certificate.certificate_policies"),
        ("key: {allow: [EC-P256]}", "key: {allow: [Ed25519]}", "key.allow.0"),
        ("key: {", "subject_alternative_names: {email: {from: device.id}}\nkey: {",
         "subject_alternative_names.email"),
        ("key: {", "server_key_generation: {}\nkey: {", "server_key_generation"),
    ],
)  # fmt: skip
def test_what_a_profile_can_not_have(at_acme, old, new, path):
    assert old in FITS
    found = at_acme(FITS.replace(old, new), lifetime="90d").problems()
    errors = [problem for problem in found if problem.severity == "error"]
    assert {problem.code for problem in errors} == {"E280"}
    assert any(problem.message.startswith(f"{path}: CA issuing ") for problem in errors)
    files = {problem.position.file for problem in errors}
    assert files == {str(at_acme().folder / "profiles/device.yaml")}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("directory", "http://acme.example.net/directory"),
        ("extended_key_usage", "[server-auth]"),
        ("key_usage", "[keySigning]"),
        ("subject", "anything"),
        ("issuers", "[]"),
        ("external_account", "{key_id: kid-1, mac_key: c2VjcmV0}"),
        ("unknown", "1"),
    ],
)
def test_mistakes_of_its_keys(at_acme, key, value):
    folder = at_acme()
    text = folder.read("server.yaml")
    lines = [line for line in text.splitlines() if not line.strip().startswith(f"{key}:")]
    at = lines.index("    backend: acme_upstream") + 1
    folder.write("server.yaml", "\n".join([*lines[:at], f"    {key}: {value}", *lines[at:]]) + "\n")
    errors = [problem for problem in folder.problems() if problem.severity == "error"]
    assert errors
    for problem in errors:
        assert problem.position.file.endswith("server.yaml")
        assert f"cas.issuing.{key}" in problem.message or key in problem.message
        assert "c2VjcmV0" not in problem.message


def test_capabilities():
    settings = {
        "directory": "https://acme.example.net/directory",
        "account_key": "file:a",
        "issuers": ["b"],
        "lifetime": "90d",
        "subject": "empty",
        "key_usage": ["digitalSignature", "keyEncipherment"],
    }
    can = capabilities(AcmeUpstreamSettings.model_validate(settings))
    assert can.shortest_lifetime == timedelta(days=90)
    assert can.subject == "empty"
    purpose = EXTENDED_KEY_USAGES["serverAuth"]
    assert can.writes == {"digitalSignature", "keyEncipherment", purpose}
    assert can.extended_key_usages == {purpose}
    assert can.prepares
    assert can.looks_up
