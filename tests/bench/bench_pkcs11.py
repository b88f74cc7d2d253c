"""Enrollments by CAs in a token (SoftHSM) beside one on the disk, in one server, OCSP going on.

The server's CPU includes its signing processes: SoftHSM signs on this machine's own cores, which a
device of its own would not. Such a device is behind a network and takes its time, in which it could
sign for others: so the same token is asked once more through a module that waits 5 ms over each
signature (`tests/slow_sign.c`), by one session and by eight.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import subprocess
import time
from base64 import b64decode
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

import fleet as devices
from clients import Exchange, Traffic, exchange_once, running_clients
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509 import ocsp
from measure import Figure, Rounds, interleave, ratio
from peers import REPOSITORY, EstDirectory, Served, est_server, initialise
from report import Report

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "12345678"
_CAS = (
    ("router", "soft CA"),
    ("hsm", "CA in SoftHSM"),
    ("slow", "CA in a token of 5 ms, one session"),
    ("slow8", "CA in a token of 5 ms, eight sessions"),
)
"""Label of the profile, the CA's name too; what it is."""
_SLOW_US = "5000"
_FLEET = 64
_OCSP_PAUSE = 0.002
"""Seconds between two questions about a status: at most 500 a second."""


def run(options: Namespace, scratch: Path) -> Report:
    """Measure; see the module."""
    fleet, trusted = devices.manufacture(scratch / "fleet", len(_CAS) * _FLEET)
    # a device stays with the profile that it enrolled under
    fleets = {
        label: devices.Fleet(fleet.path, _FLEET, number * _FLEET)
        for number, (label, _) in enumerate(_CAS)
    }
    _new_token(scratch / "token")
    directory = _with_all(scratch, trusted)
    with (
        running_clients(options.clients, options.threads) as clients,
        est_server(directory) as ours,
        _status_questions(directory, ours, fleets["hsm"]),
    ):
        found = interleave(
            [
                clients.contender(
                    name,
                    ours.pid,
                    Traffic(
                        ours.address,
                        partial(
                            devices.enroll,
                            fleets[label],
                            ssl.TLSVersion.TLSv1_3,
                            f"/.well-known/est/{label}/simpleenroll",
                            keep_alive=True,
                        ),
                        keep_alive=True,
                    ),
                    options.operations,
                )
                for label, name in _CAS
            ],
            options.rounds,
        )
    soft, hsm, slow, slow8 = found
    return Report(
        "pkcs11",
        f"{options.rounds} rounds of {options.operations} enrollments over kept connections, "
        f"{options.clients} client processes with {options.threads} connections each, "
        "up to 500 status requests a second beside them",
        tuple(found),
        (
            *ratio("token / soft", hsm, soft),
            *ratio("eight sessions / one", slow8, slow),
            *(_latency(part, share, one) for one in found for part, share in _SHARES),
        ),
    )


_SHARES = (("half", 0.5), ("99 %", 0.99))


def _latency(part: str, share: float, rounds: Rounds) -> Figure:
    values = tuple(
        1000 * sorted(one.latencies)[int(share * (len(one.latencies) - 1))] for one in rounds.rounds
    )
    return Figure(f"{rounds.name}: {part} are answered within, ms", values, bound="at most")


def _new_token(folder: Path) -> None:
    """Make a token in `folder` for this process and those that it starts."""
    (folder / "tokens").mkdir(parents=True)
    configuration = folder / "softhsm2.conf"
    configuration.write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    os.environ["SOFTHSM2_CONF"] = str(configuration)
    (folder / "pin").touch(mode=0o600)
    (folder / "pin").write_text(PIN)
    pins = ("--so-pin", PIN, "--pin", PIN)
    command = ["softhsm2-util", "--init-token", "--free", "--label", "ca", *pins]
    subprocess.run(command, check=True, capture_output=True)


def _with_all(scratch: Path, trusted: Path) -> EstDirectory:
    """Return a server with a soft CA and three in the token, the same rules for all."""
    # a renewal window would refuse certificates that are seconds old
    router = re.sub(r"\n  window:.*", "", (REPOSITORY / "profiles/router.yaml").read_text())
    trust = {"trust": {"acme-routers": str(trusted)}}
    directory = initialise(scratch / "server", {"router": router}, trust)
    slow = _slow_module(scratch / "token")
    _add_ca(directory, "hsm", scratch / "token" / "pin", router)
    _add_ca(directory, "slow", scratch / "token" / "pin", router, module=slow)
    _add_ca(directory, "slow8", scratch / "token" / "pin", router, module=slow, sessions=8)
    return directory


def _slow_module(folder: Path) -> str:
    made = folder / "slow_sign.so"
    source = REPOSITORY / "tests" / "slow_sign.c"
    command = ("gcc", "-shared", "-fPIC", "-o", made, source, "-ldl")
    subprocess.run(command, check=True, capture_output=True)
    os.environ.update(SLOW_SIGN_MODULE=MODULE, SLOW_SIGN_US=_SLOW_US)
    return str(made)


def _add_ca(
    directory: EstDirectory,
    name: str,
    pin: Path,
    profile: str,
    *,
    module: str = MODULE,
    sessions: int = 1,
) -> None:
    uri = f"pkcs11:token=ca?module-path={module}"
    command = ("ca", "init", name, "--token", uri, "--pin", f"file:{pin}", "-o", "json")
    made = json.loads(directory.run(*command))
    written = json.loads(directory.config.read_text())
    written["cas"][name] = {**made["settings"], "sessions": sessions}
    directory.config.write_text(json.dumps(written, indent=2))
    text = re.sub(r"\nlabels: .*", f"\nlabels: [{name}]", profile)
    text = text.replace("\nca: issuing", f"\nca: {name}")
    (directory.path / f"profiles/{name}.yaml").write_text(text)


@contextmanager
def _status_questions(
    directory: EstDirectory, ours: Served, fleet: devices.Fleet
) -> Iterator[None]:
    """Ask again and again for the status of a certificate until the block ends."""
    key = devices.new_key()
    context = devices.context(fleet, fleet.first, ssl.TLSVersion.TLSv1_3)
    post = devices.post("/.well-known/est/hsm/simpleenroll", fleet.first, key)
    body = exchange_once(ours.address, Exchange(context, post))
    (leaf,) = pkcs7.load_der_pkcs7_certificates(b64decode(body))
    issuer = x509.load_pem_x509_certificate((directory.path / "ca/hsm.pem").read_bytes())
    question = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, SHA256()).build()
    listener = json.loads(directory.config.read_text())["listeners"]["public"]["listen"]
    host, _, port = listener.rpartition(":")
    spawn = get_context("spawn")
    mine, theirs = spawn.Pipe()
    arguments = (theirs, host, int(port), question.public_bytes(Encoding.DER))
    asking = spawn.Process(target=_ask, args=arguments, daemon=True)
    asking.start()
    try:
        yield
        mine.send("enough")
        answered, failed = mine.recv()
        if failed or not answered:
            raise RuntimeError(f"{failed} of {answered + failed} status requests failed")
    finally:
        asking.terminate()
        asking.join()


def _ask(pipe: Connection, host: str, port: int, question: bytes) -> None:
    connection = http.client.HTTPConnection(host, port, timeout=30)
    fields = {"Content-Type": "application/ocsp-request"}
    answered = failed = 0
    while not pipe.poll():
        connection.request("POST", "/ocsp", question, fields)
        answer = connection.getresponse()
        found = ocsp.load_der_ocsp_response(answer.read())
        good = found.response_status == ocsp.OCSPResponseStatus.SUCCESSFUL
        answered, failed = answered + good, failed + (not good)
        time.sleep(_OCSP_PAUSE)
    pipe.send((answered, failed))
