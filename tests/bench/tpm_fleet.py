"""Devices with TPMs: their keys are software's, what they say is what a TPM would.

Each has an endorsement certificate of its own under a manufacturer's two RSA-3072 CAs (as swtpm's
local CA makes them), an attestation key on P-256 and, for each request, a new key on P-256. The
areas are those of a real one (`captured`) with other keys in them.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import ssl
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

sys.path.append(str(Path(__file__).parents[1]))

from captured import captured
from clients import Exchange
from evidence import bundle, csr_with, sequence

from est_server.wire.der import header

if TYPE_CHECKING:
    from clients import Share
    from fleet import Fleet

CERTIFY, QUOTE = "2.23.133.20.1", "2.23.133.20.2"
REGISTERS = (0, 2, 4, 7)
VALUES = {index: hashlib.sha256(bytes([index])).digest() for index in REGISTERS}
KIND = "application/est-attestation-freshness+json"
_KEYS = 16  # RSA keys take their time; certificates are all different
_AREAS = captured("ecdsa")
_POINT = 2 * (2 + 32)
_LIFETIME = timedelta(days=30)


def manufacture(path: Path, size: int) -> Path:
    """Write the endorsement keys and certificates of `size` devices; return the root's PEM."""
    path.mkdir(parents=True)
    root_key, issuing_key = (rsa.generate_private_key(65537, 3072) for _ in range(2))
    root = _certificate("TPM Root", root_key.public_key(), "TPM Root", root_key, ca=True)
    issuing = _certificate("TPM CA", issuing_key.public_key(), "TPM Root", root_key, ca=True)
    (path / "root.pem").write_bytes(root.public_bytes(Encoding.PEM))
    (path / "issuing.der").write_bytes(issuing.public_bytes(Encoding.DER))
    keys = [rsa.generate_private_key(65537, 2048) for _ in range(_KEYS)]
    for number, key in enumerate(keys):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (path / f"ek-{number}.key").write_bytes(pem)
    for device in range(size):
        public = keys[device % _KEYS].public_key()
        made = _certificate(f"TPM {device}", public, "TPM CA", issuing_key, ca=False)
        (path / f"ek-{device}.der").write_bytes(made.public_bytes(Encoding.DER))
    return path / "root.pem"


@dataclass(frozen=True, slots=True)
class Tpm:
    """One device's.

    Attributes:
        endorsement: the key behind its certificate.
        certificates: of the EK, and of the CA that issued it.
        attestation: the AK.
        area: its TPMT_PUBLIC.
    """

    endorsement: rsa.RSAPrivateKey
    certificates: tuple[bytes, bytes]
    attestation: ec.EllipticCurvePrivateKey
    area: bytes

    def info(self) -> dict[str, str]:
        """Return reqInfo."""
        return {"ek": text(self.certificates[0]), "ak": text(self.area)}

    def activate(self, told: dict[str, str]) -> bytes:
        """Return the nonce (TPM 2.0 Part 1, 24), without a look at its integrity."""
        secret, blob = octets(told["encryptedSecret"]), octets(told["credentialBlob"])
        digest = hashes.SHA256()
        oaep = padding.OAEP(padding.MGF1(digest), digest, b"IDENTITY\x00")
        seed = self.endorsement.decrypt(secret[2:], oaep)
        kdf = KBKDFHMAC(
            algorithm=digest, mode=Mode.CounterMode, length=16, rlen=4, llen=4,
            location=CounterLocation.BeforeFixed, label=b"STORAGE", context=name(self.area),
            fixed=None,
        )  # fmt: skip
        decryptor = Cipher(algorithms.AES(kdf.derive(seed)), CFB(bytes(16))).decryptor()
        inner = blob[2:]
        identity = inner[2 + int.from_bytes(inner[:2], "big") :]
        return (decryptor.update(identity) + decryptor.finalize())[2:]

    def evidence(self, key: ec.EllipticCurvePrivateKey, nonce: bytes) -> bytes:
        """Return an AttestationBundle: a certification of `key`, and a quote."""
        public = area(_AREAS["key"], key)
        said = _attest(0x8017, nonce, _sized(name(public)) + _sized(name(public)))
        bits = sum(1 << index for index in REGISTERS).to_bytes(3, "little")
        digest = hashlib.sha256(b"".join(VALUES.values())).digest()
        quoted = _attest(0x8018, nonce, bytes.fromhex("00000001000b03") + bits + _sized(digest))
        registers = (
            sequence(_tlv(2, b"\x0b"), _tlv(2, bytes([index])), _tlv(4, value))
            for index, value in VALUES.items()
        )
        certified = (_tlv(4, part) for part in (said, self._signed(said), public))
        quote = (_tlv(4, quoted), _tlv(4, self._signed(quoted)), sequence(*registers))
        statements = [(CERTIFY, sequence(*certified)), (QUOTE, sequence(*quote))]
        return bundle(statements, self.certificates)

    def _signed(self, said: bytes) -> bytes:
        r, s = decode_dss_signature(self.attestation.sign(said, ec.ECDSA(hashes.SHA256())))
        parts = (_sized(number.to_bytes(32, "big")) for number in (r, s))
        return bytes.fromhex("0018000b") + b"".join(parts)


@lru_cache(maxsize=4096)
def tpm(path: Path, device: int) -> Tpm:
    """Return the TPM of a device."""
    endorsement = load_pem_private_key((path / f"ek-{device % _KEYS}.key").read_bytes(), None)
    assert isinstance(endorsement, rsa.RSAPrivateKey)
    attestation = ec.derive_private_key(device + 1, ec.SECP256R1())
    certificates = (path / f"ek-{device}.der").read_bytes(), (path / "issuing.der").read_bytes()
    return Tpm(endorsement, certificates, attestation, area(_AREAS["public"], attestation))


def enroll(path: str, share: Share, *, fleet: Fleet, context: Any) -> list[Exchange]:
    """Return enrollments without evidence, each from the next device and for a new key."""
    return [
        Exchange(context(device), post(path, csr_with(None, new_key(), f"device-{device}")))
        for device in _turns(fleet, share)
    ]


def attest(path: str, share: Share, *, fleet: Fleet, context: Any, tpms: Path) -> list[Exchange]:
    """Return enrollments with evidence: a nonce is asked for, and answered on its connection."""

    def answering(device: int) -> Any:
        key = new_key()

        def then(body: bytes) -> bytes:
            found = tpm(tpms, device)
            nonce = found.activate(json.loads(body)["respTypeInfo"]["respInfo"])
            return post(path, csr_with(found.evidence(key, nonce), key, f"device-{device}"))

        return then

    return [
        Exchange(context(device), asking(path, tpm(tpms, device)), answering(device))
        for device in _turns(fleet, share)
    ]


def attest_at_once(
    path: str, share: Share, *, fleet: Fleet, context: Any, tpms: Path, address: tuple[str, int]
) -> list[Exchange]:
    """Return enrollments with evidence whose nonces have been asked for already."""
    made = []
    tls = ssl.create_default_context()
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    asker = http.client.HTTPSConnection(*address, context=tls)
    for device in _turns(fleet, share):
        found, key = tpm(tpms, device), new_key()
        head, _, body = asking(path, found).partition(b"\r\n\r\n")
        target = head.split()[1].decode()
        asker.request("POST", target, body, {"Content-Type": KIND})
        answer = asker.getresponse()
        told = json.loads(answer.read())["respTypeInfo"]["respInfo"]
        cookie = str(answer.getheader("Set-Cookie")).partition(";")[0]
        csr = csr_with(found.evidence(key, found.activate(told)), key, f"device-{device}")
        made.append(Exchange(context(device), post(path, csr, cookie)))
    asker.close()
    return made


def asking(path: str, found: Tpm) -> bytes:
    """Return a request for a nonce that only this TPM can read."""
    wanted = {"reqTypeInfo": {"type": QUOTE, "reqInfo": found.info()}}
    target = path.rpartition("/")[0] + "/nonce"
    return _posted(target, KIND, json.dumps(wanted).encode())


def post(path: str, csr: bytes, cookie: str = "") -> bytes:
    """Return an enrollment."""
    return _posted(path, "application/pkcs10", base64.b64encode(csr), cookie)


def _posted(path: str, kind: str, body: bytes, cookie: str = "") -> bytes:
    told = f"Cookie: {cookie}\r\n" if cookie else ""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{told}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _turns(fleet: Fleet, share: Share) -> list[int]:
    devices = fleet.of(share, one_a_thread=False)
    return [devices[at % len(devices)] for at in range(share.operations)]


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def area(like: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a TPMT_PUBLIC with another point of P-256 in it."""
    numbers = key.public_key().public_numbers()
    return like[:-_POINT] + b"".join(
        _sized(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y)
    )


def name(public: bytes) -> bytes:
    """Return the Name of an area."""
    return public[2:4] + hashlib.sha256(public).digest()


def text(content: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def octets(content: str) -> bytes:
    """Read it."""
    return base64.urlsafe_b64decode(content + "=" * (-len(content) % 4))


def _attest(kind: int, nonce: bytes, attested: bytes) -> bytes:
    signer, clock = _sized(bytes(34)), bytes(16) + b"\1"
    head = bytes.fromhex("ff544347") + kind.to_bytes(2, "big") + signer + _sized(nonce)
    return head + clock + bytes(8) + attested


def _sized(content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + content


def _tlv(tag: int, content: bytes) -> bytes:
    return header(tag, len(content)) + content


def _certificate(
    subject: str, key: rsa.RSAPublicKey, issuer: str, by: rsa.RSAPrivateKey, *, ca: bool
) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)  # noqa: TID251 - nothing here is decided
    purpose = x509.ExtendedKeyUsage([x509.ObjectIdentifier("2.23.133.8.1")])
    maker = x509.NameAttribute(x509.ObjectIdentifier("2.23.133.2.1"), "id:41434D45")
    names = x509.SubjectAlternativeName([x509.DirectoryName(x509.Name([maker]))])
    builder = (
        x509.CertificateBuilder(named(issuer), named(subject), key, x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        builder = builder.add_extension(purpose, critical=False).add_extension(names, critical=True)
    return builder.sign(by, hashes.SHA256())
