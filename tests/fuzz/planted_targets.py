"""Targets that are wrong, for a test of the fuzzer."""

from __future__ import annotations

import time

from attestation_targets import Target

from est_server.errors import Malformed
from est_server.wire.tpm_attest import MAGIC, parse_attest


def _hidden(data: bytes) -> None:
    """Fail behind a comparison, which a fuzzer without coverage does not get past."""
    if data[:4] == MAGIC.to_bytes(4, "big") and data[4:5] == b"\x80":
        raise IndexError("a defect")
    raise Malformed("planted", "refused")


def _slow(data: bytes) -> None:
    if len(data) > 2:
        until = time.thread_time() + 0.05
        while time.thread_time() < until:
            pass


def _greedy(data: bytes) -> None:
    if data[:1] == b"\x80":
        bytearray(1 << 29)


TARGETS = {
    "hidden": Target(_hidden, (b"\xff\x54\x43\x00",)),
    "slow": Target(_slow, (b"a",)),
    "greedy": Target(_greedy, (b"\x00",)),
    "sound": Target(parse_attest, (b"\xff\x54\x43\x47",)),
}
