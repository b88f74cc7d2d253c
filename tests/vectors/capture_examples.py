"""Write attestation/examples.json: statements of every kind that needs no TPM, in octets.

Each run gives other keys and other octets; `python tests/attestation_examples.py` then writes the
page that shows them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1])]

import tokens  # noqa: E402 - the path is set above
from attestation_examples import FILE, UEID  # noqa: E402
from captured import NONCE  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.hazmat.primitives.hashes import SHA256  # noqa: E402
from dice_device import device, fresh, tcb  # noqa: E402
from signers import root  # noqa: E402

from est_server.attestation.reading import sha256  # noqa: E402
from est_server.attestation.x509_idevid import CONTEXT  # noqa: E402


def captured() -> dict[str, Any]:
    """Return new octets: each run has other keys."""
    maker, key = root("TestCo root"), ec.generate_private_key(ec.SECP256R1())
    request = tokens.spki(key)
    ready = device(maker).below(tcb(layer=1), fresh(NONCE), key=key)
    signing = device(maker).below(tcb(layer=1))
    holder = maker.issue("SN-1", ca=False)
    signed = CONTEXT + NONCE + sha256(request)
    idevid = (sha256(holder.der), NONCE, holder.key.sign(signed, ec.ECDSA(SHA256())))
    claims = {10: NONCE, 256: UEID, 263: 3, 8: {1: tokens.cose_key(key)}}
    psa = {
        265: tokens.PSA_PROFILE, 10: sha256(NONCE + request), 256: UEID, 2394: 1, 2395: 0x3000,
        2396: bytes(range(32)), 2397: bytes(32),
        2399: [{1: "BL", 2: bytes([1]) * 32, 4: "1.4.2", 5: bytes([2]) * 32}],
    }  # fmt: skip
    said = {"eat_nonce": tokens.text(NONCE), "ueid": tokens.text(UEID),
            "cnf": {"jwk": tokens.jwk(key)}}  # fmt: skip
    manifest = {**said, "config_digest": "ab" * 32, "config": {"/etc/hosts": "cd" * 32}}
    statements = {
        "dice-certified": ready.statement(),
        "dice-signed": signing.statement(NONCE, request),
        "idevid": tokens.der(0x30, *(tokens.der(4, part) for part in idevid)),
        "eat-cwt": tokens.statement(tokens.cose(key, claims)),
        "psa": tokens.statement(tokens.cose(key, psa), NONCE),
        "eat-jwt": tokens.statement(tokens.jws(key, {**said, "dbgstat": "disabled-permanently"})),
        "manifest": tokens.statement(tokens.jws(key, manifest)),
    }
    certificates = {
        "dice-certified": ready.certificates,
        "dice-signed": signing.certificates,
        "idevid": [holder.der],
    }
    return {
        "key": request.hex(),
        "pem": tokens.pem(key),
        "root": maker.der.hex(),
        "statements": {name: octets.hex() for name, octets in statements.items()},
        "certificates": {name: [one.hex() for one in ders] for name, ders in certificates.items()},
    }


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(captured(), indent=1) + "\n")
