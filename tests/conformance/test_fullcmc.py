"""L: Full PKI Requests of CMC, signed and checked by OpenSSL's cms."""

from __future__ import annotations

import subprocess
from base64 import b64decode, b64encode
from dataclasses import dataclass
from secrets import token_hex

import pytest
from asker import Asker, certificates
from asn1crypto import core
from cases import case
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs7,
)

from interop.conformance.asking import (
    certification_request,
    challenge,
    common_name,
    der,
    extension,
    extension_request,
    new_key,
    oid,
)

PKI_DATA, PKI_RESPONSE = "1.3.6.1.5.5.7.12.2", "1.3.6.1.5.5.7.12.3"
STATUS, TRANSACTION, SENDER, RECIPIENT, WITNESS = (
    f"1.3.6.1.5.5.7.7.{number}" for number in (25, 5, 6, 7, 11)
)
MEDIA = ("Content-Type", "application/pkcs7-mime; smime-type=CMC-request")
SUCCESS, FAILED = 0, 2
BAD_MESSAGE_CHECK, BAD_REQUEST, BAD_CERT_ID, BAD_IDENTITY, POP_FAILED = 1, 2, 4, 7, 9


def integer(number):
    return core.Integer(number).dump()


def control(part, kind, value):
    return der(0x30, integer(part), oid(kind), der(0x31, value))


def pki_data(csr, *controls):
    return der(
        0x30, der(0x30, *controls), der(0x30, der(0xA0, integer(1), csr)), der(0x30), der(0x30)
    )


def request(key, name, *attributes):
    """Return a PKCS #10 request that names its key, as RFC 5272 3.2.1 has it."""
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    asked = extension_request(extension(identifier))
    return certification_request(key, common_name(name), [asked, *attributes])


@dataclass
class Hand:
    """Who signs: a certificate and its key in files, for OpenSSL."""

    certificate: object
    key: object

    def sign(self, content, folder, *options):
        (folder / "content").write_bytes(content)
        done = subprocess.run(
            ["openssl", "cms", "-sign", "-binary", "-nodetach", "-econtent_type", PKI_DATA,
             "-in", folder / "content", "-signer", self.certificate, "-inkey", self.key,
             "-outform", "DER", *options],
            capture_output=True, check=True,
        )  # fmt: skip
        return done.stdout


def hand_of(key, folder):
    """Return a hand with a certificate that only names the key: for `-keyid`."""
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = common_name("nobody")
    from datetime import timedelta

    from cryptography.hazmat.primitives import hashes

    from est_server.app.clock import system_clock

    now = system_clock()
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "hand.pem").write_bytes(made.public_bytes(Encoding.PEM))
    (folder / "hand.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return Hand(folder / "hand.pem", folder / "hand.key")


@dataclass
class Answer:
    """A Full PKI Response whose signature OpenSSL has checked, up to the server's root."""

    status: int
    controls: dict
    certificates: list

    @property
    def info(self):
        """Return (cMCStatus, bodyList, statusString, failInfo)."""
        status, parts, *rest = elements(self.controls[STATUS])
        texts = [bytes(value.contents).decode() for value in rest if value.tag == 12]
        fails = [value.native for value in rest if value.tag == 2]
        return status.native, [part.native for part in elements(parts)], texts, fails


def elements(value):
    """Return what is in a SEQUENCE, each by itself."""
    return [core.load(one.dump()) for one in core.SequenceOf.load(value.dump(), spec=core.Any)]


def read(server, got, folder):
    assert got.get("Content-Type") == "application/pkcs7-mime; smime-type=CMC-response", got.body
    message = b64decode(got.body)
    (folder / "answer").write_bytes(message)
    done = subprocess.run(
        ["openssl", "cms", "-verify", "-inform", "DER", "-in", folder / "answer",
         "-CAfile", server.root, "-purpose", "any", "-binary"],
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    controls, messages, others = elements(core.load(done.stdout))
    assert not elements(messages) + elements(others)
    found = {}
    for one in elements(controls):
        _, kind, values = elements(one)
        [value] = [core.load(v.dump()) for v in core.SetOf.load(values.dump(), spec=core.Any)]
        found[kind.dotted] = value
    return Answer(got.status, found, pkcs7.load_der_pkcs7_certificates(message))


@pytest.fixture(scope="module")
def owner(lab_server):
    return lab_server.credential("cmc-owner", "cmc")


@pytest.fixture(scope="module")
def asker(lab_server, owner, tmp_path_factory, need):
    need("openssl", "openssl")
    return Asker(lab_server, tmp_path_factory.mktemp("cmc"), "1.3", credential=owner, label="cmc")


def post(asker, message, *fields, on=None):
    return asker.ask("fullcmc", b64encode(message), *(fields or (MEDIA,)), on=on)


def signed_by_its_key(key, csr, folder, *controls, options=()):
    return hand_of(key, folder).sign(pki_data(csr, *controls), folder, "-keyid", *options)


@case(152)
def test_a_label_that_does_not_offer_it_says_so(asker, tmp_path):
    key = new_key()
    message = signed_by_its_key(key, request(key, "x"), tmp_path)
    for label in ("review", "nowhere"):
        assert post(asker.with_(label=label), message).status == 404
    assert asker.ask("fullcmc").status == 405


@case(153)
@pytest.mark.parametrize(
    "media",
    [
        "application/pkcs7-mime",
        "application/pkcs7-mime; smime-type=certs-only",
        "application/pkcs7-mime; smime-type=CMC-response",
        "application/pkcs10",
        "text/plain; smime-type=CMC-request",
    ],
)
def test_another_media_type_is_415(asker, tmp_path, media):
    key = new_key()
    message = signed_by_its_key(key, request(key, "x"), tmp_path)
    assert post(asker, message, ("Content-Type", media)).status == 415


def test_the_media_type_is_read_as_such(asker, tmp_path):
    key = new_key()
    message = signed_by_its_key(key, request(key, "media"), tmp_path)
    media = 'Application/PKCS7-mime; charset=x; SMIME-Type="cmc-request"'
    assert post(asker, message, ("Content-Type", media)).status == 200


@case(155)
@pytest.mark.parametrize("options", [(), ("-stream",), ("-nocerts",), ("-md", "sha384")])
def test_a_request_signed_by_its_own_key_is_answered_with_certs_only(asker, tmp_path, options):
    key = new_key()
    message = signed_by_its_key(key, request(key, "simple"), tmp_path, options=options)
    assert message.startswith(b"\x30\x80") == (options == ("-stream",))
    got = post(asker, message)
    assert got.status == 200
    assert got.get("Content-Type") == "application/pkcs7-mime; smime-type=certs-only"
    [certificate] = certificates(got)
    assert certificate.public_key() == key.public_key()


@case(155)
def test_what_ties_messages_together_comes_back_signed(asker, tmp_path):
    key = new_key()
    controls = [
        control(2, TRANSACTION, integer(1 << 70)),
        control(3, SENDER, der(4, b"n" * 20)),
    ]
    message = signed_by_its_key(key, request(key, "tied"), tmp_path, *controls)
    answer = read(asker.server, post(asker, message), tmp_path)
    assert answer.status == 200
    assert answer.info == (SUCCESS, [1], [], [])
    assert answer.controls[TRANSACTION].native == 1 << 70
    assert answer.controls[RECIPIENT].native == b"n" * 20
    assert len(answer.controls[SENDER].native) >= 16
    keys = [certificate.public_key() for certificate in answer.certificates]
    assert key.public_key() in keys


@case(155)
def test_a_certificate_of_ours_signs_its_own_renewal(asker, tmp_path):
    first, key = asker.enroll(name="cmc-renewal")
    renewing = asker.with_(identity=asker.keep(first, key), credential=None)
    hand = Hand(renewing.identity.certificate, renewing.identity.key)
    fresh = new_key()
    csr = certification_request(fresh, common_name("cmc-renewal"))
    for options in ((), ("-keyid",)):
        [second] = certificates(post(renewing, hand.sign(pki_data(csr), tmp_path, *options)))
        assert second.public_key() == fresh.public_key()
        assert second.subject == first.subject
    explained = asker.server.json("why", f"{second.serial_number:x}")
    assert explained[0]["operation"] == "simplereenroll"
    # the names of another are refused as in any renewal
    other = certification_request(new_key(), common_name("somebody else"))
    answer = read(asker.server, post(renewing, hand.sign(pki_data(other), tmp_path)), tmp_path)
    assert answer.status == 403
    assert answer.info[0] == FAILED
    assert answer.info[2][0].startswith("reenroll.subject: ")


def test_the_same_message_again_is_the_same_certificate(asker, tmp_path):
    key = new_key()
    message = signed_by_its_key(key, request(key, "again"), tmp_path)
    assert certificates(post(asker, message)) == certificates(post(asker, message))


@case(154)
@pytest.mark.parametrize(
    ("spoil", "fails"),
    [
        (lambda message: message[:-1], BAD_REQUEST),
        (lambda message: message + b"\0", BAD_REQUEST),
        (lambda message: b"\x30\x03\x02\x01\x00", BAD_REQUEST),
        (lambda message: message.replace(b"spoilt", b"SPOILT"), BAD_MESSAGE_CHECK),
    ],
)
def test_an_invalid_message_is_refused_in_cmc(asker, tmp_path, spoil, fails):
    key = new_key()
    message = spoil(signed_by_its_key(key, request(key, "spoilt"), tmp_path))
    answer = read(asker.server, post(asker, message), tmp_path)
    assert answer.status == 400
    assert (answer.info[0], answer.info[3]) == (FAILED, [fails])
    assert answer.info[2][0].startswith("cmc.")


@case(154)
def test_what_is_not_known_here_fails_the_whole_message(asker, tmp_path):
    key = new_key()
    proof = control(2, "1.3.6.1.5.5.7.7.34", der(0x30))
    message = signed_by_its_key(key, request(key, "proof"), tmp_path, proof)
    answer = read(asker.server, post(asker, message), tmp_path)
    assert (answer.status, answer.info[3]) == (400, [BAD_REQUEST])


@case(154)
def test_a_message_by_other_hands_is_refused(asker, tmp_path):
    key, stranger = new_key(), new_key()
    csr = request(key, "stranger")
    hand = hand_of(stranger, tmp_path)
    for options in ((), ("-keyid",)):
        message = hand.sign(pki_data(csr), tmp_path, *options)
        answer = read(asker.server, post(asker, message), tmp_path)
        assert (answer.status, answer.info[3]) == (400, [BAD_CERT_ID])
    # a certificate on the connection signs for nobody but who it stands for
    shown = asker.with_(identity=asker.keep(x509.load_pem_x509_certificate(
        hand.certificate.read_bytes()), stranger))  # fmt: skip
    answer = read(asker.server, post(shown, hand.sign(pki_data(csr), tmp_path)), tmp_path)
    assert (answer.status, answer.info[3]) == (400, [BAD_CERT_ID])


@case(154)
def test_a_request_without_its_key_identifier_is_not_signed_by_its_key(asker, tmp_path):
    key = new_key()
    csr = certification_request(key, common_name("unnamed"))
    answer = read(asker.server, post(asker, signed_by_its_key(key, csr, tmp_path)), tmp_path)
    assert (answer.status, answer.info[3]) == (400, [BAD_CERT_ID])


def test_nobody_known_is_asked_to_say_who_they_are(asker, tmp_path):
    key = new_key()
    message = signed_by_its_key(key, request(key, "nobody"), tmp_path)
    got = post(asker.with_(credential=None), message)
    assert (got.status, got.body) == (401, b"")
    assert got.get("WWW-Authenticate").startswith("Basic ")


@case(156)
def test_a_proof_of_possession_that_fails_is_pop_failed(asker, tmp_path):
    key = new_key()
    bound_elsewhere = request(key, "pop", challenge("bm90IHRoaXMgb25l"))
    forged = certification_request(
        key,
        common_name("pop"),
        [extension_request(extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key())))],
        signer=new_key(),
    )
    for csr, status, rule in (
        (bound_elsewhere, 403, "pop.mismatch"),
        (forged, 400, "csr.signature"),
    ):
        answer = read(asker.server, post(asker, signed_by_its_key(key, csr, tmp_path)), tmp_path)
        assert (answer.status, answer.info[3]) == (status, [POP_FAILED])
        assert answer.info[2][0].startswith(f"{rule}: ")


@case(156)
def test_a_binding_to_this_connection_is_right(asker, tmp_path):
    key = new_key()
    with asker.connect() as connection:
        csr = request(key, "bound", challenge(connection.binding))
        assert post(asker, signed_by_its_key(key, csr, tmp_path), on=connection).status == 200


@case(157)
def test_a_pop_witness_counts_from_a_registrar_only(asker, lab_server, tmp_path):
    witness = control(2, WITNESS, der(0x30, integer(0), der(0x30, integer(1))))
    key = new_key()
    message = signed_by_its_key(key, request(key, "witness"), tmp_path, witness)
    answer = read(lab_server, post(asker, message), tmp_path)
    assert (answer.status, answer.info[3]) == (403, [POP_FAILED])
    assert answer.info[2][0].startswith("pop.witness: ")
    registrar = asker.with_(
        label="cmc-registrar", credential=lab_server.credential("cmc-ra", "cmc-registrar")
    )
    for who, status in ((registrar, 200), (asker, 403)):
        first, key = who.enroll(name="witness")
        renewing = who.with_(identity=who.keep(first, key), credential=None)
        hand = Hand(renewing.identity.certificate, renewing.identity.key)
        # bound to the connection of somebody else, whom the registrar speaks for
        csr = certification_request(new_key(), common_name("witness"), [challenge("b3RoZXI=")])
        got = post(renewing, hand.sign(pki_data(csr, witness), tmp_path))
        assert got.status == status


def test_a_message_that_waits_for_a_person_is_202_and_collects_its_certificate(
    asker, lab_server, tmp_path
):
    credential = lab_server.credential(f"cmc-{token_hex(4)}", "cmc-review")
    waiting = asker.with_(label="cmc-review", credential=credential)
    key, name = new_key(), f"waits-{token_hex(4)}"
    message = signed_by_its_key(key, request(key, name), tmp_path)
    answer = post(waiting, message)
    assert (answer.status, answer.get("Retry-After"), answer.body) == (202, "90", b"")
    [record] = [
        row
        for row in lab_server.json("request", "list", "--limit", "10000")
        if row["identity"] == credential[0]
    ]
    lab_server.run("request", "approve", record["request"])
    # signed anew, as a device does that keeps no octets
    again = signed_by_its_key(key, request(key, name), tmp_path)
    answer = post(waiting, again)
    assert answer.status == 200
    [certificate] = pkcs7.load_der_pkcs7_certificates(b64decode(answer.body))
    assert certificate.public_key() == key.public_key()
