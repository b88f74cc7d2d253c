"""A profile as run: the model, its compiled parts, and where each line stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import TYPE_CHECKING

from est_server.pki.plan import Pointers
from est_server.profiles.compiled import compile_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography import x509

    from est_server.errors import Position
    from est_server.profiles.compiled import Compiled
    from est_server.profiles.model import Pointer, ProfileModel
    from est_server.profiles.rules import CelRule

ConfigPath = tuple[str | int, ...]
"""Keys and indexes that lead to a value: ``("key", "allow", 0)``."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """What a decision needs to know of the issuing CA.

    Attributes:
        name: the CA's name in server.yaml, or that of the successor that a rollover gave it.
        certificate: its current certificate; bounds the validity of what it issues.
        pointers: its URLs; a profile picks which of them a certificate carries.
        crl_shards: how many partial CRLs it has: each certificate names one of them, and its URL
            has ``{shard}`` where the number belongs. 0 without.
    """

    name: str
    certificate: x509.Certificate
    pointers: Pointers = field(default_factory=Pointers)
    crl_shards: int = 0

    def publishes(self, pointer: Pointer) -> bool:
        """Tell whether there is a URL for what a profile calls `pointer`."""
        urls = self.pointers
        found = {
            "crl": urls.crl,
            "delta-crl": urls.freshest_crl,
            "ocsp": urls.ocsp,
            "ca-issuers": urls.ca_issuers,
        }
        return bool(found[pointer])


@dataclass(frozen=True, slots=True)
class Profile:
    """A validated profile, ready for `decide`.

    Attributes:
        name: the file's stem.
        text: the file as read; `digest` is its SHA-256.
        model: the file's content.
        issuer: facts about the CA that `model.ca` names.
        rules: `model.rules`, compiled.
        approval_when: `model.approval.when`, compiled; None if every request waits.
        positions: where each key of the file stands, by path.
        compiled: what no request changes, worked out from `model` and `issuer`.

    Raises:
        ValueError: the model holds a name or a pattern that is not valid; see
            `est_server.profiles.mistakes`, which says so with its place.
    """

    name: str
    text: str
    model: ProfileModel
    issuer: Issuer
    rules: tuple[CelRule, ...] = ()
    approval_when: CelRule | None = None
    positions: Mapping[ConfigPath, Position] = field(
        default_factory=lambda: MappingProxyType({}), repr=False
    )
    digest: str = ""
    compiled: Compiled = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compiled", compile_model(self.model, self.issuer.pointers))
        if not self.digest:
            object.__setattr__(self, "digest", sha256(self.text.encode()).hexdigest())

    def position(self, *path: str | int) -> Position | None:
        """Return where `path` stands in the file, or its nearest written ancestor."""
        positions = self.positions
        while (found := positions.get(path)) is None and path:
            path = path[:-1]
        return found
