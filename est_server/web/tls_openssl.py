"""Three functions of OpenSSL that pyOpenSSL binds and does not offer.

They are reached through the binding that pyOpenSSL itself uses, with the pointer that it keeps
private: its version is bounded in the project's dependencies, and an update that moves either
fails when this module is imported or in the first test that connects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.bindings.openssl.binding import Binding

if TYPE_CHECKING:
    from OpenSSL import SSL

_lib = Binding().lib
_clear_error = _lib.ERR_clear_error
_session_reused = _lib.SSL_session_reused
_get_extms_support = _lib.SSL_get_extms_support


def clear_errors() -> None:
    """Forget what earlier calls of this thread left in OpenSSL's error queue.

    ``SSL_get_error`` of OpenSSL 3 reads that queue, so an error that was handled elsewhere and left
    there would end an innocent connection (SSL_get_error(3)); OpenSSL 4 no longer does.
    """
    _clear_error()


def session_reused(connection: SSL.Connection) -> bool:
    """Tell whether the finished handshake resumed a session."""
    return bool(_session_reused(connection._ssl) == 1)  # noqa: SLF001 - see the module


def extended_master_secret(connection: SSL.Connection) -> bool:
    """Tell whether the finished TLS 1.2 handshake used RFC 7627; a resumed one always as its first.

    OpenSSL refuses to resume a session with a different answer (RFC 7627 5.3).
    """
    return bool(_get_extms_support(connection._ssl) == 1)  # noqa: SLF001 - see the module
