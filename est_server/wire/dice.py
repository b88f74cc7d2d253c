"""Extensions of DICE certificates (TCG DICE Attestation Architecture 1.1, 6.1; 1.2 for freshness).

    tcg-dice-TcbInfo       2.23.133.5.4.1     DiceTcbInfo
    tcg-dice-Ueid          2.23.133.5.4.4     SEQUENCE { ueid OCTET STRING }
    tcg-dice-MultiTcbInfo  2.23.133.5.4.5     SEQUENCE SIZE (1..MAX) OF DiceTcbInfo
    tcg-dice-TcbFreshness  2.23.133.5.4.11    SEQUENCE { nonce OCTET STRING }

    DiceTcbInfo ::= SEQUENCE {
        vendor             [0]  IMPLICIT UTF8String OPTIONAL,
        model              [1]  IMPLICIT UTF8String OPTIONAL,
        version            [2]  IMPLICIT UTF8String OPTIONAL,
        svn                [3]  IMPLICIT INTEGER OPTIONAL,
        layer              [4]  IMPLICIT INTEGER OPTIONAL,
        index              [5]  IMPLICIT INTEGER OPTIONAL,
        fwids              [6]  IMPLICIT SEQUENCE SIZE (1..MAX) OF FWID OPTIONAL,
        flags              [7]  IMPLICIT OperationalFlags OPTIONAL,
        vendorInfo         [8]  IMPLICIT OCTET STRING OPTIONAL,
        type               [9]  IMPLICIT OCTET STRING OPTIONAL,
        flagsMask          [10] IMPLICIT OperationalFlags OPTIONAL,
        integrityRegisters [11] IMPLICIT IrList OPTIONAL }

    FWID ::= SEQUENCE { hashAlg OBJECT IDENTIFIER, digest OCTET STRING }

The tags ascend, each at most once. integrityRegisters are read over: no policy names them yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.errors import Malformed
from est_server.wire.der import OCTET_STRING, SEQUENCE, children, read_element, unsigned

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

TCB_INFO = "2.23.133.5.4.1"
UEID = "2.23.133.5.4.4"
MULTI_TCB_INFO = "2.23.133.5.4.5"
MULTI_TCB_INFO_COMP = "2.23.133.5.4.8"
TCB_FRESHNESS = "2.23.133.5.4.11"
FLAGS = (
    "notConfigured", "notSecure", "recovery", "debug", "notReplayProtected",
    "notIntegrityProtected", "notRuntimeMeasured", "notImmutable", "notTcb",
)  # fmt: skip
"""By their bits; bit 31, fixedWidth, says nothing but how many bits there are."""
MOST_ENVIRONMENTS = 16
MOST_FWIDS = 16
_LONGEST = 8192
_LONGEST_TEXT = 256
_LONGEST_FLAGS = 5
_RULE = "dice.encoding"
_PRIMITIVE, _CONSTRUCTED = 0x80, 0xA0
_HASHES = {
    bytes.fromhex("0609608648016503040201"): ("sha256", 32),
    bytes.fromhex("0609608648016503040202"): ("sha384", 48),
    bytes.fromhex("0609608648016503040203"): ("sha512", 64),
}


@dataclass(frozen=True, slots=True)
class Fwid:
    """The digest of a firmware; `algorithm` is ``sha256``, ``sha384`` or ``sha512``."""

    algorithm: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class TcbInfo:
    """What one target environment is; None for what its measurer did not say.

    Attributes:
        flags: those that are set, as `FLAGS` names them.
        flags_mask: those that were measured at all; None for all.
    """

    vendor: str | None = None
    model: str | None = None
    version: str | None = None
    svn: int | None = None
    layer: int | None = None
    index: int | None = None
    fwids: tuple[Fwid, ...] = ()
    flags: frozenset[str] | None = None
    vendor_info: bytes | None = None
    type: bytes | None = None
    flags_mask: frozenset[str] | None = None


def read_tcb_info(der: bytes) -> TcbInfo:
    """Read the value of tcg-dice-TcbInfo.

    Raises:
        Malformed: ``dice.encoding``, ``dice.too-large``, ``dice.hash``.
    """
    _require_sequence(der)
    return _tcb_info(der)


def read_multi_tcb_info(der: bytes) -> tuple[TcbInfo, ...]:
    """Read the value of tcg-dice-MultiTcbInfo.

    Raises:
        Malformed: as in `read_tcb_info`; ``dice.too-many``.
    """
    _require_sequence(der)
    found = _children(der, MOST_ENVIRONMENTS)
    if not found or any(part[0] != SEQUENCE for part in found):
        raise Malformed(_RULE, "MultiTcbInfo is a list of one TcbInfo or more")
    return tuple(map(_tcb_info, found))


def read_ueid(der: bytes) -> bytes:
    """Read the value of tcg-dice-Ueid; 7 to 33 octets (RFC 9711 4.2.1).

    Raises:
        Malformed: ``dice.encoding``, ``dice.too-large``.
    """
    return _one_octet_string(der, 7, 33)


def read_tcb_freshness(der: bytes) -> bytes:
    """Read the value of tcg-dice-TcbFreshness, a nonce of 8 to 64 octets.

    Raises:
        Malformed: ``dice.encoding``, ``dice.too-large``.
    """
    return _one_octet_string(der, 8, 64)


def _one_octet_string(der: bytes, least: int, most: int) -> bytes:
    _require_sequence(der)
    parts = _children(der, 1)
    if len(parts) != 1 or parts[0][0] != OCTET_STRING:
        raise Malformed(_RULE, "not a SEQUENCE of one OCTET STRING")
    found = _content(parts[0])
    if not least <= len(found) <= most:
        raise Malformed(_RULE, f"{len(found)} octets are not {least} to {most}")
    return found


def _tcb_info(der: bytes) -> TcbInfo:
    found: dict[str, Any] = {}
    last = -1
    for part in _children(der, len(_FIELDS)):
        tag = part[0] & 0x1F
        if tag <= last or tag >= len(_FIELDS) or part[0] & 0xC0 != _PRIMITIVE:
            raise Malformed(_RULE, f"a TcbInfo has no field {part[0]:#04x} here")
        last = tag
        name, form, read = _FIELDS[tag]
        if part[0] & 0xE0 != form:
            raise Malformed(_RULE, f"{name} has another form")
        if read is not None:
            found[name] = read(part)
    return TcbInfo(**found)


def _text(part: bytes) -> str:
    content = _content(part)
    if len(content) > _LONGEST_TEXT:
        raise Malformed("dice.too-large", f"a text of {len(content)} octets")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise Malformed(_RULE, "a text is not UTF-8") from error


def _integer(part: bytes) -> int:
    try:
        return unsigned(_content(part))
    except ValueError as error:
        raise Malformed(_RULE, str(error)) from error


def _fwids(part: bytes) -> tuple[Fwid, ...]:
    found = tuple(map(_fwid, _children(part, MOST_FWIDS)))
    if not found:
        raise Malformed(_RULE, "an empty list of digests")
    return found


def _fwid(part: bytes) -> Fwid:
    parts = _children(part, 2) if part[0] == SEQUENCE else []
    if len(parts) != 2 or parts[1][0] != OCTET_STRING:
        raise Malformed(_RULE, "a digest is an algorithm and an OCTET STRING")
    name, size = _HASHES.get(parts[0], ("", 0))
    digest = _content(parts[1])
    if not name or len(digest) != size:
        raise Malformed("dice.hash", "no digest by SHA-256, SHA-384 or SHA-512")
    return Fwid(name, digest)


def _flags(part: bytes) -> frozenset[str]:
    content = _content(part)
    if not 1 <= len(content) <= _LONGEST_FLAGS or content[0] > 7 or content == b"\x01":
        raise Malformed(_RULE, "flags are a BIT STRING of 32 bits at most")
    bits = int.from_bytes(content[1:], "big")
    size = 8 * (len(content) - 1)
    if bits & ((1 << content[0]) - 1) or content[0] > size:
        raise Malformed(_RULE, "unused bits are 0")
    return frozenset(
        name for bit, name in enumerate(FLAGS) if bit < size and bits >> (size - 1 - bit) & 1
    )


def _content(part: bytes) -> bytes:
    _, start, end = read_element(part)
    return part[start:end]


_FIELDS: tuple[tuple[str, int, Callable[[bytes], Any] | None], ...] = (
    ("vendor", _PRIMITIVE, _text),
    ("model", _PRIMITIVE, _text),
    ("version", _PRIMITIVE, _text),
    ("svn", _PRIMITIVE, _integer),
    ("layer", _PRIMITIVE, _integer),
    ("index", _PRIMITIVE, _integer),
    ("fwids", _CONSTRUCTED, _fwids),
    ("flags", _PRIMITIVE, _flags),
    ("vendor_info", _PRIMITIVE, _content),
    ("type", _PRIMITIVE, _content),
    ("flags_mask", _PRIMITIVE, _flags),
    ("integrity_registers", _CONSTRUCTED, None),
)


def _children(der: bytes, most: int) -> list[bytes]:
    try:
        found = children(der, most)
    except ValueError as error:
        raise Malformed(_RULE, str(error)) from error
    if len(found) > most:
        raise Malformed("dice.too-many", f"more than {most} elements in a list")
    return found


def _require_sequence(der: bytes) -> None:
    """Return if `der` is one SEQUENCE and not too large."""
    if len(der) > _LONGEST:
        raise Malformed("dice.too-large", f"more than {_LONGEST} octets")
    if der[:1] != bytes([SEQUENCE]):
        raise Malformed(_RULE, "a SEQUENCE is missing")
    try:
        _, _, end = read_element(der)
    except ValueError as error:
        raise Malformed(_RULE, str(error)) from error
    if end != len(der):
        raise Malformed(_RULE, "octets follow")
