"""Where a CA's key is made and stays, if that is no file of this server's.

A backend that keeps keys in a token implements `MakesKeys` beside `Backend`: with it an operator
comes from an empty token to a CA. Commands use it, and wait for it; a server never does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

    from est_server.ports.secret import Secret


@dataclass(frozen=True, slots=True)
class KeptKey:
    """A key that stays where it is.

    Attributes:
        key: signs there, as long as its `KeyStore` is open.
        settings: the keys of a CA in server.yaml that name it.
    """

    key: CertificateIssuerPrivateKeyTypes
    settings: Mapping[str, Any]


class KeyStore(Protocol):
    """An open token."""

    def generate(self, label: str, algorithm: str) -> KeptKey:
        """Make a key that never leaves the token.

        Args:
            label: its name; nothing in the token may have it yet.
            algorithm: in the names of `est_server.pki.keys`.

        Raises:
            BackendUnavailable: ``ca.token``: it can't be used, or makes no such key.
        """
        ...

    def find(self, label: str) -> KeptKey:
        """Return a key that is there.

        Raises:
            BackendUnavailable: ``ca.token``: it can't be used, or has no such key.
        """
        ...


@runtime_checkable
class MakesKeys(Protocol):
    """A backend that can make the keys of its CAs."""

    def key_store(self, location: str, pin: Secret, base: Path) -> AbstractContextManager[KeyStore]:
        """Open a token until the block ends.

        Args:
            location: which; in the backend's own form.
            pin: what opens it.
            base: where relative paths start.

        Raises:
            ValueError: `location` means nothing to this backend.
        """
        ...

    def kept(self, settings: Any, base: Path) -> AbstractContextManager[KeptKey]:
        """Return the key of a CA until the block ends.

        Args:
            settings: its keys in server.yaml; `certificate` and `chain` are names of files.
            base: where relative paths start.

        Raises:
            BackendUnavailable: ``ca.token``: it can't be used, or has no such key.
        """
        ...
