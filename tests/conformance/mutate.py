"""Breaks each rule and runs the tests of its cases: they must turn red.

    python tests/conformance/mutate.py [FAULT …]        `make conformance-mutations`

Prints what was seen, and at the end how many of the tested cases were seen to fail. What the kit
sees is the business of `test_faults.py`, which runs with every suite; it is counted here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

import broken_server  # noqa: E402, F401 - declares the faults
from cases import numbers, tagged  # noqa: E402
from faults import FAULTS  # noqa: E402

from interop.conformance.run import cases  # noqa: E402


def red(name: str, file: str, wanted: tuple[int, ...], folder: Path) -> set[int]:
    """Return which of the cases turned red under a fault."""
    found = folder / f"{name}.json"
    options = ("-q", "--tb=no", "-p", "no:cacheprovider", "--matrix-file", str(found))
    only = ("--cases", ",".join(map(str, wanted)))
    command = [sys.executable, "-m", "pytest", str(HERE / file), *options, *only]
    environment = {**os.environ, "CONFORMANCE_FAULT": name}
    done = subprocess.run(
        command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True, check=False
    )
    if not found.exists():
        print(done.stdout, done.stderr)
        return set()
    outcomes = json.loads(found.read_text())
    return {number for number in wanted if "failed" in outcomes.get(str(number), [])}


def main(chosen: list[str]) -> int:
    seen: set[int] = set()
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        for name, fault in FAULTS.items():
            if chosen and name not in chosen:
                continue
            for file, wanted in fault.tests.items():
                found = red(name, file, wanted, Path(folder))
                seen |= found
                missed += len({*wanted} - found)
                told = " ".join(f"{one}{'' if one in found else ' NOT SEEN'}" for one in wanted)
                print(f"{name:<48} {file:<32} {told}", flush=True)
    by_name = {one.name: one.number for one in cases()}
    kit = {by_name[check] for fault in FAULTS.values() for check in fault.checks}
    tested = {*tagged()} & numbers()
    left = sorted(tested - kit - seen)
    print(f"{len(kit)} cases are seen to fail by the kit, {len(seen - kit)} more by their tests;")
    print(f"{len(left)} of {len(tested)} tested cases have no fault here: {left}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
