"""ClientHellos that no library sends any more, to see whether a server would go along.

struct { ProtocolVersion; Random[32]; session_id<0..32>; cipher_suites<2..2^16-2>;
         compression_methods<1..2^8-1>; extensions<8..2^16-1> }          RFC 5246 7.4.1.2
"""

from __future__ import annotations

import os
import socket

TLS_1_0, TLS_1_1, TLS_1_2 = 0x0301, 0x0302, 0x0303
ORDINARY = (0xC02B, 0xC02F, 0xC009, 0xC013, 0x009C, 0x002F, 0x0035)
"""Suites that some server takes on each old version: ECDHE and RSA, AEAD and CBC."""

NULL = (0x0001, 0x0002, 0x003B, 0xC006, 0xC010)
ANONYMOUS = (0x0018, 0x001B, 0x0034, 0x003A, 0x006C, 0x00A6, 0xC018, 0xC019)
EXPORT = (0x0003, 0x0006, 0x0008, 0x0014, 0x0019)

_HANDSHAKE = 22
_GROUPS = bytes.fromhex("000a 0008 0006 0017 0018 001d".replace(" ", ""))
_POINTS = bytes.fromhex("000b00020100")
_SIGNATURES = bytes.fromhex("000d000e000c040308040401050305010201".replace(" ", ""))


def client_hello(version: int, suites: tuple[int, ...]) -> bytes:
    """Return one record with a ClientHello."""
    extensions = _GROUPS + _POINTS + (_SIGNATURES if version == TLS_1_2 else b"")
    body = (
        version.to_bytes(2, "big")
        + os.urandom(32)
        + b"\x00"
        + (2 * len(suites)).to_bytes(2, "big")
        + b"".join(suite.to_bytes(2, "big") for suite in suites)
        + b"\x01\x00"
        + len(extensions).to_bytes(2, "big")
        + extensions
    )
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def negotiated(host: str, port: int, hello: bytes, seconds: float) -> int | None:
    """Return the version of the ServerHello that answers, or None for an alert or the end.

    Raises:
        OSError: no connection, or no answer in time.
    """
    with socket.create_connection((host, port), seconds) as plain:
        plain.sendall(hello)
        received = b""
        while len(received) < 11:
            try:
                piece = plain.recv(4096)
            except ConnectionError:
                return None
            if not piece:
                return None
            received += piece
            if received[0] != _HANDSHAKE:
                return None
    return int.from_bytes(received[9:11], "big")
