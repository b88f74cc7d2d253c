"""Write tpm2/captured.json: what a real (software) TPM says, in octets.

Needs swtpm, swtpm-tools and tpm2-tools. Each run gives other keys and other octets; the tests ask
nothing of them but that they fit each other.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent)]

from soft_tpm import soft_tpm  # noqa: E402, I001 - it finds the next one
from device_tpm import ECC_EK, RSA_EK  # noqa: E402

NONCE = bytes(range(32))
KEYS = {
    "ecdsa": "ecc256:ecdsa-sha256:null",
    "rsassa": "rsa2048:rsassa-sha256:null",
    "rsapss": "rsa2048:rsapss-sha256:null",
}


def main() -> None:
    found: dict[str, dict[str, str]] = {}
    with tempfile.TemporaryDirectory() as folder, soft_tpm(Path(folder)) as made:
        tpm = made.tpm
        parent = tpm.storage_key()
        key = tpm.key(parent)
        for name, algorithm in KEYS.items():
            attestation = tpm.attestation_key(algorithm)
            certified = made.certify(key, attestation, NONCE)
            parts = {"public": attestation.public, "key": key.public}
            parts["attest"], parts["signature"] = certified
            if name != "rsapss":  # tpm2-tools' certifycreation and quote know no PSS
                created = tpm.certify_creation(key, attestation, NONCE)
                quoted = tpm.quote(attestation, NONCE, "sha256:0,2,4,7")
                parts["creation"], parts["creation_signature"] = created
                parts["quote"], parts["quote_signature"] = quoted
                parts["registers"] = b"".join(tpm.registers("sha256:0,2,4,7"))
            found[name] = {part: content.hex() for part, content in parts.items()}
        found["manufacturer"] = {
            "root": made.root.hex(),
            "issuer": made.issuer.hex(),
            "rsa": tpm.endorsement_certificate(RSA_EK).hex(),
            "ecc": tpm.endorsement_certificate(ECC_EK).hex(),
        }
    file = HERE / "tpm2" / "captured.json"
    file.parent.mkdir(exist_ok=True)
    content = {"source": "swtpm 0.7.1, libtpms 0.9.2, tpm2-tools 5.4", "nonce": NONCE.hex()}
    file.write_text(json.dumps(content | found, indent=1) + "\n")


if __name__ == "__main__":
    main()
