"""The conformance kit against our own server, check by check, over TLS 1.2 and 1.3.

These are the conformance tests of what can be seen from outside: each check is tagged with its
case.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cases import case
from est_process import REPOSITORY
from kit_expectations import ELSEWHERE

from interop.conformance.run import cases, put

KIT = REPOSITORY / "interop" / "conformance"


@pytest.fixture(scope="session")
def targets(lab_server, kit_targets):
    return kit_targets(lab_server)


@pytest.mark.parametrize(
    "check", [pytest.param(one, id=one.name, marks=case(one.number)) for one in cases()]
)
def test_our_server(check, targets):
    label = ELSEWHERE.get(check.name, "interop")
    outcomes = [put(check, target) for target in targets[label]]
    assert [one.detail for one in outcomes if one.state == "fail"] == []
    assert "pass" in {one.state for one in outcomes}


@pytest.fixture(scope="module")
def arguments(lab_server, credential):
    return (
        f"https://{lab_server.est}", "--ca", str(lab_server.root), "--user", ":".join(credential),
        "--label", "interop",
    )  # fmt: skip


def kit(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "interop.conformance", *arguments],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_command_tells_by_section_and_exits_with_0(arguments):
    done = kit(*arguments, "--only", "1,43,55,92")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "RFC 7030 4.1.2\n  pass    1  TLS 1.2  Cacerts is answered" in done.stdout
    assert "TLS 1.3 has no tls-unique" in done.stdout
    assert "4 cases, 8 checks: 7 pass, 0 fail, 1 not applicable" in done.stdout


def test_json_and_junit_say_the_same(arguments):
    found = json.loads(kit(*arguments, "--only", "43,92", "-o", "json").stdout)
    assert found["counts"] == {"pass": 3, "fail": 0, "n/a": 1}
    assert {one["clause"] for one in found["outcomes"]} == {"RFC 7030 4.1.3", "RFC 7030 3.5"}
    suites = ElementTree.fromstring(kit(*arguments, "--only", "43,92", "-o", "junit").stdout)
    assert [suite.get("name") for suite in suites] == ["EST over TLS 1.2", "EST over TLS 1.3"]
    assert sum(int(suite.get("skipped")) for suite in suites) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        ("http://localhost",),
        ("https://localhost",),
        ("https://localhost", "--insecure", "--only", "9999"),
        ("https://localhost", "--insecure", "--user", "nocolon"),
        ("https://127.0.0.1:1", "--insecure"),
    ],
)
def test_it_exits_with_2_where_it_can_t_run(wrong):
    assert kit(*wrong).returncode == 2


def test_a_server_under_another_root_is_not_believed(arguments, tmp_path, stranger):
    from cryptography.hazmat.primitives.serialization import Encoding

    root = tmp_path / "root.pem"
    root.write_bytes(stranger.root.certificate.public_bytes(Encoding.PEM))
    done = kit(arguments[0], "--ca", str(root), "--only", "1")
    assert (done.returncode, "certificate verify failed" in done.stderr) == (2, True)


def test_the_list_needs_no_server():
    done = kit("--list")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == len(cases())


def test_it_imports_nothing_of_ours():
    for path in KIT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [found.name for found in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or "."]
            roots = {name.partition(".")[0] for name in names}
            allowed = sys.stdlib_module_names | {"asn1crypto", "cryptography", "interop", "OpenSSL"}
            assert roots <= allowed, path
            assert all(
                name.startswith("interop.conformance") for name in names if "interop" in name
            ), path


def test_it_runs_from_a_folder_of_its_own(tmp_path):
    """No module of ours is needed: a copy of the folder alone is enough."""
    import shutil

    shutil.copytree(KIT, tmp_path / "interop" / "conformance")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import interop.conformance.__main__ as m;"
        "print(m.__file__); print([name for name in sys.modules if name.startswith('est_server')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        cwd=Path("/"), capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    where, modules = done.stdout.splitlines()
    assert where.startswith(str(tmp_path))
    assert modules == "[]"
