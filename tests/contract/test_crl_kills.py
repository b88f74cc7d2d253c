"""A publisher that is killed again and again: no number twice, no half list, nothing forgotten."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from random import Random

from crl_world import HOUR, START, CrlWorld, authority, listed
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from ledger_adapters import LEDGERS

from est_server.storage.crl_directory import CrlDirectory
from est_server.wire.crl_reading import read_crl

KILLS = 8
RUN = """
import asyncio, os, sys
from hashlib import sha256
from pathlib import Path
import crl_world
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from est_server.config.logs import configure_logs
from est_server.pki.authority import Authority
from est_server.storage.crl_directory import CrlDirectory
from est_server.storage.sqlite import SqliteLedger

base, first = Path(sys.argv[1]), int(sys.argv[2])
configure_logs("error", "json")
root = Authority(
    load_pem_private_key((base / "root.key").read_bytes(), None),
    x509.load_pem_x509_certificate((base / "root.pem").read_bytes()),
)
crl_world.authority = lambda algorithm: root

async def main():
    ledger = SqliteLedger(base / "ledger.db")
    outlets = {"ca": CrlDirectory(base / "public")}
    now = crl_world.START + first * crl_world.HOUR
    world = crl_world.CrlWorld(ledger, outlets=outlets, now=now)
    await world.publisher.start()
    serial = first * 1000
    while True:
        serial += 1
        await world.issue(serial)
        await world.revoke(serial)
        os.write(1, f"revoked {serial}\\n".encode())
        world.now += crl_world.SECOND
        await world.turn()
        for name, document in world.publisher.documents.items():
            digest = sha256(document.der).hexdigest()
            os.write(1, f"list {name} {document.crl.number} {digest}\\n".encode())

asyncio.run(main())
"""


def run(folder, first, after):
    """Publish until killed, so many seconds after the first list; return what was said."""
    tests = Path(__file__).parent
    path = os.pathsep.join((str(tests), str(tests.parents[1])))
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(folder), str(first)],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout as said:
        lines = [said.readline(), said.readline()]
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        lines += said.readlines()
    process.wait()
    return [line.decode().split() for line in lines if line.endswith(b"\n")]


async def test_kills_cost_numbers_and_nothing_else(tmp_path):
    root, random = authority("EC-P256"), Random(7)
    (tmp_path / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    key = root.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "root.key").write_bytes(key)
    ledger = LEDGERS["sqlite"](tmp_path)()
    revoked, digests, highest = set(), {}, 0
    for number in range(1, KILLS + 1):
        said = run(tmp_path, number, random.uniform(0, 0.15))
        assert said, "it did nothing"
        revoked |= {int(words[1]) for words in said if words[0] == "revoked"}
        for path in (tmp_path / "public").glob("*.crl"):  # whole, whenever it was
            der = path.read_bytes()
            said.append(["list", path.name, read_crl(der).number, sha256(der).hexdigest()])
        for _, name, given, digest in (words for words in said if words[0] == "list"):
            assert digests.setdefault((name, int(given)), digest) == digest, "a number twice"
        outside = read_crl((tmp_path / "public" / "ca.crl").read_bytes()).number
        assert outside >= highest
        highest = outside
    assert len(digests) > KILLS
    outlets = {"ca": CrlDirectory(tmp_path / "public")}
    world = CrlWorld(ledger, outlets=outlets, now=START + (KILLS + 2) * HOUR)
    await world.settle()
    shown = listed(world.crl()).keys() | listed(world.crl(kind="delta")).keys()
    assert shown >= revoked, "who was told that a certificate is revoked was told the truth"
    for kind, name in (("base", "ca.crl"), ("delta", "ca-delta.crl")):
        assert (tmp_path / "public" / name).read_bytes() == world.der(kind=kind)
    await ledger.close()
