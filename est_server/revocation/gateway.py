"""A gateway's copies of revocation lists: which are taken, and what its file says. Pure.

A list replaces the one before if the CA signed it, it is in force and whole, and its number is
higher: dates are no measure, since clocks go back, and caches hand out what is old.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from asn1crypto import pem
from cryptography import x509

from est_server.errors import Denied, Malformed
from est_server.revocation.checker import check_delta, check_outline
from est_server.wire.crl_reading import read_crl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from est_server.wire.crl_reading import Crl

_LABEL = "X509 CRL"  # RFC 7468 6
_FEW = 8
_STEPS = timedelta(seconds=1), timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Copy:
    """A list that may be used.

    Attributes:
        crl: its outline.
        der: its octets.
    """

    crl: Crl
    der: bytes = field(repr=False)


def accept(der: bytes, issuer: x509.Certificate, now: datetime, held: Copy | None) -> Copy:
    """Return the list that is right to have: a new one, or the one that is held already.

    Args:
        der: what was fetched.
        issuer: the CA's certificate.
        now: the time.
        held: the list that it would replace.

    Raises:
        Malformed: it is no list.
        Denied: ``follow.list``: it must not be used; ``follow.older``: its number is not higher.
            ``follow.partial``: it is for some of the CA's certificates only.
    """
    crl = read_crl(der)
    if crl.scope is not None:
        raise Denied("follow.partial", "it is a list of some of the CA's certificates only")
    for finding in check_outline(crl, der, issuer, now):
        raise Denied("follow.list", f"{finding.rule}: {finding.message}")
    if held is None or crl.number > held.crl.number:
        return Copy(crl, der)
    if der != held.der:
        raise Denied(
            "follow.older",
            f"its number is {crl.number}, and {held.crl.number} is here already",
            hint="a cache or a server is behind; after a restore: est-server crl floor",
        )
    return held


def require_fitting(delta: Copy, base: Copy) -> None:
    """Return if a delta CRL can be used with a complete list.

    Raises:
        Denied: ``follow.delta``.
    """
    for finding in check_delta(delta.crl, base.crl):
        raise Denied("follow.delta", f"{finding.rule}: {finding.message}")


def still_held(der: bytes, issuer: x509.Certificate, now: datetime) -> Copy | None:
    """Return a list that was found in the file if it is of this CA, and good."""
    try:
        return accept(der, issuer, now, None)
    except (Malformed, Denied):
        return None


def shown(lists: Sequence[Copy], wanted: Mapping[int, bool]) -> set[int]:
    """Return the serial numbers that lists show as is wanted of them.

    Args:
        lists: a complete list, and perhaps its delta behind it.
        wanted: by serial number, whether it has to be listed.
    """
    listed: dict[int, bool] = {}
    for copy in lists:  # what a delta says goes before
        parsed = x509.load_der_x509_crl(copy.der)
        if len(wanted) <= _FEW:
            found = map(parsed.get_revoked_certificate_by_serial_number, wanted)
            entries: Iterable[x509.RevokedCertificate] = filter(None, found)
        else:
            entries = (one for one in parsed if one.serial_number in wanted)
        for entry in entries:
            listed[entry.serial_number] = not _removed(entry)
    return {serial for serial, there in wanted.items() if listed.get(serial, False) is there}


def _removed(entry: x509.RevokedCertificate) -> bool:
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except x509.ExtensionNotFound:
        return False
    return reason is x509.ReasonFlags.remove_from_crl


def pause(lists: Iterable[Copy], now: datetime) -> timedelta:
    """Return for how long nobody need look for the successor of one of these lists.

    A list is looked after once it has lived half of its life, then some twenty times until its end.
    """
    found = []
    for copy in lists:
        end = copy.crl.next_update or copy.crl.this_update
        life = end - copy.crl.this_update
        due = copy.crl.this_update + life / 2 - now
        step = min(max(life / 40, _STEPS[0]), _STEPS[1])
        found.append(max(step, due))
    return min(found)


def file_of(lists: Sequence[Copy], form: str) -> bytes:
    """Return the content of a gateway's file.

    Args:
        lists: in order.
        form: pem; or der, which holds one list.
    """
    if form == "der":
        (only,) = lists
        return only.der
    armored: list[bytes] = [pem.armor(_LABEL, copy.der) for copy in lists]
    return b"".join(armored)


def lists_in(content: bytes) -> list[bytes]:
    """Return the DER of every list in a file, PEM or DER; what is no list is left out."""
    if b"-----BEGIN" not in content:
        return [content] if content else []
    try:
        return [der for label, _, der in pem.unarmor(content, multiple=True) if label == _LABEL]
    except ValueError:
        return []
