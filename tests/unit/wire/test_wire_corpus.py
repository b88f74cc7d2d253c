"""Every vector of tests/vectors does what its manifest says."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from est_server.errors import Malformed
from est_server.wire.change_subject_name import change_subject_name
from est_server.wire.cmc import parse_request
from est_server.wire.cms import parse_certs_only
from est_server.wire.csrattrs import parse_csrattrs
from est_server.wire.est_body import decode_body
from est_server.wire.ocsp import parse_ocsp_request
from est_server.wire.pkcs10 import parse_csr, verify_signature

VECTORS = Path(__file__).parents[2] / "vectors"
MANIFEST = json.loads((VECTORS / "manifest.json").read_text())


def _csr(der: bytes) -> None:
    verify_signature(parse_csr(der))


def _change(der: bytes) -> None:
    change_subject_name(parse_csr(der))


def _cmc(ber: bytes) -> None:
    message = parse_request(ber)
    message.verify(parse_csr(message.csr).public_key)


CODECS = {
    "body": decode_body,
    "csr": _csr,
    "csrattrs": parse_csrattrs,
    "certs-only": parse_certs_only,
    "ocsp": parse_ocsp_request,
    "change-subject-name": _change,
    "cmc": _cmc,
}


def _outcome(vector: dict) -> str:
    try:
        CODECS[vector["codec"]]((VECTORS / vector["file"]).read_bytes())
    except Malformed as error:
        return error.rule
    return "accept"


@pytest.mark.parametrize("vector", MANIFEST, ids=lambda vector: vector["file"])
def test_a_vector_is_read_or_refused_by_its_rule(vector):
    assert _outcome(vector) in vector["expect"]


@pytest.mark.filterwarnings("ignore:Attribute's length:UserWarning")
@pytest.mark.parametrize(
    "vector",
    [vector for vector in MANIFEST if "subject" in vector["file"] or "names" in vector["file"]],
    ids=lambda vector: vector["file"],
)
def test_names_are_judged_alike_where_warnings_are_not_errors(vector):
    assert _outcome(vector) in vector["expect"]


def test_the_manifest_names_every_file_of_its_folders_once():
    listed = [vector["file"] for vector in MANIFEST]
    folders = {Path(name).parent for name in listed}
    found = {
        str(path.relative_to(VECTORS))
        for folder in folders
        for path in (VECTORS / folder).iterdir()
    }
    assert len(listed) == len(set(listed))
    assert found == set(listed)


def test_the_generator_gives_the_corpus_octet_for_octet():
    script = VECTORS / "generate_wire.py"
    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "")
