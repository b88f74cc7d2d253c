"""The hierarchy that follows a soft CA's: new keys in encrypted files beside the old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.succession import (
    check_order,
    make_hierarchy,
    read_secret,
    root_in_file,
    root_key_reference,
    write_key,
)

if TYPE_CHECKING:
    from pathlib import Path

    from est_server.ports.ca import CaCertificates
    from est_server.ports.rollover import Successor, SuccessorOrder
    from est_server.ports.secret import Secret


def make_successor(
    certificates: CaCertificates,
    base: Path,
    root_key: str,
    passphrase: Secret,
    order: SuccessorOrder,
) -> Successor:
    """Make the hierarchy and write its files.

    Args:
        certificates: of the CA that is followed.
        base: the folder of server.yaml.
        root_key: where the old root's key is if the order does not say.
        passphrase: of the new keys, and of the old root's where the order names no other.
        order: what is wanted.

    Raises:
        BackendUnavailable: the old root's key, or a passphrase, can't be read.
        BackendRejected: ``rollover.hierarchy``, ``rollover.lifetime``.
    """
    check_order(certificates, order)
    secret = read_secret(passphrase, base)
    key = root_key_reference(order.root_key or root_key)
    old = root_in_file(certificates.chain[-1], key, order.root_passphrase or passphrase, base)
    algorithm = order.algorithm
    made = make_hierarchy(certificates, old, order, root=algorithm, issuing=algorithm)
    made.write(order.folder)
    write_key(order.folder, "root", made.root, secret)
    write_key(order.folder, "issuing", made.issuing, secret)
    return made.successor(
        {
            "certificate": f"{order.settled}/issuing.pem",
            "key": f"file:{order.settled}/issuing.key",
            "passphrase": passphrase.reference,
            "chain": [f"{order.settled}/root.pem"],
        }
    )
