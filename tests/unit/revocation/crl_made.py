"""Lists of a CA of the tests' own, each part as a test wants it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from est_server.pki.authority import authority_key_identifier, make_root
from est_server.pki.signatures import sign_and_check, signature_algorithm
from est_server.wire.crl import CrlContent, encode_crl, encode_entry, encode_tbs

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
ROOT = make_root("Issuing", "EC-P256", lifetime=timedelta(3650), now=NOW)
OTHER = make_root("Issuing", "EC-P256", lifetime=timedelta(3650), now=NOW)
ALGORITHM = signature_algorithm(ROOT.key)
KEY = authority_key_identifier(ROOT.certificate).key_identifier
URL = "http://pki.example.net/crl/ca-1.crl"
BASE = CrlContent(
    algorithm=ALGORITHM, issuer=ROOT.certificate.subject.public_bytes(), key_identifier=KEY,
    number=7, this_update=NOW - HOUR, next_update=NOW + HOUR, only_at=URL,
    freshest=("http://pki.example.net/crl/ca-1-delta.crl",),
)  # fmt: skip
DELTA = replace(BASE, number=9, base_number=6, this_update=NOW, freshest=())
ENTRY = encode_entry(5, NOW - HOUR, "superseded", None)


def signed(tbs, key=ROOT.key):
    return encode_crl(tbs, ALGORITHM, sign_and_check(key, tbs))


def made(content=BASE, entries=(ENTRY,), key=ROOT.key):
    return signed(encode_tbs(content, entries), key)
