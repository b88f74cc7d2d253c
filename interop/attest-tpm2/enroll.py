"""Enroll a key that lives in a TPM with a server that takes evidence of it.

    enroll.py EST_URL ROOT_PEM USER PASSWORD WORKDIR --tcti TCTI [--endorsement rsa|ecc]
              [--issuer EK_CA_PEM] [--tls 1.2|1.3] [--name NAME] [--renew]

 1. keys: the TPM's attestation key (AK), and a new key for TLS
 2. POST /nonce with the EK certificate and the AK: the answer has the nonce as a credential that
    this TPM alone can open, and the registers to quote
 3. TPM2_ActivateCredential: the nonce
 4. TPM2_CertifyCreation of the key, TPM2_Quote of the registers, both over the nonce
 5. POST /simpleenroll with all of it in the request, on the same TLS connection
 6. WORKDIR/certificate.pem and WORKDIR/handle, where the TPM keeps the key

With --renew the certificate and the key in WORKDIR are the TLS client's, whose signature is the
TPM's (`tpm_tls`), and the request, for another new key, goes to /simplereenroll; no password is
sent.

Exit code 0 with a certificate, 1 with what the server says, on standard error.
"""

from __future__ import annotations

import argparse
import base64
import json
import ssl
import sys
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509 import load_pem_x509_certificates
from device_tpm import ECC_EK, RSA_EK, Key, Tpm
from evidence import QUOTE, bundle, certification_request, certify_statement, quote_statement

FRESHNESS = "application/est-attestation-freshness+json"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
ENDORSEMENT = {"rsa": RSA_EK, "ecc": ECC_EK}


class Refused(Exception):
    """The server's status and text."""


class Est:
    """One connection to a server, kept for a nonce and the request that answers it."""

    def __init__(self, url: str, connection: HTTPConnection, **fields: str) -> None:
        self._path = urlsplit(url).path
        self._connection = connection
        self._fields = fields
        self._cookie = ""

    def post(self, operation: str, kind: str, body: bytes, **fields: str) -> bytes:
        """Return the body of the answer.

        Raises:
            Refused: any status but 200.
        """
        headers = {"Content-Type": kind, **fields}
        if self._cookie:
            headers["Cookie"] = self._cookie
        self._connection.request("POST", f"{self._path}/{operation}", body, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise Refused(f"{operation}: {answer.status} {content.decode(errors='replace')}")
        if cookie := answer.getheader("Set-Cookie"):
            self._cookie = cookie.partition(";")[0]
        return content

    def nonce(self, statement: str, info: dict[str, str]) -> dict[str, Any]:
        """Return respInfo for a statement."""
        wanted = {"reqTypeInfo": {"type": statement, "reqInfo": info}}
        answer = json.loads(self.post("nonce", FRESHNESS, json.dumps(wanted).encode()))
        found: dict[str, Any] = answer["respTypeInfo"]["respInfo"]
        return found

    def enroll(self, operation: str, request: bytes) -> bytes:
        """Return a new certificate, PEM."""
        body = base64.encodebytes(request)
        answer = self.post(operation, "application/pkcs10", body, **self._fields)
        (certificate,) = pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer))
        return certificate.public_bytes(Encoding.PEM)


def by_password(url: str, root: Path, user: str, password: str, tls: str) -> Est:
    """Return a connection of somebody who has a password."""
    parts = urlsplit(url)
    context = ssl.create_default_context(cafile=root)
    context.minimum_version = context.maximum_version = VERSIONS[tls]
    connection = HTTPSConnection(parts.hostname or "", parts.port, context=context, timeout=60)
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Est(url, connection, Authorization=f"Basic {basic}")


def by_certificate(url: str, root: Path, workdir: Path, tpm: Tpm, tls: str) -> Est:
    """Return a connection that the TPM's key in `workdir` has authenticated."""
    from tpm_tls import TpmKey, connect  # noqa: PLC0415 - who enrolls needs no tlslite-ng

    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 443
    handle = int((workdir / "handle").read_text(), 16)
    certificates = load_pem_x509_certificates((workdir / "certificate.pem").read_bytes())
    chain = [one.public_bytes(Encoding.DER) for one in certificates]
    connection = HTTPConnection(host, port)
    key = TpmKey(tpm, Key(handle, tpm.public(handle)))
    connection.sock = connect(host, port, root.read_bytes(), tls, key, chain)
    return Est(url, connection)


def attested_request(
    est: Est,
    tpm: Tpm,
    attestation: Key,
    key: Key,
    endorsement: int,
    issuers: list[bytes],
    name: str,
) -> bytes:
    """Return a request for `key` with evidence for a new nonce."""
    certificate = tpm.endorsement_certificate(endorsement)
    told = est.nonce(QUOTE, {"ek": text(certificate), "ak": text(attestation.public)})
    nonce = tpm.activate(
        attestation, endorsement, octets(told["credentialBlob"]), octets(told["encryptedSecret"])
    )
    statements = [certify_statement(*tpm.certify_creation(key, attestation, nonce), key.public)]
    for bank, indices in told.get("pcrs", {}).items():
        selection = f"{bank}:{','.join(map(str, indices))}"
        values = dict(zip(indices, tpm.registers(selection), strict=True))
        statements.append(quote_statement(*tpm.quote(attestation, nonce, selection), values))
    evidence = bundle(statements, [certificate, *issuers])
    return certification_request(tpm, key, name, evidence)


def text(content: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def octets(content: str) -> bytes:
    """Read it."""
    return base64.urlsafe_b64decode(content + "=" * (-len(content) % 4))


def main() -> int:
    """Run the steps."""
    parser = argparse.ArgumentParser(description="Enroll a key of a TPM, with evidence.")
    for argument in ("url", "root", "user", "password", "workdir"):
        parser.add_argument(argument)
    parser.add_argument("--tcti", default="device:/dev/tpmrm0", help="how to reach the TPM")
    parser.add_argument("--endorsement", choices=ENDORSEMENT, default="rsa")
    parser.add_argument("--issuer", type=Path, help="PEM: CAs between the EK and its root")
    parser.add_argument("--tls", choices=VERSIONS, default="1.3")
    parser.add_argument("--name", default="tpm-device")
    parser.add_argument("--renew", action="store_true", help="with the certificate in WORKDIR")
    options = parser.parse_args()
    workdir = Path(options.workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    pem = options.issuer.read_bytes() if options.issuer else b""
    issuers = (
        [one.public_bytes(Encoding.DER) for one in load_pem_x509_certificates(pem)] if pem else []
    )
    tpm = Tpm(options.tcti, workdir)
    attestation = tpm.attestation_key()
    key = tpm.key(tpm.storage_key())
    root = Path(options.root)
    operation = "simplereenroll" if options.renew else "simpleenroll"
    if options.renew:
        est = by_certificate(options.url, root, workdir, tpm, options.tls)
    else:
        est = by_password(options.url, root, options.user, options.password, options.tls)
    endorsement = ENDORSEMENT[options.endorsement]
    try:
        request = attested_request(est, tpm, attestation, key, endorsement, issuers, options.name)
        certificate = est.enroll(operation, request)
    except Refused as refused:
        print(refused, file=sys.stderr)
        return 1
    (workdir / "certificate.pem").write_bytes(certificate)
    (workdir / "handle").write_text(f"0x{key.handle:08x}")
    print(f"certificate in {workdir}, key 0x{key.handle:08x} in the TPM")
    return 0


if __name__ == "__main__":
    sys.exit(main())
