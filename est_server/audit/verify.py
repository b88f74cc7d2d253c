"""The whole check of a log: itself, its checkpoints, and every row that it speaks about."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from est_server.audit.leaf import decode_leaf
from est_server.audit.verify_log import LogCheck
from est_server.audit.verify_rows import RowCheck
from est_server.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from est_server.audit.finding import Finding
    from est_server.audit.leaf import Leaf
    from est_server.audit.verify_rows import Memory
    from est_server.ports.audit import AuditReader

_PAGE = 1000
_EVERY = 1000  # leaves or rows between two words about how far it is


@dataclass(slots=True)
class Report:
    """What a check came to.

    Attributes:
        findings: everything that is wrong, in the order in which it was found.
        leaves: of the log.
        waiting: leaves without a place; they are under no checkpoint yet.
        checkpoints: that were looked at.
        rows: that were compared with their leaves.
        older: table -> rows that were there before the log.
    """

    findings: list[Finding] = field(default_factory=list)
    leaves: int = 0
    waiting: int = 0
    checkpoints: int = 0
    rows: int = 0
    older: Mapping[str, int] = field(default_factory=dict)


def verify(
    reader: AuditReader,
    memory: Memory,
    keys: Sequence[Ed25519PublicKey],
    anchors: Mapping[int, str],
    told: Callable[[str, int], None],
) -> Report:
    """Check everything.

    Args:
        reader: the ledger, as of one moment.
        memory: empty.
        keys: who may have signed checkpoints; empty where signatures are not checked.
        anchors: checkpoints that were written down elsewhere, by size.
        told: is told every now and then what is looked at, and how many of it were.
    """
    report = Report()
    rows = RowCheck(reader, memory)

    def heard(place: int, leaf: Leaf) -> None:
        rows.hear(place, leaf)
        if place % _EVERY == 0:
            told("leaves", place)

    log = LogCheck(reader, keys, anchors, heard)
    report.findings += log.run()
    for place, data in enumerate(_waiting(reader), log.size):
        report.waiting += 1
        with suppress(Malformed):  # nobody ever wrote that: the row that it was about has no leaf
            heard(place, decode_leaf(data))
    for finding in rows.run():
        report.findings.append(finding)
    told("rows", rows.checked)
    report.leaves, report.checkpoints = log.size, log.notes.count
    report.rows, report.older = rows.checked, rows.older
    return report


def _waiting(reader: AuditReader) -> Iterator[bytes]:
    after = -1
    while found := reader.waiting(after, _PAGE):
        for number, data in found:
            after = number
            yield data
