"""Real TPMs in software: swtpm with an EK certificate of a manufacturer of its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from est_process import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

sys.path.append(str(REPOSITORY / "interop" / "attest-tpm2"))

from device_tpm import Key, Tpm

PROGRAMS = ("swtpm", "swtpm_setup", "swtpm_localca", "tpm2_quote")
STARTS_WITHIN = 20.0  # seconds
_SETUP = """\
create_certs_tool = {localca}
create_certs_tool_config = {folder}/localca.conf
create_certs_tool_options = {folder}/localca.options
active_pcr_banks = sha256
"""
_LOCALCA = """\
statedir = {folder}/ca
signingkey = {folder}/ca/signkey.pem
issuercert = {folder}/ca/issuercert.pem
certserial = {folder}/ca/certserial
"""
_OPTIONS = """\
--platform-manufacturer TestCo
--platform-version 2.1
--platform-model EdgeBox
"""


@dataclass(frozen=True, slots=True)
class SoftTpm:
    """A running TPM and the certificates of its manufacturer.

    Attributes:
        tpm: the device's side.
        root: DER.
        issuer: DER of the CA that signed its EK certificates.
    """

    tpm: Tpm
    root: bytes
    issuer: bytes

    def certify(self, key: Key, attestation: Key, nonce: bytes) -> tuple[bytes, bytes]:
        """TPM2_Certify with a nonce, which tpm2_certify can't send (TPM 2.0 Part 3, 18.2)."""
        password = bytes.fromhex("40000009 0000 00 0000")
        body = b"".join(
            (
                key.handle.to_bytes(4, "big"),
                attestation.handle.to_bytes(4, "big"),
                (2 * len(password)).to_bytes(4, "big"),
                password * 2,
                len(nonce).to_bytes(2, "big"),
                nonce,
                bytes.fromhex("0010"),  # inScheme: the attestation key's own
            )
        )
        command = bytes.fromhex("8002") + (10 + len(body)).to_bytes(4, "big")
        answer = self.tpm.tool("send", stdin=command + bytes.fromhex("00000148") + body)
        assert answer[6:10] == bytes(4), answer.hex()
        said = answer[16 : 16 + int.from_bytes(answer[14:16], "big")]
        size = int.from_bytes(answer[10:14], "big")
        return said, answer[16 + len(said) : 14 + size]

    def reboot(self) -> None:
        """Reset the platform: registers begin anew (TPM 2.0 Part 3, 9.3)."""
        self.tpm.tool("shutdown", "-c")
        control = str(self.tpm.tcti).removeprefix("swtpm:path=") + ".ctrl"
        subprocess.run(["swtpm_ioctl", "--unix", control, "-i"], check=True, timeout=20)
        self.tpm.tool("startup", "-c")

    def import_key(self, parent: Key) -> Key:
        """Return a key that was made outside and imported: the TPM holds it all the same."""
        pem, public, private, context = (self.tpm.file() for _ in range(4))
        key = ec.generate_private_key(ec.SECP256R1())
        pem.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        )
        handle = f"0x{parent.handle:08x}"
        self.tpm.tool(
            *("import", "-Q", "-C", handle, "-G", "ecc", "-g", "sha256", "-i", pem),
            *("-a", "userwithauth|sign", "-u", public, "-r", private),
        )
        return self.tpm.load(parent, public, private, context)


@contextmanager
def soft_tpm(folder: Path) -> Iterator[SoftTpm]:
    """Manufacture a TPM with a local CA, and run it until the block ends."""
    for name in ("state", "ca", "files"):
        (folder / name).mkdir(parents=True)
    localca = shutil.which("swtpm_localca")
    for name, text in (
        ("setup.conf", _SETUP),
        ("localca.conf", _LOCALCA),
        ("localca.options", _OPTIONS),
    ):
        (folder / name).write_text(text.format(folder=folder, localca=localca))
    subprocess.run(
        [
            *("swtpm_setup", "--tpm2", "--tpmstate", folder / "state", "--create-ek-cert"),
            *("--create-platform-cert", "--lock-nvram", "--config", folder / "setup.conf"),
            *("--overwrite", "--runas", "root", "--logfile", folder / "setup.log"),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )
    # the path of a socket has 108 octets at most, a test's folder may have more
    with tempfile.TemporaryDirectory(prefix="swtpm-") as sockets:
        path = Path(sockets) / "tpm"
        process = subprocess.Popen(
            [
                *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder / 'state'}"),
                *("--ctrl", f"type=unixio,path={path}.ctrl"),
                *("--server", f"type=unixio,path={path}"),
                *("--flags", "not-need-init,startup-clear", "--seccomp", "action=none"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            until = time.monotonic() + STARTS_WITHIN
            while not path.exists():
                assert process.poll() is None, "swtpm ended"
                assert time.monotonic() < until, "swtpm does not start"
                time.sleep(0.01)
            tpm = Tpm(f"swtpm:path={path}", folder / "files")
            yield SoftTpm(
                tpm,
                _der(folder / "ca" / "swtpm-localca-rootca-cert.pem"),
                _der(folder / "ca" / "issuercert.pem"),
            )
        finally:
            process.kill()
            process.wait()


def _der(path: Path) -> bytes:
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
