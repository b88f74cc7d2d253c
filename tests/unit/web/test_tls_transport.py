"""What the protocol above TLS may rely on: asyncio's contract for transports."""

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager, closing, suppress
from time import sleep

import pytest
from tls_peers import BOTH, V13, client_context, serving

MEGABYTE = bytes(range(256)) * 4096


class Recorder(asyncio.Protocol):
    """Writes down what it is told, and answers nothing."""

    def __init__(self, opened):
        self.opened = opened
        self.told = []
        self.received = b""
        self.loop = asyncio.get_running_loop()
        self.changed = asyncio.Condition()

    def tell(self, what):
        self.told.append(what)
        self.loop.create_task(self._notify())

    async def _notify(self):
        async with self.changed:
            self.changed.notify_all()

    async def until(self, holds):
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(lambda: holds(self))

    def connection_made(self, transport):
        self.transport = transport
        self.tell("made")
        self.opened.put_nowait(self)

    def data_received(self, data):
        self.received += data
        self.tell("data")

    def eof_received(self):
        self.tell("eof")

    def connection_lost(self, exc):
        self.tell("lost")

    def pause_writing(self):
        self.tell("pause")

    def resume_writing(self):
        self.tell("resume")


async def peer_of(port, version=V13):
    def connect():
        plain = socket.create_connection(("127.0.0.1", port), 20)
        return client_context(version).wrap_socket(plain, server_hostname="localhost")

    return await asyncio.to_thread(connect)


@asynccontextmanager
async def recording(**options):
    """Serve; yield the port, and a queue of the protocols of the connections that were opened."""
    opened = asyncio.Queue()
    async with serving(factory=lambda: Recorder(opened), **options) as served:
        yield served.port, opened


@pytest.mark.parametrize("version", BOTH)
async def test_nothing_is_handed_on_while_reading_is_paused(version):
    async with recording() as (port, opened):
        peer = await peer_of(port, BOTH[version])
        with closing(peer):
            ours = await opened.get()
            data_received = ours.data_received

            def pause(data):
                ours.transport.pause_reading()
                data_received(data)

            ours.data_received = pause  # as aiohttp does: from within
            sending = asyncio.create_task(asyncio.to_thread(peer.sendall, MEGABYTE))
            await ours.until(lambda our: our.received)
            assert not ours.transport.is_reading()
            await asyncio.sleep(0.05)
            assert len(ours.received) <= 16384, "one record, and no more"
            while len(ours.received) < len(MEGABYTE):
                before = len(ours.received)
                ours.transport.resume_reading()
                await ours.until(lambda our, before=before: len(our.received) > before)
            await sending
            assert ours.received == MEGABYTE
            ours.transport.resume_reading()  # or it would never hear of the end
        await ours.until(lambda our: "lost" in our.told)


async def test_a_peer_that_does_not_read_makes_the_protocol_wait():
    async with recording() as (port, opened):
        peer = await peer_of(port)
        with closing(peer):
            ours = await opened.get()
            for _ in range(64):
                ours.transport.write(MEGABYTE)
            assert "pause" in ours.told
            assert ours.transport.get_write_buffer_size() > 0
            assert "resume" not in ours.told

            def drain():
                peer.settimeout(0.5)
                with suppress(TimeoutError):
                    while peer.recv(1 << 20):
                        pass

            await asyncio.to_thread(drain)
            await ours.until(lambda our: "resume" in our.told)
        await ours.until(lambda our: "lost" in our.told)


@pytest.mark.parametrize("version", BOTH)
async def test_a_goodbye_is_told_and_returned(version):
    async with recording() as (port, opened):
        peer = await peer_of(port, BOTH[version])
        with closing(peer):
            ours = await opened.get()
            with closing(await asyncio.to_thread(peer.unwrap)) as plain:
                assert await asyncio.to_thread(plain.recv, 1) == b"", "and the socket is closed"
            await ours.until(lambda our: "lost" in our.told)
        assert ours.told == ["made", "eof", "lost"]


async def test_after_the_end_nothing_is_written_and_nothing_handed_on():
    async with recording() as (port, opened):
        peer = await peer_of(port)
        with closing(peer):
            ours = await opened.get()
            ours.transport.write(b"first")
            ours.transport.close()
            assert ours.transport.is_closing()
            ours.transport.write(b"second")
            ours.transport.close()
            peer.sendall(b"late")
            assert await asyncio.to_thread(peer.recv, 100) == b"first"
            assert await asyncio.to_thread(peer.recv, 100) == b""
        await ours.until(lambda our: "lost" in our.told)
        assert ours.told == ["made", "lost"]


@pytest.mark.parametrize("version", BOTH)
async def test_a_record_that_was_changed_ends_the_connection(version):
    async with recording(shutdown_seconds=0.2) as (port, opened):
        peer = await peer_of(port, BOTH[version])
        ours = await opened.get()
        with socket.socket(fileno=peer.detach()) as plain:
            plain.settimeout(20)
            plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            # the tickets come first on TLS 1.3; after the alert the connection ends by itself
            said = b""
            while piece := await asyncio.to_thread(plain.recv, 65536):
                said += piece
            assert said.count(b"\x03\x03"), "an alert"
        await ours.until(lambda our: "lost" in our.told)
        assert ours.told == ["made", "lost"]
        assert ours.received == b""


async def test_a_peer_that_stays_after_a_failed_handshake_is_not_kept():
    async with recording(shutdown_seconds=0.2) as (port, opened):

        def stay():
            with socket.create_connection(("127.0.0.1", port), 20) as plain:
                plain.sendall(b"\x16\x03\x01\x00\x04\x63\x00\x00\x00")  # no such message
                alert = plain.recv(100)
                for _ in range(500):  # ten seconds
                    try:
                        plain.sendall(b"nobody listens")
                    except OSError:
                        return alert
                    sleep(0.02)
            return b""

        assert (await asyncio.to_thread(stay))[:1] == b"\x15", "an alert, then the end"
        assert opened.empty()


async def test_an_abort_says_nothing():
    async with recording() as (port, opened):
        peer = await peer_of(port)
        with closing(peer):
            ours = await opened.get()
            ours.transport.abort()
            with pytest.raises((ssl.SSLEOFError, ConnectionResetError)):
                await asyncio.to_thread(_strict, peer)
        await ours.until(lambda our: "lost" in our.told)


def _strict(peer):
    peer.suppress_ragged_eofs = False
    return peer.recv(100)


async def test_a_peer_that_changes_its_key_is_understood(need):
    """RFC 8446 4.6.3; OpenSSL answers with its next record."""
    need("openssl", "openssl")
    async with recording() as (port, opened):
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3", "-quiet"),
            *("-no_ign_eof",),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        ours = await opened.get()
        for word in (b"one\n", b"two\n"):
            process.stdin.write(b"K\n")
            await process.stdin.drain()
            await asyncio.sleep(0.05)  # a command is one that is read alone
            process.stdin.write(word)
            await ours.until(lambda our, word=word: our.received.endswith(word))
            ours.transport.write(b"heard " + word)
            async with asyncio.timeout(20):
                await process.stdout.readuntil(b"heard " + word)
        assert ours.received == b"one\ntwo\n"
        process.kill()
        await process.wait()
        await ours.until(lambda our: "lost" in our.told)
