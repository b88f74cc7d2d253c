"""A complete CRL of a million entries and a delta of a thousand: seconds and MiB."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from measure import Figure
from report import Report

from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite_file import connect
from est_server.wire.crl import encode_entry

if TYPE_CHECKING:
    from argparse import Namespace

REVOKED = 1_000_000
_START = datetime(2026, 1, 1, tzinfo=UTC)
_CHILD = Path(__file__).with_name("crl_publish.py")


def run(options: Namespace, scratch: Path) -> Report:
    """Measure; see the module."""
    scratch.mkdir(parents=True)
    path = scratch / "ledger.db"
    upgrade_schema(path)
    _fill(path, REVOKED)
    found = [_once(path) for _ in range(options.rounds)]
    _openssl(scratch)

    def of(name: str) -> tuple[float, ...]:
        return tuple(one[name] for one in found)

    figures = (
        Figure(f"{REVOKED:,} entries: read, built and signed, seconds", of("made"), 1.5, "at most"),
        Figure("of it reading the ledger, seconds", of("read")),
        Figure("with both commits to the ledger and gzip, seconds", of("published")),
        Figure("peak of the process, MiB", of("peak_mib"), 400, "at most"),
        Figure("of it before the list, MiB", of("idle_mib")),
        Figure("peak when it is published and packed, MiB", of("published_mib"), 400, "at most"),
        Figure("a delta of 1,000: read, built and signed, seconds", of("delta"), 0.02, "at most"),
        Figure("the list, octets", of("octets")),
    )
    how = f"{options.rounds} processes, each making the lists of one ledger; OpenSSL reads them"
    return Report("crl", how, (), figures)


def _fill(path: Path, count: int) -> None:
    """Write entries as revocation would have left them, without the certificates behind them."""
    db = connect(path)
    db.execute("PRAGMA synchronous=OFF")
    db.execute("BEGIN")
    end = int((_START + timedelta(days=36500)).timestamp()) * 1_000_000
    serials = sorted(secrets.randbits(158) | 1 << 152 for _ in range(count))
    reasons = ("superseded", "keyCompromise", "cessationOfOperation", "unspecified")
    db.executemany(
        "INSERT INTO revocation_entries VALUES ('ca', 0, ?, ?, ?, ?)",
        (
            (
                f"{serial:040x}", end, at + 1,
                encode_entry(serial, _START + timedelta(seconds=at // 50), reasons[at % 4], None),
            )
            for at, serial in enumerate(serials)
        ),
    )  # fmt: skip
    db.execute(
        "INSERT INTO revocation_events VALUES (?, 'ca', ?, 'revoked', NULL, 0, NULL, 0, '', '')",
        (count, f"{serials[-1]:040x}"),
    )
    db.execute("COMMIT")
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


def _openssl(scratch: Path) -> None:
    command = [
        "openssl", "crl", "-inform", "der", "-in", str(scratch / "base.crl"), "-CAfile",
        str(scratch / "ca.pem"), "-noout", "-verify", "-crlnumber",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or "verify OK" not in done.stderr:
        raise RuntimeError(f"OpenSSL does not take the list: {done.stdout}{done.stderr}")
