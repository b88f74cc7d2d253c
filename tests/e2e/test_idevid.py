"""Devices that bring a manufacturer's certificate (IDevID, IEEE 802.1AR) to their first enrollment.

The manufacturers are made with openssl and the clients are curl and openssl, so that nothing here
is judged by the code that it judges.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from shutil import copy

import pytest
import yaml
from asker import Asker
from cryptography import x509

from interop.conformance.asking import base64, certification_request, common_name, new_key
from interop.conformance.connection import Identity

PROFILES = Path(__file__).parents[2] / "profiles"
P256 = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")


@dataclass(frozen=True, slots=True)
class Makers:
    """Folders of two manufacturers of the same name."""

    acme: Path
    other: Path


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    text: str


@pytest.fixture(scope="module")
def makers(need, run, tmp_path_factory):
    need("curl openssl", "curl", "openssl")
    folder = tmp_path_factory.mktemp("manufacturers")
    acme, other = folder / "acme", folder / "other"
    for serial in ("ACME-EC", "ACME-BARRED", "ACME-RSA", "ACME-LABEL", "ACME-TAKEN"):
        run("curl-openssl/manufacturer", acme, "Acme Networks", serial)
    run("curl-openssl/manufacturer", acme, "Acme Networks", "ACME-EXPIRED", "20210101000000Z")
    # the same names, another key: the name of an issuer proves nothing
    run("curl-openssl/manufacturer", other, "Acme Networks", "ACME-EC")
    openssl(
        *("req", "-x509", "-config", acme / "ca.cnf", "-extensions", "idevid", "-days", "30"),
        *("-key", other / "ACME-EC.key", "-subj", "/O=Acme Networks/serialNumber=ACME-EC"),
        *("-out", other / "SELF-SIGNED.pem"),
    )
    copy(other / "ACME-EC.key", other / "SELF-SIGNED.key")
    return Makers(acme, other)


@pytest.fixture(scope="module")
def server(makers, new_server, serve, tmp_path_factory):
    """Serve the shipped router profile for one manufacturer, and a copy for the other."""
    made = new_server(tmp_path_factory.mktemp("idevid") / "server")
    router = (PROFILES / "router.yaml").read_text()
    switch = router.replace("[router]", "[switch]").replace("acme-routers", "other-switches")
    (made.directory / "profiles" / "router.yaml").write_text(router)
    (made.directory / "profiles" / "switch.yaml").write_text(switch)
    settings = yaml.load(made.config.read_text(), Loader=yaml.BaseLoader)
    settings["trust"] = {
        "acme-routers": str(makers.acme / "root.pem"),
        "other-switches": str(makers.other / "root.pem"),
    }
    made.config.write_text(yaml.safe_dump(settings, sort_keys=False))
    with serve(made) as running:
        running.run("device", "add", "ACME-TAKEN", "--profile", "device")
        yield running


def openssl(*arguments: str | Path) -> bytes:
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True).stdout


def ask(server, path: str, identity: Path | None, csr: bytes | None = None) -> Answer:
    """Send one request with curl, with the certificate and key `identity`.{pem,key} if any."""
    arguments = ["--cert", f"{identity}.pem", "--key", f"{identity}.key"] if identity else []
    if csr is not None:
        arguments += ["--data-binary", "@-", "--header", "Content-Type: application/pkcs10"]
    arguments += ["--write-out", "\n%{http_code} %{content_type}", f"{server.url}/{path}"]
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--cacert", server.root, *arguments],
        input=csr or b"",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    text, _, status = done.stdout.decode().rpartition("\n")
    code, _, content_type = status.partition(" ")
    return Answer(int(code), content_type, text)


def request_for(identity: Path, *algorithm: str) -> bytes:
    """Return a request for a new key under the name of a certificate."""
    key = identity.with_suffix(".new-key")
    openssl("genpkey", *(algorithm or P256), "-out", key)
    name = openssl("x509", "-in", f"{identity}.pem", "-noout", "-subject", "-nameopt", "compat")
    return openssl("req", "-new", "-key", key, "-subj", name.decode().strip()[len("subject=") :])


def refuse(answer: Answer, status: int, rule: str) -> None:
    assert answer.status == status, answer
    assert answer.content_type.startswith("text/plain"), answer
    assert answer.text.startswith(f"{rule}: "), answer
    assert "(decision " in answer.text, answer


def test_an_idevid_enrolls_under_its_label(server, makers, run, tmp_path):
    identity = makers.acme / "ACME-EC"
    url = f"{server.url}/router"
    files = (identity.with_suffix(".pem"), identity.with_suffix(".key"))
    run("curl-openssl/idevid", url, server.root, *files, "ec", tmp_path)
    (issued,) = x509.load_pem_x509_certificates((tmp_path / "cert1.pem").read_bytes())
    # the device is named by the IDevID's serialNumber, everything else by the profile
    assert issued.subject.rfc4514_string() == "CN=ACME-EC,O=Example Networks"
    assert [device["id"] for device in server.json("device", "list")].count("ACME-EC") == 1

    # the new certificate renews itself, but not yet: the window opens 30 days before its end
    copy(tmp_path / "key1.pem", tmp_path / "cert1.key")
    current = tmp_path / "cert1"
    early = ask(server, "router/simplereenroll", current, request_for(current))
    refuse(early, 403, "reenroll.too-early")


def test_an_idevid_is_refused_under_the_label_of_another_manufacturer(server, makers):
    identity = makers.acme / "ACME-LABEL"
    answer = ask(server, "switch/simpleenroll", identity, request_for(identity))
    refuse(answer, 403, "path.unknown-issuer")


def test_an_idevid_is_asked_for_a_password_where_one_would_do(server, makers):
    identity = makers.acme / "ACME-LABEL"
    answer = ask(server, "simpleenroll", identity, request_for(identity))
    assert (answer.status, answer.text) == (401, "")


def test_an_expired_idevid_is_refused_with_a_reason(server, makers):
    identity = makers.acme / "ACME-EXPIRED"
    answer = ask(server, "router/simpleenroll", identity, request_for(identity))
    refuse(answer, 403, "path.expired")


@pytest.mark.parametrize(
    ("name", "rule"), [("ACME-EC", "path.unknown-issuer"), ("SELF-SIGNED", "path.unknown-issuer")]
)
def test_the_name_of_a_trusted_issuer_proves_nothing(server, makers, name, rule):
    identity = makers.other / name
    answer = ask(server, "router/simpleenroll", identity, request_for(identity))
    refuse(answer, 403, rule)


def test_a_device_of_another_profile_is_refused(server, makers):
    identity = makers.acme / "ACME-TAKEN"
    answer = ask(server, "router/simpleenroll", identity, request_for(identity))
    refuse(answer, 403, "device.profile")


def test_a_key_that_the_profile_does_not_take_is_refused(server, makers):
    identity = makers.acme / "ACME-RSA"
    csr = request_for(identity, "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048")
    refuse(ask(server, "router/simpleenroll", identity, csr), 400, "key.not-allowed")


def test_a_connection_that_stays_open_is_no_way_past_a_quarantine(server, makers, tmp_path):
    """Its certificate is proven once; whether the device may enroll is asked each time."""
    name = makers.acme / "ACME-BARRED"
    identity = Identity(name.with_suffix(".pem"), name.with_suffix(".key"))
    device = Asker(server, tmp_path, identity=identity, label="router")

    def enroll(connection):
        csr = certification_request(new_key(), common_name("ACME-BARRED"))
        answer = device.ask("simpleenroll", base64(csr), on=connection)
        return answer.status, answer.body.decode().partition(":")[0]

    with device.connect() as connection:
        assert [enroll(connection)[0] for _ in range(3)] == [200, 200, 200]
        server.run("device", "quarantine", "ACME-BARRED")
        assert enroll(connection) == (403, "device.quarantined")
        server.run("device", "release", "ACME-BARRED")
        assert enroll(connection)[0] == 200


@pytest.mark.parametrize("label", ["", "router/"])
@pytest.mark.parametrize("identity", ["acme/ACME-EXPIRED", "other/ACME-EC", "other/SELF-SIGNED"])
def test_cacerts_answers_whatever_certificate_is_shown(server, makers, label, identity):
    # RFC 7030 4.1.1: the client needs no authentication; a stale certificate must not cost it
    # the trust anchors that it needs in order to get a fresh one
    answer = ask(server, f"{label}cacerts", makers.acme.parent / identity)
    assert answer.status == 200, answer
    assert answer.content_type == "application/pkcs7-mime"
    assert answer == ask(server, f"{label}cacerts", None)
