"""A time-stamping authority made of OpenSSL, and the audit commands in this process."""

from __future__ import annotations

import json
import subprocess
import threading
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from typer.testing import CliRunner

from est_server.app.clock import system_clock
from est_server.cli import app
from est_server.pki.authority import make_root, plain_key

_CONFIG = """\
[tsa]
default_tsa = one
[one]
serial = {base}/serial
signer_cert = {base}/tsa.pem
signer_key = {base}/tsa.key
certs = {base}/tsa.pem
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
ordering = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


def audit(server, *arguments, code=0):
    """Run an audit command and return what it prints as JSON."""
    done = CliRunner().invoke(app, ["audit", *arguments, "-c", str(server.config), "-o", "json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def refused(server, *arguments):
    """Run an audit command that fails, and return the rule."""
    done = CliRunner().invoke(app, ["audit", *arguments, "-c", str(server.config), "-o", "json"])
    assert done.exit_code != 0, done.output
    return json.loads(done.stderr)["error"]


@contextmanager
def time_stamping(base):
    """Run an authority that `openssl ts` is; yield its URL and its root's file."""
    root = make_root("a root of time", "EC-P256", lifetime=timedelta(days=30), now=system_clock())
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a clock")]))
        .issuer_name(root.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(system_clock() - timedelta(hours=1))
        .not_valid_after(system_clock() + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING]), critical=True)
        .sign(root.key, hashes.SHA256())
    )
    base.mkdir()
    (base / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    (base / "tsa.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    (base / "tsa.key").write_bytes(plain_key(key))
    (base / "serial").write_text("01\n")
    (base / "tsa.cnf").write_text(_CONFIG.format(base=base))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            query = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/timestamp-query"
            (base / "query").write_bytes(query)
            command = ["openssl", "ts", "-reply", "-config", base / "tsa.cnf", "-section", "one"]
            done = subprocess.run(
                [*command, "-queryfile", base / "query", "-out", base / "reply"],
                capture_output=True, check=False,
            )  # fmt: skip
            answer = (base / "reply").read_bytes() if done.returncode == 0 else done.stderr
            self.send_response(200 if done.returncode == 0 else 500)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/tsa", base / "root.pem"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
