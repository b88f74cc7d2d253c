"""A rollover from start to retirement, with strongSwan devices and a running server.

Every device validates with what it has at each step: the old root alone, the new root alone, or
what it fetched. The server is never restarted by hand; it is killed between the steps. The keys are
in files or, in the long form, all of them, old and new roots' too, in a token.
"""

from __future__ import annotations

import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from est_process import COMMAND, REPOSITORY
from pkcs11_tokens import MODULE, PIN, new_token

STARTS_WITHIN = 60.0


class Killable:
    """A server process that can be killed and started again."""

    def __init__(self, server):
        self.server = server
        self.process = None

    def start(self):
        with (self.server.directory / "serve.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve", "-c", str(self.server.config)],
                cwd=REPOSITORY, stdout=log, stderr=log,
            )  # fmt: skip
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        until = time.monotonic() + STARTS_WITHIN
        while True:
            try:
                url = f"https://{self.server.admin}/readyz"
                with urllib.request.urlopen(url, context=trust, timeout=5):
                    return
            except OSError:
                assert self.process.poll() is None, "it must start by itself"
                assert time.monotonic() < until
                time.sleep(0.1)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def again(self):
        self.kill()
        self.start()


@dataclass
class Device:
    """A strongSwan client: what it trusts, and the certificate and key that it has."""

    server: Any
    folder: Path
    name: str
    trust: Path
    credential: tuple[str, str]
    number: int = 0

    @property
    def url(self) -> str:
        return f"https://{self.server.est}"

    @property
    def certificate(self) -> Path:
        return self.folder / f"certificate{self.number}.pem"

    def issuer(self) -> str:
        return x509.load_pem_x509_certificate(self.certificate.read_bytes()).issuer.rfc4514_string()

    def fetch(self, root: Path | None = None) -> list[x509.Certificate]:
        """Fetch /cacerts, trusting `root` alone, and return what was in it."""
        out = self.folder / f"fetch{time.monotonic_ns()}"
        out.mkdir(parents=True)
        pki("--estca", "--url", self.url, "--cacert", root or self.trust,
            "--caout", out / "ca.pem", "--outform", "pem")  # fmt: skip
        return [x509.load_pem_x509_certificate(path.read_bytes()) for path in out.iterdir()]

    def enroll(self, *proof: Any) -> None:
        self.number += 1
        key = self.folder / f"key{self.number}.pem"
        self.folder.mkdir(parents=True, exist_ok=True)
        key.write_bytes(pki("--gen", "--type", "ecdsa", "--size", "256", "--outform", "pem"))
        request = self.folder / "request.der"
        request.write_bytes(pki("--req", "--in", key, "--dn", f"CN={self.name}"))
        made = pki("--est", "--url", self.url, "--in", request, "--cacert", self.trust,
                   "--maxpolltime", "1", "--outform", "pem",
                   *(proof or ("--userpass", ":".join(self.credential))))  # fmt: skip
        self.certificate.write_bytes(made)

    def renew(self) -> None:
        key = self.folder / f"key{self.number}.pem"
        self.enroll("--cert", self.certificate, "--key", key)


def pki(*arguments) -> bytes:
    done = subprocess.run(["pki", *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == 0, (arguments, done.stderr.decode())
    return done.stdout


def reaches(server, root: Path) -> bool:
    """Tell whether a client that trusts `root` alone takes the server's certificate."""
    trust = ssl.create_default_context(cafile=str(root))
    try:
        with urllib.request.urlopen(f"{server.url}/cacerts", context=trust, timeout=10):
            return True
    except urllib.error.URLError as error:
        if "CERTIFICATE_VERIFY_FAILED" not in str(error):
            raise
        return False


def is_self_signed(certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(certificate)
    except Exception:  # noqa: BLE001 - any failure says no
        return False
    return True


def step(server, action: str, *arguments: str) -> dict[str, Any]:
    return server.json("ca", "rollover", action, "issuing", *arguments, "--yes")


@pytest.fixture
def keys():
    """Where the CA's keys are: in files, unless a test says otherwise."""
    return "files"


@pytest.fixture
def token(keys, tmp_path, monkeypatch, need):
    """An empty token, if that is where the keys go."""
    if keys == "files":
        return None
    need("softhsm2", MODULE, "softhsm2-util")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "token" / "softhsm2.conf"))
    return new_token(tmp_path / "token")


@pytest.fixture
def running(new_server, token, tmp_path):
    where = ()
    if token is not None:
        pin = f"file:{token.pin}"
        where = ("--ca-token", token.uri(object=None), "--ca-token-pin", pin)
    found = Killable(new_server(tmp_path / "server", "--interop", *where))
    found.start()
    yield found
    found.kill()


def objects_of(token):
    """Return the labels of the private keys in a token."""
    done = subprocess.run(
        ["pkcs11-tool", "--module", token.module, "--token-label", token.label, "--login",
         "--pin", PIN, "--list-objects", "--type", "privkey"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return sorted(
        line.partition(":")[2].strip() for line in done.stdout.splitlines() if " label:" in line
    )


@pytest.mark.parametrize("keys", ["files", pytest.param("token", marks=pytest.mark.slow)])
def test_a_rollover_cuts_nobody_off(running, token, need, tmp_path):
    need("strongswan-pki", "pki")
    server = running.server
    old_root = server.root

    def device(name: str, trust: Path) -> Device:
        return Device(server, tmp_path / name, name, trust, server.credential(name, "interop"))

    awake, asleep = device("awake", old_root), device("asleep", old_root)
    awake.enroll()
    asleep.enroll()
    before = awake.fetch()
    assert len(before) == 2

    # prepare: nobody sees it; what can't be told apart from before is not told
    assert step(server, "prepare", "--dry-run")["dry_run"]
    if token is not None:
        need("opensc", "pkcs11-tool")
        assert objects_of(token) == ["issuing", "issuing-root"]
    with pytest.raises(pytest.fail.Exception, match=r"rollover\.none"):
        step(server, "publish")
    prepared = step(server, "prepare")
    assert (prepared["state"], prepared["behind"]) == ("prepared", 2)
    running.again()
    assert set(awake.fetch()) == set(before)

    # publish: both roots; each device reaches the server with what it has
    published = step(server, "publish")
    assert [
        one["follows"] for one in published["servers"] if one["pid"] == running.process.pid
    ] == [True]
    running.again()
    found = awake.fetch()
    roots = [one for one in found if is_self_signed(one)]
    assert len(found) == 6
    assert len(roots) == 2
    newest = max(roots, key=lambda one: one.not_valid_after_utc)
    new_root = tmp_path / "new-root.pem"
    new_root.write_bytes(newest.public_bytes(Encoding.PEM))
    assert newest != x509.load_pem_x509_certificate(old_root.read_bytes())
    assert reaches(server, old_root)
    assert reaches(server, new_root)
    during = device("during", new_root)
    during.enroll()
    assert during.issuer() == "CN=est-server issuing CA"
    awake.trust = new_root
    awake.renew()

    # switch: the new CA issues, and the old root's devices still get in by NewWithOld
    switched = step(server, "switch")
    assert switched["tls_certificate"] == "by the new CA"
    running.again()
    assert reaches(server, old_root)
    assert reaches(server, new_root)
    after = device("after", new_root)
    for one in (after,):
        one.enroll()
    for one in (awake, during):
        one.renew()
    for one in (after, awake, during):
        assert one.issuer() == "CN=est-server issuing CA G2"

    # retire: refused while a device knows nothing but the old root, and it is named
    status = server.json("ca", "rollover", "status", "issuing")
    assert [one["identity"] for one in status["devices_behind"]] == ["asleep"]
    with pytest.raises(pytest.fail.Exception, match=r"rollover\.behind"):
        step(server, "retire")
    asleep.trust = old_root
    found = asleep.fetch()
    newest = max(filter(is_self_signed, found), key=lambda one: one.not_valid_after_utc)
    assert newest == x509.load_pem_x509_certificate(new_root.read_bytes())
    asleep.renew()
    asleep.trust = new_root
    assert asleep.issuer() == "CN=est-server issuing CA G2"
    assert server.json("ca", "rollover", "status", "issuing")["behind"] == 0
    assert step(server, "retire")["state"] == "retired"
    running.again()
    assert not reaches(server, old_root)
    assert reaches(server, new_root)

    # none is cut off
    for one in (awake, asleep, during, after):
        assert [found for found in one.fetch() if is_self_signed(found)] == [newest]
        one.renew()
    names = {ca["name"]: ca["issues"] for ca in server.json("ca", "list")}
    assert names == {"issuing": False, "issuing-g2": True}
    if token is not None:
        made = [name for name in objects_of(token) if name.startswith("issuing-g2-")]
        assert len(made) == 2
        assert not [*(server.directory / "ca").rglob("*.key")], "no key is in a file"


def test_a_device_is_counted_by_its_certificate_and_the_old_ca_comes_back(running, need, tmp_path):
    need("curl", "curl")
    server = running.server
    user = server.credential("counted", "interop")
    work = tmp_path / "work"
    driver = REPOSITORY / "interop" / "curl-openssl" / "run"
    subprocess.run([driver, server.url, server.root, *user, "ec", work], check=True,
                   capture_output=True)  # fmt: skip
    step(server, "prepare")
    step(server, "publish")

    def fetch(*certificate):
        subprocess.run(["curl", "-sf", "--cacert", server.root, *certificate, "-o", "/dev/null",
                        f"{server.url}/cacerts"], check=True)  # fmt: skip

    fetch()
    fetch("--cert", work / "cert2.pem", "--key", work / "key2.pem")
    until = time.monotonic() + 20
    while (status := server.json("ca", "rollover", "status", "issuing"))["fetched"] < 1:
        assert time.monotonic() < until
    assert (status["anonymous_fetches"], status["behind"]) == (1, 0)
    step(server, "switch")
    assert step(server, "back")["state"] == "published"
    running.again()
    assert reaches(server, server.root)
    with pytest.raises(pytest.fail.Exception, match=r"rollover\.issued"):
        step(server, "abort")
