"""A profile that asks for what its CA can't do is a mistake with its place."""

from __future__ import annotations

from datetime import timedelta
from importlib.metadata import EntryPoint

import pytest
from config_world import PROFILE, SERVER, SOFT
from pydantic import BaseModel

from est_server.pki.usages import EXTENDED_KEY_USAGES
from est_server.ports.ca import Capabilities

WANTED = PROFILE.replace("certificate: {lifetime: 90d}", "certificate: {lifetime: 90d, %s}")


class Settings(BaseModel):
    """Nothing is to be set."""


class Limited:
    """A backend whose CA can do what a test says."""

    settings_model = Settings
    can = Capabilities()

    def capabilities(self, settings):
        assert isinstance(settings, Settings)
        return self.can


LIMITED = EntryPoint("limited", f"{__name__}:Limited", "est_server.backends")
ELSEWHERE = SERVER.replace("    backend: soft\n", "    backend: limited\n").replace(
    "    certificate: ca/issuing.pem\n    key: file:ca/issuing.key\n"
    "    passphrase: file:secrets/ca.pass\n", "",
)  # fmt: skip
CASES = {
    "lifetime": (
        {"longest_lifetime": timedelta(days=7)}, PROFILE, "90d", "certificate.lifetime", "7d",
    ),
    "key": (
        {"device_keys": frozenset({"RSA-2048"})}, PROFILE, "EC-P256", "key.allow.0", "RSA-2048",
    ),
    "purpose": (
        {"extended_key_usages": frozenset({EXTENDED_KEY_USAGES["serverAuth"]})},
        WANTED % "extended_key_usage: [serverAuth, clientAuth]", "clientAuth",
        "certificate.extended_key_usage.1", "clientAuth",
    ),
    "policies": (
        {"certificate_policies": False}, WANTED % "certificate_policies: [1.2.3]",
        "certificate_policies",
        "certificate.certificate_policies", "policies",
    ),
    "names": (
        {"name_kinds": frozenset({"ip"})},
        PROFILE + "subject_alternative_names: {dns: {from: device.id}}\n", "dns",
        "subject_alternative_names.dns", "ip",
    ),
    "subject that it leaves empty": (
        {"subject": "empty"}, PROFILE, "common_name", "subject.common_name", "empty",
    ),
    "attribute that it does not write": (
        {"subject": "dns"},
        PROFILE.replace("  common_name", "  organization: {fixed: Example}\n  common_name"),
        "organization", "subject.organization", "common name",
    ),
    "lifetime that is its own": (
        {"shortest_lifetime": timedelta(days=90)}, PROFILE, "90d", "certificate.lifetime",
        "from 129601m",
    ),
    "usage that it always writes": (
        {"writes": frozenset({"keyEncipherment", "digitalSignature"})},
        WANTED % "key_usage: [digitalSignature]", "key_usage", "certificate.key_usage",
        "keyEncipherment",
    ),
    "purpose that it always writes": (
        {"writes": frozenset(EXTENDED_KEY_USAGES[one] for one in ("serverAuth", "clientAuth"))},
        PROFILE, "certificate", "certificate.extended_key_usage", "writes serverAuth",
    ),
    "a key that would be gone": (
        {"may_wait": True}, PROFILE + "server_key_generation: {}\n", "server_key_generation",
        "server_key_generation", "wait",
    ),
    "a password that would be told": (
        {"forwards_csr": True},
        PROFILE + "proof_of_possession: {challenge_password: otp}\n", "otp}",
        "proof_of_possession.challenge_password", "password",
    ),
}  # fmt: skip


def errors(folder):
    return [problem for problem in folder.problems() if problem.severity == "error"]


@pytest.mark.parametrize("case", CASES)
def test_what_a_ca_can_not_do(folder, monkeypatch, case):
    can, profile, place, path, said = CASES[case]
    folder.backends = (SOFT, LIMITED)
    folder.write("server.yaml", ELSEWHERE)
    folder.write("profiles/device.yaml", profile)
    monkeypatch.setattr(Limited, "can", Capabilities())
    folder.load()  # a CA that can do everything
    monkeypatch.setattr(Limited, "can", Capabilities(**can))
    [problem] = errors(folder)
    assert problem.code == "E280"
    assert problem.position == folder.place("profiles/device.yaml", place)
    assert problem.message.startswith(f"{path}: CA issuing ")
    assert said in f"{problem.message} {problem.hint}"
