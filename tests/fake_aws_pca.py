"""The part of AWS Private CA's JSON protocol that the backend uses, over a CA in a folder.

It keeps what the documentation says of IssueCertificate (idempotency token, templates with and
without API passthrough, absolute validity), GetCertificate's RequestInProgressException,
RevokeCertificate and its RequestAlreadyProcessedException.
"""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from est_server.pki.plan import CertificatePlan
from est_server.testing.issuer import FakeIssuer

if TYPE_CHECKING:
    from pathlib import Path

ARN = "arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/11111111-2222"
WRONG = {"wrong-key", "wrong-names", "wrong-validity", "wrong-issuer"}
ONCE = {*WRONG, "throttle", "refused", "denied", "lost-reply", "timeout-after-accept", "broken"}
USAGES = {
    "DigitalSignature": "digitalSignature",
    "NonRepudiation": "contentCommitment",
    "KeyEncipherment": "keyEncipherment",
    "DataEncipherment": "dataEncipherment",
    "KeyAgreement": "keyAgreement",
    "KeyCertSign": "keyCertSign",
    "CRLSign": "cRLSign",
    "EncipherOnly": "encipherOnly",
    "DecipherOnly": "decipherOnly",
}


def pem(certificate):
    return certificate.public_bytes(Encoding.PEM).decode()


@dataclass
class FakeAwsPca:
    """One CA.

    Attributes:
        folder: its key, and a file for each certificate that it made or revoked.
        fault: what goes wrong: see `ONCE`; else ``unavailable``.
        asked: bodies of IssueCertificate.
        taken: orders that are to be carried out later.
        state: of the CA.
    """

    folder: Path
    fault: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    fetched: set[str] = field(default_factory=set)
    state: str = "ACTIVE"

    def __post_init__(self) -> None:
        self.issuer = FakeIssuer.in_folder(self.folder)

    def certificates(self, kind: str = "made") -> list[x509.Certificate]:
        """Return what was ``made`` or ``revoked``."""
        return [
            x509.load_pem_x509_certificate(path.read_bytes())
            for path in sorted(self.folder.glob(f"*.{kind}"))
        ]

    def heal(self) -> None:
        self.fault = ""
        for body in self.taken:
            self._issue(body, "")
        self.taken.clear()

    async def handle(self, request):
        body = json.loads(await request.read())
        operation = request.headers["X-Amz-Target"].rpartition(".")[2]
        assert request.headers["Authorization"].startswith("AWS4-HMAC-SHA256 "), "signed"
        if self.fault == "unavailable":
            request.transport.abort()
        if body["CertificateAuthorityArn"] != ARN:
            return error("ResourceNotFoundException")
        handlers = {
            "DescribeCertificateAuthority": self._describe,
            "GetCertificateAuthorityCertificate": self._ca_certificate,
            "IssueCertificate": self._order,
            "GetCertificate": self._certificate,
            "RevokeCertificate": self._revoke,
        }
        return handlers[operation](request, body)

    def _describe(self, request, body):
        return answer({"CertificateAuthority": {"Arn": ARN, "Status": self.state}})

    def _ca_certificate(self, request, body):
        found = self.issuer.certificates()
        return answer({"Certificate": pem(found.issuer), "CertificateChain": pem(found.chain[0])})

    def _order(self, request, body):
        self.asked.append(body)
        fault, self.fault = self.fault, "" if self.fault in ONCE else self.fault
        match fault:
            case "throttle":
                return error("ThrottlingException")
            case "denied":
                return error("AccessDeniedException")
            case "refused":
                return error("InvalidArgsException", "the template does not allow it")
            case "timeout-after-accept":
                self.taken.append(body)
                request.transport.abort()
                return answer({})
        if self.state != "ACTIVE":
            return error("InvalidStateException")
        arn = self._issue(body, fault)
        if fault == "lost-reply":
            request.transport.abort()
        return answer({"CertificateArn": arn})

    def _issue(self, body, fault):
        """Return the ARN; a token that was seen has the one it had."""
        name = sha256(body["IdempotencyToken"].encode()).hexdigest()[:32]
        path = self.folder / f"{name}.made"
        if not path.exists():
            made = self._made(body, fault)
            path.with_suffix(".tmp").write_text(pem(made))
            path.with_suffix(".tmp").replace(path)
        return f"{ARN}/certificate/{name}"

    def _certificate(self, request, body):
        name = body["CertificateArn"].rpartition("/")[2]
        if name not in self.fetched:
            self.fetched.add(name)
            return error("RequestInProgressException")
        text = (self.folder / f"{name}.made").read_text()
        if self.fault == "broken":
            text = "none"
        return answer({"Certificate": text, "CertificateChain": pem(self.issuer.root.certificate)})

    def _revoke(self, request, body):
        assert body["RevocationReason"].isupper()
        serial = int(body["CertificateSerial"].replace(":", ""), 16)
        found = [one for one in self.certificates() if one.serial_number == serial]
        if not found:
            return error("ResourceNotFoundException")
        path = self.folder / f"{serial:x}.revoked"
        if path.exists():
            return error("RequestAlreadyProcessedException")
        path.write_text(pem(found[0]))
        return web.Response(status=200)

    def _made(self, body, fault):
        csr = x509.load_pem_x509_csr(base64.b64decode(body["Csr"]))
        passed = body.get("ApiPassthrough", {})
        extensions = passed.get("Extensions", {})
        attributes = passed.get("Subject", {}).get("CustomAttributes", [])
        subject = x509.Name(
            [
                x509.NameAttribute(x509.ObjectIdentifier(one["ObjectIdentifier"]), one["Value"])
                for one in attributes
            ]
        )
        plan = CertificatePlan(
            ca="aws",
            subject=subject if attributes else csr.subject,
            subject_alternative_names=tuple(
                general_name(one) for one in extensions.get("SubjectAlternativeNames", [])
            ),
            spki=csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            key_algorithm="",
            not_before=datetime.fromtimestamp(body["ValidityNotBefore"]["Value"], UTC),
            not_after=datetime.fromtimestamp(body["Validity"]["Value"], UTC),
            key_usage=tuple(USAGES[name] for name in extensions.get("KeyUsage", {})),
            extended_key_usage=tuple(
                one["ExtendedKeyUsageObjectIdentifier"]
                for one in extensions.get("ExtendedKeyUsage", [])
            ),
        )
        own = ()
        if policies := extensions.get("CertificatePolicies"):
            oids = [x509.ObjectIdentifier(one["CertPolicyId"]) for one in policies]
            own = (x509.CertificatePolicies([x509.PolicyInformation(oid, None) for oid in oids]),)
        return self.issuer.certify(
            plan, fault=fault if fault in WRONG else None, own_extensions=own
        )


def general_name(name):
    ((kind, value),) = name.items()
    return {
        "DnsName": x509.DNSName,
        "IpAddress": lambda text: x509.IPAddress(ip_address(text)),
        "Rfc822Name": x509.RFC822Name,
        "UniformResourceIdentifier": x509.UniformResourceIdentifier,
    }[kind](value)


def answer(body):
    return web.Response(
        body=json.dumps(body).encode(), headers={"Content-Type": "application/x-amz-json-1.1"}
    )


def error(code, text="no"):
    body = {"__type": code, "message": text}
    return web.Response(
        status=400,
        body=json.dumps(body).encode(),
        headers={"Content-Type": "application/x-amz-json-1.1", "x-amzn-ErrorType": code},
    )


def running(fake: FakeAwsPca):
    """Serve the fake."""
    return serving(fake.handle)


@asynccontextmanager
async def serving(handle):
    """Serve on loopback; yields the URL."""
    app = web.Application()
    app.router.add_post("/", handle)
    server = TestServer(app)
    await server.start_server()
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()
