"""Toy evidence, and the package that reads it."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from asn1crypto import core
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from evidence import bundle, csr_with, sequence

from interop.conformance.asking import new_key

OID = "1.3.6.1.4.1.32473.1.1"
SLOW_OID = "1.3.6.1.4.1.32473.1.2"
MAKER = Ed25519PrivateKey.from_private_bytes(b"m" * 32)
STRANGER = Ed25519PrivateKey.from_private_bytes(b"s" * 32)
MAKER_KEY = MAKER.public_key().public_bytes_raw().hex()
PLUGIN = Path(__file__).parent / "plugin" / "toy_verifier.py"


def install(folder: Path) -> Path:
    """Make a package in `folder` as pip would; put the folder on PYTHONPATH to have it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "toy_verifier.py").write_text(PLUGIN.read_text())
    info = folder / "toy_verifier-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-verifier\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[est_server.verifiers]\n"
        "toy = toy_verifier:ToyVerifier\n"
        "slow-toy = toy_verifier:SlowToyVerifier\n"
    )
    return folder


def spki(key: Any) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def stmt(payload: dict[str, Any], by: Ed25519PrivateKey = MAKER) -> bytes:
    raw = json.dumps(payload).encode()
    return sequence(core.OctetString(raw).dump(), core.OctetString(by.sign(raw)).dump())


def payload(key: Any, nonce: bytes | None, **changes: Any) -> dict[str, Any]:
    found = {
        "nonce": None if nonce is None else nonce.hex(),
        "spki": sha256(spki(key)).hexdigest(),
        "platform": "p1",
        "claims": {"firmware": "1.4.2", "svn": 7, "serial": "SN-1", "debug": "off"},
    } | changes
    return {name: value for name, value in found.items() if value is not None}


def toy_csr(nonce: bytes | None, key: Any = None, name: str = "device-1", **changes: Any) -> bytes:
    """Return a request with one good toy statement, or one that is changed."""
    key = key or new_key()
    oid, by = changes.pop("oid", OID), changes.pop("by", MAKER)
    serial = changes.pop("subject_serial", None)
    return csr_with(bundle([(oid, stmt(payload(key, nonce, **changes), by))]), key, name, serial)
