"""The steps of a rollover, as a command takes them; running servers follow within a second.

A step is one transaction in the ledger. What has to be made before it, keys in files and
certificates, is of no use to anybody until then: a crash leaves a folder that no rollover names.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from est_server.app.authorities import open_authorities, successor_settings
from est_server.app.clock import system_clock
from est_server.errors import BackendRejected, BackendUnavailable, Conflict, NotFound
from est_server.pki.plan import CertificatePlan
from est_server.pki.usages import EXTENDED_KEY_USAGES
from est_server.ports.ca import BackendContext, IssuanceOrder
from est_server.ports.rollover import Rollover, SuccessorMaker, SuccessorOrder, TlsReplacement
from est_server.rollover.lifecycle import OPEN, next_state
from est_server.rollover.publication import is_ours, issuing_name, presented
from est_server.wire.keys import key_algorithm

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from est_server.config.configuration import Configuration
    from est_server.ports.ca import Backend, CertificateAuthority
    from est_server.ports.ledger import Ledger
    from est_server.ports.rollover import RolloverState, Successor
    from est_server.ports.secret import Secret
    from est_server.rollover.lifecycle import Action

_FOLDER = "ca"
_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked of `prepare`; None takes what is usual."""

    root_key: str | None
    root_passphrase: Secret | None
    algorithm: str | None
    root_lifetime: timedelta
    issuing_lifetime: timedelta


async def open_rollover(ledger: Ledger, ca: str) -> Rollover:
    """Return the rollover of a CA that is under way.

    Raises:
        NotFound: ``rollover.none``.
    """
    for rollover in await ledger.rollovers.all():
        if rollover.ca == ca and rollover.state in OPEN:
            return rollover
    raise NotFound(
        "rollover.none",
        f"CA {ca} has no rollover under way",
        hint=f"est-server ca rollover prepare {ca}",
    )


async def prepare(
    configuration: Configuration, ledger: Ledger, ca: str, wanted: Wanted, *, dry_run: bool
) -> Rollover:
    """Make the hierarchy that follows a CA's and write the rollover down.

    Args:
        configuration: as loaded.
        ledger: where the rollover is kept.
        ca: a name in server.yaml.
        wanted: keys and lifetimes.
        dry_run: make everything, and throw it away.

    Raises:
        Conflict: ``rollover.open``, ``rollover.name``.
        BackendRejected: ``rollover.unsupported``, or the backend's own reasons.
        BackendUnavailable: a key can't be read.
    """
    rollovers = await ledger.rollovers.all()
    if any(one.ca == ca and one.state in OPEN for one in rollovers):
        hint = f"est-server ca rollover status {ca}"
        raise Conflict("rollover.open", f"CA {ca} has a rollover under way", hint=hint)
    predecessor = issuing_name(ca, rollovers)
    backend, settings = configuration.ca_settings[ca]
    for rollover in rollovers:
        if rollover.successor == predecessor:
            settings = successor_settings(backend, rollover)
    if not isinstance(backend, SuccessorMaker):
        kind = configuration.server.cas[ca].backend
        hint = "make the new hierarchy with the CA's own tools and change server.yaml"
        text = f"backend {kind} can't make a new root: CA {ca} can't roll over here"
        raise BackendRejected("rollover.unsupported", text, hint=hint)
    generation = 1 + max((one.generation for one in rollovers if one.ca == ca), default=1)
    successor = f"{ca}-g{generation}"
    if successor in configuration.ca_settings:
        raise Conflict("rollover.name", f"server.yaml has a CA {successor} of its own")
    now = system_clock()
    context = BackendContext(successor, configuration.base, system_clock)
    with _new_folder(configuration.base, successor, keep=not dry_run) as (folder, settled):
        old_root = backend.open(settings, context).certificates()
        top = old_root.chain[-1] if old_root.chain else old_root.issuer
        order = SuccessorOrder(
            folder=folder,
            settled=settled,
            issuing_suffix=f" G{generation}",
            root_key=wanted.root_key,
            root_passphrase=wanted.root_passphrase,
            algorithm=wanted.algorithm or key_algorithm(top.public_key()) or "",
            root_lifetime=wanted.root_lifetime,
            issuing_lifetime=wanted.issuing_lifetime,
            now=now,
            dry_run=dry_run,
        )
        made = backend.make_successor(settings, context, order)
    rollover = _rollover(ca, generation, predecessor, successor, made, now)
    if not dry_run:
        await ledger.rollovers.add(rollover)
    return rollover


def _rollover(
    ca: str, generation: int, predecessor: str, successor: str, made: Successor, now: datetime
) -> Rollover:
    return Rollover(
        ca=ca,
        generation=generation,
        state="prepared",
        predecessor=predecessor,
        successor=successor,
        settings=made.settings,
        new_root=made.new_root.public_bytes(Encoding.DER),
        old_with_new=made.old_with_new.public_bytes(Encoding.DER),
        new_with_old=made.new_with_old.public_bytes(Encoding.DER),
        prepared_at=now,
    )


async def step(
    configuration: Configuration,
    ledger: Ledger,
    rollover: Rollover,
    action: Action,
    *,
    dry_run: bool,
) -> RolloverState:
    """Take a step and return the state that it leads to.

    Raises:
        Conflict: ``rollover.state``, ``rollover.issued``.
        BackendUnavailable: ``ca.unhealthy``: the new CA can't sign: nothing was changed.
    """
    to = next_state(rollover, action)
    tls = None
    if action in {"publish", "switch"}:
        backend, _ = configuration.ca_settings[rollover.ca]
        authority = _open(configuration, backend, rollover)
        health = await authority.health()
        if not health.ok:
            text = f"CA {rollover.successor} can't sign: {health.detail}"
            raise BackendUnavailable("ca.unhealthy", text, hint="nothing was changed")
        if action == "switch":
            tls = await _tls_replacement(configuration, ledger, rollover, authority)
        await authority.close()
    if not dry_run:
        await ledger.rollovers.move(rollover, to, at=system_clock(), tls=tls)
    return to


def _open(
    configuration: Configuration, backend: Backend, rollover: Rollover
) -> CertificateAuthority:
    context = BackendContext(rollover.successor, configuration.base, system_clock)
    return backend.open(successor_settings(backend, rollover), context)


async def _tls_replacement(
    configuration: Configuration,
    ledger: Ledger,
    rollover: Rollover,
    authority: CertificateAuthority,
) -> TlsReplacement | None:
    """Return the server's TLS certificate by the new CA; None if it is somebody else's."""
    file = configuration.base / configuration.server.listeners.est.certificate
    configured = x509.load_pem_x509_certificates(file.read_bytes())
    rollovers = await ledger.rollovers.all()
    certificates = {
        name: one.certificates()
        for name, one in (await open_authorities(configuration, rollovers)).items()
    }
    certificates[rollover.successor] = authority.certificates()
    leaf = presented(configured, rollovers, certificates)[0]
    if not is_ours(leaf, rollover, certificates):
        return None
    plan = _tls_plan(leaf, rollover.successor, authority.certificates().issuer)
    token = f"tls-{rollover.successor}"
    order = IssuanceOrder(plan, x509.random_serial_number(), token, b"", system_clock())
    made = await authority.issue(order)
    chain = (made, authority.certificates().issuer)
    return TlsReplacement(
        sha256(configured[0].public_bytes(Encoding.DER)).digest(),
        tuple(certificate.public_bytes(Encoding.DER) for certificate in chain),
    )


def _tls_plan(leaf: x509.Certificate, ca: str, issuer: x509.Certificate) -> CertificatePlan:
    """Return the plan of a certificate like `leaf`, as long as it was made for."""
    now = system_clock().replace(microsecond=0)
    lifetime = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    key: Any = leaf.public_key()
    return CertificatePlan(
        ca=ca,
        subject=leaf.subject,
        subject_alternative_names=tuple(names),
        spki=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        key_algorithm=key_algorithm(key) or "",
        not_before=max(now - _CLOCK_SKEW, issuer.not_valid_before_utc),
        not_after=min(now + lifetime, issuer.not_valid_after_utc),
        key_usage=("digitalSignature",),
        extended_key_usage=(EXTENDED_KEY_USAGES["serverAuth"],),
    )


@contextmanager
def _new_folder(base: Path, successor: str, *, keep: bool) -> Iterator[tuple[Path, str]]:
    """Make a folder for keys; it has its final name, whole and durable, or it is not there.

    The name has a random part: one that a crash left behind is in nobody's way.
    """
    name = f"{_FOLDER}/{successor}-{secrets.token_hex(4)}"
    (base / _FOLDER).mkdir(exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{successor}.", dir=base / _FOLDER))
    try:
        yield building, name
        if keep:
            _sync([*building.iterdir(), building])
            building.rename(base / name)
            _sync([base / _FOLDER])
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _sync(paths: Sequence[Path]) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
