"""An appraisal policy as operators write it, ``policies/<name>.yaml``, and as it runs.

The docstrings and field descriptions become the JSON Schema that editors show.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from est_server.ports.attestation import Action, Enforcement
from est_server.ports.scalars import Duration, Strict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.ports.attestation import Status
    from est_server.ports.verifier import Verifier

_COMPARISONS = ("equals", "one_of", "none_of", "at_least", "at_most")


class Expectation(Strict):
    """A reference value: what one claim of the evidence has to be."""

    claim: str = Field(
        pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$",
        description="the claim's name; dots lead into sections: pcrs.sha256.7",
    )
    equals: str | None = Field(default=None, description="true and false are written so")
    one_of: tuple[str, ...] | None = Field(default=None, min_length=1)
    none_of: tuple[str, ...] | None = Field(default=None, min_length=1)
    at_least: str | None = Field(
        default=None,
        pattern=r"^[0-9]+(\.[0-9]+)*$",
        description="a number or a version: 1.10 is more than 1.9",
    )
    at_most: str | None = Field(default=None, pattern=r"^[0-9]+(\.[0-9]+)*$")
    otherwise: Literal["warning", "contraindicated"] = Field(
        default="contraindicated", description="what the platform is if the claim is not so"
    )

    @model_validator(mode="after")
    def _some(self) -> Expectation:
        if all(getattr(self, name) is None for name in _COMPARISONS):
            raise ValueError(f"at least one of {', '.join(_COMPARISONS)}")
        return self


class RuleModel(BaseModel):
    """One statement that a device makes; what is not named here is the verifier's own."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")
    verifier: str = Field(description="which verifier reads the statement")
    trust: tuple[str, ...] = Field(
        default=(), description="trust stores in server.yaml: the manufacturers' roots"
    )
    enforce: Enforcement = Field(
        default="required",
        description="required; optional: counts if the statement is there; report-only: is "
        "appraised and told by `why`, and changes nothing",
    )
    fresh: Literal["required", "optional"] = Field(
        default="required", description="whether the statement must answer a nonce of this server"
    )
    expect: tuple[Expectation, ...] = Field(
        default=(), max_length=256, description="reference values for its claims"
    )


class Outcome(Strict):
    """What happens to a request."""

    do: Action = Field(
        description="issue; approve: it waits for a person, as the profile's `approval` says; "
        "refuse"
    )
    lifetime: Duration | None = Field(
        default=None, description="the certificate's lifetime at most; absent: the profile's"
    )

    @model_validator(mode="after")
    def _fits(self) -> Outcome:
        if self.do == "refuse" and self.lifetime is not None:
            raise ValueError("what is refused has no lifetime")
        return self


class OnResult(Strict):
    """What follows from each status; the worst of the rules' is the policy's."""

    affirming: Outcome = Outcome(do="issue")
    warning: Outcome = Outcome(do="refuse")
    contraindicated: Outcome = Outcome(do="refuse")
    none: Outcome = Field(
        default=Outcome(do="refuse"),
        description="no evidence, or none that can be believed",
    )


class IdentityClaims(Strict):
    """Claims that have to name the same thing as the request."""

    subject_serial_number: str | None = Field(
        default=None, description="the claim that the requested subject's serialNumber must equal"
    )
    device_id: str | None = Field(
        default=None, description="the claim that the authenticated identity must equal"
    )


class PolicyModel(Strict):
    """An appraisal policy: which evidence a platform has to show, and what follows from it."""

    version: Literal["1"] = Field(description="version of this file format")
    description: str = ""
    require: Literal["all", "any"] = Field(
        default="all", description="whether every required rule has to hold, or one is enough"
    )
    rules: tuple[RuleModel, ...] = Field(min_length=1, max_length=16)
    unknown_statements: Literal["refuse", "ignore"] = Field(
        default="refuse", description="what to do with statements that no rule reads"
    )
    identity: IdentityClaims = IdentityClaims()
    on_result: OnResult = OnResult()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule, ready to run.

    Attributes:
        model: as written.
        verifier: found by entry point.
        settings: of the verifier, from server.yaml.
        policy: the rule's own keys, an instance of `Verifier.policy_model`.
        trust: the trust stores that it names.
        types: the OIDs of the statements that it is about.
    """

    model: RuleModel
    verifier: Verifier
    settings: Any
    policy: Any
    trust: Mapping[str, Any]
    types: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "types", self.verifier.statement_types(self.settings))


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy, ready to run; `digest` is the SHA-256 of its text."""

    name: str
    text: str
    model: PolicyModel
    rules: tuple[Rule, ...]
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", sha256(self.text.encode()).hexdigest())

    def outcome(self, status: Status) -> Outcome:
        """Return what follows from a status."""
        found: Outcome = getattr(self.model.on_result, status)
        return found
