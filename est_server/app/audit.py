"""The audit log in a server and in commands: its key, its checkpoints, its anchors."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from est_server.app.periodic import Periodic
from est_server.audit.checkpoint import FIRST, Checkpoint, note_hash, read_note, signed_note
from est_server.config.audit import public_key
from est_server.errors import BackendUnavailable, Conflict
from est_server.ports.audit import MOST_AT_ONCE
from est_server.storage.anchor_file import AnchorFile
from est_server.storage.anchor_syslog import AnchorSyslog
from est_server.web import metrics
from est_server.web.anchor_timestamp import AnchorTimestamp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from est_server.config.configuration import Configuration
    from est_server.ports.anchor import Anchor
    from est_server.ports.audit import AuditLog
    from est_server.ports.clock import Clock

_SECONDS_WITHOUT_KEY = 10.0

log = structlog.get_logger("audit")


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs checkpoints.

    Attributes:
        origin: the log's name.
        key: signs.
        clock: tells when.
    """

    origin: str
    key: Ed25519PrivateKey = field(repr=False)
    clock: Clock

    def __call__(self, size: int, root: bytes, before: str | None) -> str:
        """Return a checkpoint; see `AuditLog.extend`."""
        previous = FIRST if before is None else note_hash(before)
        at = self.clock().replace(microsecond=0)
        checkpoint = Checkpoint(self.origin, size, root, at, previous)
        return signed_note(checkpoint, self.key.public_key(), self.key.sign)


def open_signer(configuration: Configuration, clock: Clock) -> Signer | None:
    """Return what signs the log; None where nothing is configured.

    Raises:
        BackendUnavailable: ``audit.key``: the key can't be read, or is another kind.
    """
    audit = configuration.server.audit
    if audit is None:
        return None
    base = configuration.base
    try:
        key = load_pem_private_key(audit.key.read(base), audit.passphrase.read(base))
    except OSError as error:
        hint = f"audit.key, audit.passphrase: {error}"
        raise BackendUnavailable("audit.key", "the audit log's key can't be read", hint=hint) from (
            error
        )
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BackendUnavailable(
            "audit.key",
            f"{audit.key.reference} is no encrypted PKCS #8 key under this passphrase",
            hint="check audit.key and audit.passphrase; a key that is not encrypted is refused",
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        text = f"{audit.key.reference} is no Ed25519 key"
        raise BackendUnavailable("audit.key", text, hint="est-server audit init makes one")
    return Signer(audit.origin, key, clock)


def verifying_keys(configuration: Configuration, signer: Signer | None) -> list[Ed25519PublicKey]:
    """Return the keys that may have signed checkpoints: today's first."""
    audit = configuration.server.audit
    if audit is None or signer is None:
        return []
    former = (public_key((configuration.base / name).read_bytes()) for name in audit.former_keys)
    return [signer.key.public_key(), *(key for key in former if key is not None)]


def timestamp_roots(configuration: Configuration) -> list[x509.Certificate]:
    """Return the roots of the time-stamping authority; empty where there is none."""
    audit = configuration.server.audit
    if audit is None or audit.anchor is None or audit.anchor.timestamp is None:
        return []
    path = configuration.base / audit.anchor.timestamp.roots
    return x509.load_pem_x509_certificates(path.read_bytes())


def anchors_of(configuration: Configuration) -> list[Anchor]:
    """Return where checkpoints are written down."""
    audit = configuration.server.audit
    if audit is None or (wanted := audit.anchor) is None:
        return []
    found: list[Anchor] = []
    if wanted.file is not None:
        found.append(AnchorFile(configuration.base / wanted.file))
    if wanted.syslog is not None:
        found.append(AnchorSyslog(wanted.syslog))
    if wanted.timestamp is not None:
        found.append(AnchorTimestamp(wanted.timestamp.url, timestamp_roots(configuration)))
    return found


async def extend(audit: AuditLog, signer: Signer | None) -> int:
    """Give the leaves that wait their places and return how many got one.

    Those that come meanwhile are left to the next turn: under load there would be no end of it.

    Raises:
        BackendUnavailable: as in `AuditLog.extend`.
    """
    found = 0
    while True:
        try:
            placed, _ = await audit.extend(signer)
        except Conflict:
            continue  # another process did it: what it left is looked at again
        found += placed
        if placed < MOST_AT_ONCE:
            return found


@dataclass(slots=True)
class AuditKeeper:
    """The audit log of a server process.

    Attributes:
        audit: the log.
        signer: signs it; None where nobody does.
        every: how long leaves wait.
        anchors: where checkpoints are written down.
        anchored_every: how often.
    """

    audit: AuditLog
    signer: Signer | None
    every: timedelta | None
    anchors: Sequence[Anchor]
    anchored_every: timedelta | None
    _anchored: dict[str, str] = field(default_factory=dict)
    _digest: str = ""

    @classmethod
    def of(cls, configuration: Configuration, audit: AuditLog, clock: Clock) -> AuditKeeper:
        """Return the keeper that the configuration asks for.

        Raises:
            BackendUnavailable: as in `open_signer`.
        """
        section = configuration.server.audit
        anchor = None if section is None else section.anchor
        return cls(
            audit,
            open_signer(configuration, clock),
            None if section is None else section.every,
            anchors_of(configuration),
            None if anchor is None else anchor.every,
        )

    def works(self) -> tuple[Periodic, ...]:
        """Return what has to be done again and again."""
        seconds = _SECONDS_WITHOUT_KEY if self.every is None else self.every.total_seconds()
        found = [Periodic("audit", seconds, self.turn)]
        if self.anchored_every is not None:
            pause = self.anchored_every.total_seconds()
            found.append(Periodic("audit anchor", pause, self.anchor))
        return tuple(found)

    async def configured(self, configuration: Configuration, at: datetime) -> None:
        """Write down which files the server runs with, if it is other ones than before."""
        if configuration.digest == self._digest:
            return
        if self.signer is None:
            log.warning("audit.unsigned", next="est-server audit init")
        await self.audit.note("configuration", configuration.digests, at=at)
        self._digest = configuration.digest

    async def stop(self) -> None:
        """Take a last turn; what still waits afterwards is another process' turn."""
        try:
            await self.turn()
        except BackendUnavailable as error:
            log.warning("audit.waiting", rule=error.rule, hint=error.hint)

    async def turn(self) -> None:
        """Give waiting leaves their places, sign what the log is, and tell how it stands."""
        placed = await extend(self.audit, self.signer)
        state = await self.audit.state()
        metrics.AUDIT_WAITING.set(state.waiting)
        metrics.AUDIT_SIZE.set(state.size)
        if state.newest is not None:
            metrics.AUDIT_CHECKPOINT_TIME.set(read_note(state.newest).at.timestamp())
        if placed:
            log.info("audit.extended", leaves=placed, size=state.size)

    async def anchor(self) -> None:
        """Write the newest checkpoint down wherever it is not yet."""
        note = (await self.audit.state()).newest
        if note is None:
            return
        size = read_note(note).size
        for anchor in self.anchors:
            if self._anchored.get(anchor.name) == note:
                continue
            try:
                token = await anchor.write(note)
            except BackendUnavailable as error:
                metrics.AUDIT_ANCHORED.labels(anchor.name, "failed").inc()
                log.warning("audit.not-anchored", anchor=anchor.name, size=size, hint=error.hint)
                continue
            if token is not None:
                await self.audit.keep_timestamp(size, token)
            metrics.AUDIT_ANCHORED.labels(anchor.name, "written").inc()
            self._anchored[anchor.name] = note
            log.info("audit.anchored", anchor=anchor.name, size=size)
