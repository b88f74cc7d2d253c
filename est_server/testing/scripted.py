"""A CA elsewhere that does what a script says: the faults that a real one can't be made to show.

Its records are in a file, so that every process that opens it asks the same CA. Which powers it has
is chosen: one that looks orders up, one that only repeats its answers, and one that can do neither
are three backends to the contract suite.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, Self, get_args

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import BaseModel, ConfigDict, Field

from est_server.errors import BackendRejected, BackendUnavailable, Pending
from est_server.ports.ca import (
    Backend,
    BackendContext,
    CaCertificates,
    Capabilities,
    CertificateAuthority,
    Health,
    IssuanceOrder,
    LooksUp,
    Revokes,
)
from est_server.testing.issuer import FakeIssuer
from est_server.testing.world import Fault

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from est_server.ports.revocation import RevocationReason
    from est_server.testing.desk import MovedClock
    from est_server.testing.world import World

Powers = Literal["looks-up", "repeats", "neither"]
REPEATS_FOR = timedelta(minutes=5)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (token TEXT PRIMARY KEY, der BLOB, decided INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS made (serial TEXT PRIMARY KEY, der BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS revoked (serial TEXT PRIMARY KEY, reason TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS faults (fault TEXT PRIMARY KEY);
"""
_SUDDEN = frozenset(get_args(Fault)) - {"unavailable", "pending"}
"""Faults of one order; the others last until they are healed."""


class Records:
    """The CA itself: its key, and what it has done."""

    def __init__(self, folder: Path) -> None:
        self.issuer = FakeIssuer.in_folder(folder)
        self._path = folder / "upstream.db"
        with self.opened() as db:
            db.executescript(_SCHEMA)

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        """Open the records; what is done in the block is done whole, or not at all."""
        db = sqlite3.connect(self._path, timeout=30)
        try:
            with db:
                yield db
        finally:
            db.close()

    def fault(self) -> Fault | None:
        """Take the next fault, if one is ordered."""
        with self.opened() as db:
            db.execute("BEGIN IMMEDIATE")
            row = db.execute("SELECT fault FROM faults ORDER BY rowid LIMIT 1").fetchone()
            if row is not None and row[0] in _SUDDEN:
                db.execute("DELETE FROM faults WHERE fault = ?", row)
        return None if row is None else row[0]

    def answer(self, token: str) -> bytes | None:
        """Return the certificate for a token; None while it is not decided.

        Raises:
            KeyError: no such order.
        """
        with self.opened() as db:
            row = db.execute("SELECT der, decided FROM orders WHERE token = ?", (token,)).fetchone()
        if row is None:
            raise KeyError(token)
        der: bytes | None = row[0] if row[1] else None
        return der

    def take(self, token: str, certificate: x509.Certificate, *, decided: bool) -> None:
        """Take an order; where a token was seen before, the first answer stands."""
        der = certificate.public_bytes(Encoding.DER)
        with self.opened() as db:
            db.execute("BEGIN IMMEDIATE")
            added = db.execute(
                "INSERT INTO orders VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (token, der, decided)
            ).rowcount
            if added and decided:
                _make(db, der)

    def heal(self) -> None:
        """Undo every fault, and decide what is open."""
        with self.opened() as db:
            db.execute("DELETE FROM faults")
            for (der,) in db.execute("SELECT der FROM orders WHERE NOT decided").fetchall():
                _make(db, der)
            db.execute("UPDATE orders SET decided = 1")


def _make(db: sqlite3.Connection, der: bytes) -> None:
    serial = f"{x509.load_der_x509_certificate(der).serial_number:x}"
    db.execute("INSERT INTO made VALUES (?, ?)", (serial, der))


class ScriptedAuthority:
    """A `CertificateAuthority` over `Records`."""

    def __init__(self, folder: Path, powers: Powers) -> None:
        self._records = Records(folder)
        self._powers = powers

    @property
    def capabilities(self) -> Capabilities:
        """Depends on the powers; the CA numbers, dates and extends by itself."""
        return capabilities(self._powers)

    async def connect(self) -> None:
        """Fail while the CA is unavailable."""
        self._reach(None)

    def certificates(self) -> CaCertificates:
        """Return issuer and root."""
        return self._records.issuer.certificates()

    async def issue(self, order: IssuanceOrder) -> x509.Certificate:
        """Answer as the script says; a token that is known is answered as the first time."""
        token = order.idempotency_token if self._powers != "neither" else None
        fault = self._records.fault()
        self._reach(fault)
        if fault == "throttle":
            raise BackendUnavailable("ca.throttled", "too busy", retry_after=1, nothing_issued=True)
        if fault == "refused":
            raise BackendRejected("ca.refused", "the CA refuses it")
        if token is not None and (known := self._known(token)) is not None:
            return known
        made = self._records.issuer.certify(order.plan, fault=fault)
        waits = fault in {"pending", "timeout-after-accept"}
        self._records.take(order.idempotency_token, made, decided=not waits)
        if fault in {"lost-reply", "timeout-after-accept"}:
            raise BackendUnavailable("ca.timeout", "no answer", hint="look at the CA")
        if fault == "pending":
            raise Pending("ca.pending", "not decided yet", retry_after=5)
        return self._known(order.idempotency_token) or made

    def _known(self, token: str) -> x509.Certificate | None:
        try:
            der = self._records.answer(token)
        except KeyError:
            return None
        if der is None:
            raise Pending("ca.pending", "not decided yet", retry_after=5)
        return x509.load_der_x509_certificate(der)

    async def find(self, order: IssuanceOrder) -> x509.Certificate | None:
        """Return what the token was answered with; see `LooksUp`."""
        self._reach(None)
        try:
            der = self._records.answer(order.idempotency_token)
        except KeyError:
            return None
        if der is None:
            raise BackendUnavailable("ca.pending", "not decided yet", hint="ask again")
        return x509.load_der_x509_certificate(der)

    async def revoke(self, certificate: x509.Certificate, reason: RevocationReason) -> None:
        """Revoke at the CA; see `Revokes`."""
        self._reach(None)
        serial = f"{certificate.serial_number:x}"
        with self._records.opened() as db:
            if db.execute("SELECT 1 FROM made WHERE serial = ?", (serial,)).fetchone() is None:
                raise BackendRejected("ca.unknown-certificate", "the CA never made it")
            db.execute("INSERT INTO revoked VALUES (?, ?) ON CONFLICT DO NOTHING", (serial, reason))

    async def health(self) -> Health:
        """Tell whether the CA is unavailable."""
        try:
            self._reach(None)
        except BackendUnavailable as error:
            return Health(ok=False, detail=error.message)
        return Health(ok=True, detail="it answers")

    async def close(self) -> None:
        """Nothing is open."""

    def _reach(self, fault: Fault | None) -> None:
        with self._records.opened() as db:
            away = db.execute("SELECT 1 FROM faults WHERE fault = 'unavailable'").fetchone()
        if away is not None or fault == "unavailable":
            raise BackendUnavailable(
                "ca.unreachable", "nobody answers", hint="start the CA", nothing_issued=True
            )


def capabilities(powers: Powers) -> Capabilities:
    """Return what a scripted CA with these powers can do."""
    return Capabilities(
        revokes=powers != "neither",
        looks_up=powers == "looks-up",
        repeats_for=REPEATS_FOR if powers == "repeats" else timedelta(0),
        may_wait=powers != "neither",
        own=frozenset({"serial", "validity", "extensions"}),
    )


class ScriptedSettings(BaseModel):
    """Keys of a scripted CA in server.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: str = Field(description="where its key and its records are")
    powers: Powers = Field(default="looks-up", description="looks-up, repeats or neither")


class ScriptedBackend:
    """Opens scripted CAs."""

    settings_model = ScriptedSettings

    def capabilities(self, settings: ScriptedSettings) -> Capabilities:
        """Return what the powers allow."""
        return capabilities(settings.powers)

    def open(self, settings: ScriptedSettings, context: BackendContext) -> ScriptedAuthority:
        """Open the CA's records."""
        return ScriptedAuthority(context.base / settings.folder, settings.powers)


@dataclass(slots=True)
class ScriptedWorld:
    """The `World` of a scripted CA that looks orders up."""

    folder: Path
    clock: MovedClock
    impossible: ClassVar[Mapping[str, str]] = MappingProxyType({})
    powers: ClassVar[Powers] = "looks-up"

    async def __aenter__(self) -> Self:
        """Nothing has to run."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing runs."""

    def open(self) -> ScriptedAuthority:
        """Open the CA's records once more."""
        return ScriptedAuthority(self.folder, self.powers)

    async def fail(self, fault: Fault) -> None:
        """Write the fault into the script."""
        with Records(self.folder).opened() as db:
            db.execute("INSERT INTO faults VALUES (?)", (fault,))

    async def heal(self) -> None:
        """Empty the script; decide what is open."""
        Records(self.folder).heal()

    async def issued(self) -> Sequence[x509.Certificate]:
        """Return what was made."""
        with Records(self.folder).opened() as db:
            rows = db.execute("SELECT der FROM made").fetchall()
        return [x509.load_der_x509_certificate(der) for (der,) in rows]

    async def revoked(self) -> Collection[int]:
        """Return what was revoked."""
        with Records(self.folder).opened() as db:
            return {int(serial, 16) for (serial,) in db.execute("SELECT serial FROM revoked")}


class RepeatingWorld(ScriptedWorld):
    """One that only repeats its answers."""

    powers = "repeats"


class ForgetfulWorld(ScriptedWorld):
    """One that can neither look up nor repeat: people have to say what it did."""

    powers = "neither"


_authority: type[CertificateAuthority] = ScriptedAuthority
_looks_up: type[LooksUp] = ScriptedAuthority
_revokes: type[Revokes] = ScriptedAuthority
_backend: type[Backend] = ScriptedBackend
_world: type[World] = ScriptedWorld
