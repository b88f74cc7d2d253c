"""OCSP beside nginx answering a body of the same size, and beside `cfssl ocspserve`.

Warm: a request that was answered before. Cold: an answer that is signed when it is asked for, each
time (`presign: false`). Under revocations: some of the certificates asked about change their status
50 times a second, by another process.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import Request, urlopen

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from measure import Contender, Driven, interleave, ratio
from peers import Served, cfssl_ocspserve, est_server, initialise, nginx
from report import Report
from wrk import contender

from est_server.app.clock import system_clock
from est_server.pki.ocsp import issuer_keys
from est_server.ports.ledger import CertificateRecord, DecisionRecord, RequestRecord, Reservation
from est_server.storage.sqlite import SqliteLedger

if TYPE_CHECKING:
    from argparse import Namespace

    from peers import EstDirectory

_FLEET = 500
_CHANGING = 50
_PER_SECOND = 50
_SECONDS = 2
_CONNECTIONS = 16
_CHILD = Path(__file__).with_name("ocsp_revoke.py")


def run(options: Namespace, scratch: Path) -> Report:
    """Measure; see the module."""
    scratch.mkdir(parents=True)
    warm, cold = initialise(scratch / "warm"), initialise(scratch / "cold")
    _set(cold, presign="false")
    fleets = {made.path: asyncio.run(_fill(made)) for made in (warm, cold)}
    with est_server(warm) as warm_one, est_server(cold) as cold_one:
        ours = Served(warm_one.pid, _public(warm))
        signing = Served(cold_one.pid, _public(cold))
        requests = [_request(warm, serial) for serial in fleets[warm.path]]
        fresh = [_post(_request(cold, serial)) for serial in fleets[cold.path]]
        answer = _ask(ours, requests[0])
        for request in requests:
            _ask(ours, request)
        scripts = scratch / "scripts"
        scripts.mkdir()

        def turn(name: str, served: Served, sent: list[bytes]) -> Any:
            return contender(
                name, served.pid, served.address, sent, scripts,
                seconds=_SECONDS, connections=_CONNECTIONS,
            )  # fmt: skip

        body = f'return 200 "{"x" * len(answer)}";'
        file = _file(scratch / "static", answer)
        with (
            nginx(scratch / "nginx", "listen {address};", body) as memory,
            nginx(scratch / "nginx-file", "listen {address};", file) as static,
            cfssl_ocspserve(scratch / "cfssl", answer) as cfssl,
        ):
            fleet = [_post(request) for request in requests]
            many = turn(f"est-server warm, POST, {_FLEET} certificates", ours, fleet)
            turns = [
                turn("nginx, body in its configuration, GET", memory, [_get(requests[0])]),
                turn("nginx, body in a file, GET", static, [_get(requests[0])]),
                turn("cfssl ocspserve, POST", cfssl, [_post(requests[0], "/")]),
                turn("est-server warm, GET", ours, [_get(requests[0])]),
                turn("est-server warm, POST", ours, fleet[:1]),
                many,
                _beside_revocations(many, warm, fleets[warm.path][:_CHANGING]),
                turn("est-server cold, POST", signing, fresh),
            ]
            found = interleave(turns, options.rounds)
    nothing, disk, theirs, by_get, by_post, several, beside, signed = found
    return Report(
        "ocsp",
        f"{options.rounds} rounds of {_SECONDS} s, wrk with one thread and {_CONNECTIONS} "
        f"connections; a response has {len(answer)} octets",
        tuple(found),
        (
            *ratio("GET warm / nginx from memory", by_get, nothing, 0.8),
            *ratio("POST warm / nginx from memory", by_post, nothing, 0.8),
            *ratio("GET warm / nginx from a file", by_get, disk),
            *ratio("POST warm / cfssl ocspserve", by_post, theirs, 3.5),
            *ratio(f"{_FLEET} certificates / cfssl ocspserve", several, theirs),
            *ratio("cold / cfssl ocspserve", signed, theirs),
            *ratio("under revocations / without", beside, several),
        ),
    )


def _set(directory: EstDirectory, **ocsp_section: str) -> None:
    text = yaml.load(directory.config.read_text(), Loader=yaml.BaseLoader)
    text["cas"]["issuing"]["ocsp"] = ocsp_section
    directory.config.write_text(yaml.safe_dump(text))


def _public(directory: EstDirectory) -> tuple[str, int]:
    text = yaml.load(directory.config.read_text(), Loader=yaml.BaseLoader)
    host, _, port = text["listeners"]["public"]["listen"].rpartition(":")
    return host, int(port)


async def _fill(directory: EstDirectory) -> list[int]:
    """Put certificates into the ledger as enrollment would, and return their serial numbers."""
    ledger = SqliteLedger(directory.path / "state/ledger.db")
    now = system_clock()
    serials = [x509.random_serial_number() for _ in range(_FLEET)]
    await asyncio.gather(
        *(ledger.reserve_and_record(*_rows(serial, now), window_start=now) for serial in serials)
    )
    await ledger.close()
    return serials


def _rows(serial: int, now: Any) -> tuple[Reservation, CertificateRecord]:
    name, key = secrets.token_hex(8), secrets.token_bytes(32)
    decision = DecisionRecord(
        id=f"d_{name}", request_id=f"r_{name}", at=now, operation="simpleenroll", label=None,
        profile="device", profile_digest="", identity=name, device_id=None, verdict="allow",
        rule=None, message="", trace="{}", csr=b"",
    )  # fmt: skip
    request = RequestRecord(
        id=f"r_{name}", state="reserved", idempotency_key=key, operation="simpleenroll",
        label=None, profile="device", identity=name, device_id=None, credential_id=None,
        decision_id=decision.id, ca="issuing", serial_number=serial, spki_sha256=key, csr=b"",
        plan="{}", created_at=now, updated_at=now,
    )  # fmt: skip
    certificate = CertificateRecord(
        ca="issuing", serial_number=serial, status="good", der=b"", spki_sha256=key,
        subject=f"CN={name}", profile="device", identity=name, device_id=None,
        request_id=request.id, not_before=now, not_after=now + timedelta(days=90), issued_at=now,
    )  # fmt: skip
    return Reservation(request, decision), certificate


def _request(directory: EstDirectory, serial: int) -> bytes:
    issuer = (directory.path / "ca/issuing.pem").read_bytes()
    certificate = x509.load_pem_x509_certificate(issuer)
    names = {algorithm: (name, key) for algorithm, name, key in issuer_keys(certificate)}
    builder = ocsp.OCSPRequestBuilder()
    made = builder.add_certificate_by_hash(*names["sha1"], serial, hashes.SHA1())
    return made.build().public_bytes(Encoding.DER)


def _get(request: bytes) -> bytes:
    path = f"/ocsp/{base64.b64encode(request).decode()}"
    return f"GET {path} HTTP/1.1\r\nHost: ocsp.example.net\r\n\r\n".encode()


def _post(request: bytes, path: str = "/ocsp") -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: ocsp.example.net\r\n"
        f"Content-Type: application/ocsp-request\r\nContent-Length: {len(request)}\r\n\r\n"
    )
    return head.encode() + request


def _ask(served: Served, request: bytes) -> bytes:
    with urlopen(Request("http://{}:{}/ocsp".format(*served.address), request), timeout=30) as got:
        body: bytes = got.read()
    status = ocsp.load_der_ocsp_response(body).certificate_status
    if status is not ocsp.OCSPCertStatus.GOOD:
        raise RuntimeError(f"a good certificate is {status}")
    return body


def _file(folder: Path, body: bytes) -> str:
    folder.mkdir()
    (folder / "response.der").write_bytes(body)
    return f"root {folder}; open_file_cache max=10; sendfile on; try_files /response.der =404;"


def _beside_revocations(
    contender: Contender, directory: EstDirectory, serials: list[int]
) -> Contender:
    """Hold and release certificates, `_PER_SECOND` times a second, while a round is driven."""
    command = [
        sys.executable, str(_CHILD), str(directory.path / "state/ledger.db"), str(_PER_SECOND),
        *(f"{serial:x}" for serial in serials),
    ]  # fmt: skip

    def drive() -> Driven:
        with subprocess.Popen(command) as process:
            driven = contender.drive()
            process.terminate()
        return driven

    return Contender(
        f"the same, {_PER_SECOND} revocations a second", contender.pid, contender.prepare, drive
    )
