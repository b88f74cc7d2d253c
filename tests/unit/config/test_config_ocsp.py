"""The section cas.<name>.ocsp beside the backend's own keys."""

from __future__ import annotations

from datetime import timedelta

import pytest
from config_world import codes

from est_server.revocation.ocsp_policy import OcspPolicy


def written(folder, text):
    folder.change("server.yaml", "secrets/ca.pass", f"secrets/ca.pass\n    ocsp: {text}")


def test_absent_is_absent(folder):
    assert folder.load().server.cas["issuing"].ocsp is None


def test_defaults_are_those_of_the_policy(folder):
    written(folder, "{}")
    assert folder.load().server.cas["issuing"].ocsp.policy() == OcspPolicy()


def test_every_key_reaches_the_policy(folder):
    written(
        folder,
        "{lifetime: 12h, presign: false, never_issued: revoked, responder_key: ML-DSA-44, "
        "responder_lifetime: 30d}",
    )
    assert folder.load().server.cas["issuing"].ocsp.policy() == OcspPolicy(
        timedelta(hours=12), False, "revoked", "ML-DSA-44", timedelta(days=30)
    )


@pytest.mark.parametrize(
    ("text", "code", "at"),
    [
        ("{lifetime: 30s}", "E104", "30s"),
        ("{lifetime: 15d}", "E104", "15d"),
        ("{never_issued: good}", "E104", "good"),
        ("{responder_key: EC-P255}", "E104", "EC-P255"),
        ("{responder_lifetime: 91d}", "E104", "91d"),
        ("{presing: true}", "E105", "presing"),
    ],
)
def test_a_mistake_has_its_place(folder, text, code, at):
    written(folder, text)
    problem = folder.only()
    assert (problem.code, problem.position) == (code, folder.place("server.yaml", at))


def test_it_is_none_of_the_backends_business(folder):
    written(folder, "{enabled: false, responder_lifetime: 1h}")
    found = folder.load()
    assert codes(found.warnings) == []
    _, settings = found.ca_settings["issuing"]
    assert not hasattr(settings, "ocsp")
