"""Patterns of profiles: which requested names are allowed."""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache


@lru_cache(maxsize=4096)
def text_pattern(pattern: str) -> re.Pattern[str]:
    """Return the expression for a pattern in which ``*`` stands for any text."""
    parts = (re.escape(part) for part in pattern.split("*"))
    return re.compile(".*".join(parts), re.DOTALL)


@lru_cache(maxsize=4096)
def dns_pattern(pattern: str) -> re.Pattern[str]:
    """Return the expression for a DNS pattern in which ``*`` stands for one whole label.

    Raises:
        ValueError: ``*`` is only a part of a label.
    """
    labels = pattern.lower().split(".")
    if any("*" in label and label != "*" for label in labels):
        raise ValueError("in a DNS pattern * stands for one whole label, like *.example.net")
    if not all(labels):
        raise ValueError("a DNS pattern has no empty labels")
    parts = (
        r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?" if label == "*" else re.escape(label)
        for label in labels
    )
    return re.compile(r"\.".join(parts))


@lru_cache(maxsize=4096)
def network(pattern: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Return the network that a pattern for addresses names.

    Raises:
        ValueError: it is neither an address nor a network.
    """
    return ipaddress.ip_network(pattern)


def dns_allowed(patterns: tuple[str, ...], name: str) -> bool:
    """Tell whether a requested DNS name fits; a wildcard name only fits itself, written out."""
    lowered = name.lower()
    if "*" in lowered:
        return lowered in {pattern.lower() for pattern in patterns}
    return any(dns_pattern(pattern).fullmatch(lowered) for pattern in patterns)


def text_allowed(patterns: tuple[str, ...], text: str) -> bool:
    """Tell whether a requested text fits."""
    return any(text_pattern(pattern).fullmatch(text) for pattern in patterns)


def address_allowed(
    patterns: tuple[str, ...], address: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> bool:
    """Tell whether a requested IP address lies in an allowed network."""
    return any(address in network(pattern) for pattern in patterns)
