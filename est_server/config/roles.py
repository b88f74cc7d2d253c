"""What a process does, of all that a server does.

est          devices: the est listener, with the CAs' keys
publisher    lists, responders, and what has to be done from time to time, with the CAs' keys
validation   relying parties: the public listener; alone without keys, with a ledger that it reads
admin        the admin listener
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Collection

    from est_server.profiles.profile import ConfigPath

Role = Literal["est", "validation", "admin", "publisher"]
ROLES: tuple[Role, ...] = get_args(Role)
EVERYTHING: frozenset[Role] = frozenset(ROLES)
LISTENERS: dict[Role, str] = {"est": "est", "validation": "public", "admin": "admin"}


def keyless(roles: Collection[Role]) -> bool:
    """Tell whether a process has no CA's key, and writes nothing to the ledger."""
    return not {"est", "publisher"} & {*roles}


def listeners_of(roles: Collection[Role]) -> tuple[str, ...]:
    """Return the listeners that these roles have."""
    return tuple(listener for role, listener in LISTENERS.items() if role in roles)


def needs(path: ConfigPath, roles: Collection[Role], *, admin_of_its_own: bool) -> bool:
    """Tell whether a process has to have the secret or the certificate that a key names.

    Args:
        path: of the key in server.yaml.
        roles: of the process.
        admin_of_its_own: whether the admin listener has a certificate and a key of its own.
    """
    match path:
        case ("cas", *_):
            return not keyless(roles)
        case ("listeners", "est", *_):
            return "est" in roles or ("admin" in roles and not admin_of_its_own)
        case ("listeners", "admin", *_):
            return "admin" in roles
        case ("credentials", *_):
            return "est" in roles
        case ("listeners", "public", *_) | ("state", *_):
            return True
    return not keyless(roles)
