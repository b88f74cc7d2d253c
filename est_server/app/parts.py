"""What the configuration names, opened and ready to run."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from est_server.app.clock import system_clock
from est_server.app.crls import crl_pointers
from est_server.app.ocsp import ocsp_policy
from est_server.enrollment.appraising import Appraiser
from est_server.enrollment.authenticate import AttemptLimits, Authenticator
from est_server.enrollment.rulebook import NonceLimits, Rulebook
from est_server.errors import BackendUnavailable
from est_server.pki.path import PathValidator
from est_server.profiles.profile import Issuer
from est_server.rollover.publication import issuing_name
from est_server.storage import (
    ledger_place,
    open_ephemeral,
    open_ledger,
    open_ledger_to_read,
)
from est_server.storage.schema import schema_status, upgrade_schema
from est_server.web.ocsp import PATH as OCSP_PATH

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from est_server.config.configuration import Configuration
    from est_server.ports.ca import CertificateAuthority
    from est_server.ports.ephemeral import Ephemeral
    from est_server.ports.ledger import Ledger
    from est_server.ports.rollover import Rollover
    from est_server.storage.schema import SchemaStatus


def issuers_of(
    configuration: Configuration,
    authorities: Mapping[str, CertificateAuthority],
    rollovers: Sequence[Rollover] = (),
) -> dict[str, Issuer]:
    """Return, for each CA that is open, what decisions need to know of who issues."""
    public = configuration.server.listeners.public
    base = "" if public is None else public.url.rstrip("/")
    found = {}
    for ca in configuration.ca_settings:
        name = issuing_name(ca, rollovers)
        if (authority := authorities.get(name)) is None:
            continue
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
    unavailable: Mapping[str, BackendUnavailable] = MappingProxyType({}),
) -> Rulebook:
    """Return what the configuration says, ready to run.

    Args:
        configuration: as loaded.
        authorities: the CAs that are open.
        ledger: the durable record.
        ephemeral: counts.
        rollovers: all there are, by generation.
        unavailable: CAs of server.yaml that can't be used, and why: so can't their profiles.
    """
    server = configuration.server
    names: dict[bytes, tuple[str, ...]] = {}
    for name, authority in authorities.items():
        subject = authority.certificates().issuer.subject.public_bytes()
        names[subject] = (*names.get(subject, ()), name)
    return Rulebook(
        profiles=configuration.compile(
            issuers_of(configuration, authorities, rollovers), without=unavailable
        ),
        unavailable={
            name: unavailable[profile.model.ca]
            for name, profile in configuration.profiles.items()
            if profile.model.ca in unavailable
        },
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


def ready_ephemeral(configuration: Configuration) -> Ephemeral:
    """Open the ephemeral store.

    Raises:
        BackendUnavailable: ``ephemeral.password``: it can't be read.
    """
    state = configuration.server.state
    password = None
    if state.ephemeral_password is not None:
        try:
            password = state.ephemeral_password.read(configuration.base).decode()
        except (OSError, ValueError) as error:
            raise BackendUnavailable(
                "ephemeral.password",
                f"the password of Redis can't be read: {error}",
                hint=f"check state.ephemeral_password, {state.ephemeral_password.reference}",
            ) from error
    return open_ephemeral(state.ephemeral, password)


def ledger_to_read(configuration: Configuration) -> Ledger:
    """Open the ledger so that nothing of it can be changed.

    Raises:
        BackendUnavailable: ``ledger.schema``, ``ledger.unavailable``.
    """
    place = ledger_place(configuration.server.state, configuration.base)
    _require(schema_status(place, read_only=True))
    return open_ledger_to_read(place)


def ready_ledger(
    configuration: Configuration, *, migrate: bool, node: str = "", actor: str = "est-server"
) -> Ledger:
    """Open the ledger, whose schema must fit this release.

    Args:
        configuration: names it.
        migrate: whether its schema is brought up to this release.
        node: the server process whose reservations these will be; empty for a command.
        actor: whose acts these are in the audit log, where the acts themselves don't say.

    Raises:
        BackendUnavailable: ``ledger.schema``; the hint names the command.
    """
    place = ledger_place(configuration.server.state, configuration.base)
    _require(upgrade_schema(place) if migrate else schema_status(place))
    return open_ledger(place, node, actor)


def _require(status: SchemaStatus) -> None:
    if not status.ready:
        raise BackendUnavailable(
            "ledger.schema",
            f"the ledger has schema {status.current or 'none'}, this release needs {status.head}",
            hint="est-server db upgrade -c server.yaml",
        )
