"""Real TPMs enroll with the reference client of interop/attest-tpm2, over a real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from est_process import REPOSITORY, initialise, serving

PCRS = (0, 2, 4, 7)
EK = {"rsa": "a", "ecc": "b"}
PROFILE = {
    "version": 1,
    "ca": "issuing",
    "labels": ["tpm"],
    "registration": "none",
    "authenticate": [{"credential": {}}],
    "reenroll": {},
    "attestation": {"policy": "tpm"},
    "subject": {"as_requested": True},
    "key": {"allow": ["EC-P256"]},
    "certificate": {"lifetime": "90d", "extended_key_usage": ["clientAuth"]},
}


def pem(der: bytes) -> bytes:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)


@pytest.fixture(scope="module")
def devices(tpm_a, tpm_b):
    return {"a": tpm_a, "b": tpm_b}


@pytest.fixture(scope="module")
def server(devices, tmp_path_factory):
    """Serve a label that wants a key in a TPM, and these registers."""
    made = initialise(tmp_path_factory.mktemp("tpm") / "server", "--interop")
    for name, device in devices.items():
        (made.directory / "trust" / f"maker-{name}.pem").write_bytes(pem(device.root))
        (made.directory / f"ek-ca-{name}.pem").write_bytes(pem(device.issuer))
    # as they are now: other tests have had the same TPMs before
    found = [device.tpm.registers("sha256:0,2,4,7") for device in devices.values()]
    pcrs = {
        index: sorted({value.hex() for value in values})
        for index, *values in zip(PCRS, *found, strict=True)
    }
    rules = [
        {"name": "key", "verifier": "tpm2-certify"},
        {"name": "boot", "verifier": "tpm2-quote", "pcrs": pcrs},
    ]
    for rule in rules:  # each with lists of its own: the loader reads no aliases
        rule |= {"trust": ["maker-a", "maker-b"], "manufacturers": ["id:00001014"]}
    policy = {"version": 1, "rules": rules}
    folder = made.directory / "policies"
    folder.mkdir(exist_ok=True)
    (folder / "tpm.yaml").write_text(yaml.safe_dump(policy))
    (made.directory / "profiles" / "tpm.yaml").write_text(yaml.safe_dump(PROFILE))
    content = yaml.load(made.config.read_text(), Loader=yaml.BaseLoader)
    content.setdefault("trust", {})
    content["trust"] |= {f"maker-{name}": f"trust/maker-{name}.pem" for name in devices}
    made.config.write_text(yaml.safe_dump(content))
    with serving(made) as running:
        yield running


@pytest.fixture(scope="module")
def credential(server):
    return server.credential("maker", "tpm")


@pytest.fixture(scope="module")
def client(server, devices, credential):
    """Run the reference client; return exit code, output and folder."""

    def run(which, folder, *options):
        device = devices[which]
        done = subprocess.run(
            [
                *(sys.executable, REPOSITORY / "interop" / "attest-tpm2" / "enroll.py"),
                *(f"{server.url}/tpm", server.root, *credential, folder),
                *("--tcti", device.tpm.tcti, "--issuer", server.directory / f"ek-ca-{which}.pem"),
                *options,
            ],
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    return run


def certificate_in(folder) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes())


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
@pytest.mark.parametrize("endorsement", EK)
def test_a_key_of_a_tpm_gets_a_certificate(client, server, tmp_path, endorsement, tls):
    options = ("--endorsement", endorsement, "--tls", tls, "--name", f"{endorsement}-{tls}")
    code, said = client(EK[endorsement], tmp_path, *options)
    assert code == 0, said
    certificate = certificate_in(tmp_path)
    assert certificate.subject.rfc4514_string() == f"CN={endorsement}-{tls}"
    why = server.run("why", f"{certificate.serial_number:x}")
    assert "affirming" in why


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_other_firmware_is_refused_and_only_the_operator_learns_where(
    client, server, devices, tmp_path, tls
):
    """The same device enrolls again, and does not any more when a register differs.

    With the next boot, of the old firmware, it does again.
    """
    device = devices["b"].tpm
    options = ("--endorsement", "ecc", "--name", f"renewing-{tls}", "--tls", tls)
    assert client("b", tmp_path, *options)[0] == 0
    first = certificate_in(tmp_path)
    code, said = client("b", tmp_path, *options)
    assert code == 0, said
    assert certificate_in(tmp_path).serial_number != first.serial_number
    device.extend(4, bytes(range(32)))
    code, said = client("b", tmp_path, *options)
    value = device.registers("sha256:4")[0].hex()
    devices["b"].reboot()
    assert code == 1
    assert "403" in said
    assert "tpm2-quote.pcr" in said
    assert "PCR" not in said
    assert value not in said
    why = server.run("why", re.search(r"d_[0-9a-z]+", said)[0])
    assert "tpm2-quote.pcr" in why
    assert client("b", tmp_path, *options)[0] == 0
