"""A profile as operators write it: ``profiles/<name>.yaml``.

These models describe the file and nothing more; what runs is `est_server.profiles.profile.Profile`,
which is made from them once every reference is resolved. The docstrings and field descriptions
become the JSON Schema that editors show (`est-server config schema`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from est_server.ports.scalars import Duration, Oid, Strict
from est_server.profiles.asking import Enroll, Method, Reenroll
from est_server.profiles.demands import (
    Approval,
    Attestation,
    CsrAttributes,
    ProofOfPossession,
    ServerKeyGeneration,
)
from est_server.profiles.naming import Subject, SubjectAlternativeNames

KeyUsage = Literal[
    "digitalSignature",
    "contentCommitment",
    "keyEncipherment",
    "dataEncipherment",
    "keyAgreement",
    "encipherOnly",
    "decipherOnly",
]
ExtendedKeyUsage = Literal[
    "serverAuth",
    "clientAuth",
    "codeSigning",
    "emailProtection",
    "timeStamping",
    "ipsecIKE",
    "cmcRA",
]
Registration = Literal["registered", "automatic", "none"]
Pointer = Literal["crl", "delta-crl", "ocsp", "ca-issuers"]


class Key(Strict):
    """Which keys a device may bring."""

    allow: tuple[str, ...] = Field(
        min_length=1, description="EC-P256, EC-P384, RSA-3072, Ed25519, ML-DSA-65 and the like"
    )


class CertificateContent(Strict):
    """What the certificate says beside its names and its key."""

    lifetime: Duration
    backdate: Duration = Field(
        default=timedelta(minutes=1),
        description="how far notBefore lies in the past, for devices whose clock is slow; the "
        "lifetime counts from there",
    )
    key_usage: tuple[KeyUsage, ...] = ("digitalSignature",)
    extended_key_usage: tuple[ExtendedKeyUsage | Oid, ...] = ("clientAuth",)
    certificate_policies: tuple[Oid, ...] = ()
    pointers: tuple[Pointer, ...] = Field(
        default=(), description="which of our URLs the certificate carries"
    )
    on_extra_extension: Literal["reject", "drop"] = Field(
        default="drop",
        description="what to do when the CSR asks for an extension or usage that is not given",
    )


class Rule(Strict):
    """A veto in the Common Expression Language: refuses when `when` is not true."""

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    when: str = Field(
        min_length=1, max_length=4096, description="a CEL expression that must be true"
    )
    message: str = Field(
        min_length=1,
        max_length=500,
        description="told to the device; {device.id} and the like are filled in",
    )


class ProfileModel(Strict):
    """One profile: who may ask, what they get, and under which conditions."""

    version: Literal["1"] = Field(description="version of this file format")
    description: str = ""
    labels: tuple[str, ...] = Field(
        min_length=1,
        description='URL labels; "default" also serves the URL without a label',
    )
    ca: str = Field(description="name of the CA in server.yaml")
    registration: Registration = Field(
        default="registered",
        description="registered: the device must be known; automatic: known from its first "
        "enrollment on; none: there are no devices, only identities",
    )
    authenticate: tuple[Method, ...] = Field(default=(), description="any one of these is enough")
    enroll: Enroll = Enroll()
    reenroll: Reenroll | None = None
    attestation: Attestation | None = Field(
        default=None, description="absent: evidence is not asked for and not looked at"
    )
    subject: Subject
    subject_alternative_names: SubjectAlternativeNames = SubjectAlternativeNames()
    key: Key
    certificate: CertificateContent
    proof_of_possession: ProofOfPossession = ProofOfPossession()
    csr_attributes: CsrAttributes = CsrAttributes()
    server_key_generation: ServerKeyGeneration | None = None
    approval: Approval = Approval()
    full_cmc: bool = Field(
        default=False,
        description="also read Full PKI Requests of CMC (fullcmc, RFC 7030 4.3); they are decided "
        "like any other request",
    )
    rules: tuple[Rule, ...] = ()
