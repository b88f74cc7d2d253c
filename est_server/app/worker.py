"""What a worker has from its supervisor, which starts it as the same command with more to it.

The environment names file descriptors: the sockets to listen on, a pipe into which it says that it
is ready, and a pipe that ends with the supervisor, after which nobody would restart or stop it.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from est_server.app.sockets import adopt

if TYPE_CHECKING:
    from est_server.app.sockets import Sockets

_VARIABLE = "EST_SERVER_WORKER"


@dataclass(frozen=True, slots=True)
class Inheritance:
    """A worker's part.

    Attributes:
        sockets: file descriptors by listener.
        ready: the pipe to write to.
        life: the pipe to read from.
        migrates: whether it brings the ledger's schema up to its release.
    """

    sockets: dict[str, list[int]]
    ready: int
    life: int
    migrates: bool

    def variables(self) -> dict[str, str]:
        """Return the environment that says it."""
        return {_VARIABLE: json.dumps(asdict(self))}

    def descriptors(self) -> tuple[int, ...]:
        """Return all that has to be inherited."""
        return (self.ready, self.life, *(one for found in self.sockets.values() for one in found))

    def take(self) -> Sockets:
        """Return the sockets; from here on no child of this process inherits anything."""
        for descriptor in (self.ready, self.life):
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - the name of the function says it
        return adopt(self.sockets)

    def tell_ready(self) -> None:
        """Tell the supervisor that connections are accepted."""
        with suppress(BrokenPipeError):  # it became the next one meanwhile
            os.write(self.ready, b"ready")
        os.close(self.ready)


def inherited() -> Inheritance | None:
    """Return this process' part, once, if it is a worker."""
    found = os.environ.pop(_VARIABLE, None)
    return None if found is None else Inheritance(**json.loads(found))
