"""Other people's EST clients against a real server, and a close look at what they were given."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

if TYPE_CHECKING:
    from pathlib import Path

JARS = tuple(f"/usr/share/java/{name}.jar" for name in ("bcprov", "bcutil", "bcpkix", "bctls"))
CLIENTS = {
    "curl-openssl": ("curl openssl", "curl", "openssl"),
    "strongswan": ("strongswan-pki", "pki"),
    "bouncycastle": (
        "default-jdk-headless libbcprov-java libbcutil-java libbcpkix-java libbctls-java",
        "java",
        "javac",
        *JARS,
    ),
}
USAGES = {
    "digitalSignature": "digital_signature",
    "contentCommitment": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
}
PURPOSES = {
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
}


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What a driver left behind, and what it should be."""

    work: Path
    root: Path
    profile: dict
    key_type: str
    subject: str
    dns: list[str]
    server: object

    def certificate(self, name: str) -> x509.Certificate:
        (certificate,) = x509.load_pem_x509_certificates((self.work / name).read_bytes())
        return certificate


def credential_for(server, profile: str, device: str) -> tuple[str, str]:
    if profile == "interop":
        return server.credential(device, profile)
    server.run("device", "add", device, "--profile", profile)
    return server.credential(device, profile, "--device", device)


@pytest.fixture(scope="module", params=["interop", "device"])
def served(request):
    """Return a running server, a profile of its, and the URL: with a label, and without one."""
    if request.param == "interop":
        server = request.getfixturevalue("interop_server")
        return server, request.param, f"{server.url}/interop"
    server = request.getfixturevalue("strict_server")
    return server, request.param, server.url


@pytest.fixture(scope="module", params=CLIENTS)
def client(request, need):
    need(*CLIENTS[request.param])
    return request.param


@pytest.fixture(scope="module", params=["ec", "rsa"])
def enrolled(request, served, client, run, tmp_path_factory):
    """Run one driver once; every test below looks at the outcome."""
    server, profile, url = served
    device = f"{client}-{request.param}"
    user, password = credential_for(server, profile, device)
    work = tmp_path_factory.mktemp(f"{profile}-{device}")
    # the strict profile takes no names from the request, whatever is asked for
    asked = {"EST_CN": f"{device} as requested", "EST_DNS": f"{device}.example.net"}
    if profile == "device":
        asked = {"EST_CN": "somebody else", "EST_DNS": ""}
    run(f"{client}/run", url, server.root, user, password, request.param, work, **asked)
    return Enrolled(
        work=work,
        root=server.root,
        profile=yaml.safe_load((server.directory / "profiles" / f"{profile}.yaml").read_text()),
        key_type=request.param,
        subject=f"CN={device}" if profile == "device" else f"CN={asked['EST_CN']}",
        dns=[asked["EST_DNS"]] if asked["EST_DNS"] else [],
        server=server,
    )


@pytest.mark.parametrize("name", ["cert1.pem", "cert2.pem"])
def test_openssl_verifies_the_chain(enrolled, name, need):
    need("openssl", "openssl")
    trust = ("-CAfile", enrolled.root, "-untrusted", enrolled.work / "cacerts.pem")
    subprocess.run(
        [
            "openssl",
            "verify",
            "-x509_strict",
            "-purpose",
            "sslclient",
            *trust,
            enrolled.work / name,
        ],
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize("name", ["cert1.pem", "cert2.pem"])
def test_names_are_the_profiles(enrolled, name):
    certificate = enrolled.certificate(name)
    assert certificate.subject.rfc4514_string() == enrolled.subject
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = []
    assert list(names) == [x509.DNSName(name) for name in enrolled.dns]


@pytest.mark.parametrize("number", [1, 2])
def test_the_key_is_the_clients(enrolled, number):
    public = enrolled.certificate(f"cert{number}.pem").public_key()
    key = load_pem_private_key((enrolled.work / f"key{number}.pem").read_bytes(), None)
    assert public == key.public_key()
    if enrolled.key_type == "ec":
        assert isinstance(public, ec.EllipticCurvePublicKey)
        assert isinstance(public.curve, ec.SECP256R1)
    else:
        assert isinstance(public, rsa.RSAPublicKey)
        assert public.key_size == 2048


@pytest.mark.parametrize("name", ["cert1.pem", "cert2.pem"])
def test_usages_and_lifetime_are_the_profiles(enrolled, name):
    certificate, content = enrolled.certificate(name), enrolled.profile["certificate"]
    extensions = certificate.extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert usage.critical
    assert {text for text, attribute in USAGES.items() if getattr(usage.value, attribute)} == set(
        content["key_usage"]
    )
    assert not usage.value.key_cert_sign
    assert not usage.value.crl_sign
    purposes = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {PURPOSES[text] for text in content["extended_key_usage"]}
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_after_utc - certificate.not_valid_before_utc == lifetime(
        content["lifetime"]
    )


def test_the_renewal_is_another_certificate_for_another_key(enrolled):
    first, second = enrolled.certificate("cert1.pem"), enrolled.certificate("cert2.pem")
    assert first.serial_number != second.serial_number
    assert first.public_key() != second.public_key()
    assert first.issuer == second.issuer


def test_the_ledger_has_every_certificate(enrolled):
    serials = {int(row["serial"], 16) for row in enrolled.server.json("cert", "list")}
    for name in ("cert1.pem", "cert2.pem"):
        assert enrolled.certificate(name).serial_number in serials


def test_a_one_time_password_enrolls_once(strict_server, run, need, tmp_path):
    need(*CLIENTS["curl-openssl"])
    given = strict_server.json("device", "add", "one-time", "--profile", "device", "--otp")
    arguments = (strict_server.url, strict_server.root, given["username"], given["password"], "ec")
    run("curl-openssl/run", *arguments, tmp_path / "first")
    with pytest.raises(AssertionError, match="the answer is 403 .*: credential.spent"):
        run("curl-openssl/run", *arguments, tmp_path / "second")


def test_a_wrong_password_is_refused(interop_server, client, run, tmp_path):
    user, _ = interop_server.credential(f"{client}-mistyped", "interop")
    with pytest.raises(AssertionError, match="401"):
        run(
            f"{client}/run",
            interop_server.url,
            interop_server.root,
            user,
            "not the password",
            "ec",
            tmp_path,
        )
    assert not (tmp_path / "cert2.pem").exists()


def lifetime(text: str) -> timedelta:
    units = {"d": "days", "h": "hours", "m": "minutes"}
    return timedelta(**{units[text[-1]]: int(text[:-1])})
