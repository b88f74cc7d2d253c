"""The profiles that are shipped: all of them load, together, and say what they promise."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from config_world import PROFILE, World, certificates, codes

from est_server.config.backends import installed

PROFILES = Path(__file__).parents[3] / "profiles"
NAMES = ["constrained", "device", "industrial-802.1ar", "interop", "pq", "router", "tpm-router"]
WARNINGS = {"interop": ["W205", "W204", "W204"]}


@pytest.fixture
def shipped(folder) -> World:
    folder.change(
        "server.yaml",
        "{acme: trust/acme.pem}",
        "{acme-routers: trust/acme.pem, plant-makers: trust/acme.pem, tpm-makers: trust/acme.pem}",
    )
    folder.write("trust/acme.pem", certificates()["root"])
    (folder.folder / "profiles/device.yaml").unlink()
    for policy in (PROFILES / "policies").glob("*.yaml"):
        folder.write(f"policies/{policy.name}", policy.read_text())
    return folder


def test_every_example_is_tested():
    assert sorted(path.stem for path in PROFILES.glob("*.yaml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_example_loads_by_itself(shipped, name):
    shipped.write(f"profiles/{name}.yaml", (PROFILES / f"{name}.yaml").read_text())
    found = shipped.load()
    assert codes(found.warnings) == WARNINGS.get(name, [])
    assert list(found.profiles) == [name]


def test_the_examples_load_together_but_for_the_label_that_only_one_can_have(shipped):
    for name in NAMES:
        shipped.write(f"profiles/{name}.yaml", (PROFILES / f"{name}.yaml").read_text())
    problem = next(p for p in shipped.problems() if p.severity == "error")
    assert (problem.code, problem.position) == (
        "E202",
        shipped.place("profiles/interop.yaml", "default]"),
    )
    shipped.change("profiles/interop.yaml", "[interop, default]", "[interop]")
    labels = shipped.load().labels
    assert set(labels) == {
        None,
        "constrained",
        "default",
        "interop",
        "plant",
        "pq",
        "router",
        "tpm-router",
    }


def test_the_first_example_is_strict_and_renews_at_once(shipped):
    shipped.write("profiles/device.yaml", (PROFILES / "device.yaml").read_text())
    model = shipped.load().profiles["device"].model
    assert model.registration == "registered"
    assert model.subject.fields()["common_name"].from_ == "device.id"
    assert not model.subject.as_requested
    assert model.reenroll is not None
    assert model.reenroll.window is None
    assert model.certificate.lifetime == timedelta(days=90)
    assert shipped.load().labels[None] == "device"


def test_the_example_with_three_cas_loads(folder):
    text = (PROFILES.parent / "docs" / "examples" / "three-cas.yaml").read_text()
    folder.backends = installed()
    folder.write("server.yaml", text)
    pem = certificates()
    folder.write("ca/root.pem", pem["root"])
    for name in ("bao", "partner"):
        folder.write(f"trust/{name}.pem", pem["root"])
    for name in ("bao.token", "partner.pass"):
        folder.write(f"secrets/{name}", "secret", 0o600)
    (folder.folder / "profiles" / "device.yaml").unlink()
    for ca in ("lab", "fleet", "partner"):
        profile = PROFILE.replace("[device, default]", f"[{ca}]").replace(
            "ca: issuing", f"ca: {ca}"
        )
        folder.write(f"profiles/{ca}.yaml", profile)
    found = folder.load()
    assert {name: found.server.cas[name].backend for name in found.ca_settings} == {
        "lab": "soft",
        "fleet": "openbao",
        "partner": "est_upstream",
    }
    assert set(found.labels) == {"lab", "fleet", "partner"}
