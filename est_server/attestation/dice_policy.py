"""What a rule of an appraisal policy says about the layers of a DICE device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints

from est_server.attestation.tpm_policy import Sha256
from est_server.ports.scalars import Oid, Strict
from est_server.ports.verifier import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from est_server.wire.dice import TcbInfo

Digest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$")]
"""Lower-case hexadecimal SHA-256, SHA-384 or SHA-512."""
Flag = Literal[
    "notConfigured", "notSecure", "recovery", "debug", "notReplayProtected",
    "notIntegrityProtected", "notRuntimeMeasured", "notImmutable", "notTcb",
]  # fmt: skip
_FORBIDDEN: tuple[Flag, ...] = ("notConfigured", "notSecure", "recovery", "debug")
_TEXTS = ("vendor", "model", "version", "layer", "index", "type")


class DiceSettings(Strict):
    """``attestation.verifiers.dice-x509`` in server.yaml."""

    statement_type: Oid = Field(
        default="2.25.154873018035520863602342177657299097673",
        description="OID of the statement; none is assigned, this one is made of a UUID.",
    )


class Environment(Strict):
    """One target environment: reference values for one TcbInfo; what is absent may be anything."""

    vendor: str | None = None
    model: str | None = None
    version: str | None = None
    svn: int | None = Field(default=None, ge=0, description="Security version number, at least.")
    layer: int | None = Field(default=None, ge=0)
    index: int | None = Field(default=None, ge=0)
    type: str | None = Field(default=None, pattern=r"^([0-9a-f]{2})+$", description="Hexadecimal.")
    fwids: tuple[Digest, ...] = Field(
        default=(),
        description="Digests of firmware that counts; each that is there is one of them.",
    )


class DicePolicy(Strict):
    """A rule with ``verifier: dice-x509``."""

    environments: tuple[Environment, ...] = Field(
        min_length=1,
        max_length=32,
        description="What the TcbInfo of the whole chain say, from the root downwards: as many as"
        " there are, in this order.",
    )
    flags_forbidden: tuple[Flag, ...] = Field(
        default=_FORBIDDEN, description="Operational flags that no environment may have set."
    )
    flags: Literal["required", "optional"] = Field(
        default="required",
        description="Whether every environment has to say those flags; an absent one is not 0.",
    )
    revoked: tuple[Sha256, ...] = Field(
        default=(), description="SHA-256 of certificates or keys that count no more."
    )


def environment_checks(policy: DicePolicy, found: Sequence[TcbInfo]) -> Iterator[Check]:
    """Yield what the environments of a chain come to, from the root downwards."""
    wanted = policy.environments
    count = len(wanted) == len(found)
    yield Check("environments", f"{len(wanted)}", f"{len(found)}", count)
    for at, one in enumerate(found):
        yield _flags(policy, at, one)
        if at < len(wanted):
            yield from _reference_values(wanted[at], at, one)


def _flags(policy: DicePolicy, at: int, found: TcbInfo) -> Check:
    forbidden = {*policy.flags_forbidden}
    flags = found.flags or frozenset()
    passed = not flags & forbidden
    actual = " ".join(sorted(flags)) or "none set"
    if policy.flags == "required" and forbidden:
        said = frozenset[str]() if found.flags is None else found.flags_mask
        untold = forbidden - said if said is not None else set[str]()
        if untold:
            passed, actual = False, f"{actual}, not said: {' '.join(sorted(untold))}"
    return Check("flags", f"{at}: none of {' '.join(policy.flags_forbidden)}", actual, passed)


def _reference_values(wanted: Environment, at: int, found: TcbInfo) -> Iterator[Check]:
    for name in _TEXTS:
        value = getattr(wanted, name)
        if value is not None:
            said = getattr(found, name)
            actual = said.hex() if isinstance(said, bytes) else said
            yield Check(name, f"{at}: {value}", f"{actual}", actual == value)
    if wanted.svn is not None:
        passed = found.svn is not None and found.svn >= wanted.svn
        yield Check("svn", f"{at}: {wanted.svn} or more", f"{found.svn}", passed)
    if wanted.fwids:
        digests = [fwid.digest.hex() for fwid in found.fwids]
        passed = bool(digests) and all(digest in wanted.fwids for digest in digests)
        actual = " ".join(digests) or "none"
        yield Check("fwid", f"{at}: one of {len(wanted.fwids)} digests", actual, passed)
