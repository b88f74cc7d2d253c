"""A mistake of form hides no other, and brings no other with it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from config_world import PROFILE, codes
from pydantic import BaseModel
from test_config_load import DEVICE, MISTAKES

from est_server.config.checks import check_profile
from est_server.config.document import BROKEN
from est_server.config.mending import PROFILE_STAND_INS, mend
from est_server.config.yaml_nodes import read_yaml
from est_server.profiles.model import ProfileModel

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = sorted((Path(__file__).parents[3] / "profiles").glob("*.yaml"))
SIX = """\
version: 1
labels: [cacerts, device]
ca: isuing
authenticate:
  - client_certificate: {trust: acme, idntity: subject.commonName}
  - credential: {}
reenroll: {window: 30 days}
subject:
  common_name: {from: device.id}
key: {allow: [EC-P265]}
certificate: {lifetime: 90d}
rules:
- {name: site, when: "divice.id == device.id", message: no}
"""


def test_mistakes_of_form_and_of_meaning_come_in_one_run(folder):
    folder.write(DEVICE, SIX)
    assert [(found.code, found.position) for found in folder.problems()] == [
        ("E203", folder.place(DEVICE, "cacerts")),
        ("E200", folder.place(DEVICE, "isuing")),
        ("E105", folder.place(DEVICE, "idntity")),
        ("E104", folder.place(DEVICE, "30 days")),
        ("E204", folder.place(DEVICE, "EC-P265")),
        ("E208", folder.place(DEVICE, '"divice')),
    ]
    hints = [found.hint for found in folder.problems()]
    assert hints[1:3] == ["did you mean 'issuing'?", "did you mean 'identity'?"]


WITHOUT_FORM = [
    (code, make)
    for code, make in MISTAKES
    if code.startswith("E2") and code not in {"E209", "E210", "E211", "E216", "E217"}
]


@pytest.mark.parametrize(("code", "make"), WITHOUT_FORM)
def test_a_mistake_of_form_hides_none_of_meaning(folder, code, make):
    at = make(folder)
    folder.write("server.yaml", folder.read("server.yaml") + "realm: {a: b}\n")
    for path in (folder.folder / "profiles").iterdir():
        path.write_text(path.read_text() + "description: {a: b}\nfull_cmc: maybe\n")
    assert (code, at) in {(found.code, found.position) for found in folder.problems()}


def test_a_profile_that_is_not_well_formed_is_still_there(folder):
    folder.change(DEVICE, "{window: 30d}", "{window: 30d, alternates: [other, third]}")
    folder.write("profiles/other.yaml", PROFILE.replace("device, default", "x") + "oops: 1\n")
    folder.write("profiles/third.yaml", "no yaml: [")
    assert codes(folder.problems()) == ["E105", "E100"]


def test_a_label_is_taken_by_a_profile_that_is_not_well_formed(folder):
    folder.write("profiles/other.yaml", PROFILE.replace("device, default", "x, device") + "o: 1\n")
    assert codes(folder.problems()) == ["E202", "E105"]


def test_what_a_wrong_server_file_names_is_still_checked(folder):
    folder.write("server.yaml", folder.read("server.yaml") + "oops: 1\nlimits: {body: 1}\n")
    (folder.folder / "ca/issuing.key").chmod(0o640)
    (folder.folder / "tls/server.pem").unlink()
    folder.change("server.yaml", "  public:", "  est: {listen: 127.0.0.1:8444}\n  public:")
    folder.change(DEVICE, "90d}", "90d, pointers: [crl]}")
    assert codes(folder.problems()) == ["E214", "E109", "E212", "E105", "E104"]


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ("listeners: {est: {listen: no}, admin: {listen: 0.0.0.0:8443}}", "E104"),
        ("listeners: {est: {certificate: []}}", "E104"),
        ("credentials: {key: plain}", "E107"),
    ],
)
def test_nothing_is_said_about_a_default_that_stands_in(folder, wrong, code):
    text = folder.read("server.yaml")
    text = text[: text.index("listeners:")] + text[text.index("cas:") :] + wrong + "\n"
    folder.write("server.yaml", text)
    gone = {"E104": "tls/server.pem", "E107": "secrets/credentials.key"}[code]
    if "admin" not in wrong:
        (folder.folder / gone).unlink()
    assert codes(folder.problems()) == [code]


NAMES = "subject_alternative_names"
METHODS = "authenticate:\n  - credential: {}\nreenroll: {window: 30d}\n"


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        (METHODS, "authenticate: []\nrenroll: {window: 30d}\n", "E105"),
        (METHODS, "authenticate: []\nreenroll: no\n", "E104"),
        ("\n  common_name: {from: device.id}\n", " {}\n" + NAMES[:-1] + ": {}\n", "E105"),
        ("\n  common_name: {from: device.id}\n", " {}\n" + NAMES + ": no\n", "E104"),
        ("90d}", "30s, bakdate: 0s}", "E105"),
        ("90d}", "30s, backdate: 0}", "E104"),
    ],
)
def test_nothing_is_said_that_follows_from_what_cant_be_read(folder, old, new, code):
    folder.change(DEVICE, old, new)
    assert codes(folder.problems()) == [code]


def paths(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every value."""
    items = data.items() if isinstance(data, dict) else enumerate(data)
    for key, value in items:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from paths(value, (*path, key))


def spoilt(data: Any, path: tuple[str | int, ...]) -> Iterator[Any]:
    """Yield `data` with a value of the wrong kind, and with a misspelt key."""
    for misspelt in (False, True):
        made = deepcopy(data)
        section = made
        for part in path[:-1]:
            section = section[part]
        value = section[path[-1]]
        if not misspelt:
            section[path[-1]] = [["x"]] if isinstance(value, dict) else {"zzz": "x"}
            yield made
        elif isinstance(section, dict):
            section[f"{path[-1]}_"] = section.pop(path[-1])
            yield made


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_a_mistake_of_form_brings_no_other_with_it(file):
    data = read_yaml(file.read_bytes(), file.name).data
    trust = {part["client_certificate"]["trust"] for part in data.get("authenticate", ())
             if "client_certificate" in part}  # fmt: skip
    count = 0
    for path in paths(data):
        for wrong in spoilt(data, path):
            document = read_yaml(yaml.safe_dump(wrong, default_style='"').encode(), file.name)
            content = mend(document.data, ProfileModel, PROFILE_STAND_INS)
            assert content is not None, path
            assert not content.sound
            assert content.changed, path
            assert not [*check_profile(document, "x", content, {data["ca"]}, trust)], path
            count += 1
    assert count > 20


def required(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the keys that every profile must have."""
    for name, info in model.model_fields.items():
        if info.is_required():
            here = (*path, info.alias or name)
            yield here
            if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
                yield from required(info.annotation, here)


def test_whatever_every_profile_must_have_has_a_stand_in():
    assert set(required(ProfileModel)) <= set(PROFILE_STAND_INS)
    found = mend({}, ProfileModel, PROFILE_STAND_INS)
    assert found is not None
    assert not found.tells(("labels", 0))
    assert not found.tells(("certificate",))
    assert found.tells(("reenroll",), ("rules",))


@pytest.mark.parametrize("nothing", ["text", ["list"], None, BROKEN])
def test_of_what_is_no_section_nothing_can_be_made(nothing):
    assert mend(nothing, ProfileModel, PROFILE_STAND_INS) is None
