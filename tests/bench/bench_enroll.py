"""Enrollments beside nginx's bare handshakes.

Every connection is new and mutually authenticated: no resumption, a P-256 server certificate, a
P-256 device certificate from a fleet of them. nginx answers two octets from memory; est-server
checks certificate and request, decides, signs and answers when the ledger is durable.
"""

from __future__ import annotations

import re
import ssl
from base64 import b64decode
from functools import partial
from typing import TYPE_CHECKING

import fleet as devices
from clients import Clients, Exchange, Traffic, exchange_once, running_clients
from cryptography.hazmat.primitives.serialization import pkcs7
from measure import Contender, interleave, rate, ratio
from peers import REPOSITORY, Served, est_server, initialise, nginx
from report import Report

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

ENROLL = "/.well-known/est/router/simpleenroll"
REENROLL = "/.well-known/est/router/simplereenroll"
CACERTS = "/.well-known/est/router/cacerts"
_FLEET = 256  # more than the server keeps of devices, so that each new connection is a new one
_LISTENER = """\
listen {{address}} ssl;
ssl_certificate {directory}/{certificate};
ssl_certificate_key {directory}/{key};
ssl_verify_client optional_no_ca;
ssl_protocols TLSv1.2 TLSv1.3;"""


def run(options: Namespace, scratch: Path) -> Report:
    """Measure; see the module."""
    fleet, trusted = devices.manufacture(scratch / "fleet", _FLEET)
    # a renewal window would refuse certificates that are seconds old
    profile = re.sub(r"\n  window:.*", "", (REPOSITORY / "profiles/router.yaml").read_text())
    directory = initialise(
        scratch / "server", {"router": profile}, {"trust": {"acme-routers": str(trusted)}}
    )
    tls = _LISTENER.format(
        directory=directory.path, certificate="tls/server.pem", key="tls/server.key"
    )
    with (
        running_clients(options.clients, options.threads) as clients,
        nginx(scratch / "nginx", tls, 'return 200 "ok";') as bare,
        est_server(directory) as ours,
    ):
        renewing = _enrolled(fleet, ours, scratch / "renewing")
        contenders = [
            contender
            for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2)
            for contender in _contenders(clients, version, bare, ours, fleet, renewing, options)
        ]
        send = partial(devices.enroll, fleet, ssl.TLSVersion.TLSv1_3, ENROLL, keep_alive=True)
        traffic = Traffic(ours.address, send, keep_alive=True)
        contenders.append(
            clients.contender(
                "est-server enrolls, keep-alive", ours.pid, traffic, options.operations
            )
        )
        found = interleave(contenders, options.rounds)
    bare13, _, new13, again13, bare12, _, new12, again12, kept = found
    return Report(
        "enroll",
        f"{options.rounds} rounds of {options.operations} each, "
        f"{options.clients} client processes with {options.threads} connections each",
        tuple(found),
        (
            *ratio("enrollments / nginx, TLS 1.3", new13, bare13, 0.6),
            *ratio("renewals / nginx, TLS 1.3", again13, bare13, 0.6),
            *ratio("enrollments / nginx, TLS 1.2", new12, bare12, 0.6),
            *ratio("renewals / nginx, TLS 1.2", again12, bare12, 0.6),
            rate("keep-alive enrollments per server CPU-second", kept, 2500),
        ),
    )


def _contenders(
    clients: Clients,
    version: ssl.TLSVersion,
    bare: Served,
    ours: Served,
    fleet: devices.Fleet,
    renewing: devices.Fleet,
    options: Namespace,
) -> list[Contender]:
    name = version.name.replace("_", ".").replace("TLSv", "TLS ")
    work = (
        (f"nginx answers, {name}", bare, partial(devices.get, fleet, version, "/")),
        (
            f"est-server answers cacerts, {name}",
            ours,
            partial(devices.get, fleet, version, CACERTS),
        ),
        (f"est-server enrolls, {name}", ours, partial(devices.enroll, fleet, version, ENROLL)),
        (f"est-server renews, {name}", ours, partial(devices.enroll, renewing, version, REENROLL)),
    )
    return [
        clients.contender(what, served.pid, Traffic(served.address, make), options.operations)
        for what, served, make in work
    ]


def _enrolled(fleet: devices.Fleet, ours: Served, path: Path) -> devices.Fleet:
    """Enroll every device once and return the fleet with the certificates that it got."""
    path.mkdir()
    for device in range(fleet.size):
        key = devices.new_key()
        context = devices.context(fleet, device, ssl.TLSVersion.TLSv1_3)
        body = exchange_once(ours.address, Exchange(context, devices.post(ENROLL, device, key)))
        (certificate,) = pkcs7.load_der_pkcs7_certificates(b64decode(body))
        devices.write_identity(path, device, key, certificate)
    return devices.Fleet(path, fleet.size)
