"""The part of Google's Certificate Authority Service that the backend uses, over real gRPC.

It speaks the published protocol and keeps what the documentation says of CreateCertificate
(request_id, certificate_id, rdn_sequence, lifetimes, tiers), GetCertificate, ListCertificates by
serial number, RevokeCertificate, and of the pool and its two CAs.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509.oid import NameOID
from google.cloud.security import privateca_v1 as cas

from est_server.pki.plan import CertificatePlan
from est_server.testing.issuer import FakeIssuer

SERVICE = "google.cloud.security.privateca.v1.CertificateAuthorityService"
POOL = "projects/example/locations/europe-west1/caPools/devices"
WRONG = {"wrong-key", "wrong-names", "wrong-validity", "wrong-issuer"}
ATTRIBUTES = {
    "COMMON_NAME": NameOID.COMMON_NAME,
    "COUNTRY_CODE": NameOID.COUNTRY_NAME,
    "ORGANIZATION": NameOID.ORGANIZATION_NAME,
    "ORGANIZATIONAL_UNIT": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "LOCALITY": NameOID.LOCALITY_NAME,
    "PROVINCE": NameOID.STATE_OR_PROVINCE_NAME,
    "STREET_ADDRESS": NameOID.STREET_ADDRESS,
    "POSTAL_CODE": NameOID.POSTAL_CODE,
}
USAGES = {
    "digital_signature": "digitalSignature",
    "content_commitment": "contentCommitment",
    "key_encipherment": "keyEncipherment",
    "data_encipherment": "dataEncipherment",
    "key_agreement": "keyAgreement",
    "cert_sign": "keyCertSign",
    "crl_sign": "cRLSign",
    "encipher_only": "encipherOnly",
    "decipher_only": "decipherOnly",
}
PURPOSES = {
    "server_auth": "1.3.6.1.5.5.7.3.1",
    "client_auth": "1.3.6.1.5.5.7.3.2",
    "code_signing": "1.3.6.1.5.5.7.3.3",
    "email_protection": "1.3.6.1.5.5.7.3.4",
    "time_stamping": "1.3.6.1.5.5.7.3.8",
    "ocsp_signing": "1.3.6.1.5.5.7.3.9",
}
LISTS = x509.CRLDistributionPoints(
    [
        x509.DistributionPoint(
            [x509.UniformResourceIdentifier("http://crl.example/devices")], None, None, None
        )
    ]
)


def pem(certificate):
    return certificate.public_bytes(Encoding.PEM).decode()


@dataclass
class FakeGoogleCas:
    """One pool of two CAs, which sign in turn.

    Attributes:
        folder: their keys.
        fault: of the next order: a name of the contract suite, or ``long``.
        statuses: method -> code with which it ends, always.
        states: of the CAs.
        kept: id -> certificate.
        answered: request_id -> id, of the last hour.
        taken: orders that are to be carried out later.
        asked: CreateCertificate requests.
    """

    folder: Path
    fault: str = ""
    tier: str = "ENTERPRISE"
    states: tuple[str, ...] = ("ENABLED", "ENABLED")
    statuses: dict[str, grpc.StatusCode] = field(default_factory=dict)
    kept: dict[str, cas.Certificate] = field(default_factory=dict)
    answered: dict[str, str] = field(default_factory=dict)
    taken: list[cas.CreateCertificateRequest] = field(default_factory=list)
    asked: list[cas.CreateCertificateRequest] = field(default_factory=list)
    lists: bool = True

    def __post_init__(self) -> None:
        self.issuers = []
        for name in ("first", "second"):
            (self.folder / name).mkdir(exist_ok=True)
            self.issuers.append(FakeIssuer.in_folder(self.folder / name))

    def certificates(self, *, revoked: bool = False) -> list[x509.Certificate]:
        return [
            x509.load_pem_x509_certificate(one.pem_certificate.encode())
            for one in self.kept.values()
            if not revoked or "revocation_details" in one
        ]

    def heal(self) -> None:
        self.fault = ""
        for request in self.taken:
            self._make(request, "")
        self.taken.clear()

    def handler(self) -> grpc.GenericRpcHandler:
        methods = {
            "CreateCertificate": (self._create, cas.CreateCertificateRequest, cas.Certificate),
            "GetCertificate": (self._get, cas.GetCertificateRequest, cas.Certificate),
            "ListCertificates": (
                self._list, cas.ListCertificatesRequest, cas.ListCertificatesResponse,
            ),
            "RevokeCertificate": (self._revoke, cas.RevokeCertificateRequest, cas.Certificate),
            "GetCaPool": (self._pool, cas.GetCaPoolRequest, cas.CaPool),
            "FetchCaCerts": (self._chains, cas.FetchCaCertsRequest, cas.FetchCaCertsResponse),
            "ListCertificateAuthorities": (
                self._authorities,
                cas.ListCertificateAuthoritiesRequest,
                cas.ListCertificateAuthoritiesResponse,
            ),
        }  # fmt: skip
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    self._guarded(name, method), asked.deserialize, answer.serialize
                )
                for name, (method, asked, answer) in methods.items()
            },
        )

    def _guarded(self, name: str, method: Any) -> Any:
        async def called(request: Any, context: Any) -> Any:
            if name in self.statuses:
                await context.abort(self.statuses[name], f"{name} is made to fail")
            return await method(request, context)

        return called

    async def _create(self, request, context):
        self.asked.append(request)
        status = grpc.StatusCode
        if request.parent != POOL:
            await context.abort(status.NOT_FOUND, f"{request.parent} was not found")
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,63}", request.certificate_id):
            await context.abort(status.INVALID_ARGUMENT, "certificate_id")
        if not UUID(request.request_id).int or request.certificate.pem_csr:
            await context.abort(status.INVALID_ARGUMENT, "request_id, or a CSR")
        fault, self.fault = self.fault, ""
        if request.request_id in self.answered:
            return self.kept[self.answered[request.request_id]]
        if request.certificate_id in self.kept:
            await context.abort(status.ALREADY_EXISTS, f"{request.certificate_id} exists")
        if fault == "throttle":
            await context.abort(status.RESOURCE_EXHAUSTED, "quota exceeded")
        if fault == "refused":
            await context.abort(status.FAILED_PRECONDITION, "the issuance policy forbids it")
        if fault == "timeout-after-accept":
            self.taken.append(request)
            await asyncio.Event().wait()  # until the caller's deadline
        made = self._make(request, fault)
        if fault == "lost-reply":
            await context.abort(status.UNAVAILABLE, "connection reset by peer")
        if fault == "long":
            return cas.Certificate(made, pem_certificate="x" * (2 << 20))
        if fault == "broken":
            return cas.Certificate(made, pem_certificate="none")
        return made

    def _make(self, request: cas.CreateCertificateRequest, fault: str) -> cas.Certificate:
        issuer = self.issuers[len(self.kept) % 2]
        certificate = issuer.certify(
            plan_of(request.certificate), fault=fault if fault in WRONG else None,
            own_extensions=(LISTS,),
        )  # fmt: skip
        made = cas.Certificate(
            name=f"{POOL}/certificates/{request.certificate_id}", pem_certificate=pem(certificate)
        )
        self.kept[request.certificate_id] = made
        self.answered[request.request_id] = request.certificate_id
        return made

    async def _get(self, request, context):
        pool, _, name = request.name.rpartition("/certificates/")
        if pool != POOL or name not in self.kept:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{request.name} was not found")
        return self.kept[name]

    async def _list(self, request, context):
        field_name, _, serial = request.filter.partition(":")
        if field_name != "certificate_description.subject_description.hex_serial_number":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "filter")
        found = [
            one
            for one, certificate in zip(self.kept.values(), self.certificates(), strict=True)
            if serial in f"{certificate.serial_number:x}"
        ]
        return cas.ListCertificatesResponse(certificates=found if self.lists else [])

    async def _revoke(self, request, context):
        one = self.kept[request.name.rpartition("/")[2]]
        if "revocation_details" in one:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "it is revoked already")
        one.revocation_details = cas.Certificate.RevocationDetails(revocation_state=request.reason)
        return one

    async def _pool(self, request, context):
        if request.name != POOL:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"{request.name} was not found")
        return cas.CaPool(name=POOL, tier=cas.CaPool.Tier[self.tier])

    async def _chains(self, request, context):
        chains = [
            cas.FetchCaCertsResponse.CertChain(
                certificates=[pem(one.issuing.certificate), pem(one.root.certificate)]
            )
            for one in self.issuers
        ]
        return cas.FetchCaCertsResponse(ca_certs=chains)

    async def _authorities(self, request, context):
        states = [cas.CertificateAuthority.State[one] for one in self.states]
        return cas.ListCertificateAuthoritiesResponse(
            certificate_authorities=[cas.CertificateAuthority(state=one) for one in states]
        )


def plan_of(certificate: cas.Certificate) -> CertificatePlan:
    """Return what the service makes of a request: it begins now."""
    config = certificate.config
    x509_config, names = config.x509_config, config.subject_config.subject_alt_name
    assert certificate.subject_mode == cas.SubjectRequestMode.RDN_SEQUENCE
    subject = x509.Name(
        [
            x509.RelativeDistinguishedName([attribute(one) for one in rdn.attributes])
            for rdn in config.subject_config.subject.rdn_sequence
        ]
    )
    general: list[x509.GeneralName] = [x509.DNSName(one) for one in names.dns_names]
    general += [x509.IPAddress(ip_address(one)) for one in names.ip_addresses]
    general += [x509.RFC822Name(one) for one in names.email_addresses]
    general += [x509.UniformResourceIdentifier(one) for one in names.uris]
    usage = x509_config.key_usage
    now = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - a server's own clock
    key = load_pem_public_key(config.public_key.key)
    return CertificatePlan(
        ca="pool",
        subject=subject,
        subject_alternative_names=tuple(general),
        spki=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        key_algorithm="",
        not_before=now,
        not_after=now + certificate.lifetime,
        key_usage=tuple(USAGES[key] for key in USAGES if getattr(usage.base_key_usage, key)),
        extended_key_usage=(
            *(PURPOSES[key] for key in PURPOSES if getattr(usage.extended_key_usage, key)),
            *(dotted(one) for one in usage.unknown_extended_key_usages),
        ),
        certificate_policies=tuple(dotted(one) for one in x509_config.policy_ids),
    )


def attribute(one: cas.AttributeTypeAndValue) -> x509.NameAttribute[str]:
    if "object_id" in one:
        return x509.NameAttribute(x509.ObjectIdentifier(dotted(one.object_id)), one.value)
    return x509.NameAttribute(ATTRIBUTES[cas.AttributeType(one.type_).name], one.value)


def dotted(one: cas.ObjectId) -> str:
    return ".".join(str(arc) for arc in one.object_id_path)


@asynccontextmanager
async def running(fake: FakeGoogleCas, port: int = 0):
    """Serve on loopback; yields the port."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((fake.handler(),))
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)
