"""Patterns of profiles: which requested names are allowed.

All of them decide in time linear in the name, whatever a device sends.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"  # RFC 1034 3.5, and the underscore in use
_DNS_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_LONGEST_DNS_NAME = 253

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class TextPattern:
    """A pattern in which ``*`` stands for any text, as its literal parts in order."""

    parts: tuple[str, ...]

    def matches(self, text: str) -> bool:
        """Tell whether the whole text fits."""
        first, *rest = self.parts
        if not rest:
            return text == first
        *middle, last = rest
        if not text.startswith(first):
            return False
        at = len(first)
        for part in middle:
            found = text.find(part, at)
            if found < 0:
                return False
            at = found + len(part)
        return len(text) - at >= len(last) and text.endswith(last)


@dataclass(frozen=True, slots=True)
class DnsPattern:
    """A pattern in which ``*`` stands for exactly one label, in whatever case.

    A wildcard name is only allowed by the pattern that is literally it: ``*.example.net`` gives
    out ``*.example.net`` to the device that asks for it, ``*.*`` does not.
    """

    text: str
    expression: re.Pattern[str]

    def matches(self, name: str) -> bool:
        """Tell whether the requested name fits."""
        lowered = name.lower()
        if "*" in lowered:
            return lowered == self.text
        return len(lowered) <= _LONGEST_DNS_NAME and bool(self.expression.fullmatch(lowered))


def text_pattern(pattern: str) -> TextPattern:
    """Return the pattern that a profile writes as `pattern`."""
    return TextPattern(tuple(pattern.split("*")))


def dns_pattern(pattern: str) -> DnsPattern:
    """Return the DNS pattern that a profile writes as `pattern`.

    Raises:
        ValueError: ``*`` is only a part of a label, or the rest is no DNS name.
    """
    lowered = pattern.lower()
    labels = lowered.split(".")
    if any("*" in label and label != "*" for label in labels):
        raise ValueError("in a DNS pattern * stands for one whole label, like *.example.net")
    if not is_dns_name(".".join("x" if label == "*" else label for label in labels)):
        raise ValueError(f"{pattern!r} is no DNS name")
    parts = (_LABEL if label == "*" else re.escape(label) for label in labels)
    return DnsPattern(lowered, re.compile(r"\.".join(parts)))


def network(pattern: str) -> Network:
    """Return the network, or the one address, that a profile writes as `pattern`.

    Raises:
        ValueError: it is neither.
    """
    return ipaddress.ip_network(pattern)


def is_dns_name(text: str) -> bool:
    """Tell whether `text` is a DNS name in the form that certificates carry (A-labels)."""
    return len(text) <= _LONGEST_DNS_NAME and bool(_DNS_NAME.fullmatch(text.lower()))


def any_matches(patterns: Iterable[TextPattern | DnsPattern], text: str) -> bool:
    """Tell whether one of the patterns allows `text`."""
    return any(pattern.matches(text) for pattern in patterns)


def any_contains(networks: Iterable[Network], address: Address) -> bool:
    """Tell whether one of the networks has `address`."""
    return any(address in network for network in networks)
