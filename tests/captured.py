"""Evidence that a TPM made once, for tests that need no TPM (tests/vectors/capture_tpm.py)."""

from __future__ import annotations

import json
from pathlib import Path

_CONTENT = json.loads((Path(__file__).parent / "vectors" / "tpm2" / "captured.json").read_text())
NONCE = bytes.fromhex(_CONTENT["nonce"])
SIGNERS = ("ecdsa", "rsassa", "rsapss")


def captured(signer: str) -> dict[str, bytes]:
    """Return what the attestation key with this scheme said, or the manufacturer's certificates."""
    return {part: bytes.fromhex(text) for part, text in _CONTENT[signer].items()}
