"""O: what an operator sees."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
import yaml
from asker import Asker, issued
from cases import case
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from est_process import COMMAND, EstServer, free_addresses

from interop.conformance.asking import (
    base64,
    certification_request,
    challenge,
    common_name,
    new_key,
)


def spki_sha256(key) -> str:
    public = key.public_key()
    return sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


@case(177)
def test_a_certificate_has_its_line(lab, log_line):
    key = new_key()
    with lab.with_(label="interop").connect() as connection:
        csr = certification_request(key, common_name("audited"), (challenge(connection.binding),))
        answer = lab.with_(label="interop").ask("simpleenroll", base64(csr), on=connection)
    assert answer.status == 200
    line = log_line(spki_sha256=spki_sha256(key))
    assert line["id"].startswith("x_")
    assert line["request"].startswith("r_")
    assert line["decision"].startswith("d_")
    assert {name: line[name] for name in
            ("status", "label", "operation", "identity", "method", "tls", "pop")} == {
        "status": 200, "label": "interop", "operation": "simpleenroll", "identity": "conformance",
        "method": "credential", "tls": f"TLSv{lab.version}", "pop": "matched",
    }  # fmt: skip
    assert int(line["serial"], 16) > 0
    assert line["profile"] == "interop"


@case(177)
def test_a_refusal_has_its_line(lab, log_line):
    key = new_key()
    csr = certification_request(key, common_name("refused"), (challenge("QUFBQQ=="),))
    answer = lab.ask("simpleenroll", base64(csr))
    assert answer.status == 403
    line = log_line(spki_sha256=spki_sha256(key))
    assert (line["status"], line["rule"], line["pop"]) == (403, "pop.mismatch", "mismatched")
    assert line["decision"] in answer.body.decode()
    assert "serial" not in line


@case(177)
@pytest.mark.parametrize(
    ("operation", "status"),
    [("cacerts", 200), ("csrattrs", 200), ("simpleenroll", 405), ("nothing-like-this", 404)],
)
def test_every_answer_has_a_line(lab, log_line, operation, status):
    agent = f"conformance-{new_key().private_numbers().private_value:x}"
    answer = lab.with_(label=None).ask(operation, None, ("User-Agent", agent))
    assert answer.status == status
    known = operation if status != 404 else "unknown"
    line = log_line(operation=known, status=status)
    assert line["peer"] == "127.0.0.1"


@case(177)
def test_no_password_is_in_any_line(lab, lab_server, credential):
    secret = "never-in-a-log-5aX"
    assert lab.with_(credential=(credential[0], secret)).ask("simpleenroll", b"x").status == 401
    log = (lab_server.directory / "serve.log").read_text()
    assert secret not in log
    assert credential[1] not in log


@case(5)
@pytest.mark.parametrize("label", ["SimpleEnroll", "renewal-info"])
def test_a_label_named_like_an_operation_does_not_load(new_server, tmp_path, label):
    server = new_server(tmp_path / "s", "--interop")
    profile = server.directory / "profiles" / "interop.yaml"
    profile.write_text(profile.read_text().replace("[interop, default]", f"[{label}, default]"))
    for command in ("config check", "serve"):
        done = subprocess.run(
            [*COMMAND, *command.split(), "-c", server.config],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 3
        assert "interop.yaml:10:10: error[E203]" in done.stderr, done.stderr


@case(174)
def test_a_dry_run_says_what_a_request_would_get(lab_server, tmp_path):
    file = tmp_path / "csr.b64"
    file.write_bytes(base64(certification_request(new_key(), common_name("dry"))))
    before = len(lab_server.json("cert", "list", "--limit", "10000"))
    found = lab_server.json("profile", "test", "interop", "--csr", str(file), "--device", "x")
    assert (found["verdict"], found["plan"]["subject"]) == ("allow", "CN=dry")
    weak = certification_request(new_key("rsa-1024"), common_name("weak"))
    file.write_bytes(base64(weak))
    done = subprocess.run(
        [*COMMAND, "profile", "test", "interop", "--csr", file,
         "--device", "x", "-c", lab_server.config, "-o", "json"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert '"key.weak"' in done.stdout
    assert len(lab_server.json("cert", "list", "--limit", "10000")) == before


@case(178)
def test_liveness_and_readiness_are_on_a_port_of_their_own(lab_server):
    trust = ssl.create_default_context(cafile=lab_server.root)
    for path, said in (("livez", b"ok"), ("readyz", b'"ready": true')):
        url = f"https://{lab_server.admin}/{path}"
        with urllib.request.urlopen(url, context=trust, timeout=10) as answer:
            assert (answer.status, said in answer.read()) == (200, True)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"https://{lab_server.est}/{path}", context=trust, timeout=10)
        refused.value.close()
        assert refused.value.code == 404


@case(175)
def test_two_nodes_on_one_ledger_never_give_the_same_serial_number(new_server, serve, tmp_path):
    first = new_server(tmp_path / "s", "--interop")
    addresses = free_addresses(3)
    second = EstServer(tmp_path / "second", *addresses)
    shutil.copytree(first.directory, second.directory)
    settings = yaml.load(first.config.read_text(), Loader=yaml.BaseLoader)
    for name, address in zip(("est", "public", "admin"), addresses, strict=True):
        settings["listeners"][name]["listen"] = address
    settings["state"]["ledger"] = f"sqlite:///{first.directory}/state/ledger.db"
    second.config.write_text(yaml.safe_dump(settings))
    with serve(first), serve(second):
        credential = first.credential("nodes", "interop")
        askers = [Asker(server, tmp_path, credential=credential) for server in (first, second)]

        def enroll(number: int) -> int:
            certificate, _ = askers[number % 2].enroll()
            return certificate.serial_number

        with ThreadPoolExecutor(8) as pool:
            serials = list(pool.map(enroll, range(60)))
        # the same question to both is one certificate
        csr = certification_request(new_key(), common_name("both nodes"))
        answers = [asker.ask("simpleenroll", base64(csr)) for asker in askers]
        assert issued(answers[0]) == issued(answers[1])
        assert len(set(serials)) == 60
        assert len(first.json("cert", "list", "--profile", "interop", "--limit", "1000")) == 61
