"""What the configuration names, opened and ready to run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from est_server.app.clock import system_clock
from est_server.app.crls import crl_pointers
from est_server.app.ocsp import ocsp_policy
from est_server.enrollment.appraising import Appraiser
from est_server.enrollment.authenticate import AttemptLimits, Authenticator
from est_server.enrollment.rulebook import NonceLimits, Rulebook
from est_server.errors import BackendUnavailable
from est_server.pki.path import PathValidator
from est_server.ports.ca import BackendContext, CertificateAuthority
from est_server.profiles.profile import Issuer
from est_server.rollover.lifecycle import VISIBLE
from est_server.rollover.publication import issuing_name
from est_server.storage import open_ledger, sqlite_path
from est_server.storage.schema import schema_status, upgrade_schema
from est_server.web.ocsp import PATH as OCSP_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from est_server.config.configuration import Configuration
    from est_server.ports.ca import Backend
    from est_server.ports.ledger import Ledger
    from est_server.ports.rollover import Rollover


def open_authorities(
    configuration: Configuration, rollovers: Sequence[Rollover] = ()
) -> dict[str, CertificateAuthority]:
    """Open every CA of the configuration, and the successors that rollovers gave them.

    Raises:
        BackendUnavailable: one can't be opened.
    """
    opened = {
        name: backend.open(settings, BackendContext(name, configuration.base, system_clock))
        for name, (backend, settings) in configuration.ca_settings.items()
    }
    return {**opened, **open_successors(configuration, rollovers)}


def open_successors(
    configuration: Configuration, rollovers: Sequence[Rollover]
) -> dict[str, CertificateAuthority]:
    """Open the CAs that rollovers brought, as far as they are published.

    Raises:
        BackendUnavailable: one can't be opened, ``rollover.settings`` if what the ledger says of
            it fits this release no more.
    """
    opened: dict[str, CertificateAuthority] = {}
    for rollover in rollovers:
        if rollover.ca not in configuration.ca_settings or rollover.state not in VISIBLE:
            continue
        name = rollover.successor
        backend, _ = configuration.ca_settings[rollover.ca]
        opened[name] = backend.open(
            successor_settings(backend, rollover),
            BackendContext(name, configuration.base, system_clock),
        )
    return opened


def successor_settings(backend: Backend, rollover: Rollover) -> Any:
    """Return the settings of a successor as its backend reads them.

    Raises:
        BackendUnavailable: ``rollover.settings``.
    """
    try:
        return backend.settings_model.model_validate(dict(rollover.settings))
    except ValidationError as error:
        raise BackendUnavailable(
            "rollover.settings",
            f"CA {rollover.successor} can't be opened with what the ledger says of it",
            hint=str(error),
        ) from error


def issuers_of(
    configuration: Configuration,
    authorities: Mapping[str, CertificateAuthority],
    rollovers: Sequence[Rollover] = (),
) -> dict[str, Issuer]:
    """Return, for each CA of the configuration, what decisions need to know of who issues."""
    public = configuration.server.listeners.public
    base = "" if public is None else public.url.rstrip("/")
    found = {}
    for ca in configuration.ca_settings:
        name = issuing_name(ca, rollovers)
        authority = authorities[name]
        pointers, shards = crl_pointers(configuration, name, authority, ca)
        if public is not None:
            answers = ocsp_policy(configuration, ca, authority) is not None
            pointers = replace(
                pointers,
                ocsp=(f"{base}{OCSP_PATH}",) if answers else (),
                ca_issuers=(f"{base}/aia/{name}.cer",),
            )
        found[ca] = Issuer(name, authority.certificates().issuer, pointers, shards)
    return found


def rulebook_of(
    configuration: Configuration,
    authorities: Mapping[str, CertificateAuthority],
    ledger: Ledger,
    ephemeral: Any,
    rollovers: Sequence[Rollover] = (),
) -> Rulebook:
    """Return what the configuration says, ready to run."""
    server = configuration.server
    names: dict[bytes, tuple[str, ...]] = {}
    for name, authority in authorities.items():
        subject = authority.certificates().issuer.subject.public_bytes()
        names[subject] = (*names.get(subject, ()), name)
    return Rulebook(
        profiles=configuration.compile(issuers_of(configuration, authorities, rollovers)),
        labels=configuration.labels,
        authenticator=Authenticator(
            ledger=ledger,
            ephemeral=ephemeral,
            issuers=names,
            trust={name: PathValidator(store) for name, store in configuration.trust.items()},
            credential_key=server.credentials.key.read(configuration.base),
            limits=AttemptLimits(
                server.limits.attempts_per_user, server.limits.attempts_per_address
            ),
            clock=system_clock,
        ),
        idempotency_window=server.limits.idempotency_window,
        lenient_bodies=server.lenient_bodies,
        appraiser=Appraiser(
            policies={name: file.policy for name, file in configuration.policies.items()},
            ledger=ledger,
            time_limit=server.attestation.time_limit.total_seconds(),
            clock=system_clock,
        ),
        nonces=NonceLimits(
            server.attestation.most_nonces,
            server.attestation.most_nonces_per_client,
            server.limits.nonces_per_address,
        ),
    )


def ready_ledger(configuration: Configuration, *, migrate: bool, node: str = "") -> Ledger:
    """Open the ledger, whose schema must fit this release.

    Args:
        configuration: names it.
        migrate: whether its schema is brought up to this release.
        node: the server process whose reservations these will be; empty for a command.

    Raises:
        BackendUnavailable: ``ledger.schema``; the hint names the command.
    """
    path = sqlite_path(configuration.server.state.ledger, configuration.base)
    status = upgrade_schema(path) if migrate else schema_status(path)
    if not status.ready:
        raise BackendUnavailable(
            "ledger.schema",
            f"the ledger has schema {status.current or 'none'}, this release needs {status.head}",
            hint="est-server db upgrade -c server.yaml",
        )
    return open_ledger(configuration.server.state.ledger, configuration.base, node)
