"""Each extra that is missing is told where it is asked for, with the command that brings it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from est_process import COMMAND, REPOSITORY, initialise

HIDING = """
import os, sys
from importlib.machinery import PathFinder

hidden = os.environ["HIDDEN"].split()


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if any(f"{name}.".startswith(f"{one}.") for one in hidden):
            return None
        return super().find_spec(name, path, target)


sys.meta_path = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""
CAS = """
  in-aws:
    backend: aws_pca
    arn: arn:aws:acm-pca:eu-west-1:111122223333:certificate-authority/11111111
  in-google:
    backend: google_cas
    pool: projects/example/locations/europe-west1/caPools/devices
  at-acme:
    backend: acme_upstream
    directory: https://acme.example.net/directory
    account_key: env:ACME_KEY
    issuers: [ca/root.pem]
  in-token:
    backend: pkcs11
    certificate: ca/issuing.pem
    chain: [ca/root.pem]
    key: "pkcs11:token=ca;object=issuing?module-path=/usr/lib/softhsm/libsofthsm2.so"
    pin: env:TOKEN_PIN
"""
POLICY = """version: 1
description: tokens
rules:
  - {name: token, verifier: eat, keys: KEYS}
  - {name: manifest, verifier: signed-manifest, declared: true, keys: KEYS}
"""
DECLARED = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
KNOWN = {
    "acme-upstream": ("acme josepy", {"server.yaml": "acme_upstream"}),
    "attestation": ("cbor2 joserfc", {"policies/tokens.yaml": "eat signed-manifest"}),
    "aws-pca": ("aiobotocore botocore", {"server.yaml": "aws_pca"}),
    "google-cas": ("google.cloud", {"server.yaml": "google_cas"}),
    "pkcs11": ("pkcs11", {"server.yaml": "pkcs11"}),
    "postgres": ("asyncpg greenlet", {"server.yaml": "postgresql://"}),
    "timestamp": ("rfc3161_client", {"server.yaml": "http://tsa.example"}),
    "policy": ("cel", {"profiles/interop.yaml": "\"'router'"}),
}
"""Extra -> what it brings, and the texts of the files that ask for it."""
EXTRAS = {name: asked for name, asked in KNOWN.items() if name in DECLARED}
ALIASES = {"acme": "acme-upstream", "aws": "aws-pca", "gcp": "google-cas"}


@pytest.fixture(scope="module")
def asking(tmp_path_factory):
    """Return a server whose files ask for every extra, and nothing is wrong with them."""
    server = initialise(tmp_path_factory.mktemp("extras") / "server", "--interop")
    text = server.config.read_text()
    text = text.replace("\nstate:", f"{CAS}\nstate:", 1)
    text += "  anchor: {timestamp: {url: http://tsa.example, roots: ca/root.pem}}\n"
    if "postgres" in EXTRAS:
        text = re.sub("sqlite:///.*", "postgresql://est@127.0.0.1/est", text)
    server.config.write_text(text)
    profile = server.directory / "profiles" / "interop.yaml"
    added = """
attestation: {policy: tokens}
rules:
  - {name: site, when: "'router' == 'router'", message: never}
"""
    profile.write_text(profile.read_text() + added)
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    key = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    keys = json.dumps({"01" * 8: key})
    (server.directory / "policies").mkdir()
    (server.directory / "policies" / "tokens.yaml").write_text(POLICY.replace("KEYS", keys))
    return server


@pytest.fixture(scope="module")
def hiding(tmp_path_factory):
    """Return a folder that hides modules from processes that have it in their path."""
    site = tmp_path_factory.mktemp("hiding")
    (site / "sitecustomize.py").write_text(HIDING)
    return site


def without(hiding, hidden, server, *command):
    """Run a command where modules can't be imported."""
    environment = {
        **os.environ, "PYTHONPATH": str(hiding), "HIDDEN": " ".join(hidden),
        "ACME_KEY": "none", "TOKEN_PIN": "none",
    }  # fmt: skip
    return subprocess.run(
        [*COMMAND, *command, "-c", server.config],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def place(server, name, text):
    """Return where a file of the server has a text for the first time."""
    path = server.directory / name
    before, found, _ = path.read_text().partition(text)
    assert found, text
    return f"{path}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


def test_every_extra_is_shown():
    assert {*DECLARED} == {*EXTRAS, *ALIASES}
    for alias, extra in ALIASES.items():
        assert DECLARED[alias] == [f"est-server[{extra}]"]


def test_nothing_is_missing(asking, hiding):
    done = without(hiding, [], asking, "config", "check")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["config check", "serve", "doctor"])
def test_a_missing_extra_is_told_with_its_place_and_the_command(asking, hiding, command):
    hidden = [name for modules, _ in EXTRAS.values() for name in modules.split()]
    done = without(hiding, hidden, asking, *command.split())
    assert done.returncode == 3, done.stdout + done.stderr
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    for extra, (_, files) in EXTRAS.items():
        for file, texts in files.items():
            for text in texts.split():
                at = place(asking, file, text)
                assert f"{at}: error[E209]" in said, f"{extra}: {said}"
    for backend in ("aws_pca", "google_cas", "acme_upstream", "pkcs11", "eat", "signed-manifest"):
        assert f"{backend!r} can't be loaded" in said
    for extra in EXTRAS:
        assert f"pip install 'est-server[{extra}]'" in said, extra
    assert said.count("error[") == sum(
        len(texts.split()) for _, files in EXTRAS.values() for texts in files.values()
    ), "nothing else is wrong"


@pytest.mark.slow
@pytest.mark.parametrize("extra", EXTRAS)
def test_one_missing_extra_is_one_problem(asking, hiding, extra):
    modules, files = EXTRAS[extra]
    done = without(hiding, modules.split(), asking, "config", "check")
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("error[") == sum(len(texts.split()) for texts in files.values())
