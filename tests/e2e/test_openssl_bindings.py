"""openssl, which shares no code with the server, binds requests to its own connections."""

from __future__ import annotations

import re
import subprocess
from base64 import b64decode, b64encode
from contextlib import contextmanager

import pytest
from cryptography.hazmat.primitives.serialization import pkcs7

VALUE = re.compile(r"Keying material: ([0-9A-F]{64})\n")
EXPORT = ("-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32")


@pytest.fixture(scope="module")
def user(interop_server, need):
    need("openssl", "openssl")
    return interop_server.credential("openssl-bindings", "interop")


@contextmanager
def s_client(server, *arguments):
    """Run `openssl s_client` on a connection that stays open."""
    command = ["openssl", "s_client", "-connect", server.est, "-CAfile", server.root, "-ign_eof"]
    with subprocess.Popen(
        [*command, "-verify_return_error", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def exported(process) -> bytes:
    """Return the exported value as s_client prints it after the handshake."""
    seen = ""
    for line in process.stdout:
        seen += line.decode()
        if (found := VALUE.search(seen)) is not None:
            return bytes.fromhex(found[1])
    pytest.fail(f"no keying material\n{seen}")


def request(folder, binding: str) -> bytes:
    """Return a PKCS #10 request by openssl with this challengePassword."""
    config = folder / "request.cnf"
    config.write_text(
        "[req]\nprompt = no\ndistinguished_name = name\nattributes = attributes\n"
        f"[name]\nCN = openssl\n[attributes]\nchallengePassword = {binding}\n"
    )
    done = subprocess.run(
        ["openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-keyout", folder / "key.pem", "-config", config, "-outform", "DER"],
        check=True, capture_output=True,
    )  # fmt: skip
    return b64encode(done.stdout)


def enroll(process, server, user, body: bytes) -> tuple[int, bytes]:
    """Send one simpleenroll on the open connection; return status and body."""
    basic = b64encode(":".join(user).encode()).decode()
    head = (
        f"POST /.well-known/est/simpleenroll HTTP/1.1\r\nHost: {server.est}\r\n"
        f"Authorization: Basic {basic}\r\nContent-Type: application/pkcs10\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    process.stdin.write(head.encode() + body)
    process.stdin.flush()
    answer = process.stdout.read()
    head, _, rest = answer[answer.index(b"HTTP/1.1 ") :].partition(b"\r\n\r\n")
    length = int(re.search(rb"Content-Length: ([0-9]+)", head)[1])
    return int(head.split()[1]), rest[:length]


def test_a_request_with_the_exported_value_of_its_connection_enrolls(
    interop_server, user, tmp_path
):
    with s_client(interop_server, "-tls1_3", *EXPORT) as process:
        body = request(tmp_path, b64encode(exported(process)).decode())
        status, answer = enroll(process, interop_server, user, body)
    assert status == 200, answer
    (certificate,) = pkcs7.load_der_pkcs7_certificates(b64decode(answer))
    assert certificate.subject.rfc4514_string() == "CN=openssl"


def test_a_request_with_an_altered_value_or_another_connections_is_refused(
    interop_server, user, tmp_path
):
    with s_client(interop_server, "-tls1_3", *EXPORT) as process:
        value = bytearray(exported(process))
        elsewhere = request(tmp_path, b64encode(value).decode())
        value[-1] ^= 1
        altered = request(tmp_path, b64encode(value).decode())
        assert enroll(process, interop_server, user, altered)[0] == 403
    with s_client(interop_server, "-tls1_3", *EXPORT) as process:
        exported(process)
        assert enroll(process, interop_server, user, elsewhere)[0] == 403
