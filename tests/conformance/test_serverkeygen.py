"""K: keys that are made here (RFC 7030 4.4)."""

from __future__ import annotations

import re
import secrets
import subprocess
from base64 import b64decode

import pytest
from asker import Asker
from asn1crypto import cms
from cases import case
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
    load_pem_private_key,
    pkcs7,
)
from est_process import est_server

from interop.conformance.asking import (
    alternative_names,
    attribute,
    base64,
    certification_request,
    common_name,
    der,
    new_key,
    oid,
)

DECRYPT_KEY, ASYMMETRIC_KEY = "1.2.840.113549.1.9.16.2.37", "1.2.840.113549.1.9.16.2.54"
CAPABILITIES = "1.2.840.113549.1.9.15"
AES_256, AES_128 = "2.16.840.1.101.3.4.1.42", "2.16.840.1.101.3.4.1.2"
TRIPLE_DES, RC4, NULL = "1.2.840.113549.3.7", "1.2.840.113549.3.4", "1.2.840.113549.3.0"
RSA_1_5, OAEP = "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.7"
PKCS8, CERTIFICATE = "application/pkcs8", "application/pkcs7-mime; smime-type=certs-only"
ENCRYPTED = "application/pkcs7-mime; smime-type=server-generated-key"


@pytest.fixture(scope="session")
def keygen(lab, lab_server):
    """Return somebody at a label that makes keys."""
    return lab.with_(label="keygen", credential=credential(lab_server, "keygen"))


@pytest.fixture(scope="session")
def sealed(lab, lab_server):
    """Return somebody at a label whose keys leave encrypted only."""
    return lab.with_(label="sealed", credential=credential(lab_server, "sealed"))


def credential(server, profile):
    return server.credential(f"{profile}-{secrets.token_hex(4)}", profile)


def csr(*attributes: bytes, key=None, signer=None, name: str | None = None) -> bytes:
    subject = common_name(name or f"device-{secrets.token_hex(6)}")
    return certification_request(key or new_key(), subject, attributes, signer=signer)


def capabilities(*oids: str) -> bytes:
    return attribute(CAPABILITIES, der(0x30, *(der(0x30, oid(one)) for one in oids)))


def asymmetric(identifier: bytes) -> bytes:
    return attribute(ASYMMETRIC_KEY, der(0x04, identifier))


def ask(asker, request: bytes):
    return asker.ask("serverkeygen", base64(request))


def parts(answer) -> list[tuple[str, bytes]]:
    """Return content type and decoded object of each part, read by libest's rules."""
    assert answer.status == 200, answer.body
    kind, _, parameter = (answer.get("Content-Type") or "").partition("; ")
    assert kind == "multipart/mixed"
    boundary = re.fullmatch(r"boundary=([0-9A-Za-z-]+)", parameter)[1]
    delimiter = f"--{boundary}".encode()
    before, *found, end = answer.body.split(delimiter)
    assert (before, end) == (b"", b"--\r\n")
    read = []
    for part in found:
        assert part.startswith(b"\r\n")
        assert part.endswith(b"\r\n")
        head, _, content = part[2:].partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        assert headers.keys() == {"Content-Type", "Content-Transfer-Encoding"}
        assert headers["Content-Transfer-Encoding"] == "base64"
        octets = b64decode(content.replace(b"\r\n", b""), validate=True)
        assert whole(octets), "one object in a part"
        read.append((headers["Content-Type"], octets))
    return read


def whole(octets: bytes) -> bool:
    """Tell whether these octets are one DER SEQUENCE and nothing behind it."""
    length, start = octets[1], 2
    if length > 0x80:
        start = 2 + (length & 0x7F)
        length = int.from_bytes(octets[2:start], "big")
    return octets[0] == 0x30 and start + length == len(octets)


def plain(answer) -> tuple[object, x509.Certificate]:
    """Return the key and the certificate of an answer that is not encrypted."""
    (kind, octets), (other, certificate) = parts(answer)
    assert (kind, other) == (PKCS8, CERTIFICATE)
    (found,) = pkcs7.load_der_pkcs7_certificates(certificate)
    return load_der_private_key(octets, None), found


def public(key) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@case(142)
def test_a_label_that_makes_no_keys_has_none(lab):
    for label in (None, "interop", "bound"):
        answer = ask(lab.with_(label=label), csr())
        assert answer.status == 404
    assert lab.ask("serverkeygen").status == 405


@case(144, 145)
def test_the_key_comes_first_and_the_certificate_is_its_own(keygen):
    answer = ask(keygen, csr())
    key, certificate = plain(answer)
    assert public(key.public_key()) == public(certificate.public_key())
    assert answer.get("Content-Length") == str(len(answer.body))
    assert answer.get("Cache-Control") == "no-store"
    assert not answer.chunked


@case(143)
def test_the_requests_own_key_and_signature_are_ignored(keygen):
    requested = new_key()
    for request in (
        csr(key=requested, signer=new_key()),  # a signature by another key
        csr(key=requested)[:-8] + bytes(8),  # a signature of nothing
        csr(key=new_key("rsa-1024")),  # a key that is too weak to be certified
        csr(key=requested).replace(  # a point that is on no curve
            public(requested.public_key())[-64:], bytes(64)
        ),
    ):
        key, certificate = plain(ask(keygen, request))
        assert public(certificate.public_key()) == public(key.public_key())
        assert public(certificate.public_key()) != public(requested.public_key())


@case(143)
def test_names_are_the_profiles_business_as_ever(keygen):
    names = alternative_names(x509.DNSName("a.example.net"))
    _, certificate = plain(ask(keygen, csr(names, name="device-1")))
    assert certificate.subject.rfc4514_string() == "CN=device-1"
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(san) == [x509.DNSName("a.example.net")]
    assert ask(keygen, csr(name="somebody else")).status == 403
    foreign = alternative_names(x509.DNSName("a.example.com"))
    assert ask(keygen, csr(foreign)).status == 403


@case(143)
@pytest.mark.parametrize(
    ("wish", "made"), [("ec", ec.EllipticCurvePrivateKey), ("rsa", rsa.RSAPrivateKey)]
)
def test_the_algorithm_of_the_requests_key_is_a_wish(keygen, wish, made):
    key, _ = plain(ask(keygen, csr(key=new_key(wish))))
    assert isinstance(key, made)


def test_the_same_request_twice_is_two_keys_and_the_lost_one_is_superseded(keygen, lab_server):
    request = csr()
    (first, lost), (second, kept) = plain(ask(keygen, request)), plain(ask(keygen, request))
    assert public(first.public_key()) != public(second.public_key())
    status = eventually(lambda: row(lab_server, lost)["status"], "revoked")
    assert status == "revoked"
    assert row(lab_server, kept)["status"] == "good"


def row(server, certificate):
    return server.json("cert", "show", f"{certificate.serial_number:x}")


def eventually(look, wanted, seconds=30):
    import time

    until = time.monotonic() + seconds
    while (found := look()) != wanted and time.monotonic() < until:
        time.sleep(0.3)
    return found


@case(144)
def test_nobody_unknown_gets_a_key(keygen):
    answer = ask(keygen.with_(credential=None), csr())
    assert (answer.status, answer.body) == (401, b"")


# -- encrypted for a certificate ------------------------------------------------------------------


@pytest.fixture(scope="session", params=["ec", "rsa"])
def holder(request, keygen):
    """Return somebody who has a certificate whose key can be encrypted for, and that key."""
    key = new_key(request.param)
    answer = keygen.ask("simpleenroll", base64(csr(key=key)))
    assert answer.status == 200, answer.body
    (certificate,) = pkcs7.load_der_pkcs7_certificates(b64decode(answer.body))
    return keygen, certificate, key


def key_identifier(certificate) -> bytes:
    extension = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return extension.value.digest


@case(147)
def test_openssl_decrypts_a_key_for_a_certificate_of_the_askers(holder, lab_server, tmp_path):
    asker, certificate, key = holder
    request = csr(asymmetric(key_identifier(certificate)), capabilities(AES_256, OAEP, RSA_1_5))
    if isinstance(key, ec.EllipticCurvePrivateKey):
        request = csr(asymmetric(key_identifier(certificate)), capabilities(AES_256))
    (kind, octets), (_, issued) = parts(ask(asker, request))
    assert kind == ENCRYPTED
    (issued,) = pkcs7.load_der_pkcs7_certificates(issued)
    recip, private = tmp_path / "recip.pem", tmp_path / "recip.key"
    recip.write_bytes(certificate.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    opened = decrypt(octets, tmp_path, "-recip", recip, "-inkey", private)
    assert public(opened_key(opened, lab_server, tmp_path).public_key()) == public(
        issued.public_key()
    )


def decrypt(octets: bytes, folder, *key) -> bytes:
    """Return what `openssl cms -decrypt` finds: SignedData (RFC 7030 4.4.2)."""
    (folder / "enveloped.der").write_bytes(octets)
    subprocess.run(
        ["openssl", "cms", "-decrypt", "-inform", "DER", "-in", folder / "enveloped.der",
         "-binary", "-out", folder / "signed", *key],
        check=True, capture_output=True,
    )  # fmt: skip
    return (folder / "signed").read_bytes()


def opened_key(signed: bytes, server, folder):
    """Return the key in a package that the server's own TLS certificate signed, by openssl."""
    outer = der(0x30, oid("1.2.840.113549.1.7.2"), der(0xA0, signed))
    (folder / "outer.der").write_bytes(outer)
    subprocess.run(
        ["openssl", "cms", "-verify", "-inform", "DER", "-in", folder / "outer.der", "-binary",
         "-CAfile", server.root, "-purpose", "sslserver", "-out", folder / "package",
         "-signer", folder / "signer.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    signer = x509.load_pem_x509_certificate((folder / "signer.pem").read_bytes())
    names = signer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    package = (folder / "package").read_bytes()
    (length,) = {len(package) - start for start in (2, 3, 4) if whole_at(package, start)}
    return load_der_private_key(package[-length:], None)


def whole_at(package: bytes, start: int) -> bool:
    return package[start] == 0x30 and whole(package[start:])


@case(148)
def test_an_unknown_key_is_refused_and_nothing_is_made(keygen, lab_server):
    before = len(lab_server.json("cert", "list", "--limit", "10000"))
    stranger = new_key().public_key()
    foreign = x509.SubjectKeyIdentifier.from_public_key(stranger).digest
    for wanted in (asymmetric(foreign), attribute(DECRYPT_KEY, der(0x04, b"nobody's"))):
        answer = ask(keygen, csr(wanted, capabilities(AES_256)))
        assert answer.status == 400
        assert answer.body.startswith(b"keygen.unknown-key: ")
    assert len(lab_server.json("cert", "list", "--limit", "10000")) == before


@case(148)
def test_the_certificate_of_another_asker_is_unknown(holder, lab_server):
    asker, certificate, _ = holder
    other = asker.with_(credential=credential(lab_server, "keygen"))
    request = csr(asymmetric(key_identifier(certificate)), capabilities(AES_256))
    answer = ask(other, request)
    assert (answer.status, answer.body.split(b":")[0]) == (400, b"keygen.unknown-key")


@case(149)
def test_an_identifier_without_capabilities_is_refused(holder):
    asker, certificate, _ = holder
    for wanted in (asymmetric(key_identifier(certificate)), attribute(DECRYPT_KEY, der(4, b"k"))):
        answer = ask(asker, csr(wanted))
        assert (answer.status, b"SMIMECapabilities" in answer.body) == (400, True)


@case(151)
@pytest.mark.parametrize("weak", [(), (NULL,), (RC4,), (TRIPLE_DES,), (NULL, RSA_1_5)])
def test_weak_and_no_ciphers_are_refused(holder, weak):
    asker, certificate, _ = holder
    answer = ask(asker, csr(asymmetric(key_identifier(certificate)), capabilities(*weak)))
    assert (answer.status, answer.body.split(b":")[0]) == (400, b"keygen.capabilities")


@case(149)
def test_two_keys_at_once_are_refused(holder):
    asker, certificate, _ = holder
    both = asymmetric(key_identifier(certificate)), attribute(DECRYPT_KEY, der(4, b"k"))
    assert ask(asker, csr(*both, capabilities(AES_256))).status == 400


@case(150)
def test_a_profile_that_requires_encryption_gives_no_plain_key(sealed):
    answer = ask(sealed, csr())
    assert (answer.status, answer.body.split(b":")[0]) == (400, b"keygen.encryption-required")


@case(151)
def test_no_key_is_in_the_ledger_or_the_log(keygen, lab_server):
    key, _ = plain(ask(keygen, csr()))
    secret = key.private_numbers().private_value.to_bytes(32, "big")
    pkcs8 = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    forms = (secret, secret.hex().encode(), base64(secret, None)[:40], base64(pkcs8, None)[:120])
    files = [path for path in lab_server.directory.rglob("*") if path.is_file()]
    assert any(path.name == "serve.log" for path in files)
    for path in files:
        content = path.read_bytes()
        assert not any(form in content for form in forms), path


# -- encrypted with a secret key ------------------------------------------------------------------


def keyed(server, folder, octets=32):
    """Return a registered device with a secret key, as an asker, and that key."""
    device = f"keyed-{secrets.token_hex(4)}"
    server.run("device", "add", device, "--profile", "keyed")
    key = secrets.token_bytes(octets)
    named = server.json(
        *("device", "key", "add", device, "factory", "--key-stdin"), stdin=f"{key.hex()}\n"
    )
    assert named["key_id"] == "factory"
    assert "key" not in named
    user = server.credential(device, "keyed", "--device", device)
    return Asker(server, folder, credential=user, label="keyed"), key


@case(146)
@pytest.mark.parametrize("octets", [16, 24, 32])
def test_openssl_decrypts_a_key_with_a_secret_key_of_the_devices(lab_server, tmp_path, octets):
    asker, key = keyed(lab_server, tmp_path, octets)
    request = csr(attribute(DECRYPT_KEY, der(0x04, b"factory")), capabilities(AES_256, AES_128))
    (kind, octets), (other, certificate) = parts(ask(asker, request))
    assert (kind, other) == (ENCRYPTED, CERTIFICATE)
    outer = cms.ContentInfo.load(octets, strict=True)
    assert outer["content_type"].native == "enveloped_data"
    (recipient,) = outer["content"]["recipient_infos"]
    assert recipient.name == "kekri"
    assert recipient.chosen["version"].native == "v4"
    assert recipient.chosen["kekid"]["key_identifier"].native == b"factory"
    assert outer["content"]["encrypted_content_info"]["content_type"].native == "signed_data"
    opened = decrypt(octets, tmp_path, "-secretkey", key.hex(), "-secretkeyid", b"factory".hex())
    (issued,) = pkcs7.load_der_pkcs7_certificates(certificate)
    found = opened_key(opened, lab_server, tmp_path)
    assert public(found.public_key()) == public(issued.public_key())


@case(148, 151)
def test_a_secret_key_is_the_devices_own_and_not_readable_at_rest(lab_server, tmp_path):
    asker, key = keyed(lab_server, tmp_path)
    wanted = attribute(DECRYPT_KEY, der(0x04, b"other"))
    answer = ask(asker, csr(wanted, capabilities(AES_256)))
    assert (answer.status, answer.body.split(b":")[0]) == (400, b"keygen.unknown-key")
    for path in lab_server.directory.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert key not in content, path
            assert key.hex().encode() not in content, path


@case(148)
def test_a_removed_key_opens_nothing_any_more(lab_server, tmp_path):
    asker, _ = keyed(lab_server, tmp_path)
    device = asker.credential[0]
    made = lab_server.json("device", "key", "add", device, "hex:00ff")
    assert len(bytes.fromhex(made["key"])) == 32
    request = attribute(DECRYPT_KEY, der(0x04, b"\x00\xff")), capabilities(AES_256)
    assert ask(asker, csr(*request)).status == 200
    lab_server.run("device", "key", "remove", device, "hex:00ff")
    assert ask(asker, csr(*request)).status == 400
    assert [one["key_id"] for one in lab_server.json("device", "key", "list", device)] == [
        "factory"
    ]


@case(151)
def test_a_request_that_waits_has_no_key_until_it_is_collected(lab, lab_server):
    asker = lab.with_(label="reviewed-keygen", credential=credential(lab_server, "reviewed-keygen"))
    name = f"device-{secrets.token_hex(6)}"
    assert ask(asker, csr(name=name)).status == 202
    listed = lab_server.json("request", "list")
    (waiting,) = [
        one["request"]
        for one in listed
        if one["profile"] == "reviewed-keygen" and one["identity"] == asker.credential[0]
    ]
    lab_server.run("request", "approve", waiting)
    # the request's own key means nothing: the poll may bring another one
    key, certificate = plain(ask(asker, csr(name=name)))
    assert public(key.public_key()) == public(certificate.public_key())
    shown = lab_server.json("request", "show", waiting)
    assert shown["state"] == "issued"
    # and the same key is not given a second time: somebody has to approve the next one
    assert ask(asker, csr(name=name)).status == 202


# -- our own client -------------------------------------------------------------------------------


def client(server, user, out, *arguments) -> None:
    name, password = user
    est_server(
        *("client", "serverkeygen", "--url", f"https://{server.est}", "--root", str(server.root)),
        *("--username", name, "--password-stdin", "--out", str(out), *arguments),
        stdin=f"{password}\n",
    )


def key_of(folder) -> bytes:
    (key,) = folder.glob("key.pem")
    assert key.stat().st_mode & 0o77 == 0
    certificate = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes())
    private = load_pem_private_key(key.read_bytes(), None)
    assert public(private.public_key()) == public(certificate.public_key())
    return public(private.public_key())


def test_our_client_obtains_keys_in_every_form(lab_server, tmp_path):
    asker, key = keyed(lab_server, tmp_path)
    other = asker.with_(label="keygen", credential=credential(lab_server, "keygen"))
    private = new_key()
    answer = other.ask("simpleenroll", base64(csr(key=private)))
    (certificate,) = pkcs7.load_der_pkcs7_certificates(b64decode(answer.body))
    # with nothing but TLS
    named = ("--label", "keygen", "--subject", "CN=device-1")
    client(lab_server, other.credential, tmp_path / "plain", *named)
    plain_key = key_of(tmp_path / "plain")
    # for a certificate
    pem, its_key = tmp_path / "recip.pem", tmp_path / "recip.key"
    pem.write_bytes(certificate.public_bytes(Encoding.PEM))
    its_key.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    for_it = ("--for-cert", str(pem), "--for-key", str(its_key))
    client(lab_server, other.credential, tmp_path / "certificate", *named, *for_it)
    # with a secret key
    kek = tmp_path / "kek.hex"
    kek.write_text(key.hex())
    secret = ("--label", "keyed", "--secret-id", "factory", "--secret-file", str(kek))
    client(lab_server, asker.credential, tmp_path / "secret", *secret)
    assert len({plain_key, key_of(tmp_path / "certificate"), key_of(tmp_path / "secret")}) == 3
