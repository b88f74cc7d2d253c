"""What a rule of an appraisal policy says about a key of Android's KeyMint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from est_server.attestation.android_status import StatusList
from est_server.attestation.tpm_policy import Sha256
from est_server.ports.scalars import Oid, Strict
from est_server.ports.verifier import Check
from est_server.wire.android_key import SECURITY_LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from est_server.wire.android_key import Authorizations, KeyDescription

_PATCH_LEVELS = ("os_patch_level", "vendor_patch_level", "boot_patch_level")
_LARGEST_MONTH = 10**6


def _patch_level(value: Any) -> Any:
    digits = value.replace("-", "") if isinstance(value, str) else ""
    if not digits.isascii() or not digits.isdigit() or len(digits) not in {6, 8}:
        raise ValueError("not a patch level like 2026-05 or 2026-05-05")
    return int(digits)


PatchLevel = Annotated[
    int,
    BeforeValidator(_patch_level),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]{4}-?[0-9]{2}(-?[0-9]{2})?$"}),
]
"""``2026-05`` or ``2026-05-05``."""


class AndroidSettings(Strict):
    """``attestation.verifiers.android-key`` in server.yaml."""

    statement_type: Oid = Field(
        default="2.25.30498842374301874623142929546779735418",
        description="OID of the statement; none is assigned, this one is made of a UUID.",
    )


class AndroidPolicy(Strict):
    """A rule with ``verifier: android-key``."""

    security_level: Literal["tee", "strongbox"] = Field(
        default="tee",
        description="Where the key and its attestation have to be at least; software never counts.",
    )
    origin: Literal["generated", "any"] = Field(
        default="generated", description="Whether the key was made where it is."
    )
    bootloader: Literal["locked", "any"] = Field(default="locked")
    boot_states: tuple[Literal["verified", "self-signed", "unverified", "failed"], ...] = Field(
        default=("verified",),
        min_length=1,
        description="How the device may have started; self-signed: an operating system of one's"
        " own, which boot_keys should name.",
    )
    boot_keys: tuple[Sha256, ...] = Field(
        default=(), description="verifiedBootKey, one of these; any without."
    )
    os_patch_level: PatchLevel | None = Field(default=None, description="At least.")
    vendor_patch_level: PatchLevel | None = Field(default=None, description="At least.")
    boot_patch_level: PatchLevel | None = Field(default=None, description="At least.")
    purposes: tuple[
        Literal["encrypt", "decrypt", "sign", "verify", "wrap-key", "agree-key", "attest-key"], ...
    ] = Field(default=(), description="What the key may be for, at most; anything without.")
    packages: tuple[str, ...] = Field(
        default=(), description="The applications that may have made the key; any without."
    )
    package_signers: tuple[Sha256, ...] = Field(
        default=(), description="SHA-256 of their signing certificates; any without."
    )
    expired_issuers: Literal["refuse", "warn"] = Field(
        default="refuse",
        description="What certificates above the key's mean that are beyond their time; those of"
        " devices made before remote key provisioning outlive them.",
    )
    revoked: tuple[Sha256, ...] = Field(
        default=(), description="SHA-256 of certificates or keys that count no more."
    )
    status_list: StatusList | None = Field(
        default=None,
        description="File with Google's attestation status list (JSON), relative to server.yaml's"
        " folder; read when the configuration is.",
    )


def description_checks(policy: AndroidPolicy, found: KeyDescription) -> Iterator[Check]:
    """Yield what a key comes to. What counts is what hardware enforces, and says."""
    level = min(found.security_level, found.keymint_security_level)
    wanted = SECURITY_LEVELS.index(policy.security_level)
    actual = SECURITY_LEVELS[level]
    yield Check("security-level", f"{policy.security_level} at least", actual, level >= wanted)
    said = found.hardware
    if policy.origin == "generated":
        passed = said.origin == "generated"
        yield Check("origin", "generated", f"{said.origin}", passed)
    yield from _boot(policy, said)
    for name in _PATCH_LEVELS:
        least, level_said = getattr(policy, name), getattr(said, name)
        if least is not None:
            passed = level_said is not None and _day(level_said) >= _day(least)
            yield Check("patch-level", f"{name} {least} at least", f"{level_said}", passed)
    if policy.purposes:
        passed = bool(said.purposes) and said.purposes <= {*policy.purposes}
        actual = " ".join(sorted(said.purposes)) or "none"
        yield Check("purposes", " ".join(policy.purposes), actual, passed)
    yield from _application(policy, found)


def _boot(policy: AndroidPolicy, said: Authorizations) -> Iterator[Check]:
    root = said.root_of_trust
    if policy.bootloader == "locked":
        actual = "not said" if root is None else "locked" if root.locked else "unlocked"
        yield Check("bootloader", "locked", actual, root is not None and root.locked)
    state = "not said" if root is None else root.boot_state
    yield Check("boot-state", " ".join(policy.boot_states), state, state in policy.boot_states)
    if policy.boot_keys:
        key = "not said" if root is None else root.boot_key.hex()
        wanted = f"one of {len(policy.boot_keys)} keys"
        yield Check("boot-key", wanted, key, key in policy.boot_keys)


def _application(policy: AndroidPolicy, found: KeyDescription) -> Iterator[Check]:
    """Yield who made the key, which the operating system says: worth what it is worth itself."""
    said = found.software.application or found.hardware.application
    packages = () if said is None else said.packages
    signers = () if said is None else tuple(signer.hex() for signer in said.signers)
    for code, wanted, actual in (
        ("package", policy.packages, packages),
        ("package-signer", policy.package_signers, signers),
    ):
        if wanted:
            passed = bool(actual) and all(one in wanted for one in actual)
            yield Check(code, " ".join(wanted), " ".join(actual)[:500] or "none", passed)


def _day(level: int) -> int:
    """Return a patch level with a day, the first one of a month where it has none."""
    return level * 100 if level < _LARGEST_MONTH else level
