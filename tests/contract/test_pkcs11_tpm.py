"""A second PKCS #11 implementation: tpm2-pkcs11 over a TPM 2.0 (swtpm).

No resource manager stands before this TPM, so what a process leaves in it when it is killed has to
be flushed before the next one comes; on a real machine /dev/tpmrm0 does that.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from pkcs11_tokens import PIN, Token, make_root_in

MODULE = "/usr/lib/x86_64-linux-gnu/pkcs11/libtpm2_pkcs11.so"


@pytest.fixture
def token(tmp_path, monkeypatch, need):
    need("libtpm2-pkcs11-1 opensc swtpm tpm2-tools", MODULE, "pkcs11-tool", "swtpm",
         "tpm2_flushcontext")  # fmt: skip
    (tmp_path / "state").mkdir()
    (tmp_path / "store").mkdir()
    with running_tpm(tmp_path) as port:
        monkeypatch.setenv("TPM2_PKCS11_STORE", str(tmp_path / "store"))
        for name in ("TPM2_PKCS11_TCTI", "TPM2TOOLS_TCTI"):
            monkeypatch.setenv(name, f"swtpm:host=127.0.0.1,port={port}")
        tool = ("pkcs11-tool", "--module", MODULE, "--slot-index", "0", "--so-pin", PIN)
        run(*tool, "--init-token", "--label", "ca")
        run(*tool, "--init-pin", "--pin", PIN)
        found = Token(tmp_path, module=MODULE)
        found.pin.touch(mode=0o600)
        found.pin.write_text(PIN)
        yield found


class running_tpm:  # noqa: N801 - a context, named like a function
    def __init__(self, folder):
        self._folder = folder

    def __enter__(self):
        port = two_free_ports()
        self._process = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._folder / 'state'}",
             "--server", f"type=tcp,port={port}", "--ctrl", f"type=tcp,port={port + 1}",
             "--flags", "not-need-init,startup-clear"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port + 1), 1).close()
            except OSError:
                assert time.monotonic() < end
                assert self._process.poll() is None
                time.sleep(0.05)
            else:
                return port

    def __exit__(self, *_):
        self._process.kill()
        self._process.wait()


def two_free_ports():
    """Return a port that is free, as is the one after it: the TCTI expects the control there."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as first:
            port = first.getsockname()[1]
            with suppress(OSError), socket.create_server(("127.0.0.1", port + 1)):
                return port


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def flush():
    for what in ("--transient-object", "--loaded-session"):
        run("tpm2_flushcontext", what)


def verify(key, signature, text, padding):
    if isinstance(key, rsa.RSAPublicKey):
        key.verify(signature, text, padding, SHA256())
    else:
        key.verify(signature, text, ECDSA(SHA256()))


@pytest.mark.parametrize(
    ("algorithm", "padding"),
    [("EC-P256", "PKCS1v15"), ("RSA-2048", "PKCS1v15"), ("RSA-2048", "PSS")],
)
async def test_a_tpm_makes_the_key_signs_and_comes_back_after_a_kill(token, algorithm, padding):
    root = await asyncio.to_thread(make_root_in, token, algorithm)
    root.verify_directly_issued_by(root)
    flush()
    how = {} if algorithm.startswith("EC") else {"rsa_padding": padding}
    expected = PSS(MGF1(SHA256()), 32) if padding == "PSS" else PKCS1v15()
    authority = token.open(**how)
    try:
        health = await authority.health()
        assert health.ok, health.detail
        texts = [os.urandom(8) for _ in range(20)]
        signatures = await asyncio.gather(*map(authority.sign_tbs, texts))
        for text, signature in zip(texts, signatures, strict=True):
            verify(root.public_key(), signature, text, expected)
        authority._signer._sessions[0]._process._process.kill()
        await authority._signer._sessions[0]._process._process.wait()
        flush()
        verify(root.public_key(), await authority.sign_tbs(b"x"), b"x", expected)
    finally:
        await authority.close()
