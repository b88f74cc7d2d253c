"""The section audit: keys, places, and what makes no sense together."""

from __future__ import annotations

from datetime import timedelta

import pytest
from config_world import codes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


@pytest.fixture
def written(folder):
    def write(text):
        for name in ("keys/audit.key", "secrets/audit.pass"):
            path = folder.folder / name
            path.parent.mkdir(exist_ok=True)
            path.touch(mode=0o600)
        folder.change("server.yaml", "trust:", f"audit: {text}\ntrust:")

    return write


def test_absent_is_absent(folder):
    assert folder.load().server.audit is None


def test_defaults(folder, written):
    written("{}")
    found = folder.load().server.audit
    assert (found.origin, str(found.key)) == ("est-server/audit", "file:keys/audit.key")
    assert found.every == timedelta(seconds=10)
    assert found.anchor is None


def test_every_key(folder, written):
    public = Ed25519PrivateKey.generate().public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder.folder / "old.pub").write_bytes(pem)
    written(
        "{origin: a.example/x, every: 1m, former_keys: [old.pub], anchor: {file: /mnt/x, syslog: "
        "'udp:[::1]:514', timestamp: {url: 'http://t.example/', roots: trust/acme.pem}, every: 1d}}"
    )
    found = folder.load()
    assert codes(found.warnings) == []
    assert found.server.audit.anchor.every == timedelta(days=1)
    assert found.server.audit.former_keys == ("old.pub",)


@pytest.mark.parametrize(
    ("text", "code", "at"),
    [
        ("{origin: 'a b'}", "E104", "'a b'"),
        ("{origin: 'a+b'}", "E104", "'a+b'"),
        ("{every: 500ms}", "E104", "500ms"),
        ("{every: 2h}", "E104", "2h"),
        ("{anchor: {syslog: 'tcp:x:1'}}", "E104", "'tcp:x:1'"),
        ("{anchor: {timestamp: {url: 'ftp://x', roots: trust/acme.pem}}}", "E104", "'ftp://x'"),
        ("{anchor: {file: x, every: 5s}}", "E104", "5s"),
        ("{orign: x}", "E105", "orign"),
        ("{former_keys: [trust/acme.pem]}", "E290", "trust/acme.pem"),
    ],
)
def test_a_mistake_has_its_place(folder, written, text, code, at):
    written(text)
    problem = folder.only()
    assert (problem.code, problem.position) == (code, folder.place("server.yaml", at))


def test_an_anchor_without_a_place(folder, written):
    written("{anchor: {every: 1h}}")
    assert "names no place" in folder.only().message


def test_files_that_are_not_there(folder, written):
    written("{former_keys: [none.pub], anchor: {timestamp: {url: 'http://x/', roots: none.pem}}}")
    found = folder.problems()
    assert [one.message.partition(":")[0] for one in found] == [
        "audit.former_keys.0",
        "audit.anchor.timestamp.roots",
    ]


def test_no_key_no_start(folder):
    folder.change("server.yaml", "trust:", "audit: {}\ntrust:")
    assert codes(folder.problems()) == ["E213", "E213"]


def test_anchored_more_often_than_signed(folder, written):
    written("{every: 1h, anchor: {file: x, every: 1m}}")
    (warning,) = folder.load().warnings
    assert (warning.code, warning.position) == ("W290", folder.place("server.yaml", "1m"))
