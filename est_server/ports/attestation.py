"""Attestation Results (RFC 9334), as decisions use them and the ledger keeps them.

The JSON form is close to EAR (draft-ietf-rats-ear): one submodule for each rule of the appraisal
policy, and beside them what the policy as a whole came to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from est_server import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from est_server.ports.verifier import Check, Json

Status = Literal["none", "contraindicated", "warning", "affirming"]
"""AR4SI's tiers, the worst first: ``none`` if there is no evidence that can be believed."""
RANK: dict[Status, int] = {"none": 0, "contraindicated": 1, "warning": 2, "affirming": 3}
Enforcement = Literal["required", "optional", "report-only"]
Action = Literal["issue", "approve", "refuse"]
_PROFILE = "tag:github.com,2023:veraison/ear"


@dataclass(frozen=True, slots=True)
class RuleResult:
    """What one rule of the policy came to.

    Attributes:
        code: what refused, as a device may be told it; None if nothing did.
        statement_type: of the statement that it is about; None without one.
        expected: of the evidence that could not be believed; never for the device.
        actual: likewise.
    """

    name: str
    verifier: str
    enforce: Enforcement
    status: Status
    code: str | None = None
    statement_type: str | None = None
    expected: str = ""
    actual: str = ""
    checks: tuple[Check, ...] = ()
    claims: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class AttestationResult:
    """What evidence came to under a policy.

    Attributes:
        status: the policy's.
        do: what the policy wants done about it.
        lifetime: with ``issue`` and ``approve``: how long a certificate may live at most.
        code: what the device is told if it is refused; stable, without any value of its evidence.
        rules: in the policy's order.
        checks: those that are about the bundle as a whole.
        policy: name and SHA-256 of the policy's text.
        at: the time of the appraisal.
        repeated: its nonce was spent before, by the same request.
        worse: what was better the time before, as in `est_server.ports.appraisals`.
    """

    status: Status
    do: Action
    lifetime: timedelta | None
    code: str
    rules: tuple[RuleResult, ...]
    checks: tuple[Check, ...]
    policy: tuple[str, str]
    at: datetime
    repeated: bool = False
    worse: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the result in JSON's types."""
        name, digest = self.policy
        policy = f"{name}@sha256:{digest}"
        return {
            "eat_profile": _PROFILE,
            "iat": int(self.at.timestamp()),
            "ear.verifier-id": {"developer": "est-server", "build": __version__},
            "status": self.status,
            "do": self.do,
            "lifetime": None if self.lifetime is None else int(self.lifetime.total_seconds()),
            "code": self.code,
            "policy": policy,
            "worse": list(self.worse),
            "checks": [_check(check) for check in self.checks],
            "submods": {rule.name: _submodule(rule, policy) for rule in self.rules},
        }


def _submodule(rule: RuleResult, policy: str) -> dict[str, Any]:
    return {
        "ear.status": rule.status,
        "ear.appraisal-policy-id": policy,
        "verifier": rule.verifier,
        "enforce": rule.enforce,
        "type": rule.statement_type,
        "code": rule.code,
        "expected": rule.expected,
        "actual": rule.actual,
        "checks": [_check(check) for check in rule.checks],
        "claims": None if rule.claims is None else dict(rule.claims),
    }


def _check(check: Check) -> dict[str, Any]:
    return {
        "code": check.code,
        "expected": check.expected,
        "actual": check.actual,
        "passed": check.passed,
        "rating": check.rating,
    }
