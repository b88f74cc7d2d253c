"""Checkpoints written down elsewhere: a file that grows, datagrams of syslog."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from est_server.audit.checkpoint import Checkpoint, find_notes, signed_note
from est_server.errors import BackendUnavailable
from est_server.storage.anchor_file import AnchorFile
from est_server.storage.anchor_syslog import AnchorSyslog

KEY = Ed25519PrivateKey.generate()
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


def note(size):
    checkpoint = Checkpoint("a.example/audit", size, bytes(32), AT)
    return signed_note(checkpoint, KEY.public_key(), KEY.sign)


async def test_a_file_grows(tmp_path):
    path = tmp_path / "anchored"
    for size in (1, 2, 2):
        await AnchorFile(path).write(note(size))
    assert path.read_text() == f"{note(1)}\n{note(2)}\n{note(2)}\n"
    assert find_notes(path.read_text()) == {1: note(1), 2: note(2)}


async def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(BackendUnavailable) as caught:
        await AnchorFile(tmp_path / "none" / "anchored").write(note(1))
    assert "No such file" in caught.value.hint


@pytest.mark.parametrize("kind", ["udp", "udp6", "unix"])
async def test_syslog(tmp_path, kind):
    family, bound = {
        "udp": (socket.AF_INET, ("127.0.0.1", 0)),
        "udp6": (socket.AF_INET6, ("::1", 0)),
        "unix": (socket.AF_UNIX, str(tmp_path / "log")),
    }[kind]
    with socket.socket(family, socket.SOCK_DGRAM) as collector:
        try:
            collector.bind(bound)
        except OSError as error:
            if kind != "udp6" or os.environ.get("CI") == "true":
                raise
            pytest.skip(f"{kind}: {error}")
        collector.settimeout(10)
        target = f"unix:{bound}"
        if kind != "unix":
            host, port = collector.getsockname()[:2]
            target = f"udp:[{host}]:{port}" if ":" in host else f"udp:{host}:{port}"
        await AnchorSyslog(target).write(note(5))
        line = collector.recv(65536).decode()
    head, _, text = line.partition(" audit - ")
    assert head.startswith("<109>1 2026-11-24T12:00:00Z ")  # RFC 5424 6: PRI, version, time
    assert len(head.split()) == 5
    assert text.startswith("checkpoint size=5 note=")
    assert find_notes(line) == {5: note(5)}


async def test_syslog_that_is_not_there(tmp_path):
    with pytest.raises(BackendUnavailable) as caught:
        await AnchorSyslog(f"unix:{tmp_path}/none").write(note(1))
    assert caught.value.rule == "audit.anchor"
