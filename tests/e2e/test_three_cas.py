"""One server, three CAs: a key in a file, one in a token, AWS Private CA as moto has it.

All three are under one root, which is all that the devices trust: strongSwan, curl with OpenSSL and
BouncyCastle, each at a label of its own. Each CA is broken in its turn and comes back.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from device_world import csr, post, session
from est_process import REPOSITORY, EstServer, initialise, serving
from moto_pca import CREDENTIALS, END_ENTITY, SIGNS, MotoPca, certified, running
from pkcs11_tokens import MODULE, Token, new_token
from signing_processes import ready_pid, signers
from test_interop_clients import CLIENTS

from est_server.pki.authority import Authority

if TYPE_CHECKING:
    from pathlib import Path

SOON = 60.0
DEVICES = {"interop": "strongswan", "token": "curl-openssl", "cloud": "bouncycastle"}
"""Label -> who comes there; the label is the profile's name too."""
CAS = {"interop": "issuing", "token": "token", "cloud": "cloud"}


@dataclass(frozen=True, slots=True)
class Site:
    """A server that does not run yet, and what its CAs are made of."""

    server: EstServer
    moto: MotoPca
    token: Token
    users: dict[str, tuple[str, str]]

    @property
    def root(self) -> Path:
        return self.server.root


@pytest.fixture(scope="module")
def site(tmp_path_factory, need):
    need("softhsm2", MODULE, "softhsm2-util")
    folder = tmp_path_factory.mktemp("three")
    token = Token(folder / "token")
    with pytest.MonkeyPatch.context() as patch, running() as moto:
        for name, value in {**CREDENTIALS, "SOFTHSM2_CONF": str(token.configuration)}.items():
            patch.setenv(name, value)
        new_token(token.folder)
        server = initialise(folder / "server", "--interop")
        root = own_root(server)
        sections = [in_token(server, token), in_cloud(moto, root)]
        text = server.config.read_text()
        server.config.write_text(text.replace("\nstate:", "\n".join(["", *sections, "state:"]), 1))
        install(server, root)
        profiles(server)
        users = {label: server.credential(f"lab-{label}", label) for label in (*DEVICES, "narrow")}
        yield Site(server, moto, token, users)


def own_root(server):
    ca, passphrase = server.directory / "ca", server.directory / "secrets" / "ca.pass"
    key: Any = load_pem_private_key((ca / "root.key").read_bytes(), passphrase.read_bytes().strip())
    return Authority(key, x509.load_pem_x509_certificate((ca / "root.pem").read_bytes()))


def in_token(server, token):
    made = server.json("ca", "init", "token", "--token", token.uri(object=None), "--pin",
                       f"file:{token.pin}", "--root", "offline")  # fmt: skip
    keys = (f"    {name}: {json.dumps(value)}" for name, value in made["settings"].items())
    return "\n".join(["  token:", *keys])


def in_cloud(moto, root):
    arn = moto.new_ca("Example cloud CA", root)
    keys = {"backend": "aws_pca", "arn": arn, "endpoint": moto.url, "timeout": "10s",
            "template": END_ENTITY, "signing_algorithm": SIGNS}  # fmt: skip
    return "\n".join(["  cloud:", *(f"    {name}: {value}" for name, value in keys.items())])


def install(server, root):
    """Certify the token's CA under the root that the soft CA has."""
    ca = server.directory / "ca"
    made = server.directory / "token.pem"
    certificate = certified((ca / "token.csr").read_bytes(), root)
    made.write_bytes(certificate.public_bytes(Encoding.PEM))
    server.run("ca", "install", "token", str(made), str(server.root))


def profiles(server):
    folder = server.directory / "profiles"
    usual = (folder / "interop.yaml").read_text()
    fits = {  # what moto makes of its one template
        "[digitalSignature]": "[digitalSignature, keyEncipherment]",
        "[clientAuth]": "[clientAuth, serverAuth]",
    }
    for name, ca, changes in (
        ("token", "token", {}),
        ("cloud", "cloud", {**fits, "lifetime: 30d": "lifetime: 366d"}),
        ("narrow", "cloud", fits),
    ):
        text = usual
        labels = {"labels: [interop, default]": f"labels: [{name}]", "ca: issuing": f"ca: {ca}"}
        for old, new in {**labels, **changes}.items():
            assert old in text
            text = text.replace(old, new)
        (folder / f"{name}.yaml").write_text(text)


def enroll(site, label):
    """Enroll once; return the status and Retry-After."""

    async def ask():
        async with session(site.server, site.users[label]) as client:
            path = f"{label}/simpleenroll"
            status, _, headers = await post(client, site.server, csr(), path)
            return status, int(headers.get("Retry-After", 0))

    return asyncio.run(ask())


def until_it_issues(site, label):
    end = time.monotonic() + SOON
    while (found := enroll(site, label))[0] != 200:
        assert time.monotonic() < end, found
        time.sleep(0.2)


def only(site, broken):
    """Assert that one CA is away and that the others issue."""
    for label in DEVICES:
        status, retry_after = enroll(site, label)
        wanted = (503, True) if label == broken else (200, False)
        assert (status, retry_after > 0) == wanted, label


def doctor(site):
    """Return the exit code and what is wrong with which CA, and what mends it."""
    done = subprocess.run(
        [sys.executable, "-m", "est_server.cli", "doctor", "-c", site.server.config, "-o", "json"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [one for one in json.loads(done.stdout) if one["check"] == "ca"]
    wrong = {one["detail"].split(":")[0]: one for one in found if one["status"] != "ok"}
    assert len(found) == len(CAS)
    return done.returncode, {
        name: f"{one['detail']} | {one['next']}" for name, one in wrong.items()
    }


def arn_of(site):
    lines = site.server.config.read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("    arn:"))


def certificate_of(site, ca):
    if ca == "cloud":
        return site.moto.records(arn_of(site)).certificate
    pem = (site.server.directory / "ca" / f"{ca}.pem").read_bytes()
    return x509.load_pem_x509_certificate(pem)


def test_the_key_in_the_file_is_damaged(site):
    key = site.server.directory / "ca" / "issuing.key"
    good = key.read_bytes()
    key.write_bytes(good[: len(good) // 2])
    with serving(site.server):
        only(site, "interop")
        code, wrong = doctor(site)
        assert (code, [*wrong]) == (1, ["issuing"])
        assert "check `key` and `passphrase`" in wrong["issuing"]
        key.write_bytes(good)
        until_it_issues(site, "interop")
        only(site, None)
        assert doctor(site) == (0, {})


@pytest.fixture(scope="module")
def served(site):
    with serving(site.server):
        yield site


def test_the_cloud_is_away(served):
    served.moto.stop()
    try:
        only(served, "cloud")
        code, wrong = doctor(served)
    finally:
        served.moto.start()
    assert (code, [*wrong]) == (1, ["cloud"])
    assert "see that its service is up and can be reached from here" in wrong["cloud"]
    until_it_issues(served, "cloud")


def test_the_token_is_away(served):
    away = served.token.folder / "away"
    shutil.move(served.token.objects, away)
    served.token.objects.mkdir()
    try:
        for signer in signers(ready_pid(served.server)):
            os.kill(signer, signal.SIGKILL)  # it held a session of the token that was there
        only(served, "token")
        code, wrong = doctor(served)
    finally:
        served.token.objects.rmdir()
        shutil.move(away, served.token.objects)
    assert (code, [*wrong]) == (1, ["token"])
    assert "plug it in, start its service, or correct token=" in wrong["token"]
    until_it_issues(served, "token")


def test_three_devices_enroll_and_renew_at_three_cas(served, run, need, tmp_path):
    for client in DEVICES.values():
        need(*CLIENTS[client])
    for label, client in DEVICES.items():
        url = f"{served.server.url}/{label}"
        user, password = served.users[label]
        run(f"{client}/run", url, served.root, user, password, "ec", tmp_path / label)
    for label, ca in CAS.items():
        issuer = certificate_of(served, ca)
        work = tmp_path / label
        for made in (work / "cert1.pem", work / "cert2.pem"):
            x509.load_pem_x509_certificate(made.read_bytes()).verify_directly_issued_by(issuer)
            command = ("openssl", "verify", "-x509_strict", "-purpose", "sslclient", "-CAfile",
                       served.root, "-untrusted", work / "cacerts.pem", made)  # fmt: skip
            subprocess.run(command, check=True, capture_output=True)
    assert {row["ca"] for row in served.server.json("cert", "list")} == set(CAS.values())


async def test_what_the_cloud_makes_beyond_the_plan_is_refused_and_revoked_there(served):
    # the last test here: a request stays parked. moto gives a year, whatever was ordered
    server = served.server
    async with session(server, served.users["narrow"]) as client:
        status, said, _ = await post(client, server, csr(), "narrow/simpleenroll")
    assert (status, said.split(b":")[0]) == (502, b"issued.validity")
    [row] = server.json("request", "list", "--state", "parked")
    [serial] = server.json("request", "show", row["request"])["certificates"]
    assert server.json("cert", "show", serial)["status"] == "revoked"
    end = time.monotonic() + SOON
    while int(serial, 16) not in revoked_in_the_cloud(served):
        assert time.monotonic() < end
        await asyncio.sleep(0.2)


def revoked_in_the_cloud(site):
    kept = site.moto.records(arn_of(site)).revoked_certificates
    return {int(text.replace(":", ""), 16) for text in kept}
