"""Answers of CAs over HTTP: read whole, however they travel, and no longer than they may be."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from backends.remote import Remote
from est_server.errors import BackendUnavailable

MOST = 1 << 20


@asynccontextmanager
async def answering(*parts):
    """Serve an answer in parts, each sent when the one before it has arrived and was looked at."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        size = sum(map(len, parts))
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode())
        with suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                with suppress(TimeoutError):  # whoever takes a part for the whole goes away
                    await asyncio.wait_for(reader.read(1), 0.1)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    remote = Remote("ca", f"http://127.0.0.1:{port}", tls=True, timeout=timedelta(seconds=20))
    try:
        yield remote
    finally:
        await remote.close()
        server.close()
        await server.wait_closed()


async def test_an_answer_in_several_packets_is_read_whole():
    async with answering(b"-----BEGIN", b" CERTIFICATE", b"-----") as remote:
        assert (await remote.send("GET", "/")).body == b"-----BEGIN CERTIFICATE-----"


async def test_the_longest_answer():
    async with answering(bytes(MOST)) as remote:
        assert len((await remote.send("GET", "/")).body) == MOST
    async with answering(bytes(MOST), b"x") as remote:
        with pytest.raises(BackendUnavailable, match="has not answered") as error:
            await remote.send("GET", "/")
    assert "too long" in error.value.hint
    assert not error.value.nothing_issued
