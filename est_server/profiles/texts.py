"""How values read in gates and messages: bounded, on one line, with nothing invisible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.pki.names import general_name_text, name_text

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from cryptography import x509

LONGEST = 200
_MOST_NAMES = 10


def shown(text: str) -> str:
    """Return `text` cut to `LONGEST` characters, unprintable ones escaped."""
    if len(text) > LONGEST:
        text = text[: LONGEST - 1] + "…"
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def shown_subject(name: x509.Name) -> str:
    """Return a distinguished name as people read it."""
    return shown(name_text(name)) or "an empty subject"


def shown_names(names: Collection[x509.GeneralName]) -> str:
    """Return alternative names as people read them, the first ten of many."""
    if not names:
        return "none"
    texts = [general_name_text(name) for name in list(names)[:_MOST_NAMES]]
    more = len(names) - len(texts)
    return ", ".join(map(shown, texts)) + (f" and {more} more" if more else "")


def shown_time(time: datetime) -> str:
    """Return a time in UTC, to the second: ``2026-11-24 09:30:00Z``."""
    return f"{time.isoformat(' ', 'seconds')[:19]}Z"
