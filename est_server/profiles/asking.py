"""Who may ask, and who may ask again, as a profile writes it."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from est_server.ports.scalars import Duration, Strict

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
