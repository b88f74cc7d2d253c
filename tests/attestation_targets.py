"""Every parser of attestation evidence, with whole messages to start from, for the fuzzers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import tokens
from captured import NONCE, SIGNERS, captured
from cryptography.hazmat.primitives.asymmetric import ec
from event_logs import booted

from est_server.attestation.eat import EatPolicy, EatToken
from est_server.errors import Malformed
from est_server.ports.verifier import Evidence, EvidenceRefused, VerificationContext
from est_server.wire import tpm_algorithms
from est_server.wire.der import header
from est_server.wire.eat import parse_statement
from est_server.wire.tcg_event_log import parse_event_log, replay, secure_boot
from est_server.wire.tpm_attest import parse_attest
from est_server.wire.tpm_public import parse_public
from est_server.wire.tpm_signature import parse_signature, verify_tpm_signature
from est_server.wire.tpm_statement import parse_certify, parse_quote

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_CPU = 0.02  # seconds for one input
REFUSALS = (Malformed, EvidenceRefused)
_ECDSA, _RSASSA = captured("ecdsa"), captured("rsassa")
_KEYS = tuple(parse_public(said["public"]).key for said in (_ECDSA, _RSASSA))


@dataclass(frozen=True, slots=True)
class Target:
    """A parser, whatever it is given: it returns, or raises one of `REFUSALS`.

    Attributes:
        call: the parser.
        seeds: messages that it reads.
        framed: whether it refuses every part of a message.
    """

    call: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    framed: bool = True


def _signature(data: bytes) -> None:
    key, said = next(
        (
            one
            for one in zip(_KEYS, (_ECDSA, _RSASSA), strict=True)
            if data[:2] == one[1]["signature"][:2]
        ),
        (_KEYS[1], _RSASSA),
    )
    verify_tpm_signature(parse_signature(data, key, tpm_algorithms.SHA256), key, said["attest"])


def _event_log(data: bytes) -> None:
    events = parse_event_log(data)
    replay(events, tpm_algorithms.SHA256)
    secure_boot(events, tpm_algorithms.SHA256)


def _der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return header(tag, len(content)) + content


def certification(said: dict[str, bytes]) -> bytes:
    """Return a statement with a certification."""
    parts = (said["attest"], said["signature"], said["key"])
    return _der(0x30, *(_der(4, part) for part in parts))


def quote(said: dict[str, bytes], *more: bytes) -> bytes:
    """Return a statement with a quote, and `more` behind it."""
    values = (said["registers"][at : at + 32] for at in range(0, 128, 32))
    registers = (
        _der(0x30, _der(2, b"\x0b"), _der(2, bytes([index])), _der(4, value))
        for index, value in zip((0, 2, 4, 7), values, strict=True)
    )
    parts = (_der(4, said["quote"]), _der(4, said["quote_signature"]))
    return _der(0x30, *parts, _der(0x30, *registers), *more)


def _parts(*names: str) -> tuple[bytes, ...]:
    return tuple(said[name] for said in map(captured, SIGNERS) for name in names if name in said)


def _token(data: bytes) -> None:
    EatToken().verify(Evidence("1.2.3", tokens.statement(data, NONCE)), CONTEXT)


_DEVICE = ec.generate_private_key(ec.SECP256R1())
_UEID = b"\x01" + bytes(32)
_CLAIMS = {10: NONCE, 256: _UEID, 263: 2, 8: {1: tokens.cose_key(_DEVICE)}}
_JSON = {"eat_nonce": tokens.text(NONCE), "ueid": tokens.text(_UEID), "dbgstat": "disabled"}
CONTEXT = VerificationContext(
    spki=tokens.spki(_DEVICE),
    nonce=None,
    now=datetime(2026, 11, 24, tzinfo=UTC),
    settings=None,
    policy=EatPolicy(keys={_UEID.hex(): tokens.pem(_DEVICE)}),
)
TARGETS = {
    "cwt": Target(_token, (tokens.cose(_DEVICE, _CLAIMS),)),
    "jwt": Target(_token, (tokens.jws(_DEVICE, _JSON),)),
    "eat-statement": Target(parse_statement, (tokens.statement(tokens.jws(_DEVICE, _JSON)),)),
    "tpm-attest": Target(parse_attest, _parts("attest", "creation", "quote")),
    "tpm-public": Target(parse_public, _parts("public", "key")),
    "tpm-signature": Target(_signature, (_ECDSA["signature"], _RSASSA["signature"])),
    "tpm-certify": Target(parse_certify, (certification(_ECDSA), certification(_RSASSA))),
    "event-log": Target(_event_log, (booted().octets,), framed=False),
    "tpm-quote": Target(
        parse_quote, tuple(quote(said, _der(0x80, b"log")) for said in (_ECDSA, _RSASSA))
    ),
}
