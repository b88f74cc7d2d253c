"""The enrollment bench in its smallest form: it runs, and every figure is one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[1] / "bench"


def test_the_enrollment_bench_runs(need, tmp_path):
    need("nginx", "/usr/sbin/nginx")
    options = ("--rounds", "1", "--operations", "128", "--directory", str(tmp_path / "bench"))
    done = subprocess.run(
        [sys.executable, BENCH, "enroll", "-o", "json", *options],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (report,) = json.loads(done.stdout)
    names = {contender["name"] for contender in report["contenders"]}
    assert {"nginx answers, TLS 1.3", "est-server enrolls, TLS 1.2"} <= names
    rounds = [one for contender in report["contenders"] for one in contender["rounds"]]
    assert [one["operations"] for one in rounds] == [128] * len(report["contenders"])
    assert all(figure["median"] > 0 for figure in report["figures"])
