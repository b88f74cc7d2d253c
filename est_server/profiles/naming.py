"""The names that a certificate gets, as a profile writes it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from est_server.ports.scalars import Strict


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
