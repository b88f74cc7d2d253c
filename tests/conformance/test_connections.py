"""B: whom a TLS connection shows, under which anchors, and through which proxy."""

from __future__ import annotations

import subprocess
from base64 import b64encode
from dataclasses import replace

import pytest
from asker import Asker, issued
from cases import case
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from est_process import COMMAND
from makers import certificate, write

from interop.conformance.asking import (
    base64,
    certification_request,
    challenge,
    common_name,
    new_key,
)

PROXY = "127.0.0.2"


@pytest.fixture
def visitor(lab):
    """Return somebody without a credential under label `idevid`."""
    return lab.with_(credential=None, label="idevid")


def csr() -> bytes:
    return base64(certification_request(new_key(), common_name("whatever it asks for")))


def enroll(asker: Asker, *fields: tuple[str, str]):
    return asker.ask("simpleenroll", csr(), *fields)


def refused(answer, rule: str, status: int = 403) -> None:
    assert (answer.status, answer.body.split(b":")[0]) == (status, rule.encode()), answer.body


@case(32)
def test_a_certificate_under_an_explicit_anchor_is_recorded_so(visitor, acme, log_line):
    answer = enroll(visitor.with_(identity=acme.device("EXPLICIT-1")))
    assert answer.status == 200
    line = log_line(identity="EXPLICIT-1")
    assert (line["anchors"], line["trust"], line["method"]) == (
        "explicit", "makers", "client-certificate",
    )  # fmt: skip


@case(33)
def test_a_certificate_under_an_implicit_anchor_is_recorded_so(visitor, webby, log_line):
    answer = enroll(visitor.with_(label="implicit", identity=webby.device("IMPLICIT-1")))
    assert answer.status == 200, answer.body
    line = log_line(identity="IMPLICIT-1")
    assert (line["anchors"], line["trust"]) == ("implicit", "system-anchors")


@case(33)
def test_a_rule_can_refuse_an_implicit_anchor(visitor, webby, acme):
    guest = visitor.with_(label="implicit", identity=webby.device("GUEST-1"))
    refused(enroll(guest), "rule.no-implicit-guests")
    assert enroll(guest.with_(identity=acme.device("GUEST-1"))).status == 200


@case(34)
def test_implicit_anchors_are_refused_unless_a_profile_accepts_them(visitor, webby):
    device = webby.device()
    refused(enroll(visitor.with_(label="explicit-only", identity=device)), "anchors.implicit")
    # a profile that does not name the system's store knows nobody under it
    refused(enroll(visitor.with_(identity=device)), "path.unknown-issuer")


@case(35)
def test_a_missing_intermediate_is_not_fetched_and_a_sent_one_counts(visitor, acme):
    # one that no device has shown: an issuer that was validated stays known for a while
    plant = replace(acme, intermediate=certificate("Acme Plant", acme.root, ca=True))
    refused(enroll(visitor.with_(identity=plant.device(chain=False))), "path.unknown-issuer")
    assert enroll(visitor.with_(identity=plant.device())).status == 200


@case(36)
def test_an_expired_certificate_does_not_enroll(visitor, acme):
    expired = visitor.with_(identity=acme.device(days=-1))
    refused(enroll(expired), "path.expired")
    assert expired.ask("cacerts").status == 200


@case(38)
def test_a_certificate_needs_client_auth_or_no_purpose_at_all(visitor, acme):
    server = acme.device(purposes=[ExtendedKeyUsageOID.SERVER_AUTH])
    refused(enroll(visitor.with_(identity=server)), "path.purpose")
    for purposes in ([], [ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]):
        assert enroll(visitor.with_(identity=acme.device(purposes=purposes))).status == 200


@case(39)
def test_a_ca_s_certificate_does_not_authenticate(visitor, acme):
    holder = certificate("SUB-CA", acme.intermediate, ca=True)
    identity = write(acme.folder, holder, acme.intermediate.certificate)
    refused(enroll(visitor.with_(identity=identity)), "path.is-ca")
    refused(enroll(visitor.with_(identity=write(acme.folder, acme.intermediate))), "path.is-ca")


def client_cert(identity) -> tuple[tuple[str, str], ...]:
    """Return what a proxy says of a client that showed these certificates."""
    leaf, *above = (
        f":{b64encode(one.public_bytes(Encoding.DER)).decode()}:"
        for one in x509.load_pem_x509_certificates(identity.certificate.read_bytes())
    )
    chain = (("Client-Cert-Chain", ", ".join(above)),) if above else ()
    return (("Client-Cert", leaf), *chain)


@pytest.fixture
def proxied(visitor):
    return visitor.with_(source=PROXY)


@case(42)
def test_a_proxys_client_is_who_the_proxy_says(proxied, acme, log_line):
    answer = enroll(proxied, *client_cert(acme.device("PROXIED-1")))
    assert answer.status == 200, answer.body
    subject = issued(answer).subject
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "PROXIED-1"
    assert log_line(identity="PROXIED-1")["proxied"] is True


@case(42)
def test_anybody_elses_client_cert_is_ignored(visitor, acme):
    refused(enroll(visitor, *client_cert(acme.device())), "authentication.missing")
    assert visitor.ask("cacerts", None, ("Client-Cert", "rubbish")).status == 200


@case(42)
def test_a_proxys_own_certificate_is_no_devices(proxied, acme):
    refused(enroll(proxied.with_(identity=acme.device())), "authentication.missing")


@case(42)
@pytest.mark.parametrize(
    "fields",
    [
        (("Client-Cert", "MIIB"),),
        (("Client-Cert", ":MIIB"),),
        (("Client-Cert", ":MIIB:"), ("Client-Cert", ":MIIB:")),
        (("Client-Cert-Chain", ":MIIB:"),),
        (("Client-Cert", ":MIIB:"), ("Client-Cert-Chain", "::")),
    ],
)
def test_a_malformed_client_cert_is_400(proxied, fields):
    refused(enroll(proxied, *fields), "client-cert.malformed", 400)
    refused(proxied.ask("cacerts", None, *fields), "client-cert.malformed", 400)


@case(42)
def test_a_certificate_that_is_none_is_refused(proxied):
    refused(enroll(proxied, ("Client-Cert", ":MIIB:")), "path.malformed")


@case(101)
def test_there_is_no_channel_binding_through_a_proxy(lab, lab_server):
    asker = lab.with_(label="bound", source=PROXY)
    asker = asker.with_(credential=lab_server.credential(f"proxied-{lab.version}", "bound"))
    with asker.connect() as connection:
        bound = challenge(connection.binding)
        body = base64(certification_request(new_key(), common_name("x"), (bound,)))
        answer = asker.ask("simpleenroll", body, on=connection)
    refused(answer, "pop.unavailable")


@case(101)
def test_a_profile_that_needs_a_binding_does_not_load_behind_proxies_only(new_server, tmp_path):
    server = new_server(tmp_path / "s", "--interop")
    text = server.config.read_text()
    proxies = "  est:\n    proxies: {networks: [127.0.0.0/8], only: true}"
    server.config.write_text(text.replace("  est:", proxies, 1))
    server.run("config", "check")
    profile = server.directory / "profiles" / "interop.yaml"
    lines = profile.read_text().replace("channel_binding: optional", "channel_binding: required")
    profile.write_text(lines)
    for command in ("config check", "serve"):
        done = subprocess.run(
            [*COMMAND, *command.split(), "-c", server.config],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 3
        number = next(n for n, line in enumerate(lines.splitlines(), 1) if "binding: req" in line)
        assert f"interop.yaml:{number}:20: error[E240]" in done.stderr, done.stderr


@case(101)
def test_where_only_proxies_may_connect_nobody_else_does(new_server, serve, tmp_path):
    server = new_server(tmp_path / "s", "--interop")
    proxies = "  est:\n    proxies: {networks: [127.0.0.2/32], only: true}"
    server.config.write_text(server.config.read_text().replace("  est:", proxies, 1))
    with serve(server):
        direct = Asker(server, tmp_path)
        answer = direct.ask("cacerts")
        assert (answer.status, answer.body[:14]) == (403, b"proxy.required")
        assert direct.with_(source=PROXY).ask("cacerts").status == 200
