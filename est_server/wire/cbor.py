"""CBOR (RFC 8949) as signed statements may have it: definite lengths, no key twice, few levels.

A reader that keeps the first of two equal keys and one that keeps the last see different claims
under one signature. Tags other than those that are looked for have no meaning here, and are not
given one by the library: dates, numbers and expressions that it would build cost what they like.
NaN and infinities are refused: what is read here may be kept as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from io import BytesIO
from math import isfinite
from typing import TYPE_CHECKING, Any, NoReturn

from est_server.errors import Malformed

if TYPE_CHECKING:
    from types import ModuleType

MOST_OCTETS = 32 * 1024
DEEPEST = 16
_BUILT = (
    *(0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004),
    *(43000, 55799),
)
"""Tags that cbor2 makes something of."""


def decode(data: bytes) -> Any:
    """Return the one item that `data` is.

    Raises:
        Malformed: ``cbor.too-large``, ``cbor.encoding``.
    """
    if len(data) > MOST_OCTETS:
        raise Malformed("cbor.too-large", f"more than {MOST_OCTETS} octets")
    cbor2 = _library()
    source = BytesIO(data)
    decoder = cbor2.CBORDecoder(
        source,
        max_depth=DEEPEST,
        allow_indefinite=False,
        allow_duplicate_keys=False,
        semantic_decoders=dict.fromkeys(_BUILT, _refuse),
    )
    try:
        found = _plain(decoder.decode())
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Malformed("cbor.encoding", str(error)[:200]) from error
    if source.tell() != len(data):
        raise Malformed("cbor.encoding", f"{len(data) - source.tell()} octets follow the item")
    return found


def _plain(item: Any) -> Any:
    """Return lists and dicts for what the library makes immutable inside a tag."""
    if isinstance(item, Mapping):
        return {key: _plain(value) for key, value in item.items()}
    if isinstance(item, list | tuple):
        return [_plain(one) for one in item]
    if isinstance(item, _library().CBORTag):
        return type(item)(item.tag, _plain(item.value))
    if isinstance(item, float) and not isfinite(item):
        raise ValueError("a number that JSON does not have")
    return item


def encode(item: Any) -> bytes:
    """Return the octets of an item."""
    encoded: bytes = _library().dumps(item)
    return encoded


def tagged(item: Any, number: int) -> Any:
    """Return what stands in a tag of this number; None if `item` is anything else."""
    is_tag = isinstance(item, _library().CBORTag)
    return item.value if is_tag and item.tag == number else None


def _refuse(*_: object) -> NoReturn:
    raise ValueError("a tag that means nothing here")


@cache
def _library() -> ModuleType:
    try:
        import cbor2  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise RuntimeError(
            "CBOR evidence needs more: pip install 'est-server[attestation]'"
        ) from error
    return cbor2
