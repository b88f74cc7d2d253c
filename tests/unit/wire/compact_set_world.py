"""Universes of certificates, and a CA that signs what is said of them."""

from __future__ import annotations

import importlib.util
import secrets
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from est_server.pki.authority import authority_key_identifier, make_root
from est_server.pki.signatures import sign_and_check, signature_algorithm
from est_server.wire.cms_by_ca import encode_signed, to_be_signed
from est_server.wire.compact_set import (
    CONTENT_TYPE,
    CompactSet,
    encode_compact_set,
    serial_octets,
)
from est_server.wire.ribbon import build

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(1)
INTEROP = Path(__file__).parents[3] / "interop" / "compact-set"


EC = "EC-P256"


@cache
def authority(algorithm):
    return make_root("Issuing", algorithm, lifetime=3650 * DAY, now=NOW - DAY)


def filter_of(bad, good):
    """Return a filter; like its maker, try seeds until one works."""
    octets = [[serial_octets(serial) for serial in serials] for serials in (bad, good)]
    return next(filter(None, (build(*octets, secrets.token_bytes(8)) for _ in range(10))))


def content(bad, good, **fields):
    bad, good = sorted(bad), sorted(good)
    identifier = authority_key_identifier(authority(EC).certificate).key_identifier
    values = {
        "key_identifier": identifier, "number": 7, "this_update": NOW, "next_update": NOW + DAY,
        "begins_from": NOW - 300 * DAY, "begins_until": NOW - timedelta(hours=1), "ends_from": NOW,
        "certificates": len(bad) + len(good), "not_good": len(bad), "filter": filter_of(bad, good),
    }  # fmt: skip
    return CompactSet(**{**values, **fields})


def signed(octets, algorithm=EC, content_type=CONTENT_TYPE):
    key, ca = authority(algorithm).key, authority(algorithm).certificate
    name, identifier = signature_algorithm(key), authority_key_identifier(ca).key_identifier
    signature = sign_and_check(key, to_be_signed(octets, content_type, name))
    return encode_signed(octets, content_type, identifier, name, signature)


def signed_set(bad, good, algorithm=EC, **fields):
    return signed(encode_compact_set(content(bad, good, **fields)), algorithm)


@cache
def other_checker():
    """Return the check in the interop folder, which shares no code with us."""
    spec = importlib.util.spec_from_file_location("check_set", INTEROP / "check_set.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
