"""The hierarchy that follows a CA's in a token: its issuing key is made there.

The new root's key is kept where the old one's is: in the token, or in a file that an operator
brings along and takes away again. What is made in the token has a name with a random part, so that
what a crash left behind is in nobody's way.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from backends.pkcs11_store import open_store
from backends.pkcs11_uri import Pkcs11Uri
from backends.succession import (
    check_order,
    make_hierarchy,
    no_root_key,
    read_secret,
    root_in_file,
    root_key_reference,
    root_of,
    write_key,
)
from est_server.errors import BackendUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

    from backends.pkcs11 import Pkcs11Settings
    from est_server.pki.authority import Authority
    from est_server.ports.ca import CaCertificates
    from est_server.ports.rollover import Successor, SuccessorOrder


def make_successor(
    settings: Pkcs11Settings, certificates: CaCertificates, base: Path, order: SuccessorOrder
) -> Successor:
    """Make keys in the token and write the certificates.

    Args:
        settings: of the CA that is followed.
        certificates: of the CA that is followed.
        base: the folder of server.yaml.
        order: what is wanted.

    Raises:
        BackendUnavailable: the token or the old root's key can't be used.
        BackendRejected: ``rollover.hierarchy``, ``rollover.lifetime``.
    """
    check_order(certificates, order)
    label, algorithm = PurePosixPath(order.settled).name, order.algorithm
    in_file = (order.root_key or "").startswith(("file:", "env:"))
    with ExitStack() as opened:
        place = replace(settings.key, object=None, id=None)
        store = opened.enter_context(open_store(place, settings.pin, base))
        old_root = certificates.chain[-1]
        if in_file:
            passphrase = order.root_passphrase
            if passphrase is None:
                raise no_root_key("the passphrase of the root's key is not the token's PIN")
            secret = read_secret(passphrase, base)
            key = root_key_reference(order.root_key or "")
            old, new_root = root_in_file(old_root, key, passphrase, base), None
        else:
            old = _root_in_token(opened, settings, old_root, base, order)
            new_root = store.generate(f"{label}-root", algorithm, lasting=not order.dry_run)
        issuing = store.generate(label, algorithm, lasting=not order.dry_run)
        made = make_hierarchy(
            certificates,
            old,
            order,
            root=algorithm if new_root is None else new_root.key,
            issuing=issuing.key,
        )
        if in_file:
            write_key(order.folder, "root", made.root, secret)
    made.write(order.folder)
    kept = {"timeout", "sessions"} | ({"rsa_padding"} if algorithm.startswith("RSA") else set())
    return made.successor(
        {
            **settings.model_dump(mode="json", include=kept, exclude_unset=True),
            **issuing.settings,
            "certificate": f"{order.settled}/issuing.pem",
            "chain": [f"{order.settled}/root.pem"],
        }
    )


def _root_in_token(
    opened: ExitStack,
    settings: Pkcs11Settings,
    certificate: x509.Certificate,
    base: Path,
    order: SuccessorOrder,
) -> Authority:
    """Return the old root, whose key is in a token: beside the issuing key, or where it is said."""
    uri, pin = settings.key, order.root_passphrase or settings.pin
    if order.root_key is not None:
        try:
            uri = Pkcs11Uri.parse(order.root_key)
        except ValueError as error:
            raise no_root_key(f"the root's key: {error}") from error
        pin = uri.pin_source or pin
    elif uri.object is None:
        raise no_root_key("`key` names no label, so there is none that the root's could be")
    else:
        uri = replace(uri, object=f"{uri.object}-root", id=None)
    try:
        kept = opened.enter_context(open_store(uri, pin, base)).find(uri.object)
    except BackendUnavailable as error:
        raise no_root_key(f"{error.message}; {error.hint}") from error
    return root_of(certificate, kept.key, f"{uri.object} in the token")
