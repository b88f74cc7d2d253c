"""The outermost layer of DER: identifier, length, content (X.690 8.1, 10.1).

    identifier  one octet; tags above 30 do not occur in what is read here
    length      one octet below 0x80, or 0x81..0x84 and that many octets, as few as possible

Libraries read what is inside. This is here to refuse what they let pass, octets behind a message
among it, and to cut parts out of a message exactly as they were sent.
"""

from __future__ import annotations

from est_server.errors import Malformed

SEQUENCE = 0x30
OCTET_STRING = 0x04
_LONG_TAG = 0x1F
_LONG_FORM = 0x80
_MOST_LENGTH_OCTETS = 4
_LONGEST_INTEGER = 8


def read_element(der: bytes, at: int = 0) -> tuple[int, int, int]:
    """Return the identifier octet, the start of the content and the end of the element at `at`.

    Raises:
        ValueError: there is no whole element in DER's one form.
    """
    if len(der) < at + 2:
        raise ValueError("the DER is cut short")
    identifier, length, start = der[at], der[at + 1], at + 2
    if identifier & _LONG_TAG == _LONG_TAG:
        raise ValueError("the DER has a tag above 30")
    if length >= _LONG_FORM:
        octets = length - _LONG_FORM
        if not 1 <= octets <= _MOST_LENGTH_OCTETS:
            raise ValueError("the DER length is not valid")  # 0x80, indefinite, is BER alone
        start += octets
        length = int.from_bytes(der[at + 2 : start], "big")
        if len(der) < start or length < _LONG_FORM or der[at + 2] == 0:
            raise ValueError("the DER length is not in its shortest form")
    if len(der) < start + length:
        raise ValueError("the DER is cut short")
    return identifier, start, start + length


def header(identifier: int, length: int) -> bytes:
    """Return identifier and length of an element whose content is too large to be copied."""
    if length < _LONG_FORM:
        return bytes((identifier, length))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((identifier, _LONG_FORM + len(octets))) + octets


def children(der: bytes, most: int | None = None) -> list[bytes]:
    """Return the elements inside the one element that `der` is, each with its own header.

    Args:
        der: one element.
        most: no more than one beyond so many are cut out; the rest is not looked at.

    Raises:
        ValueError: see `read_element`.
    """
    _, at, end = read_element(der)
    found: list[bytes] = []
    while at < end and (most is None or len(found) <= most):
        _, _, after = read_element(der, at)
        found.append(der[at:after])
        at = after
    return found


def content_of(der: bytes, tag: int) -> bytes:
    """Return the content of the one element with this tag that `der` is.

    Raises:
        ValueError: it is something else; see `read_element`.
    """
    identifier, start, end = read_element(der)
    if identifier != tag or end != len(der):
        raise ValueError(f"not one element with tag {tag:#04x}")
    return der[start:end]


def octet_strings(der: bytes, count: int) -> list[bytes]:
    """Return the contents of the SEQUENCE of `count` OCTET STRINGs that `der` is.

    Raises:
        ValueError: it is something else.
    """
    content_of(der, SEQUENCE)
    found = [content_of(part, OCTET_STRING) for part in children(der, count)]
    if len(found) != count:
        raise ValueError(f"not a SEQUENCE of {count} OCTET STRINGs")
    return found


def unsigned(octets: bytes) -> int:
    """Return the INTEGER or ENUMERATED with this content, 0 or more (X.690 8.3, 8.4).

    Raises:
        ValueError: it is below 0, above 63 bits, or not in its one form.
    """
    if not 1 <= len(octets) <= _LONGEST_INTEGER or octets[0] >= 0x80:
        raise ValueError("a number is below 0 or above 63 bits")
    if len(octets) > 1 and octets[0] == 0 and octets[1] < 0x80:
        raise ValueError("a number is not in its shortest form")
    return int.from_bytes(octets, "big")


def require_one_sequence(der: bytes, rule: str) -> None:
    """Return if `der` is exactly one definite-length SEQUENCE.

    Args:
        der: the candidate.
        rule: first part of the rules raised, for example ``csr``.

    Raises:
        Malformed: ``<rule>.encoding`` or ``<rule>.trailing-bytes``.
    """
    if der[:1] != bytes([SEQUENCE]):
        raise Malformed(f"{rule}.encoding", "this is not a DER SEQUENCE")
    try:
        _, _, end = read_element(der)
    except ValueError as error:
        raise Malformed(f"{rule}.encoding", str(error)) from error
    if end < len(der):
        raise Malformed(f"{rule}.trailing-bytes", f"{len(der) - end} octets follow the DER")
