"""How a TPM marshals: big-endian numbers, and octets behind a 16-bit size (TPM 2.0 Part 2, 3.3).

Event logs are written by firmware and have little-endian numbers.

A structure is read once, from its first octet to its last. What a reader is given is capped before
anything is read; each size is held against what is left before anything is cut out.
"""

from __future__ import annotations

from typing import Literal

from est_server.errors import Malformed


class Reader:
    """Reads one structure.

    Args:
        data: the structure, alone.
        rule: first part of the rules raised, for example ``tpm-attest``.
        most: octets that it may have.
        order: of the octets of a number.

    Raises:
        Malformed: ``<rule>.too-large``; and from every method ``<rule>.truncated``.
    """

    __slots__ = ("_at", "_data", "_order", "_rule")

    def __init__(
        self, data: bytes, rule: str, most: int, order: Literal["big", "little"] = "big"
    ) -> None:
        if len(data) > most:
            raise Malformed(f"{rule}.too-large", f"more than {most} octets")
        self._data = data
        self._rule = rule
        self._order: Literal["big", "little"] = order
        self._at = 0

    def take(self, count: int) -> bytes:
        """Return the next `count` octets."""
        end = self._at + count
        if end > len(self._data):
            raise Malformed(f"{self._rule}.truncated", "the structure is cut short")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, octets: int) -> int:
        """Return an unsigned number of 1, 2, 4 or 8 octets."""
        return int.from_bytes(self.take(octets), self._order)

    def sized(self) -> bytes:
        """Return the octets of a TPM2B: a 16-bit size and as many octets."""
        return self.take(self.number(2))

    @property
    def left(self) -> int:
        """Octets that are not read yet."""
        return len(self._data) - self._at

    def end(self) -> None:
        """Return if nothing is left.

        Raises:
            Malformed: ``<rule>.trailing-bytes``.
        """
        if self.left:
            message = f"{self.left} octets follow the structure"
            raise Malformed(f"{self._rule}.trailing-bytes", message)


def sized(octets: bytes) -> bytes:
    """Return a TPM2B of these octets."""
    return len(octets).to_bytes(2, "big") + octets
