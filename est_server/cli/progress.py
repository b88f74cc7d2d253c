"""What people see of long work: on a terminal, on stderr, until it is done; in a pipe nothing."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_WORTH_A_BAR = 1000


@contextmanager
def bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how much of a known number is done, where it is large.

    Yields:
        What is told how many more are done.
    """
    if total < _WORTH_A_BAR or not sys.stderr.isatty():
        yield lambda _steps: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=total)
        yield lambda steps: shown.advance(task, steps)


@contextmanager
def counting(what: str) -> Iterator[Callable[[str, int], None]]:
    """Show how many are done where nobody knows of how many.

    Args:
        what: that is counted, at first.

    Yields:
        What is told of what how many are done in all.
    """
    if not sys.stderr.isatty():
        yield lambda _what, _done: None
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as shown:
        yield lambda now, done: shown.update(f"{done:,} {now}")
