"""A CA that can be made to fail, as the contract suite needs it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from cryptography import x509

    from est_server.ports.ca import CertificateAuthority
    from est_server.testing.desk import MovedClock

Fault = Literal[
    "lost-reply",  # it issues, and the answer never arrives
    "timeout-after-accept",  # it takes the order, gives no answer, and issues when it is healed
    "throttle",  # it says that it is too busy, and does nothing
    "refused",  # it says no
    "wrong-key",  # it certifies another key
    "wrong-names",  # another subject or other alternative names
    "wrong-validity",  # a longer life than was ordered
    "wrong-issuer",  # somebody else signs, perhaps under its name
    "pending",  # it takes the order and has not decided until it is healed
    "unavailable",  # nobody can reach it, or it can't work, until it is healed
]
"""What goes wrong with the next order; ``unavailable`` with everything."""

CASES: Mapping[str, str] = MappingProxyType(
    {
        "capabilities": "it implements what it declares, and shows its certificates",
        "issue": "the certificate that was ordered, and no other",
        "lost-reply": "issued, and the answer lost",
        "duplicate-token": "the same order twice",
        "throttle": "too busy: the request is free at once",
        "timeout-after-accept": "taken, no answer, issued later",
        "wrong-key": "another key: refused, kept, revoked",
        "wrong-names": "other names: refused, kept, revoked",
        "wrong-validity": "a longer life: refused, kept, revoked",
        "wrong-issuer": "signed by somebody else: refused, kept",
        "refused": "the CA says no: the request is free",
        "unavailable-at-start": "away when it is opened, and back",
        "unavailable-then-back": "away while it is open, and back",
        "pending": "not decided yet; asked again after a restart, issued once",
        "look-up": "what was never ordered is not found, what was issued is",
        "revoke": "revoked here, then there; twice is once",
    }
)
"""Case -> what it shows."""


class World(Protocol):
    """One CA for one test, an async context manager.

    Attributes:
        impossible: case -> why it can't happen with this kind of CA. A case whose power the
            backend does not declare (revoking, looking up, repeating, waiting) need not be here.
    """

    impossible: ClassVar[Mapping[str, str]]

    def __init__(self, folder: Path, clock: MovedClock) -> None:
        """Make it in an empty folder; a second one in the same folder is the same CA."""
        ...

    async def __aenter__(self) -> Self:
        """Start what has to run."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        ...

    def open(self) -> CertificateAuthority:
        """Open the backend under test once more, as a process that starts does.

        Raises:
            BackendUnavailable: as in `Backend.open`.
        """
        ...

    async def fail(self, fault: Fault) -> None:
        """Let the next order go wrong like this."""
        ...

    async def heal(self) -> None:
        """Undo ``unavailable``, and decide and finish what waits."""
        ...

    async def issued(self) -> Sequence[x509.Certificate]:
        """Return every certificate that was made from an order, by the CA's own records."""
        ...

    async def revoked(self) -> Collection[int]:
        """Return the serial numbers that the CA itself calls revoked."""
        ...
