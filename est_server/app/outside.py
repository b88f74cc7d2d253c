"""What is known outside a ledger: lists that were published, and its audit log, exported."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from est_server.audit.leaf import decode_leaf
from est_server.errors import Malformed
from est_server.ports.crl import COMPLETE
from est_server.revocation.checker import check_outline
from est_server.revocation.recovery import REMOVED, Told
from est_server.wire.crl import reason_name
from est_server.wire.crl_reading import read_crl

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from cryptography import x509

    from est_server.config.configuration import Configuration
    from est_server.ports.crl import CrlScope
    from est_server.wire.crl_reading import Crl

_OF_NO_MATTER = frozenset({"crl.ended"})  # a list that ended tells the past as well


@dataclass(frozen=True, slots=True)
class ListOutside:
    """A published list that was found, and whose it is."""

    path: Path
    ca: str
    shard: int
    crl: Crl

    def told(self) -> Iterator[Told]:
        """Yield what the list says of certificates.

        Raises:
            Malformed: ``crl.entry``.
        """
        kind = "CRL" if self.crl.base_number is None else "delta CRL"
        for entry in self.crl.entries():
            yield Told(
                ca=self.ca,
                serial_number=entry.serial_number,
                reason=reason_name(entry.reason),
                at=entry.revoked_at,
                invalidity_date=entry.invalidity_date,
                source=f"{kind} {self.crl.number} of {self.ca}",
            )

    def released(self, serial_number: int) -> Told:
        """Return that a certificate which was on hold is on this list no more."""
        source = f"not on CRL {self.crl.number} of {self.ca}"
        return Told(self.ca, serial_number, REMOVED, self.crl.this_update, None, source)


@dataclass(slots=True)
class Outside:
    """All that was found.

    Attributes:
        lists: those that their CA signed, the complete ones before deltas, by number.
        useless: files that can't be used, and why.
    """

    lists: list[ListOutside] = field(default_factory=list)
    useless: list[tuple[Path, str]] = field(default_factory=list)

    def since(self, made_at: datetime) -> list[ListOutside]:
        """Return the lists that can know more than a backup of then.

        An older one tells of holds that had ended by then. Lists say whole seconds.
        """
        begin = made_at.replace(microsecond=0)
        return [one for one in self.lists if one.crl.this_update >= begin]

    def numbers(self) -> Mapping[tuple[str, int], int]:
        """Return the highest number that was found, by CA and shard."""
        found: dict[tuple[str, int], int] = {}
        for one in self.lists:
            key = (one.ca, one.shard)
            found[key] = max(found.get(key, 0), one.crl.number)
        return found


def list_files(configuration: Configuration) -> Iterator[Path]:
    """Yield the lists in the directories that server.yaml publishes into."""
    for ca in configuration.server.cas.values():
        if ca.crl is not None and ca.crl.directory is not None:
            yield from sorted((configuration.base / ca.crl.directory).glob("*.crl"))


def look_outside(
    paths: Iterable[Path],
    scopes: Sequence[CrlScope],
    issuers: Mapping[str, x509.Certificate],
    now: datetime,
) -> Outside:
    """Read lists and tell whose they are.

    Args:
        paths: of CRLs, DER.
        scopes: of the ledger.
        issuers: certificates of the CAs that are open, by name.
        now: the time.
    """
    found = Outside()
    for path in dict.fromkeys(paths):
        try:
            found.lists.append(_list(path, scopes, issuers, now))
        except (OSError, Malformed) as error:
            found.useless.append((path, str(error)))
    found.lists.sort(key=lambda one: (one.crl.base_number is not None, one.crl.number))
    return found


def _list(
    path: Path,
    scopes: Sequence[CrlScope],
    issuers: Mapping[str, x509.Certificate],
    now: datetime,
) -> ListOutside:
    der = path.read_bytes()
    crl = read_crl(der)
    partial = {scope.only_at for scope in scopes if scope.shard > COMPLETE}
    only_at = crl.only_at if crl.only_at in partial else None
    for scope in scopes:
        if scope.key_identifier != crl.key_identifier or scope.shard < COMPLETE:
            continue
        if (scope.only_at if scope.shard > COMPLETE else None) != only_at:
            continue
        if (issuer := issuers.get(scope.ca)) is None:
            raise Malformed("crl.issuer", f"CA {scope.ca} can't be opened, to check who signed it")
        for finding in check_outline(crl, der, issuer, now):
            if finding.rule not in _OF_NO_MATTER:
                raise Malformed(finding.rule, finding.message)
        return ListOutside(path, scope.ca, scope.shard, crl)
    raise Malformed("crl.issuer", "it is of no CA that this ledger knows")


@dataclass(slots=True)
class LogOutside:
    """What the exported audit log tells of the time after a backup.

    Attributes:
        told: revocations, holds and releases, in order.
        issued: serial numbers of certificates, with their devices or identities.
        acts: how many of each kind there were.
    """

    told: list[Told] = field(default_factory=list)
    issued: list[str] = field(default_factory=list)
    acts: Counter[str] = field(default_factory=Counter)


def read_log(leaves: Iterable[bytes]) -> LogOutside:
    """Return what leaves tell that a backup does not have.

    Raises:
        Malformed: ``audit.leaf``.
    """
    found = LogOutside()
    for data in leaves:
        leaf = decode_leaf(data)
        found.acts[leaf.act] += 1
        for row in leaf.rows:
            if row.digest is None:
                continue
            if row.table == "revocation_events":
                found.told.append(_told(row.plain))
            elif row.table == "certificates":
                found.issued.append(f"{int(row.key[0], 16):x} ({leaf.actor})")
    return found


def _told(said: Mapping[str, Any]) -> Told:
    moment = said.get("revoked_at", said["at"])
    return Told(
        ca=said["ca"],
        serial_number=int(said["serial_number"], 16),
        reason=REMOVED if said["action"] == "released" else said["reason"],
        at=_time(moment),
        invalidity_date=_time(said["invalidity_date"]) if "invalidity_date" in said else None,
        source="the audit log",
        actor=said.get("actor", ""),
        note=said.get("note", ""),
    )


def _time(stamp: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=stamp)
