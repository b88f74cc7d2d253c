"""The filter of a compact set, solved beside the server and not in it.

Solving takes about 5 µs a certificate, of the interpreter's lock, which OCSP needs. So a process of
its own does it, at low priority. It gets the set without its filter, in the octets that a set has
anyway, and the serial numbers behind it; it gives the set with its filter back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from dataclasses import replace
from hashlib import sha256

from est_server.errors import BackendUnavailable
from est_server.ports.crl import SERIAL_OCTETS
from est_server.wire.compact_set import CompactSet, decode_compact_set, encode_compact_set
from est_server.wire.ribbon import build

SEED_OCTETS = 8
_FEW = 500
"""Certificates, up to which a process would take longer to start than to solve."""
_TRIES = 20
"""One in millions of seeds does not work."""
_LENGTH_OCTETS = 4
_NICER = 10


async def with_filter(empty: CompactSet, serial_numbers: bytes) -> bytes:
    """Return the octets of a set, its filter solved.

    Args:
        empty: all but the filter, of which the seed is there.
        serial_numbers: `SERIAL_OCTETS` each, those that are not good first.

    Raises:
        BackendUnavailable: ``compact-set.build``: the process did not come to its end.
    """
    if empty.certificates <= _FEW:
        return _solved(empty, serial_numbers)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", __name__,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    head = encode_compact_set(empty)
    work = b"".join((len(head).to_bytes(_LENGTH_OCTETS, "big"), head, serial_numbers))
    try:
        octets, told = await process.communicate(work)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        last = told[-500:].decode(errors="replace")
        raise BackendUnavailable(
            "compact-set.build",
            f"a compact set of {empty.certificates} certificates could not be made",
            hint=f"its process ended with {process.returncode}: {last}",
        )
    return octets


def _solved(empty: CompactSet, serial_numbers: bytes) -> bytes:
    keys = [
        serial_numbers[at : at + SERIAL_OCTETS].lstrip(b"\0")
        for at in range(0, len(serial_numbers), SERIAL_OCTETS)
    ]
    members, others = keys[: empty.not_good], keys[empty.not_good :]
    seed = empty.filter.seed
    for _ in range(_TRIES):
        if (found := build(members, others, seed)) is not None:
            return encode_compact_set(replace(empty, filter=found))
        seed = sha256(seed).digest()[:SEED_OCTETS]
    raise ValueError("no seed works: a serial number is there twice")


def _main() -> None:
    os.nice(_NICER)
    work = sys.stdin.buffer.read()
    begin = _LENGTH_OCTETS + int.from_bytes(work[:_LENGTH_OCTETS], "big")
    empty = decode_compact_set(work[_LENGTH_OCTETS:begin])
    sys.stdout.buffer.write(_solved(empty, work[begin:]))


if __name__ == "__main__":
    _main()
