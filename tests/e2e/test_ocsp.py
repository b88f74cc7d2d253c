"""OCSP of a real server, as OpenSSL, GnuTLS, BouncyCastle and pyhanko-certvalidator see it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import time
from itertools import pairwise
from urllib.parse import quote

import pytest
from asn1crypto import ocsp as asn1_ocsp
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from est_process import COMMAND, REPOSITORY
from ocsp_site import Poll, Site, prepare, replica
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import (
    InsufficientRevinfoError,
    PathValidationError,
    RevokedError,
)

JARS = [f"/usr/share/java/{name}.jar" for name in ("bcprov", "bcutil", "bcpkix")]
BOUNCYCASTLE = ("default-jdk-headless libbcprov-java libbcutil-java libbcpkix-java", "javac", *JARS)
EXPECTED = {
    "good": "good",
    "released": "good",
    "expired": "good",
    "revoked": "revoked",
    "held": "revoked",
    "unknown": "unknown",
}
WITHIN = 1.0
"""Seconds after which a revocation must be told by everybody."""


@pytest.fixture(scope="module")
def site(tmp_path_factory, new_server, serve):
    server = new_server(tmp_path_factory.mktemp("ocsp") / "server", "--interop")
    prepare(server)
    with serve(server):
        found = Site(server)
        found.fill()
        yield found


def output(*command: object, code: int = 0) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


# -- agreement -----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("-sha256",), ("-no_nonce",), ("-sha256", "-no_nonce")])
def test_openssl_agrees(need, site, options):
    need("openssl", "openssl")
    certificates = [part for name in EXPECTED for part in ("-cert", site.leaves[name])]
    said = output(
        "openssl", "ocsp", "-issuer", site.issuer, *options, *certificates,
        "-url", site.url, "-CAfile", site.server.root, "-verify_other", site.issuer,
    )  # fmt: skip
    assert "Response verify OK" in said
    assert "WARNING" not in said
    for name, status in EXPECTED.items():
        assert f"{site.leaves[name]}: {status}" in said
    assert said.count("Reason: keyCompromise") == said.count("Reason: certificateHold") == 1


def test_openssl_agrees_on_one_at_a_time_and_names_the_archive(need, site):
    need("openssl", "openssl")
    for name, status in EXPECTED.items():
        said = output(
            "openssl", "ocsp", "-issuer", site.issuer, "-cert", site.leaves[name], "-no_nonce",
            "-url", site.url, "-CAfile", site.server.root, "-resp_text",
        )  # fmt: skip
        assert f"{site.leaves[name]}: {status}" in said
        assert ("Archive Cutoff" in said) is (name == "expired")


def test_ocsptool_agrees(need, site):
    need("gnutls-bin", "ocsptool")
    for name, status in EXPECTED.items():
        said = output(
            "ocsptool", f"--ask={site.url}", "--nonce", "--load-cert", site.leaves[name],
            "--load-issuer", site.issuer, "--load-trust", site.issuer,
        )  # fmt: skip
        assert f"Certificate Status: {status}" in said, said
        assert "Verifying OCSP Response: Success" in said


def test_bouncycastle_agrees(need, run, site, tmp_path):
    need(*BOUNCYCASTLE)
    files = [site.leaves[name] for name in EXPECTED]
    said = run("bouncycastle/ocsp", site.url, site.issuer, tmp_path, *files).splitlines()
    reasons = {"revoked": "revoked 1", "held": "revoked 6"}
    once = [reasons.get(name, status) for name, status in EXPECTED.items()]
    assert said == once * 6  # three forms of the CertID, by POST and by GET


@pytest.mark.parametrize("name", EXPECTED)
async def test_pyhanko_agrees(site, name):
    _, _, body = site.exchange("POST", "/ocsp", site.request(name))
    context = ValidationContext(
        trust_roots=[asn1_x509.Certificate.load(_der(site.issuer))],
        ocsps=[asn1_ocsp.OCSPResponse.load(body)],
        allow_fetching=False,
        revocation_mode="require",
    )
    leaf = asn1_x509.Certificate.load(_der(site.leaves[name]))
    validator = CertificateValidator(leaf, validation_context=context)
    outcome = {
        "revoked": RevokedError,
        "held": RevokedError,
        "unknown": InsufficientRevinfoError,
        "expired": PathValidationError,
    }.get(name)
    if outcome is None:
        await validator.async_validate_path()
    else:
        with pytest.raises(outcome) as raised:
            await validator.async_validate_path()
        if name == "held":
            assert raised.value.reason.native == "certificate_hold"


def _der(path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


def test_certificates_name_the_responder(site):
    access = site.certificate("good").extensions.get_extension_for_class(
        x509.AuthorityInformationAccess
    )
    [entry] = [one for one in access.value if one.access_method._name == "OCSP"]
    assert (
        entry.access_location.value == f"http://localhost:{site.server.public.split(':')[1]}/ocsp"
    )


# -- our own client ------------------------------------------------------------------------------


def query(site, *arguments: object):
    command = [*COMMAND, "ocsp", "query", *map(str, arguments), "-o", "json"]
    return subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", EXPECTED)
def test_query_tells_by_its_exit_code(site, name):
    done = query(site, site.leaves[name], "--url", site.url, "-c", site.server.config, "--nonce")
    assert done.returncode == (0 if EXPECTED[name] == "good" else 1), done.stderr
    said = json.loads(done.stdout)
    assert said["status"] == EXPECTED[name]
    assert said["responder"] == "CN=OCSP issuing"
    reasons = {"revoked": "keyCompromise", "held": "certificateHold"}
    assert said["revocation_reason"] == reasons.get(name)


def test_query_finds_what_it_needs(site):
    serial = f"{site.certificate('revoked').serial_number:x}"
    done = query(site, serial, "--sha256", "-c", site.server.config)
    assert (done.returncode, json.loads(done.stdout)["serial"]) == (1, serial)
    done = query(site, site.leaves["good"], "--issuer", site.issuer)  # AIA alone
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["url"].startswith("http://localhost:")
    done = query(site, "zz", "-c", site.server.config)
    assert (done.returncode, json.loads(done.stderr)["error"]) == (1, "serial.invalid")
    done = query(site, site.leaves["good"], "--issuer", site.server.root, "--url", site.url)
    assert (done.returncode, json.loads(done.stderr)["error"]) == (1, "ocsp-response.refused")
    done = query(site, site.leaves["good"], "--issuer", site.issuer, "--url", "http://127.0.0.1:9")
    assert (done.returncode, json.loads(done.stderr)["error"]) == (4, "ocsp.unreachable")


# -- HTTP ----------------------------------------------------------------------------------------


def test_get_and_post_with_their_header_fields(site):
    der = site.request("good", algorithm=hashes.SHA256())
    text = base64.b64encode(der).decode()
    status, fields, body = site.exchange("POST", "/ocsp", der)
    assert status == 200
    for path in (f"/ocsp/{quote(text, safe='')}", f"/ocsp/{text}", f"/ocsp//{text}"):
        status, again, same = site.exchange("GET", path)
        assert (status, same) == (200, body)
        assert again["ETag"] == fields["ETag"]
    found = ocsp.load_der_ocsp_response(body)
    assert fields["Content-Type"] == "application/ocsp-response"
    form = "%a, %d %b %Y %H:%M:%S GMT"
    assert fields["Last-Modified"] == found.this_update_utc.strftime(form)
    assert fields["Expires"] == found.next_update_utc.strftime(form)
    age, *others = fields["Cache-Control"].split(", ")
    assert others == ["public", "no-transform", "must-revalidate"]
    assert 3000 < int(age.removeprefix("max-age=")) <= 3600
    status, _, nothing = site.exchange("GET", path, If_None_Match=fields["ETag"])
    assert (status, nothing) == (304, b"")


def test_what_is_no_request_gets_a_response_with_status_200(site):
    for method, path, body in (
        ("POST", "/ocsp", b"nonsense"),
        ("GET", "/ocsp/nonsense", None),
        ("POST", "/ocsp", b""),
    ):
        status, fields, answer = site.exchange(method, path, body)
        assert (status, answer.hex()) == (200, "30030a0101")
        assert fields["Cache-Control"] == "no-store"
    foreign = bytearray(site.request("good"))
    at = foreign.index(b"\x04\x14") + 2
    foreign[at] ^= 1
    assert site.exchange("POST", "/ocsp", bytes(foreign))[2].hex() == "30030a0106"
    assert site.exchange("POST", "/ocsp", b"0" * 20000)[0] == 413


def test_metrics(site):
    trust = os.fspath(site.server.root)
    said = output("curl", "-s", "--cacert", trust, f"https://{site.server.admin}/metrics")
    figures = dict(line.rsplit(" ", 1) for line in said.splitlines() if not line.startswith("#"))
    assert float(figures['est_server_ocsp_responses_total{status="good"}']) >= 1
    assert float(figures['est_server_ocsp_responses_total{status="revoked"}']) >= 1
    assert float(figures["est_server_ocsp_propagation_seconds_count"]) >= 4
    assert float(figures["est_server_ocsp_memory_trusted"]) == 1
    end = float(figures['est_server_ocsp_responder_not_after_timestamp_seconds{ca="issuing"}'])
    assert time.time() + 6 * 86400 < end < time.time() + 7 * 86400


# -- how fast a revocation is told ---------------------------------------------------------------


def asking(site, name: str, *, get: bool) -> bytes:
    der = site.request(name)
    if get:
        text = base64.b64encode(der).decode()
        return f"GET /ocsp/{text} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    head = f"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: {len(der)}\r\n\r\n"
    return head.encode() + der


async def polling(site, addresses, name, change):
    """Poll on many connections while `change` happens in another process; return all answers."""
    polls = [
        Poll(address, asking(site, name, get=get))
        for address in addresses
        for get in (True, False)
        for _ in range(6)
    ]
    for poll in polls:
        await poll.open()
    end = asyncio.Event()
    tasks = [asyncio.create_task(poll.until(end)) for poll in polls]
    await asyncio.sleep(0.5)
    durable = await asyncio.to_thread(site.change, change, name)
    await asyncio.sleep(2 * WITHIN)
    end.set()
    await asyncio.gather(*tasks)
    for poll in polls:
        poll.close()
    return durable, [poll.answers for poll in polls]


async def test_no_connection_of_any_process_says_good_a_second_after(site, serve, tmp_path):
    with replica(site.server, tmp_path, serve) as second:
        addresses = [site.server.public, second.public]
        for change, old, new in (
            ("certificateHold", "good", "revoked"),
            ("release", "revoked", "good"),
            ("superseded", "good", "revoked"),
        ):
            durable, found = await polling(site, addresses, "moved", change)
            for answers in found:
                assert answers[0].status == old
                assert answers[-1].status == new
                late = [one for one in answers if one.status == old and one.asked > durable]
                assert all(one.asked <= durable + WITHIN for one in late), late[-1]
                changes = [
                    (one.status, two.status)
                    for one, two in pairwise(answers)
                    if one.status != two.status
                ]
                assert changes == [(old, new)]  # never back
            assert min(len(answers) for answers in found) > 20


async def test_a_process_that_was_stopped_tells_nothing_from_before(site):
    """SIGSTOP, a revocation elsewhere, SIGCONT: what was asked meanwhile is answered truly."""
    login = site.server.credential("stopped", "interop")
    for turn in range(3):
        name = f"stopped-{turn}"
        site.enroll(name, login)
        polls = [
            Poll(site.server.public, asking(site, name, get=get))
            for get in (True, False)
            for _ in range(10)
        ]
        for poll in polls:
            await poll.open()
            for _ in range(3):
                assert (await poll.receive(poll.send())).status == "good"
        os.kill(site.pid, signal.SIGSTOP)
        try:
            durable = await asyncio.to_thread(site.change, "keyCompromise", name)
            asked = [poll.send() for poll in polls]
            await asyncio.sleep(max(0.0, durable + WITHIN + 0.1 - time.monotonic()))
        finally:
            os.kill(site.pid, signal.SIGCONT)
        for poll, at in zip(polls, asked, strict=True):
            assert (await poll.receive(at)).status == "revoked"
            poll.close()


async def test_forty_revocations_under_load(site):
    """From the commit in another process to the first true answer on every connection."""
    login = site.server.credential("many", "interop")
    names = [f"many-{number}" for number in range(40)]
    for name in names:
        site.enroll(name, login)
    polls = {name: Poll(site.server.public, asking(site, name, get=True)) for name in names}
    end = asyncio.Event()
    for poll in polls.values():
        await poll.open()
    tasks = [asyncio.create_task(poll.until(end)) for poll in polls.values()]
    await asyncio.sleep(0.5)
    durable = {}
    for first in range(0, 40, 10):
        group = names[first : first + 10]
        at = await asyncio.to_thread(site.change, "keyCompromise", *group)
        durable |= dict.fromkeys(group, at)
    await asyncio.sleep(WITHIN + 0.2)
    end.set()
    await asyncio.gather(*tasks)
    for name, poll in polls.items():
        told = [one for one in poll.answers if one.status == "revoked"]
        assert told, name
        stale = [one for one in poll.answers if one.status == "good" and one.asked > durable[name]]
        assert all(one.asked < durable[name] + WITHIN for one in stale)
        poll.close()
