"""A coverage-guided fuzzer (Atheris, libFuzzer) in each parser of evidence.

    python tests/fuzz/coverage_guided.py [TARGET …] [--seconds N]      `make fuzz-attestation`

Each target runs in a process of its own, one after the other. A process ends at the first input
that raises anything but a refusal, takes more than `MOST_CPU` of processor time three times over,
or takes the process beyond its memory; the input is kept and named. What the fuzzer has found to
be interesting is kept in `--corpus` and is where the next run begins.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import re
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TESTS = Path(__file__).parents[1]
MOST_MEMORY = 256 << 20  # octets beyond what the process has at its start
LONGEST = 65536  # octets, as much as the body of a request
TRIES = 3  # a collection of garbage may fall into one


def main() -> int:
    """Run targets one after the other; return 1 if one of them found something."""
    parser = argparse.ArgumentParser(description="Fuzz the parsers of attestation evidence.")
    parser.add_argument("target", nargs="*", help="all by default")
    parser.add_argument("--module", default="verifier_targets", help="where TARGETS is")
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    parser.add_argument("--corpus", type=Path, default=Path("var/fuzz"))
    parser.add_argument("--within", help=argparse.SUPPRESS)  # the process of one target
    options = parser.parse_args()
    sys.path[:0] = [str(TESTS), str(Path(__file__).parent)]
    if options.within:
        _fuzz(options.module, options.within, options.seconds, options.corpus / options.within)
        return 0
    names = options.target or [*importlib.import_module(options.module).TARGETS]
    bad = [name for name in names if not _run(options, name)]
    print(f"{len(names)} targets, {len(bad)} with a finding", " ".join(bad))
    return 1 if bad else 0


def _run(options: argparse.Namespace, name: str) -> bool:
    """Fuzz one target and print a line about it; return whether nothing was found."""
    folder = options.corpus / name
    (folder / "corpus").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, "--within", name, "--module", options.module]
    command += ["--seconds", str(options.seconds), "--corpus", str(options.corpus)]
    with (folder / "log").open("w") as log:
        done = subprocess.run(command, stdout=log, stderr=log, check=False)
    said = (folder / "log").read_text(errors="replace")
    runs = re.findall(r"^#(\d+)\s.*?cov: (\d+)", said, re.MULTILINE)
    inputs, edges = runs[-1] if runs else ("0", "0")
    total = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
    peak = re.search(r"stat::peak_rss_mb:\s*(\d+)", said)
    slowest = folder / "slowest"
    print(
        f"{name:18} {total[1] if total else inputs:>9} inputs  {edges:>5} edges"
        f"  {slowest.read_text() if slowest.exists() else '-':>6} ms at most"
        f"  {peak[1] if peak else '-':>4} MiB  {'ok' if done.returncode == 0 else 'FOUND'}",
        flush=True,
    )
    if done.returncode:
        print("\n".join(said.splitlines()[-25:]))
    return done.returncode == 0


def _fuzz(module: str, name: str, seconds: int, folder: Path) -> None:
    """Let the fuzzer run in this process, which it ends."""
    import atheris

    # what is imported from here on tells the fuzzer which branches were taken
    with atheris.instrument_imports(include=["est_server", "asn1crypto", module]):
        targets = importlib.import_module(module)
    target: Any = targets.TARGETS[name]
    refusals: Any = importlib.import_module("attestation_targets").REFUSALS
    for number, seed in enumerate(target.seeds):
        (folder / "corpus" / f"seed-{number}").write_bytes(seed)
    (folder / "slowest").unlink(missing_ok=True)
    most = MOST_MEMORY + 4096 * int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (most, most))  # beyond it, MemoryError
    atheris.Setup(
        [
            sys.argv[0],
            f"-max_total_time={seconds}",
            f"-max_len={LONGEST}",
            "-len_control=20",
            "-timeout=5",
            "-print_final_stats=1",
            f"-artifact_prefix={folder}/",
            str(folder / "corpus"),
        ],
        Watched(target.call, refusals, folder / "slowest"),
    )
    atheris.Fuzz()


class Watched:
    """Calls a target with each input and sees what that comes to."""

    def __init__(self, call: Callable[[bytes], object], refusals: Any, report: Path) -> None:
        self._call, self._refusals, self._report = call, refusals, report
        self._most = importlib.import_module("attestation_targets").MOST_CPU
        self._slowest = 0.0

    def __call__(self, data: bytes) -> None:
        spent = self._spent(data)
        if spent <= self._slowest:
            return
        spent = min(spent, *(self._spent(data) for _ in range(TRIES - 1)))
        if spent > self._slowest:
            self._slowest = spent
            self._report.write_text(f"{spent * 1000:.1f}")
        if spent > self._most:
            raise TimeoutError(f"{spent * 1000:.1f} ms of processor time")

    def _spent(self, data: bytes) -> float:
        start = time.thread_time()
        with contextlib.suppress(*self._refusals):
            self._call(data)
        return time.thread_time() - start


if __name__ == "__main__":
    sys.exit(main())
