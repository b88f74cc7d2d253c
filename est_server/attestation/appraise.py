"""The appraisal: verified evidence and a policy to an Attestation Result; one pure function.

1. each rule takes the best of the statements that it is about
2. the required rules, all or one of them, give the policy's status
3. what no rule can tell by itself: nothing in the bundle is unknown, everything in it speaks of one
   platform, and that platform holds the request's key
4. the claims name who is asking
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.attestation.claims import ABSENT, claim_texts, expectation_check
from est_server.ports.attestation import RANK, AttestationResult, RuleResult
from est_server.ports.verifier import Check, EvidenceRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from est_server.attestation.policy import Policy, Rule
    from est_server.ports.attestation import Status
    from est_server.ports.verifier import Evidence, VerifiedEvidence

MISSING = "attestation.missing"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule's verifier said about one statement."""

    rule: Rule
    evidence: Evidence
    said: VerifiedEvidence | EvidenceRefused


@dataclass(frozen=True, slots=True)
class Asked:
    """What the request says about itself, for the claims that name it.

    Attributes:
        subject_serial_number: of the requested subject; None without.
        identity: who asks, as authenticated.
    """

    subject_serial_number: str | None
    identity: str


def matches(policy: Policy, bundle: Sequence[Evidence]) -> list[tuple[Rule, Evidence]]:
    """Return which rules are about which statements."""
    return [
        (rule, evidence)
        for rule in policy.rules
        for evidence in bundle
        if evidence.statement_type in rule.types
    ]


def appraise(
    policy: Policy,
    bundle: Sequence[Evidence],
    findings: Sequence[Finding],
    asked: Asked,
    now: datetime,
    *,
    repeated: bool = False,
) -> AttestationResult:
    """Appraise what was verified.

    Args:
        policy: the profile's.
        bundle: all statements of the request; empty without evidence.
        findings: one for each pair of `matches`.
        asked: what the claims are held against.
        now: the time.
        repeated: as in `AttestationResult`.
    """
    # 1: each rule by itself
    results = [_best(rule, [one for one in findings if one.rule is rule]) for rule in policy.rules]
    # 2: all of them
    counted = [one for one in results if one.enforce == "required"]
    counted += [one for one in results if one.enforce == "optional" and one.statement_type]
    status, code = _together(policy.model.require, counted)
    # 3, 4: what is about the bundle as a whole
    believed = [
        one.said
        for one in findings
        if not isinstance(one.said, EvidenceRefused) and one.rule.model.enforce != "report-only"
    ]
    checks = [*_whole(policy, bundle, believed), *_identity(policy, believed, asked)]
    failed = [check for check in checks if not check.passed]
    if status != "none" and failed:
        status, code = "contraindicated", f"attestation.{failed[0].code}"
    elif bundle and (unknown := [one for one in failed if one.code.startswith("unknown-")]):
        code = f"attestation.{unknown[0].code}"
    if status != "none" and (refused := _refused(bundle, findings)) is not None:
        status, code = "none", refused.code
    outcome = policy.outcome(status)
    return AttestationResult(
        status=status,
        do=outcome.do,
        lifetime=outcome.lifetime,
        code=code,
        rules=tuple(results),
        checks=tuple(checks),
        policy=(policy.name, policy.digest),
        at=now,
        repeated=repeated,
    )


def _refused(bundle: Sequence[Evidence], findings: Sequence[Finding]) -> EvidenceRefused | None:
    """Return why a statement is believed by no rule that counts, if there is such a statement.

    A device that sends something forged beside something good is not to be trusted with either.
    """
    for evidence in bundle:
        said = [
            finding.said
            for finding in findings
            if finding.evidence is evidence and finding.rule.model.enforce != "report-only"
        ]
        refusals = [one for one in said if isinstance(one, EvidenceRefused)]
        if refusals and len(refusals) == len(said):
            return refusals[0]
    return None


def _best(rule: Rule, findings: list[Finding]) -> RuleResult:
    model = rule.model
    if not findings:
        return RuleResult(model.name, model.verifier, model.enforce, "none", MISSING)
    return max((_judged(rule, finding) for finding in findings), key=lambda one: RANK[one.status])


def _judged(rule: Rule, finding: Finding) -> RuleResult:
    """Return what one statement comes to under a rule."""
    model, said = rule.model, finding.said
    kind = finding.evidence.statement_type
    if isinstance(said, EvidenceRefused):
        return RuleResult(
            model.name, model.verifier, model.enforce, "none", said.code, kind,
            said.expected, said.actual,
        )  # fmt: skip
    checks = list(said.checks)
    if model.fresh == "required":
        checks.append(Check("fresh", "a nonce of this server", _yes(said.fresh), said.fresh))
    checks += [expectation_check(said.claims, wanted) for wanted in model.expect]
    failed = [check for check in checks if not check.passed]
    worst = next((check for check in failed if check.rating == "contraindicated"), None)
    first = worst or next(iter(failed), None)
    return RuleResult(
        model.name,
        model.verifier,
        model.enforce,
        "affirming" if first is None else first.rating,
        None if first is None else f"{model.verifier}.{first.code}",
        kind,
        checks=tuple(checks),
        claims=said.claims,
    )


def _together(require: str, counted: list[RuleResult]) -> tuple[Status, str]:
    """Return the status of the rules that count, and the code that goes with it."""
    if not counted:
        return "none", MISSING
    if require == "any":
        # the best, and of equals the one whose statement is there: it tells more
        found = max(counted, key=lambda one: (RANK[one.status], one.statement_type is not None))
    else:
        found = min(counted, key=lambda one: (RANK[one.status], one.statement_type is None))
    return found.status, found.code or "attestation"


def _whole(
    policy: Policy, bundle: Sequence[Evidence], believed: list[VerifiedEvidence]
) -> Iterator[Check]:
    known = frozenset[str]().union(*(rule.types for rule in policy.rules))
    unknown = sorted({one.statement_type for one in bundle} - known)
    if unknown and policy.model.unknown_statements == "refuse":
        yield Check("unknown-statement", "statements that a rule reads", ", ".join(unknown), False)  # noqa: FBT003 - passed
    if not believed:
        return
    bound = any(one.binds_key for one in believed)
    yield Check("key-not-bound", "a statement about the request's key", _yes(bound), bound)
    parts = _platforms(believed)
    yield Check("platforms-differ", "one platform", f"{parts}", parts == 1)


def _platforms(believed: list[VerifiedEvidence]) -> int:
    """Return how many platforms the statements speak of, joined by what they share.

    Those that prove where the request's key lives share that key: it lives in one place.
    """
    parts: list[set[object]] = []
    for one in believed:
        mine: set[object] = {*one.platform, *({"key"} if one.binds_key else ())} or {object()}
        for part in [part for part in parts if part & mine]:
            parts.remove(part)
            mine |= part
        parts.append(mine)
    return len(parts)


def _identity(policy: Policy, believed: list[VerifiedEvidence], asked: Asked) -> Iterator[Check]:
    wanted = policy.model.identity
    if not believed:
        return
    for claim, said in (
        (wanted.subject_serial_number, asked.subject_serial_number),
        (wanted.device_id, asked.identity),
    ):
        if claim is not None:
            found = _anywhere(believed, claim)
            fits = said is not None and found == {said}
            actual = f"{said or ABSENT}, attested {', '.join(sorted(found)) or ABSENT}"
            yield Check("identity", f"the request's name is the claim {claim}", actual, fits)


def _anywhere(believed: Iterable[VerifiedEvidence], claim: str) -> set[str]:
    return {text for one in believed for text in claim_texts(one.claims, claim)}


def _yes(value: bool) -> str:
    return "yes" if value else "no"
