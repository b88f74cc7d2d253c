"""C: the CA certificates of one label, and of no other."""

from __future__ import annotations

from pathlib import Path

import yaml
from asker import Asker, certificates
from cases import case
from est_process import serving

PROFILES = Path(__file__).with_name("profiles")


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
def test_a_ca_that_can_not_be_shown_is_503(new_server, tmp_path):
    server = new_server(tmp_path / "s", "--interop")
    settings = yaml.load(server.config.read_text(), Loader=yaml.BaseLoader)
    own = settings["cas"]["issuing"]
    settings["cas"]["broken"] = {**own, "certificate": "ca/broken.pem", "chain": []}
    server.config.write_text(yaml.safe_dump(settings))
    (server.directory / "ca" / "broken.pem").write_text("")
    profile = yaml.load((PROFILES / "other.yaml").read_text(), Loader=yaml.BaseLoader)
    text = yaml.safe_dump({**profile, "ca": "broken", "labels": ["broken"]})
    (server.directory / "profiles" / "broken.yaml").write_text(text)
    with serving(server):
        asker = Asker(server, tmp_path)
        answer = asker.with_(label="broken").ask("cacerts")
        assert answer.status == 503
        assert int(answer.get("Retry-After")) > 0
        assert asker.ask("cacerts").status == 200, "its neighbours are served"
