"""The process that signs: ``python -P -m backends.pkcs11_process``, started by the server only.

It holds the PIN and the session, signs what comes, and ends at the first thing that goes wrong:
the server starts another, which opens everything anew. That is how a token that was pulled, reset
or replaced comes back. It ends with its server, whatever state the module is in by then.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from typing import TYPE_CHECKING, BinaryIO

from backends.pkcs11_messages import Failed, Opening, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.pkcs11_messages import Opened

_PR_SET_PDEATHSIG = 1
_TELL_AFTER = 0.001
"""Seconds: a signature waits no longer for others to travel with."""


def main() -> int:
    """Open what the first line names and sign until there is nobody left to sign for."""
    lines, answers = _channel()
    if not (line := lines.readline()):
        return 0  # its server died before it said anything
    opening = decode(line)
    if not isinstance(opening, Opening) or not _tied_to(opening.parent):
        return 1
    try:
        opened, sign = _opened(opening)
    except Exception as error:  # noqa: BLE001 - whatever a module does, the server is told
        answers.write(encode(_failed(error)))
        return 1
    answers.write(encode(opened))
    del opening  # and with it the PIN
    try:
        for line in lines:
            _sign(line, sign, answers)
    except BrokenPipeError:
        return 0
    except Exception as error:  # noqa: BLE001 - as above
        answers.write(encode(_failed(error)))
        return 1
    return 0


def _opened(opening: Opening) -> tuple[Opened, Callable[[bytes], bytes]]:
    # not at the top: a binding that is missing is told like everything else
    from backends.pkcs11_token import open_token  # noqa: PLC0415

    return open_token(opening)


def _channel() -> tuple[BinaryIO, BinaryIO]:
    """Return the two ends of the pipes; what a module prints goes to the log."""
    out = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return sys.stdin.buffer, os.fdopen(out, "wb", buffering=0)


def _tied_to(parent: int) -> bool:
    """End with the server, stop for nothing else, leave no PIN in a core file."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal, a service manager: the server decides
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return os.getppid() == parent


def _sign(line: bytes, sign: Callable[[bytes], bytes], answers: BinaryIO) -> None:
    batch = decode(line)
    if not isinstance(batch, tuple):
        raise TypeError("not a batch")
    made: list[tuple[int, bytes]] = []
    since = time.monotonic()
    for number, digest in batch:
        made.append((number, sign(digest)))
        if time.monotonic() - since > _TELL_AFTER:
            answers.write(encode(tuple(made)))
            made.clear()
            since = time.monotonic()
    if made:
        answers.write(encode(tuple(made)))


def _failed(error: Exception) -> Failed:
    known = getattr(error, "failed", None)
    if isinstance(known, Failed):
        return known
    if isinstance(error, ImportError):
        return Failed(f"{error.name} is missing", "pip install 'est-server[pkcs11]'")
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    return Failed(f"the token says {text}", "see the token's own log; it is opened anew")


if __name__ == "__main__":
    sys.exit(main())
