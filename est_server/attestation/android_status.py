"""Google's list of attestation certificates that count no more, as a file of the operator's.

    {"entries": {"<serial number, lower-case hexadecimal>": {"status": "REVOKED" | "SUSPENDED", …}}}

https://android.googleapis.com/attestation/status has it; nothing here fetches anything. The serial
numbers are of any issuer: whoever issues them keeps them apart.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, ValidationInfo, WithJsonSchema

from est_server.ports.scalars import file_content
from est_server.ports.verifier import EvidenceRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509


def read_status_list(data: bytes) -> frozenset[str]:
    """Return the serial numbers on a list, in lower-case hexadecimal.

    Raises:
        ValueError: it is none.
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError("this is not JSON") from error
    entries = content.get("entries") if isinstance(content, dict) else None
    if not isinstance(entries, dict) or not all(
        isinstance(entry, dict) and isinstance(entry.get("status"), str)
        for entry in entries.values()
    ):
        raise ValueError("this is no attestation status list: entries with a status each")
    return frozenset(entries)


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
