"""The two books of every backend: what its CA made, and what the ledger knows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from est_server.testing.desk import CA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from est_server.ports.ledger import Ledger


async def check_books(ledger: Ledger, made: Sequence[x509.Certificate]) -> None:
    """Return if the ledger finds every certificate that was made, and none was made twice.

    Raises:
        AssertionError: a certificate that the ledger can't find, or two for one request that are
            both in use.
    """
    in_use: dict[str, int] = {}
    for certificate in made:
        number = certificate.serial_number
        row = await ledger.certificate(CA, number)
        if row is None:
            raise AssertionError(f"the ledger does not know certificate {number:x}")
        if row.der not in {None, certificate.public_bytes(Encoding.DER)}:
            raise AssertionError(f"the ledger has another certificate {number:x}")
        if row.status == "good":
            in_use[row.request_id] = in_use.get(row.request_id, 0) + 1
    twice = [request for request, count in in_use.items() if count > 1]
    if twice:
        raise AssertionError(f"two certificates for one request: {twice}")
