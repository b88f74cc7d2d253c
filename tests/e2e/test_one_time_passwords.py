"""A one-time password in the CSR as a second factor beside a manufacturer's certificate."""

from __future__ import annotations

import secrets
from base64 import b64encode
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from asker import Asker
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from interop.conformance.asking import (
    attribute,
    base64,
    certification_request,
    challenge,
    common_name,
    der,
    new_key,
)
from interop.conformance.asking import oid as encoded_oid

OTP, LINKING = "1.2.840.113549.1.9.16.2.56", "1.2.840.113549.1.9.16.2.58"
CHALLENGE = "1.2.840.113549.1.9.7"
PROFILE = """
version: 1
labels: [{name}]
ca: issuing
registration: registered
authenticate:
  - client_certificate: {{trust: makers, identity: subject.commonName}}
subject: {{common_name: {{from: device.id}}}}
key: {{allow: [EC-P256]}}
certificate: {{lifetime: 1d}}
proof_of_possession: {{{proofs}}}
"""
PROFILES = {
    "second": "one_time_password: required",
    "scep": "one_time_password: required, challenge_password: otp",
    "tried": "one_time_password: required",
}


def signed(name: str, issuer=None):
    """Return a certificate and its key: a manufacturer's root, or a device under one."""
    key = new_key()
    subject = common_name(name)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer[0].subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2049, 1, 1, tzinfo=UTC))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    )
    return builder.sign(key if issuer is None else issuer[1], hashes.SHA256()), key


@pytest.fixture(scope="module")
def maker():
    return signed("Maker")


@pytest.fixture(scope="module")
def server(new_server, serve, maker, tmp_path_factory):
    made = new_server(tmp_path_factory.mktemp("otp") / "server")
    root = made.directory / "makers.pem"
    root.write_bytes(maker[0].public_bytes(Encoding.PEM))
    for name, proofs in PROFILES.items():
        text = PROFILE.format(name=name, proofs=proofs)
        (made.directory / "profiles" / f"{name}.yaml").write_text(text)
    settings = yaml.load(made.config.read_text(), Loader=yaml.BaseLoader)
    settings["trust"] = {"makers": str(root)}
    made.config.write_text(yaml.safe_dump(settings, sort_keys=False))
    with serve(made) as running:
        yield running


@pytest.fixture
def device(server, maker, tmp_path):
    """Return what makes a registered device of a profile, as an asker, and its password."""

    def make(profile: str) -> tuple[Asker, str]:
        name = f"SN-{secrets.token_hex(4)}"
        given = server.json("device", "add", name, "--profile", profile, "--otp")
        asker = Asker(server, Path(tmp_path), label=profile)
        return asker.with_(identity=asker.keep(*signed(name, maker))), given["password"]

    return make


def csr(*attributes: bytes) -> bytes:
    return base64(certification_request(new_key(), common_name("any"), attributes))


def otp(value: str) -> bytes:
    return attribute(OTP, der(0x0C, value.encode()))


def answer(asker, body: bytes, operation="simpleenroll", on=None) -> tuple[int, str]:
    found = asker.ask(operation, body, on=on)
    return found.status, found.body.decode().partition(":")[0]


def test_a_certificate_alone_is_not_enough_and_the_password_is_spent_once(device):
    asker, password = device("second")
    assert answer(asker, csr()) == (400, "otp.required")
    assert answer(asker, csr(otp("wrong"))) == (403, "otp.mismatch")
    body = csr(otp(password))
    first = asker.ask("simpleenroll", body)
    assert first.status == 200
    # a device that lost the answer gets it again; the next question costs another use
    assert asker.ask("simpleenroll", body).body == first.body
    assert answer(asker, csr(otp(password))) == (403, "credential.spent")


def test_the_password_of_another_device_does_not_fit(device):
    asker, _ = device("second")
    _, other = device("second")
    assert answer(asker, csr(otp(other))) == (403, "otp.mismatch")


def test_a_refused_request_costs_no_use(device):
    asker, password = device("second")
    with asker.connect() as connection:
        wrong = challenge(b64encode(bytes(12)))
        refused = answer(asker, csr(otp(password), wrong), on=connection)
        assert refused == (403, "pop.mismatch")
        right = challenge(connection.binding)
        assert answer(asker, csr(otp(password), right), on=connection)[0] == 200


def test_a_challenge_password_is_the_one_time_password_where_the_profile_says_so(device):
    asker, password = device("scep")
    assert answer(asker, csr(challenge("wrong"))) == (403, "otp.mismatch")
    # the binding has an attribute of its own then
    with asker.connect() as connection:
        bound = attribute(LINKING, der(0x13, connection.binding.encode()))
        assert answer(asker, csr(challenge(password), bound), on=connection)[0] == 200
    wanted = asker.ask("csrattrs").body
    import base64 as codec

    assert encoded_oid(CHALLENGE) in codec.b64decode(wanted)
    assert encoded_oid(OTP) not in codec.b64decode(wanted)


def test_wrong_passwords_are_counted(device):
    asker, password = device("tried")
    seen = [answer(asker, csr(otp("wrong")))[0] for _ in range(12)]
    assert seen[0] == 403
    assert seen[-1] == 429
    assert answer(asker, csr(otp(password)))[0] == 429


def test_no_password_is_written_down_even_if_its_request_is_refused(device, server):
    asker, password = device("second")
    wrong = challenge(b64encode(bytes(12)))
    assert answer(asker, csr(otp(password), wrong)) == (403, "pop.mismatch")
    assert answer(asker, csr(otp(password)))[0] == 200
    other, second = device("scep")
    assert answer(other, csr(challenge(second)))[0] == 200
    for path in server.directory.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert password.encode() not in content, path
        assert second.encode() not in content, path
