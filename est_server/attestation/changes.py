"""What became worse between two appraisals of one device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.ports.attestation import RANK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.ports.appraisals import Appraisal
    from est_server.ports.attestation import AttestationResult, Status


def statuses(result: AttestationResult) -> Mapping[str, Status]:
    """Return the status of each rule, by its name."""
    return {rule.name: rule.status for rule in result.rules}


def worse_than(before: Appraisal | None, result: AttestationResult) -> tuple[str, ...]:
    """Return what was better before: the policy's status, and each rule's; a new rule has none."""
    if before is None:
        return ()
    now = {"status": result.status, **statuses(result)}
    then: dict[str, Status] = {"status": before.status, **before.rules}
    return tuple(
        f"{name}: {then[name]} to {status}"
        for name, status in now.items()
        if name in then and RANK[status] < RANK[then[name]]
    )


def differs(before: Appraisal | None, result: AttestationResult) -> bool:
    """Tell whether a result, or the policy that it is by, is another one than before."""
    return before is None or (before.status, before.rules, before.policy) != (
        result.status,
        statuses(result),
        result.policy,
    )
