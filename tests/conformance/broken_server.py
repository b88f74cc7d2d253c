"""The real program with one fault in it: for tests that must see it.

    python broken_server.py FAULT serve -c server.yaml

FAULT names what is broken from the start, or ``none``. A line written to ``fault.txt`` in
server.yaml's folder and SIGUSR1 change it; then ``faulty.txt`` says what is in.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from unittest import mock

import faults_elsewhere  # noqa: F401 - declares its faults
import faults_enroll  # noqa: F401 - likewise
import faults_http  # noqa: F401 - likewise
import faults_records  # noqa: F401 - likewise
from faults import FAULTS

from est_server.app.server import Server
from est_server.cli import main


class Switch:
    """Puts one fault in, and takes it out for the next."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._patches: list = []
        self._name = "none"

    def turn(self, name: str) -> None:
        for patched in reversed(self._patches):
            patched.stop()
        self._patches.clear()
        self._name = name
        if name != "none":
            FAULTS[name].apply(self._patch)

    def _patch(self, where, attribute, value) -> None:
        patched = mock.patch.object(where, attribute, value)
        patched.start()
        self._patches.append(patched)

    def on_signal(self, *_: object) -> None:
        self.turn((self._folder / "fault.txt").read_text().strip())
        os.kill(os.getpid(), signal.SIGHUP)  # pages and TLS contexts are made anew

    def tell(self) -> None:
        (self._folder / "faulty.txt").write_text(self._name)


if __name__ == "__main__":
    _, fault, *arguments = sys.argv
    named = arguments[arguments.index("-c") + 1] if "-c" in arguments else "server.yaml"
    switch = Switch(Path(named).parent)
    switch.turn(fault)
    signal.signal(signal.SIGUSR1, switch.on_signal)
    reload = Server._reload

    async def reload_and_tell(self):
        await reload(self)
        switch.tell()

    Server._reload = reload_and_tell
    sys.argv = ["est-server", *arguments]
    sys.exit(main())
