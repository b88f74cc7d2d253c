"""Pebble, the ACME server of Debian's package, behind a relay that can be cut.

It keeps everything in memory: a process of it is one CA, with keys of its own. Names are authorized
for an account by challenges that it takes as answered, and stay so.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import ssl
import subprocess
import threading
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fake_acme import MAC_KEY, tls_files

from est_server.testing.issuer import FakeIssuer

PACKAGE, PROGRAM = "pebble", "pebble"
_SETTINGS = {
    "PEBBLE_VA_ALWAYS_VALID": "1",  # a challenge that is answered is answered well
    "PEBBLE_VA_NOSLEEP": "1",
    "PEBBLE_AUTHZREUSE": "100",  # a name that is authorized stays so
    "PEBBLE_WFE_NONCEREJECT": "15",
}
_STARTS_WITHIN = 30
_ISSUED = re.compile(r"Issued certificate serial ([0-9a-f]+) for order")


class Pebble:
    """One process, one CA.

    Args:
        folder: gets its files: ``tls-root.pem``, ``pebble-root.pem``, ``pebble-issuing.pem``.
        validity: of certificates whose order has no dates.
    """

    def __init__(self, folder: Path, validity: timedelta = timedelta(days=30)) -> None:
        self.folder, self.validity = folder, validity
        self.relay = Relay()
        self._log = folder / "pebble.log"

    @property
    def directory(self) -> str:
        return f"https://127.0.0.1:{self.relay.port}/dir"

    async def start(self) -> None:
        """Start it, and the relay in front of it."""
        await self.begin()
        await self.relay.start()

    async def begin(self) -> None:
        """Start a process, which is a new CA; the relay leads to it."""
        (self.folder / "tls").mkdir(exist_ok=True)
        issuer = FakeIssuer.in_folder(self.folder / "tls")
        pair = tls_files(issuer, self.folder / "tls")
        root = issuer.root.certificate.public_bytes(Encoding.PEM)
        (self.folder / "tls-root.pem").write_bytes(root)
        self._tls = ssl.create_default_context(cadata=root.decode())
        self._port, self._management = free_port(), free_port()
        settings = {
            "listenAddress": f"127.0.0.1:{self._port}",
            "managementListenAddress": f"127.0.0.1:{self._management}",
            "certificate": str(pair),
            "privateKey": str(pair),
            "httpPort": 1,
            "tlsPort": 1,
            "externalAccountBindingRequired": True,
            "externalAccountMACKeys": {"kid-1": MAC_KEY},
            "certificateValidityPeriod": int(self.validity.total_seconds()),
        }
        (self.folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
        self._launch()
        await self._ready()
        for name, path in (("root", "roots/0"), ("issuing", "intermediates/0")):
            (self.folder / f"pebble-{name}.pem").write_text(await self._asked(path))
        self.relay.target = self._port

    def _launch(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "-config", self.folder / "pebble.json", "-strict"],
                env={**os.environ, **_SETTINGS},
                stdout=log,
                stderr=log,
            )

    async def _ready(self) -> None:
        until = asyncio.get_running_loop().time() + _STARTS_WITHIN
        while asyncio.get_running_loop().time() < until:
            if self._process.poll() is not None:
                break
            with suppress(aiohttp.ClientConnectorError):
                await self._asked("roots/0")
                return
            await asyncio.sleep(0.05)
        raise AssertionError(self._log.read_text())

    async def stop(self) -> None:
        await self.relay.stop()
        self.kill()

    def kill(self) -> None:
        """End the process, and with it all that it knew."""
        self._process.kill()
        self._process.wait()

    async def _asked(self, path: str) -> str:
        url = f"https://127.0.0.1:{self._management}/{path}"
        async with aiohttp.ClientSession() as session, session.get(url, ssl=self._tls) as answer:
            return await answer.text()

    async def issued(self) -> dict[int, tuple[x509.Certificate, str]]:
        """Return what it made, by its log and its management interface, and each one's status."""
        found = {}
        for serial in _ISSUED.findall(self._log.read_text()):
            shown = json.loads(await self._asked(f"cert-status-by-serial/{serial}"))
            certificate = x509.load_pem_x509_certificate(shown["Certificate"].encode())
            found[certificate.serial_number] = certificate, shown["Status"]
        return found


class Relay:
    """A TCP port in front of another one; while it is cut, nobody gets through."""

    def __init__(self) -> None:
        self.port, self.target = 0, 0
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for writer in (*self._open,):
            writer.transport.abort()
        await self._server.wait_closed()

    async def _carry(self, reader, writer) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._open |= both
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
        self._open -= both


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while octets := await reader.read(1 << 16):
            writer.write(octets)
            await writer.drain()
    writer.close()


async def authorize(session, names) -> None:
    """Authorize names for an account: an order whose challenges are answered, and left alone."""
    identifiers = [
        {"type": "ip" if isinstance(one, x509.IPAddress) else "dns", "value": str(one.value)}
        for one in names
    ]
    answer = await session.post(session.directory.new_order, {"identifiers": identifiers})
    for url in json.loads(answer.body)["authorizations"]:
        shown = json.loads((await session.post(url)).body)
        if shown["status"] != "valid":
            await session.post(shown["challenges"][0]["url"], {})
        until = asyncio.get_running_loop().time() + _STARTS_WITHIN
        while json.loads((await session.post(url)).body)["status"] != "valid":
            assert asyncio.get_running_loop().time() < until
            await asyncio.sleep(0.01)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def in_background(pebble: Pebble):
    """Run it beside a test that blocks; yields what runs coroutines where it is."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def call(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(_STARTS_WITHIN)

    try:
        call(pebble.start())
        try:
            yield call
        finally:
            call(pebble.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
