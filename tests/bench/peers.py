"""The servers that are measured, each a real process on loopback."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

REPOSITORY = Path(__file__).parents[2]
EST_SERVER = str(Path(sys.executable).parent / "est-server")
STARTS_WITHIN = 60.0  # seconds
STOPS_WITHIN = 30.0
_LOOPBACK = "127.0.0.1"
_POLL = 0.005


@dataclass(frozen=True, slots=True)
class Served:
    """A running server: its process and where it listens."""

    pid: int
    address: tuple[str, int]


@dataclass(frozen=True, slots=True)
class EstDirectory:
    """What `est-server init` made; the TLS key and certificate are in `tls`."""

    path: Path
    est: tuple[str, int]
    admin: tuple[str, int]

    @property
    def config(self) -> Path:
        return self.path / "server.yaml"

    def run(self, *arguments: str) -> str:
        """Run `est-server ARGUMENTS -c server.yaml` and return what it prints."""
        return _command(*arguments, "-c", str(self.config))

    def ready(self) -> bool:
        """Tell whether a server says that it can issue."""
        unproven = ssl.create_default_context()
        unproven.check_hostname = False
        unproven.verify_mode = ssl.CERT_NONE
        url = "https://{}:{}/readyz".format(*self.admin)
        try:
            with urllib.request.urlopen(url, context=unproven, timeout=5):
                return True
        except OSError:
            return False


def initialise(
    directory: Path,
    profiles: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> EstDirectory:
    """Return a new directory that is not served yet.

    Args:
        directory: does not exist.
        profiles: further profiles, by name.
        settings: further keys of server.yaml.
    """
    est, public, admin = ((_LOOPBACK, port) for port in free_ports(3))
    listeners = {"--est": est, "--public": public, "--admin": admin}
    options = [text for key, at in listeners.items() for text in (key, "{}:{}".format(*at))]
    _command("init", str(directory), "--dns", "localhost", *options, "--yes")
    made = EstDirectory(directory, est, admin)
    for name, text in (profiles or {}).items():
        (directory / "profiles" / f"{name}.yaml").write_text(text)
    written = yaml.load(made.config.read_text(), Loader=yaml.BaseLoader)
    made.config.write_text(json.dumps({**written, **(settings or {})}, indent=2))
    return made


@contextmanager
def est_server(directory: EstDirectory, *options: str) -> Iterator[Served]:
    """Serve `directory` until the block ends, with further options of the command."""
    command = [EST_SERVER, "serve", "-c", str(directory.config), *options]
    with _running(command, directory.path / "serve.log", directory.ready) as pid:
        yield Served(pid, directory.est)


@contextmanager
def nginx(directory: Path, listener: str, location: str) -> Iterator[Served]:
    """Run one nginx worker until the block ends.

    Args:
        directory: for its files; does not exist.
        listener: directives of the server block; `{address}` becomes host and port.
        location: directives of the one location, for example ``return 200 "ok";``.
    """
    if (program := shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")) is None:
        raise SystemExit("nginx is missing: apt-get install nginx")
    directory.mkdir(parents=True)
    address = (_LOOPBACK, free_ports(1)[0])
    text = _NGINX.format(
        directory=directory,
        listener=listener.format(address="{}:{}".format(*address)),
        location=location,
    )
    (directory / "nginx.conf").write_text(text)
    command = [program, "-p", str(directory), "-c", str(directory / "nginx.conf")]
    with _running(command, directory / "nginx.log", lambda: _listens(address)) as pid:
        yield Served(pid, address)


@contextmanager
def cfssl_ocspserve(directory: Path, response: bytes) -> Iterator[Served]:
    """Serve one signed OCSP response until the block ends.

    Args:
        directory: for its files; does not exist.
        response: DER.
    """
    if (program := shutil.which("cfssl")) is None:
        raise SystemExit("cfssl is missing: apt-get install golang-cfssl")
    directory.mkdir()
    responses = directory / "responses"
    responses.write_text(base64.b64encode(response).decode() + "\n")
    address = (_LOOPBACK, free_ports(1)[0])
    # one core like everybody else: threads that look for work cost it more than they bring
    command = ["env", "GOMAXPROCS=1", program, "ocspserve", f"-port={address[1]}"]
    command += [f"-responses={responses}", "-loglevel=5"]
    with _running(command, directory / "log", lambda: _listens(address)) as pid:
        yield Served(pid, address)


_NGINX = """\
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log stderr warn;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000000;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        {listener}
        location / {{ {location} }}
    }}
}}
"""


def free_ports(count: int) -> list[int]:
    """Return ports of loopback that nobody listens on."""
    sockets = [socket.create_server((_LOOPBACK, 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def await_ready(process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    """Return when `ready` says so; give up when the process ends first."""
    until = time.monotonic() + STARTS_WITHIN
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{process.args}: not ready\n{log.read_text()[-2000:]}")
        time.sleep(_POLL)


@contextmanager
def _running(command: list[str], log: Path, ready: Callable[[], bool]) -> Iterator[int]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=output, stderr=output)
        try:
            await_ready(process, ready, log)
            yield process.pid
            process.terminate()
            process.wait(STOPS_WITHIN)
        finally:
            process.kill()
            process.wait()


def _listens(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, 1).close()
    except OSError:
        return False
    return True


def _command(*arguments: str) -> str:
    done = subprocess.run(
        [EST_SERVER, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"est-server {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout
