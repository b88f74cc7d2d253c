"""Compact sets of a million certificates: octets, seconds, MiB, and what it costs OCSP."""

from __future__ import annotations

import json
import math
import secrets
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Figure
from report import Report

from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite_file import connect

if TYPE_CHECKING:
    from argparse import Namespace

ISSUED = 1_000_000
SHARES = (0.01, 0.1)
_CERTIFICATE = 700  # octets of DER, which lie between the columns that are read
_CHILD = Path(__file__).with_name("compact_publish.py")


def run(options: Namespace, scratch: Path) -> Report:
    """Measure; see the module."""
    scratch.mkdir(parents=True)
    path = scratch / "ledger.db"
    upgrade_schema(path)
    _fill(path)
    figures: list[Figure] = []
    for share in SHARES:
        revoked = int(ISSUED * share)
        _revoke(path, revoked)
        found = [_once(path) for _ in range(options.rounds)]

        def of(name: str, found: list[dict[str, float]] = found) -> tuple[float, ...]:
            return tuple(one[name] for one in found)

        least = -ISSUED * (share * math.log2(share) + (1 - share) * math.log2(1 - share))
        lead = f"{revoked:,} revoked: "
        figures += (
            Figure(f"{lead}octets, signed", of("octets")),
            Figure(f"{lead}bits each", tuple(8 * one / revoked for one in of("octets"))),
            Figure(f"{lead}of it the least possible", (least / revoked,)),
            Figure(f"{lead}read, solved, signed and published, seconds", of("published")),
            Figure(f"{lead}of it reading the ledger, seconds", of("read")),
            Figure(f"{lead}longest that the event loop waited, ms", of("waited")),
            Figure(f"{lead}peak of the server's process, MiB", of("peak_mib")),
            Figure(f"{lead}of it before, MiB", of("idle_mib")),
            Figure(f"{lead}peak of the process that solves, no more than, MiB", of("child_mib")),
        )
    how = f"{ISSUED:,} certificates in one ledger, {options.rounds} processes for each share"
    return Report("compact", how, (), tuple(figures))


def _fill(path: Path) -> None:
    """Write certificates as enrollment would have left them, without the requests behind them."""
    db = connect(path)
    db.execute("PRAGMA foreign_keys=OFF")
    db.execute("PRAGMA synchronous=OFF")
    db.execute("BEGIN")
    end = 4_000_000_000_000_000
    db.executemany(
        "INSERT INTO certificates (ca, serial_number, status, der, spki_sha256, subject, profile,"
        " identity, request_id, not_before, not_after, issued_at)"
        " VALUES ('ca', ?, 'good', ?, ?, ?, 'p', ?, ?, ?, ?, ?)",
        (
            (
                f"{secrets.randbits(158) | 1 << 152:040x}", secrets.token_bytes(_CERTIFICATE),
                secrets.token_bytes(32), f"CN=SN-{number}", f"SN-{number}", f"r_{number}",
                1_700_000_000_000_000 + number, end, 1_700_000_000_000_000 + number,
            )
            for number in range(ISSUED)
        ),
    )  # fmt: skip
    db.execute("COMMIT")
    db.close()


def _revoke(path: Path, count: int) -> None:
    db = connect(path)
    db.execute("PRAGMA synchronous=OFF")
    db.execute(
        "UPDATE certificates SET status = 'revoked' WHERE rowid IN"
        " (SELECT rowid FROM certificates ORDER BY serial_number LIMIT ?)",
        (count,),
    )
    db.close()


def _once(path: Path) -> dict[str, float]:
    for table in ("crls", "crl_scopes"):
        db = connect(path)
        db.execute(f"DELETE FROM {table}")
        db.close()
    done = subprocess.run(
        [sys.executable, str(_CHILD), str(path)], capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
