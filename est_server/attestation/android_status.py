"""Google's list of attestation certificates that count no more, as a file of the operator's.

    {"entries": {"<serial number, lower-case hexadecimal>": {"status": "REVOKED" | "SUSPENDED", …}}}

https://android.googleapis.com/attestation/status has it; nothing here fetches anything. The serial
numbers are of any issuer: whoever issues them keeps them apart. One in capitals, or with zeros in
front, means the same, and a list with anything else is refused: no entry may be overlooked.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from est_server.ports.scalars import file_content
from est_server.ports.verifier import EvidenceRefused
from est_server.wire.strict_json import read_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509

_HEXADECIMAL = re.compile(r"[0-9A-Fa-f]+")


def read_status_list(data: bytes) -> frozenset[str]:
    """Return the serial numbers on a list, in lower-case hexadecimal without zeros in front.

    Raises:
        ValueError: it is none.
    """
    try:
        content = read_json(data)
    except ValueError as error:
        raise ValueError("this is not JSON") from error
    entries = content.get("entries") if isinstance(content, dict) else None
    if not isinstance(entries, dict) or not all(
        isinstance(entry, dict) and isinstance(entry.get("status"), str)
        for entry in entries.values()
    ):
        raise ValueError("this is no attestation status list: entries with a status each")
    if not all(map(_HEXADECIMAL.fullmatch, entries)):
        raise ValueError("the status list has an entry that is no serial number in hexadecimal")
    return frozenset(f"{int(serial, 16):x}" for serial in entries)


def refuse_listed(chain: Iterable[x509.Certificate], listed: frozenset[str]) -> None:
    """Return if no certificate of `chain` is on the list, whatever it says about it.

    Raises:
        EvidenceRefused: ``android-key.revoked``.
    """
    for found in chain:
        serial = f"{found.serial_number:x}"
        if serial in listed:
            raise EvidenceRefused("android-key.revoked", "not on the status list", serial)


def _from_file(value: Any, info: ValidationInfo) -> Any:
    return value if isinstance(value, frozenset) else read_status_list(file_content(value, info))


StatusList = Annotated[
    frozenset[str], BeforeValidator(_from_file), WithJsonSchema({"type": "string"})
]
"""The name of a file with a list."""
