"""kill -9 at the edges of issuance, over every backend; KILLS=120 for all, SEED for others."""

from __future__ import annotations

import os
import sys

import pebble
import pytest
from ca_worlds import WORLDS
from pkcs11_tokens import MODULE

from est_server.testing.kills import kill_at_edges

KILLS = int(os.environ.get("KILLS", "2"))
SEED = int(os.environ.get("SEED", "0"))
PEERS = {
    "acme_upstream-pebble": (pebble.PACKAGE, pebble.PROGRAM),
    "pkcs11": ("softhsm2", MODULE),
}
ONLY = os.environ.get("BACKEND", "")
SLOW = {"aws_pca-moto"}  # moto makes and opens an RSA key with each step


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
        for name in WORLDS
        if ONLY in {"", name}
    ],
)
async def test_no_certificate_is_lost_and_none_is_made_twice(backend, tmp_path, monkeypatch, need):
    need(*PEERS.get(backend, ("",)))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    world = WORLDS[backend]
    died = await kill_at_edges(f"ca_worlds:{world.__name__}", tmp_path, kills=KILLS, seed=SEED)
    assert len(died) >= KILLS // 2, died
    if KILLS > 10:
        print(f"\n{backend}: {len(died)} kills at {len({*died})} edges")
