"""A nonce that only one TPM can read: the credential challenge, folded into the nonce exchange.

    reqInfo  {"ek": base64url DER of the EK certificate, "ak": base64url TPMT_PUBLIC}
    respInfo {"credentialBlob": base64url, "encryptedSecret": base64url, "pcrs": {bank: [index, …]}}

The server encrypts the nonce to the EK and to the Name of the AK (`wire.tpm_credential`). Evidence
that has this nonce inside was signed by an AK that lives beside that EK, and is fresh. What the
device said of its keys is kept with the nonce; it is believed only when the Evidence is.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from est_server.attestation.chains import spki
from est_server.attestation.reading import certificate, refusing, sha256
from est_server.ports.verifier import Challenge, EvidenceRefused
from est_server.wire.tpm_credential import make_credential, seed_octets
from est_server.wire.tpm_public import parse_public

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.ports.verifier import Json

MOST_TEXT = 8192


def credential_challenge(info: Json, nonce: bytes, told: Mapping[str, Json]) -> Challenge:
    """Return the nonce, encrypted for the TPM that `info` describes.

    Args:
        info: reqInfo; None if the device shows an AK certificate later and needs no credential.
        nonce: the secret.
        told: further members of respInfo.

    Raises:
        EvidenceRefused: ``tpm2.challenge``, ``tpm2.nonce-length``, and what the codecs refuse.
    """
    if info is None:
        return Challenge(info=dict(told) or None)
    if not isinstance(info, dict) or info.keys() != {"ek", "ak"}:
        raise EvidenceRefused("tpm2.challenge", "ek and ak", "other members")
    endorsement = certificate(_octets(info["ek"]))
    key = endorsement.public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise EvidenceRefused("tpm2.challenge", "an RSA or EC key", type(key).__name__)
    with refusing():
        attestation = parse_public(_octets(info["ak"]))
        most = seed_octets(key)
        if len(nonce) > most:
            raise EvidenceRefused("tpm2.nonce-length", f"at most {most}", str(len(nonce)))
        seed = secrets.token_bytes(most)
        made = make_credential(key, attestation.name, nonce, seed)
    return Challenge(
        info={
            "credentialBlob": _text(made.blob),
            "encryptedSecret": _text(made.encrypted_secret),
            **told,
        },
        hidden=True,
        kept={"ak": attestation.data.hex(), "ek": sha256(spki(endorsement)).hex()},
    )


def _octets(text: Json) -> bytes:
    if not isinstance(text, str) or len(text) > MOST_TEXT or not text.isascii():
        raise EvidenceRefused("tpm2.challenge", "base64url", "something else")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise EvidenceRefused("tpm2.challenge", "base64url", "something else") from error


def _text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")
