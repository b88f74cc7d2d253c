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

    user, right = credential

    def run(which, folder, *options, password=right):
        device = devices[which]
        done = subprocess.run(
            [
                *(sys.executable, REPOSITORY / "interop" / "attest-tpm2" / "enroll.py"),
                *(
                    f"{server.url}/tpm",
                    server.root,
                    user,
                    password,
                    folder,
                ),
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
def test_a_key_of_a_tpm_from_first_certificate_to_changed_firmware(
    client, server, devices, tmp_path, endorsement, tls
):
    """Enrolled with a password, renewed by the TPM's own key, refused when a register differs.

    The operator learns which register it was and the device does not. With the next boot, of the
    old firmware, it is renewed again.
    """
    which = EK[endorsement]
    name = f"{endorsement}-{tls}"
    options = ("--endorsement", endorsement, "--tls", tls, "--name", name)
    code, said = client(which, tmp_path, *options)
    assert code == 0, said
    first = certificate_in(tmp_path)
    assert first.subject.rfc4514_string() == f"CN={name}"
    assert "affirming" in server.run("why", f"{first.serial_number:x}")

    def renew():
        return client(which, tmp_path, *options, "--renew", password="none")

    code, said = renew()
    assert code == 0, said
    second = certificate_in(tmp_path)
    assert second.public_key() != first.public_key()
    why = server.json("why", f"{second.serial_number:x}")
    assert why[-1]["attestation"]["status"] == "affirming"
    assert {one["operation"] for one in why} == {"simplereenroll"}
    device = devices[which].tpm
    device.extend(4, bytes(range(32)))
    code, said = renew()
    value = device.registers("sha256:4")[0].hex()
    devices[which].reboot()
    assert code == 1
    assert "simplereenroll: 403 tpm2-quote.pcr" in said
    assert "PCR" not in said
    assert value not in said
    why = server.run("why", re.search(r"d_[0-9a-z]+", said)[0], "-o", "json")
    assert f"PCR 4 {value}" in why
    assert renew()[0] == 0


def test_without_the_tpm_its_certificate_is_of_no_use(client, devices, tmp_path):
    """The key is in `a`; `b` signs the handshake with a key of its own."""
    options = ("--endorsement", "rsa", "--name", "moved")
    assert client("a", tmp_path, *options)[0] == 0
    key = devices["b"].tpm.key(devices["b"].tpm.storage_key())
    (tmp_path / "handle").write_text(f"0x{key.handle:08x}")
    code, said = client("b", tmp_path, "--endorsement", "ecc", "--renew", "--name", "moved")
    assert code != 0
    assert "certificate.pem" not in said
