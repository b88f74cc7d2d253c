"""What a signing process is told to open."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from backends.pkcs11_messages import Opening, Padding

if TYPE_CHECKING:
    from pathlib import Path

    from backends.pkcs11_uri import Pkcs11Uri
    from est_server.ports.secret import Secret


def opening_of(
    uri: Pkcs11Uri,
    pin: Secret,
    base: Path,
    *,
    hash_name: str,
    padding: Padding = "PKCS1v15",
    generate: str | None = None,
    lasting: bool = True,
) -> Opening:
    """Return what a signing process opens.

    Raises:
        OSError: the PIN can't be read.
        UnicodeDecodeError: the PIN is no UTF-8.
    """
    facts = ("token", "serial", "manufacturer", "model", "slot_id")
    return Opening(
        module_path=uri.module_path,
        token={name: value for name in facts if (value := getattr(uri, name)) is not None},
        pin=pin.read(base).decode(),
        parent=os.getpid(),
        object=uri.object,
        id=None if uri.id is None else uri.id.hex(),
        hash=hash_name,
        padding=padding,
        generate=generate,
        lasting=lasting,
    )
