"""The checks of `doctor`: each looks at one thing and says what to do about it."""

from __future__ import annotations

import errno
import resource
import socket
import stat
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509

from est_server.app.authorities import Authorities
from est_server.app.clock import system_clock
from est_server.app.parts import ready_ephemeral, ready_ledger
from est_server.cli.doctor_audit import check_audit
from est_server.cli.doctor_cas import check_ca_expiry, check_cas
from est_server.cli.doctor_crls import check_crls
from est_server.cli.doctor_orders import check_orders
from est_server.cli.doctor_roles import check_roles
from est_server.cli.nodes import running_here
from est_server.cli.patient import Finding, Patient, expiry
from est_server.config.configuration import load
from est_server.config.secrets import secrets_in
from est_server.config.server import host_and_port
from est_server.errors import BackendUnavailable, EstServerError
from est_server.ports.ephemeral import Budget
from est_server.ports.ledger import NODE_ALIVE_FOR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from est_server.config.configuration import Configuration
    from est_server.ports.secret import Secret
    from est_server.profiles.profile import ConfigPath

_TLS_SOON = timedelta(days=30)
_SKEW = timedelta(minutes=1)
_FEW_FILES = 4096  # a connection takes one


async def run_checks(config: Path) -> list[dict[str, Any]]:
    """Return {"check", "status", "detail", "next"} for everything that was looked at.

    Raises:
        ConfigurationError: the configuration can't be read, so there is nothing to look at.
    """
    configuration = load(config)
    patient = Patient(config, configuration, system_clock(), Authorities(configuration))
    await _open(patient)
    found = []
    try:
        for name, (_, check) in CHECKS.items():
            found += [
                {
                    "check": name,
                    "status": finding.status,
                    "detail": finding.detail,
                    "next": finding.next,
                }
                async for finding in check(patient)
            ]
    finally:
        await patient.cas.close()
        if patient.ledger is not None:
            await patient.ledger.close()
    return found


async def _open(patient: Patient) -> None:
    configuration = patient.configuration
    try:
        patient.ledger = ready_ledger(configuration, migrate=False)
    except EstServerError as error:
        patient.ledger_error = error
    rollovers = [] if patient.ledger is None else await patient.ledger.rollovers.all()
    await patient.cas.connect(rollovers)


async def _config(patient: Patient) -> AsyncIterator[Finding]:
    yield Finding("ok", f"valid, digest {patient.configuration.digest[:12]}")
    for problem in patient.configuration.warnings:
        yield Finding("warn", str(problem), problem.hint)


async def _keys(patient: Patient) -> AsyncIterator[Finding]:
    for where, secret in _secrets(patient.configuration):
        name = ".".join(map(str, where))
        path = secret.path(patient.configuration.base)
        if path is None:
            try:
                secret.read(patient.configuration.base)
            except OSError as error:
                yield Finding("fail", f"{name}: {error.strerror}", f"set {secret.name}")
            continue
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
            path.open("rb").close()
        except OSError as error:
            yield Finding(
                "fail", f"{name}: {path}: {error.strerror}", "restore it, or fix its owner"
            )
            continue
        if mode & 0o077:
            yield Finding("fail", f"{name}: {path} has mode {mode:04o}", f"chmod 600 {path}")
        else:
            yield Finding("ok", f"{name}: {path} is private")


def _secrets(configuration: Configuration) -> Iterator[tuple[ConfigPath, Secret]]:
    yield from secrets_in(configuration.server)
    for ca, (_, settings) in configuration.ca_settings.items():
        yield from secrets_in(settings, ("cas", ca))


async def _tls(patient: Patient) -> AsyncIterator[Finding]:
    listeners = patient.configuration.server.listeners
    for name, listener in (("est", listeners.est), ("admin", listeners.admin)):
        path = patient.configuration.base / listener.certificate
        try:
            leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
        except (OSError, ValueError) as error:
            yield Finding("fail", f"{name}: {path}: {error}", "put a PEM chain there, leaf first")
            continue
        then = f"replace {path}, then est-server config reload -c {patient.path}"
        yield expiry(f"{name}: {path}", leaf, patient.now, _TLS_SOON, then)


async def _ledger(patient: Patient) -> AsyncIterator[Finding]:
    url = patient.configuration.server.state.ledger
    if patient.ledger is None:
        error = patient.ledger_error
        yield Finding("fail", f"{url}: {error}", None if error is None else error.hint)
        return
    try:
        await patient.ledger.ping()
    except BackendUnavailable as error:
        yield Finding("fail", f"{url}: {error.message}", error.hint)
        return
    yield Finding("ok", f"{url}: the schema fits; reads and writes")
    if left := len(await patient.ledger.abandoned(patient.now - NODE_ALIVE_FOR)):
        text = f"{left} requests were left without an outcome by a server that died"
        yield Finding("warn", text, "a running server settles them within a minute")


async def _ephemeral(patient: Patient) -> AsyncIterator[Finding]:
    url = patient.configuration.server.state.ephemeral
    try:
        store = ready_ephemeral(patient.configuration)
    except BackendUnavailable as error:
        yield Finding("fail", error.message, error.hint)
        return
    await store.peek("doctor", Budget(1, 1))
    away = store.away
    await store.close()
    if away:
        text = f"{url} does not answer: each process counts failed attempts for itself"
        yield Finding("warn", text, "start Redis; servers find it again within a second")
    else:
        yield Finding("ok", f"{url} answers")


async def _clock(patient: Patient) -> AsyncIterator[Finding]:
    then = "set the clock: timedatectl set-ntp true"
    now = patient.now
    late = [
        f"CA {name} begins {found.certificates().issuer.not_valid_before_utc:%F %TZ}"
        for name, found in patient.cas.open.items()
        if found.certificates().issuer.not_valid_before_utc > now
    ]
    if patient.ledger is not None:
        late += [
            f"certificate {found.serial_number:x} was issued {found.issued_at:%F %TZ}"
            for found in await patient.ledger.certificates(limit=1)
            if found.issued_at > now + _SKEW
        ]
    for reason in late:
        yield Finding("fail", f"it is {now:%F %TZ} here, but {reason}", then)
    if not late:
        yield Finding("ok", f"{now:%F %TZ}, behind no certificate")


async def _ports(patient: Patient) -> AsyncIterator[Finding]:
    ours = bool(await _running(patient))
    listeners = patient.configuration.server.listeners
    for name, listener in (
        ("est", listeners.est),
        ("public", listeners.public),
        ("admin", listeners.admin),
    ):
        if listener is not None:
            yield _port(f"{name}: {listener.listen}", listener.listen, ours=ours)


def _port(what: str, address: str, *, ours: bool) -> Finding:
    host, port = host_and_port(address)
    try:
        socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        ).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE and ours:
            return Finding("ok", f"{what} is taken, and a server of ours runs here")
        then = f"see who has it: ss -ltnp 'sport = :{port}'"
        if error.errno == errno.EACCES:
            then = "take a port from 1024, or give the service CAP_NET_BIND_SERVICE"
        return Finding("fail", f"{what}: {error.strerror}", then)
    return Finding("ok", f"{what} is free")


async def _nodes(patient: Patient) -> AsyncIterator[Finding]:
    if patient.ledger is None:
        return
    nodes = await patient.ledger.nodes()
    if not nodes:
        yield Finding("ok", "no server runs")
    for node in nodes:
        what = f"pid {node.pid} on {node.host}"
        if node.seen_at <= patient.now - NODE_ALIVE_FOR:
            text = f"{what} was last seen {node.seen_at:%F %TZ}"
            yield Finding("warn", text, "it ended without a word; look at its log")
        elif node.reload_error is not None:
            then = "mend it: est-server config check"
            yield Finding("warn", f"{what} kept its configuration: {node.reload_error}", then)
        elif node.config_digest != patient.configuration.digest:
            text = f"{what} runs configuration {node.config_digest[:12]}, not this one"
            yield Finding("warn", text, f"est-server config reload -c {patient.path}")
        else:
            yield Finding("ok", f"{what} runs this configuration")


async def _running(patient: Patient) -> list[Any]:
    if patient.ledger is None:
        return []
    return list(running_here(await patient.ledger.nodes(), patient.now))


async def _files(_: Patient) -> AsyncIterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{soft} open files allowed"
    if soft == resource.RLIM_INFINITY or soft >= _FEW_FILES:
        yield Finding("ok", text)
    else:
        yield Finding("warn", text, f"ulimit -n {hard}, or LimitNOFILE= in the unit")


CHECKS: Mapping[str, tuple[str, Callable[[Patient], AsyncIterator[Finding]]]] = {
    "config": ("server.yaml, profiles and trust files", _config),
    "keys": ("secret files are there, readable and private", _keys),
    "ca": ("every CA makes a test signature", check_cas),
    "ca-expiry": ("CA certificates end later than in 90 days", check_ca_expiry),
    "tls-expiry": ("TLS certificates end later than in 30 days", _tls),
    "ledger": ("the schema fits this release; reads and writes", _ledger),
    "crl": ("revocation lists are in force, on time, and everywhere the same", check_crls),
    "orders": ("what CAs were asked is settled, and revocations have reached them", check_orders),
    "audit": ("the audit log is signed, written down elsewhere, and nothing waits", check_audit),
    "ephemeral": ("the store of counters answers", _ephemeral),
    "clock": ("the time is not before what was made already", _clock),
    "ports": ("listeners' ports are free, or ours", _ports),
    "nodes": ("running servers, and whether they run this configuration", _nodes),
    "roles": ("somebody does everything, and one process publishes", check_roles),
    "files": ("enough files may be open at once", _files),
}
