"""The checkpoints of a log, one after the other: signatures, order, none missing between."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from est_server.audit.checkpoint import FIRST, Checkpoint, check_note, note_hash, read_note
from est_server.audit.finding import Finding, checkpoint_finding
from est_server.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from est_server.ports.audit import AuditReader

_PAGE = 1000


def check_signature(note: str, keys: Sequence[Ed25519PublicKey]) -> Checkpoint:
    """Read a checkpoint that one of the keys has signed; without keys any will do.

    Raises:
        Malformed: as in `check_note`.
    """
    if not keys:
        return read_note(note)
    failure: Malformed | None = None
    for key in keys:
        try:
            return check_note(note, key)
        except Malformed as error:
            failure = error
    raise failure or RuntimeError("there was a key")


@dataclass(slots=True)
class Notes:
    """The checkpoints that are kept, and those that are known from elsewhere.

    Attributes:
        reader: has those that are kept.
        keys: who may have signed.
        anchors: notes that were written down elsewhere, by size.
        count: how many were kept.
        last_size: of the last that is kept; -1 without any.
    """

    reader: AuditReader
    keys: Sequence[Ed25519PublicKey]
    anchors: Mapping[int, str]
    count: int = 0
    last_size: int = -1
    _anchors_left: list[int] = field(default_factory=list)

    def walk(self) -> Iterator[tuple[int, Checkpoint | None, list[Finding]]]:
        """Yield sizes in order, what was signed of each, and what is wrong with it.

        A size whose checkpoint can't be believed comes with None.
        """
        self._anchors_left = sorted(self.anchors, reverse=True)
        before: str | None = None
        sound = True
        for size, note in self._kept():
            yield from self._anchored_only(size)
            findings = []
            checkpoint = None
            try:
                checkpoint = check_signature(note, self.keys)
            except Malformed as error:
                rule = error.rule.rpartition(".")[2]
                findings.append(checkpoint_finding(rule, size, error.message))
            else:
                findings += self._in_order(size, checkpoint, before, sound=sound)
                if checkpoint.size != size:
                    checkpoint = None
            findings += self._as_anchored(size, note)
            sound = not findings
            before = note
            self.count += 1
            self.last_size = size
            yield size, checkpoint, findings
        yield from self._anchored_only(None)

    def _kept(self) -> Iterator[tuple[int, str]]:
        after = -1
        while True:
            found = self.reader.checkpoints(after, _PAGE)
            yield from found
            if len(found) < _PAGE:
                return
            after = found[-1][0]

    def _in_order(
        self, size: int, checkpoint: Checkpoint, before: str | None, *, sound: bool
    ) -> Iterator[Finding]:
        if checkpoint.size != size:
            text = f"is the checkpoint of {checkpoint.size} leaves and stands under {size}"
            yield checkpoint_finding("size", size, text, "size")
        if before is None and checkpoint.previous != FIRST:
            text = f"the checkpoints before that of {size} leaves were removed"
            yield checkpoint_finding("missing", size, text)
        elif before is not None and sound and checkpoint.previous != note_hash(before):
            text = (
                f"between the checkpoints of {self.last_size} and {size} leaves one was removed,"
                " or the former is another one"
            )
            yield checkpoint_finding("missing", size, text)

    def _as_anchored(self, size: int, note: str) -> Iterator[Finding]:
        if self._anchors_left and self._anchors_left[-1] == size:
            self._anchors_left.pop()
            if self.anchors[size] != note:
                text = "the anchor has another checkpoint of this size"
                yield checkpoint_finding("anchor", size, text)

    def _anchored_only(
        self, before: int | None
    ) -> Iterator[tuple[int, Checkpoint | None, list[Finding]]]:
        """Yield the anchors of smaller sizes that nothing is kept of."""
        while self._anchors_left and (before is None or self._anchors_left[-1] < before):
            size = self._anchors_left.pop()
            text = "the anchor has a checkpoint of this size, and the log has none"
            findings = [checkpoint_finding("anchor", size, text)]
            try:
                checkpoint = check_signature(self.anchors[size], self.keys)
            except Malformed as error:
                text = f"the anchor's checkpoint can't be believed: {error.message}"
                yield size, None, [checkpoint_finding("anchor", size, text)]
            else:
                yield size, checkpoint, findings
