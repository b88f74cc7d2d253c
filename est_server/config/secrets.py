"""Secrets that the configuration refers to: are they there, and does nobody else read them?"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from est_server.config.validate import shown
from est_server.errors import Problem
from est_server.ports.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from est_server.config.document import Document
    from est_server.profiles.profile import ConfigPath

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def secrets_in(value: Any, path: ConfigPath = ()) -> Iterator[tuple[ConfigPath, Secret]]:
    """Yield every secret below a model, with the path of its reference in the file."""
    if isinstance(value, Secret):
        yield path, value
    elif isinstance(value, BaseModel):
        for name, info in type(value).model_fields.items():
            yield from secrets_in(getattr(value, name), (*path, info.alias or name))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from secrets_in(item, (*path, key))
    elif isinstance(value, tuple | list):
        for index, item in enumerate(value):
            yield from secrets_in(item, (*path, index))


def check_secret(
    document: Document, path: ConfigPath, secret: Secret, base: Path
) -> Problem | None:
    """Return what is wrong with a secret; it is not read.

    Args:
        document: the file that refers to it.
        path: where in the file.
        secret: the reference.
        base: where relative paths start.
    """
    at = document.value(*path)
    file = secret.path(base)
    if file is None:
        if os.environ.get(secret.name):
            return None
        message = f"{shown(path)}: the environment has no {secret.name}"
        return Problem(at, "E213", message)
    try:
        status = file.stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return Problem(at, "E213", f"{shown(path)}: {secret.name}: {reason}")
    if not stat.S_ISREG(status.st_mode):
        return Problem(at, "E213", f"{shown(path)}: {secret.name} is no file")
    if status.st_mode & _OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        message = f"{shown(path)}: {secret.name} is readable by others (mode {mode:04o})"
        return Problem(at, "E212", message, f"chmod 600 {file}")
    return None
