"""A profile as operators write it: ``profiles/<name>.yaml``.

These models describe the file and nothing more; what runs is `est_server.profiles.profile.Profile`,
which is made from them once every reference is resolved. The docstrings and field descriptions
become the JSON Schema that editors show (`est-server config schema`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from est_server.ports.scalars import Duration, Oid, Strict
from est_server.profiles.demands import (
    Approval,
    Attestation,
    CsrAttributes,
    ProofOfPossession,
    ServerKeyGeneration,
)

SubjectSource = str
"""``device.id``, ``device.attributes.<name>``, ``identity.name`` or ``request``."""

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
IdentityField = Literal[
    "subject.serialNumber",
    "subject.commonName",
    "san.hardwareModuleName",
    "san.dns",
    "san.uri",
]
ReenrollKey = Literal["new", "same", "new-or-same"]
OwnCertificate = Literal["refuse", "additional", "renew"]
FindBy = Literal["subject", "subject.serialNumber", "subject.commonName"]
Registration = Literal["registered", "automatic", "none"]
Pointer = Literal["crl", "delta-crl", "ocsp", "ca-issuers"]


class ClientCertificate(Strict):
    """A certificate of a manufacturer (IDevID, IEEE 802.1AR) proves who is asking."""

    trust: str = Field(description="name of the trust store in server.yaml")
    identity: IdentityField = Field(
        default="subject.serialNumber",
        description="the certificate's field that names the device",
    )
    implicit: Literal["refuse", "accept"] = Field(
        default="refuse",
        description="what to do when the trust store is the system's: its anchors were chosen for "
        "other purposes (RFC 7030 3.3.2)",
    )


class CredentialMethod(Strict):
    """HTTP Basic with an enrollment credential made by `est-server credential add`."""


class Method(Strict):
    """One way to authenticate; any one in the list is enough. With both keys, both are needed."""

    client_certificate: ClientCertificate | None = None
    credential: CredentialMethod | None = None

    @model_validator(mode="after")
    def _some(self) -> Method:
        if self.client_certificate is None and self.credential is None:
            raise ValueError("client_certificate, credential, or both")
        return self


class Enroll(Strict):
    """An enrollment (RFC 7030 4.2.1) by somebody who has a certificate already."""

    own_certificate: OwnCertificate = Field(
        default="refuse",
        description="simpleenroll with a certificate of ours and nothing else. refuse; additional: "
        "one more certificate, named by the profile; renew: all that holds for simplereenroll",
    )
    again: Literal["allow", "refuse", "replace"] = Field(
        default="allow",
        description="when there are valid certificates of this profile already. allow: up to "
        "`most`; refuse; replace: the earlier ones are revoked as superseded",
    )
    most: int | None = Field(
        default=None, ge=1, le=100, description="valid certificates at a time; absent: any number"
    )
    after: Duration = Field(
        default=timedelta(0), description="with replace: how long the earlier ones stay good"
    )
    change_subject_name: bool = Field(
        default=False,
        description="take the names from a ChangeSubjectName attribute, within what the profile "
        "allows (RFC 7030 4.2.1); false refuses the attribute",
    )

    @model_validator(mode="after")
    def _fits(self) -> Enroll:
        if self.most is not None and self.again != "allow":
            raise ValueError("most goes with again: allow")
        if "after" in self.model_fields_set and self.again != "replace":
            raise ValueError("after goes with again: replace")
        return self


class Registrar(Strict):
    """Registration authorities that renew on behalf of devices (RFC 7030 3.7, RFC 5272 1.4)."""

    identities: tuple[str, ...] = Field(
        min_length=1,
        description="who: the names (device ids) of holders of certificates that we issued with "
        "the extended key usage cmcRA",
    )
    find: FindBy = Field(
        description="how the device's current certificate is found: by its whole subject, or by "
        "the device's id in this attribute of the requested subject"
    )


class Reenroll(Strict):
    """Renewal with the current certificate (RFC 7030 4.2.2). Without it there is no renewal."""

    window: Duration | None = Field(
        default=None, description="how long before expiry renewal is open; absent: always"
    )
    grace_after_expiry: Duration = Field(
        default=timedelta(0), description="how long an expired certificate still renews itself"
    )
    key: ReenrollKey = Field(default="new-or-same", description="which key a renewal may bring")
    old: Literal["keep", "supersede"] = Field(
        default="keep",
        description="what becomes of the certificate that was renewed. keep: it stays good; "
        "supersede: it is revoked as superseded, and renews no more once the new one was used",
    )
    after: Duration = Field(
        default=timedelta(hours=24),
        description="with supersede: how long the old one stays good. A device that lost the "
        "answer has this long to ask again",
    )
    change_subject_name: bool = Field(
        default=False,
        description="take new names from a ChangeSubjectName attribute, within what the profile "
        "allows; the CSR's own names must still be the current ones (RFC 7030 4.2.2); false "
        "refuses the attribute",
    )
    alternates: tuple[str, ...] = Field(
        default=(),
        description="profiles whose certificates may renew one of this profile, for the same "
        "device and subject (RFC 7030 3.3.2)",
    )
    other_cas: tuple[ClientCertificate, ...] = Field(
        default=(), description="certificates of other CAs that may be renewed here"
    )
    registrar: Registrar | None = None

    @model_validator(mode="after")
    def _fits(self) -> Reenroll:
        if "after" in self.model_fields_set and self.old != "supersede":
            raise ValueError("after goes with old: supersede")
        return self


class SubjectField(Strict):
    """Where one attribute of the subject comes from: exactly one of fixed, from and allow."""

    fixed: str | None = Field(default=None, min_length=1)
    from_: str | None = Field(
        default=None,
        alias="from",
        pattern=r"^(device\.id|device\.attributes\.[A-Za-z0-9_.-]+|identity\.name|request)$",
        description="device.id, device.attributes.NAME, identity.name or request",
    )
    allow: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="patterns that the requested value may match"
    )
    required: bool = Field(default=True, description="refuse when the value is missing")

    @model_validator(mode="after")
    def _one(self) -> SubjectField:
        if sum(value is not None for value in (self.fixed, self.from_, self.allow)) != 1:
            raise ValueError("exactly one of fixed, from and allow")
        return self


class Subject(Strict):
    """The certificate's subject, attribute by attribute, in this order of encoding."""

    as_requested: bool = Field(
        default=False, description="take the CSR's subject unchanged: for interop tests"
    )
    country: SubjectField | None = None
    state: SubjectField | None = None
    locality: SubjectField | None = None
    organization: SubjectField | None = None
    organizational_unit: SubjectField | None = None
    serial_number: SubjectField | None = None
    common_name: SubjectField | None = None
    on_mismatch: Literal["ignore", "reject"] = Field(
        default="ignore",
        description="what to do when an enrollment's CSR asks for another subject than this makes",
    )

    @model_validator(mode="after")
    def _either(self) -> Subject:
        if self.as_requested and self.fields():
            raise ValueError("as_requested leaves no room for single attributes")
        return self

    def fields(self) -> dict[str, SubjectField]:
        """Return the attributes that are set, in order of encoding."""
        names = (
            "country",
            "state",
            "locality",
            "organization",
            "organizational_unit",
            "serial_number",
            "common_name",
        )
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class AlternativeName(Strict):
    """One kind of subjectAltName: names we set, and names the request may bring."""

    fixed: tuple[str, ...] = ()
    from_: str | None = Field(
        default=None,
        alias="from",
        pattern=r"^(device\.id|device\.attributes\.[A-Za-z0-9_.-]+|identity\.name)$",
        description="device.id, device.attributes.NAME or identity.name",
    )
    allow: tuple[str, ...] = Field(
        default=(),
        description="patterns: * stands for one label (dns) or any text; networks for ip",
    )
    max: int = Field(default=8, ge=0, le=100, description="how many the request may bring")


class SubjectAlternativeNames(Strict):
    """The certificate's subjectAltName, kind by kind."""

    as_requested: bool = Field(
        default=False, description="take the CSR's names unchanged: for interop tests"
    )
    dns: AlternativeName | None = None
    ip: AlternativeName | None = None
    email: AlternativeName | None = None
    uri: AlternativeName | None = None
    on_extra: Literal["reject", "drop"] = Field(
        default="reject", description="what to do with requested names that are not allowed"
    )

    @model_validator(mode="after")
    def _either(self) -> SubjectAlternativeNames:
        if self.as_requested and (self.dns or self.ip or self.email or self.uri):
            raise ValueError("as_requested leaves no room for single kinds")
        return self


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
