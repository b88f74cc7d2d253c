"""C: the CA certificates of one label, and of no other."""

from __future__ import annotations

import subprocess

from asker import certificates
from cases import case
from est_process import COMMAND


def fingerprints(answer) -> set[bytes]:
    return {one.tbs_certificate_bytes for one in certificates(answer)}


@case(2)
@case(52)
def test_each_label_shows_its_own_hierarchy_and_nothing_of_another(lab):
    own = fingerprints(lab.with_(label="interop").ask("cacerts"))
    other = fingerprints(lab.with_(label="other").ask("cacerts"))
    assert len(own) == len(other) == 2
    assert not own & other
    assert fingerprints(lab.ask("cacerts")) == own


@case(51)
def test_an_etag_tells_that_nothing_changed(lab):
    first = lab.ask("cacerts")
    tag = first.get("ETag")
    assert first.status == 200
    assert tag == lab.ask("cacerts").get("ETag")
    same = lab.ask("cacerts", None, ("If-None-Match", tag))
    assert (same.status, same.body, same.get("ETag")) == (304, b"", tag)
    assert lab.ask("cacerts", None, ("If-None-Match", '"other"')).status == 200
    other = lab.with_(label="other").ask("cacerts").get("ETag")
    assert other != tag
    # libest gets lines, and so other octets
    assert lab.ask("cacerts", None, ("User-Agent", "libest 3")).get("ETag") != tag


@case(50)
def test_a_server_without_its_ca_does_not_start(new_server, tmp_path):
    """There is no state in which it serves and has no CA to show: 200 or no listener at all."""
    server = new_server(tmp_path / "s", "--interop")
    (server.directory / "ca" / "issuing.pem").write_text("")
    done = subprocess.run(
        [*COMMAND, "serve", "-c", server.config],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode in {3, 4}, done.stderr
    assert "issuing.pem" in done.stderr
