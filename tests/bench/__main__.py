"""Run benches: ``make bench``, or ``python tests/bench [BENCH …] [-o json]``.

A bench is a module with ``run(options, scratch) -> Report``, listed below. It has a scratch folder
of its own on the disk that is measured, servers from `peers`, load from `clients` (or any program
that a `Contender` can start), rounds and figures from `measure`.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import bench_attestation
import bench_compact
import bench_crl
import bench_enroll
import bench_ocsp
import bench_pkcs11
import bench_start
import bench_workers
from peers import REPOSITORY
from report import show

BENCHES = {
    "attestation": bench_attestation.run,
    "compact": bench_compact.run,
    "crl": bench_crl.run,
    "enroll": bench_enroll.run,
    "ocsp": bench_ocsp.run,
    "pkcs11": bench_pkcs11.run,
    "start": bench_start.run,
    "workers": bench_workers.run,
}


def main() -> None:
    """Run the benches that were asked for, all by default."""
    parser = argparse.ArgumentParser(prog="bench", description="Measure est-server beside peers.")
    parser.add_argument("bench", nargs="*", metavar="|".join(BENCHES), help="all by default")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    parser.add_argument("--rounds", type=int, default=7, help="of each contender, beside a warm-up")
    parser.add_argument("--operations", type=int, default=2000, help="of a round")
    parser.add_argument("--clients", type=int, default=2, help="client processes")
    parser.add_argument("--threads", type=int, default=16, help="connections of each of them")
    parser.add_argument(
        "--directory",
        type=Path,
        default=REPOSITORY / "var" / "bench",
        help="on the disk that the ledger's commits wait for; emptied first",
    )
    options = parser.parse_args()
    if unknown := set(options.bench) - set(BENCHES):
        parser.error(f"no such bench: {', '.join(sorted(unknown))}")
    shutil.rmtree(options.directory, ignore_errors=True)
    options.directory.mkdir(parents=True)
    reports = [
        BENCHES[name](options, options.directory.resolve() / name)
        for name in options.bench or BENCHES
    ]
    show(reports, options.directory, options.output)


if __name__ == "__main__":
    main()
