"""Checkpoints as syslog messages (RFC 5424), for a collector on another machine.

Datagrams can get lost, and nothing tells: that the collector has them is for `audit verify` to
find out, which reads its file (``--anchor``). A message holds the whole checkpoint in base64.
"""

from __future__ import annotations

import asyncio
import os
import socket
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.audit.checkpoint import read_note
from est_server.errors import BackendUnavailable

if TYPE_CHECKING:
    from est_server.ports.anchor import Anchor

_PRIORITY = 13 * 8 + 5  # RFC 5424 6.2.1: log audit, notice


@dataclass(frozen=True, slots=True)
class AnchorSyslog:
    """An `Anchor`.

    Attributes:
        target: ``unix:PATH`` or ``udp:HOST:PORT``.
    """

    target: str
    name: str = "syslog"

    async def write(self, note: str) -> None:
        """Send one message; see `Anchor.write`."""
        try:
            await asyncio.to_thread(self._send, _message(note))
        except OSError as error:
            raise BackendUnavailable(
                "audit.anchor",
                "the checkpoint can't be sent to syslog",
                hint=f"{self.target}: {error.strerror or error}",
            ) from error

    def _send(self, message: bytes) -> None:
        kind, _, rest = self.target.partition(":")
        if kind == "unix":
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.connect(rest)
                sender.send(message)
            return
        host, _, port = rest.rpartition(":")
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
        family, _, _, _, address = found[0]
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.sendto(message, address)


def _message(note: str) -> bytes:
    checkpoint = read_note(note)
    at = checkpoint.at.strftime("%Y-%m-%dT%H:%M:%SZ")
    head = f"<{_PRIORITY}>1 {at} {socket.gethostname()} est-server {os.getpid()} audit -"
    text = f"checkpoint size={checkpoint.size} note={b64encode(note.encode()).decode()}"
    return f"{head} {text}".encode()


_: type[Anchor] = AnchorSyslog
