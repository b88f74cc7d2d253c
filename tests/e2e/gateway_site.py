"""Gateways with mutual TLS in front of nothing, and `est-server follow` that keeps their lists."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from est_process import COMMAND, REPOSITORY, EstServer, free_addresses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEADLINE = 60.0  # seconds, on a machine that does other things too

ROOT = """\
  root:                            # its list is needed by gateways that check whole chains
    backend: soft
    certificate: ca/root.pem
    key: file:ca/root.key
    passphrase: file:secrets/ca.pass
    crl: {complete: revocation}
  issuing:"""

NGINX = """\
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log {directory}/error.log notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen {address} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_client_certificate {trust};
        ssl_verify_client on;
        ssl_crl {crl};
        ssl_session_cache off;
        ssl_session_tickets off;
        location / {{ return 200 "in"; }}
    }}
}}
"""

HAPROXY = """\
global
    stats socket {directory}/admin mode 600 level admin
defaults
    mode http
    timeout client 10s
    timeout connect 5s
    timeout server 10s
frontend devices
    bind {address} ssl crt {pair} ca-file {trust} verify required crl-file {crl} no-tls-tickets
    http-request return status 200 content-type text/plain string in
"""


def prepare(server: EstServer, complete: str = "revocation") -> None:
    """Let the root publish lists too, and both complete ones with each revocation."""
    text = server.config.read_text()
    text = text.replace("\n  issuing:", "\n" + ROOT, 1)
    old = "  issuing:                         # profiles say"
    assert old in text
    crl = f"    crl: {{complete: {complete}}}\n    certificate: ca/issuing.pem"
    server.config.write_text(text.replace("    certificate: ca/issuing.pem", crl, 1))


@dataclass
class Device:
    """A certificate and its key, as a TLS client."""

    serial: str
    context: ssl.SSLContext

    def passes(self, address: str) -> bool:
        """Tell whether a gateway lets it in, on a new connection."""
        host, _, port = address.rpartition(":")
        client = http.client.HTTPSConnection(host, int(port), timeout=20, context=self.context)
        try:
            client.request("GET", "/")
            answer = client.getresponse()
            return answer.status == 200 and answer.read() == b"in"
        except (ssl.SSLError, ConnectionError):
            return False
        finally:
            client.close()


def device(server: EstServer, made: Any, key: ec.EllipticCurvePrivateKey) -> Device:
    """Return the client that shows a certificate."""
    context = ssl.create_default_context(cafile=server.root)
    context.check_hostname = False
    path = server.directory / f"{made.serial_number:x}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + private)
    context.load_cert_chain(path)
    return Device(f"{made.serial_number:x}", context)


def until(condition: Callable[[], Any], what: str) -> float:
    """Return the seconds until something is so."""
    begin = time.monotonic()
    while time.monotonic() < begin + DEADLINE:
        if condition():
            return time.monotonic() - begin
        time.sleep(0.02)
    raise AssertionError(f"{what}: not after {DEADLINE} s")


@dataclass
class Follow:
    """A running `est-server follow`."""

    process: subprocess.Popen[bytes]
    log: Path
    lines: list[str] = field(default_factory=list)

    def said(self) -> str:
        return self.log.read_text()


def arguments(server: EstServer, target: Path, *more: str) -> list[str]:
    """Return the arguments of `follow` for both CAs of a prepared server."""
    ca = server.directory / "ca"
    return [
        "follow", "--url", f"http://{server.public}", "--ca", f"issuing={ca / 'issuing.pem'}",
        "--ca", f"root={ca / 'root.pem'}", "--crl-file", str(target), *more,
    ]  # fmt: skip


def follow_once(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `follow --once`."""
    return subprocess.run(
        [*COMMAND, *arguments, "--once"], cwd=REPOSITORY, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


@contextmanager
def following(arguments: list[str], log: Path) -> Iterator[Follow]:
    """Follow until the block ends; then SIGTERM must end it with exit code 0."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, *arguments], cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield Follow(process, log)
        assert process.poll() is None, log.read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


@dataclass
class Gateway:
    """A running gateway.

    Attributes:
        reload: the command that makes it read its list again.
    """

    address: str
    reload: str
    directory: Path


@contextmanager
def nginx(server: EstServer, directory: Path, crl: Path) -> Iterator[Gateway]:
    """Run nginx with one list file."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    _, address = _files(server, directory)
    conf, tls = directory / "nginx.conf", server.directory / "tls"
    conf.write_text(
        NGINX.format(
            directory=directory, address=address, crl=crl, trust=directory / "trust.pem",
            certificate=tls / "server.pem", key=tls / "server.key",
        )
    )  # fmt: skip
    options = ["-p", str(directory), "-c", str(conf)]
    reload = f"{program} {' '.join(options)} -s reload"
    with _running([program, *options], directory, address):
        yield Gateway(address, reload, directory)


@contextmanager
def haproxy(server: EstServer, directory: Path, crl: Path) -> Iterator[Gateway]:
    """Run HAProxy with one list file, master and worker."""
    pair, address = _files(server, directory)
    conf = directory / "haproxy.cfg"
    conf.write_text(
        HAPROXY.format(
            directory=directory, address=address, pair=pair, trust=directory / "trust.pem", crl=crl
        )
    )
    pid = directory / "pid"
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    with _running([program, "-W", "-p", str(pid), "-f", str(conf)], directory, address):
        until(pid.exists, "haproxy's pid file")
        yield Gateway(address, f"kill -USR2 $(head -1 {pid})", directory)


def _files(server: EstServer, directory: Path) -> tuple[Path, str]:
    directory.mkdir()
    ca = server.directory / "ca"
    (directory / "trust.pem").write_bytes(
        (ca / "root.pem").read_bytes() + (ca / "issuing.pem").read_bytes()
    )
    pair = directory / "pair.pem"
    tls = server.directory / "tls"
    pair.write_bytes((tls / "server.pem").read_bytes() + (tls / "server.key").read_bytes())
    [address] = free_addresses(1)
    return pair, address


@contextmanager
def _running(command: list[str], directory: Path, address: str) -> Iterator[None]:
    log = directory / "log"
    host, _, port = address.rpartition(":")

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError:
            return False
        return True

    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ, start_new_session=True
        )
    try:
        until(listens, command[0])
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
