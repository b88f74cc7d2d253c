"""Who runs a command."""

from __future__ import annotations

import os
import pwd
import socket


def operator() -> str:
    """Return ``alice@pki-1``: the user as the operating system knows it, and the host.

    No environment variable can change it, since it is what the records say about a decision.
    """
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
