"""MakeCredential (TPM 2.0 Part 1, 24; Part 3, 12.6), as a server does it without a TPM.

    credentialBlob  ::= TPM2B of: TPM2B of an HMAC, and the encrypted identity
    encryptedSecret ::= TPM2B of: RSA: OAEP of the seed; ECC: the point that made the seed

A seed is given to the endorsement key alone; from it come the key that encrypts the secret and the
one that ties it to the Name of the attestation key (KDFa, Part 1, 11.4.10.2). So only a TPM that
has the endorsement key, with that very attestation key loaded, gets the secret out.

What the endorsement key's own algorithms are is not in its certificate: they follow from its kind
(TCG EK Credential Profile 2.5, B.3 and B.4: templates L-1, L-2, H-1 to H-7).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from est_server.errors import Malformed
from est_server.wire.tpm_buffer import sized

EndorsementKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
_LABEL = b"IDENTITY\x00"
_TEMPLATES: dict[str, tuple[hashes.HashAlgorithm, int]] = {
    "RSA-2048": (hashes.SHA256(), 16),
    "RSA-3072": (hashes.SHA384(), 32),
    "RSA-4096": (hashes.SHA384(), 32),
    "secp256r1": (hashes.SHA256(), 16),
    "secp384r1": (hashes.SHA384(), 32),
    "secp521r1": (hashes.SHA512(), 32),
}
"""Kind of key -> nameAlg, octets of its AES key."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a TPM activates.

    Attributes:
        blob: TPM2B_ID_OBJECT.
        encrypted_secret: TPM2B_ENCRYPTED_SECRET.
    """

    blob: bytes
    encrypted_secret: bytes = field(repr=False)


def make_credential(
    endorsement: EndorsementKey,
    name: bytes,
    secret: bytes,
    seed: bytes,
    ephemeral: ec.EllipticCurvePrivateKey | None = None,
) -> Credential:
    """Encrypt `secret` for the TPM that has both keys.

    Args:
        endorsement: public endorsement key.
        name: Name of the attestation key.
        secret: at most as long as the digest of the endorsement key's nameAlg.
        seed: as long as that digest and random; used with RSA alone.
        ephemeral: a new key of the endorsement key's curve; made here if it is not given.

    Raises:
        Malformed: ``tpm-credential.endorsement-key`` if no template has such a key.
    """
    digest, key_octets = _template(endorsement)
    if isinstance(endorsement, rsa.RSAPublicKey):
        seed = seed[: digest.digest_size]
        oaep = padding.OAEP(padding.MGF1(digest), digest, _LABEL)
        encrypted_secret = sized(endorsement.encrypt(seed, oaep))
    else:
        ephemeral = ephemeral or ec.generate_private_key(endorsement.curve)
        seed, encrypted_secret = _agree(endorsement, ephemeral, digest)
    key = _kdfa(digest, seed, b"STORAGE", name, key_octets)
    encryptor = Cipher(algorithms.AES(key), CFB(bytes(16))).encryptor()
    identity = encryptor.update(sized(secret)) + encryptor.finalize()
    integrity = hmac.HMAC(_kdfa(digest, seed, b"INTEGRITY", b"", digest.digest_size), digest)
    integrity.update(identity + name)
    return Credential(sized(sized(integrity.finalize()) + identity), encrypted_secret)


def seed_octets(endorsement: EndorsementKey) -> int:
    """Return how many octets a seed for this key has.

    Raises:
        Malformed: see `make_credential`.
    """
    return _template(endorsement)[0].digest_size


def _template(endorsement: EndorsementKey) -> tuple[hashes.HashAlgorithm, int]:
    kind = (
        f"RSA-{endorsement.key_size}"
        if isinstance(endorsement, rsa.RSAPublicKey)
        else endorsement.curve.name
    )
    found = _TEMPLATES.get(kind)
    if found is None:
        raise Malformed("tpm-credential.endorsement-key", f"no TPM has an EK of kind {kind}")
    return found


def _agree(
    endorsement: ec.EllipticCurvePublicKey,
    ephemeral: ec.EllipticCurvePrivateKey,
    digest: hashes.HashAlgorithm,
) -> tuple[bytes, bytes]:
    """Return the seed (KDFe, Part 1, 11.4.10.3) and the point it is told with (C.6.3)."""
    octets = (endorsement.curve.key_size + 7) // 8
    mine, theirs = ephemeral.public_key().public_numbers(), endorsement.public_numbers()
    x, y, party = (number.to_bytes(octets, "big") for number in (mine.x, mine.y, theirs.x))
    shared = ephemeral.exchange(ec.ECDH(), endorsement)
    kdfe = ConcatKDFHash(digest, digest.digest_size, _LABEL + x + party)
    return kdfe.derive(shared), sized(sized(x) + sized(y))


def _kdfa(
    digest: hashes.HashAlgorithm, key: bytes, label: bytes, context: bytes, octets: int
) -> bytes:
    """SP 800-108 in counter mode with HMAC, as TPM 2.0 Part 1, 11.4.10.2 wants it."""
    kdf = KBKDFHMAC(
        algorithm=digest,
        mode=Mode.CounterMode,
        length=octets,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=label,
        context=context,
        fixed=None,
    )
    return kdf.derive(key)
