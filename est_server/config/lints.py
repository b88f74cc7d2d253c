"""What is worth a look although it runs: warnings."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from est_server.errors import Problem
from est_server.pki.usages import CLIENT_AUTH
from est_server.ports.scalars import duration_text
from est_server.profiles.patterns import network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

    from est_server.config.configuration import Configuration
    from est_server.config.document import Document
    from est_server.config.profile_files import ProfileFile
    from est_server.config.server import ServerModel
    from est_server.profiles.model import ProfileModel
    from est_server.profiles.naming import AlternativeName
    from est_server.profiles.profile import Issuer

_CLIENT = {"clientAuth", CLIENT_AUTH, "2.5.29.37.0"}
_LOCAL = {"localhost", "127.0.0.1", "::1"}


def lint_profile(document: Document, model: ProfileModel) -> Iterator[Problem]:
    """Yield warnings about one profile."""
    yield from _lint_renewal(document, model)
    yield from _lint_names(document, model)
    yield from _lint_approval(document, model)
    for index, method in enumerate(model.authenticate):
        if method.credential is not None and model.registration == "none":
            text = "a credential without a registered device: its holder enrolls any number"
            where = ("authenticate", index, "credential")
            yield _warning(document, "W205", text, "registration: registered", *where)
    if model.proof_of_possession.otp == "required":
        for index, method in enumerate(model.authenticate):
            if method.credential is not None:
                text = "with HTTP Basic the one-time password is the same secret once more"
                hint = "a second factor needs client_certificate"
                where = ("authenticate", index, "credential")
                yield _warning(document, "W220", text, hint, *where)
    if not model.authenticate:
        text = "nobody can enroll here, only renew"
        yield _warning(document, "W211", text, None, "authenticate")


def _lint_renewal(document: Document, model: ProfileModel) -> Iterator[Problem]:
    renewal, content = model.reenroll, model.certificate
    if renewal is None:
        return
    purposes = content.extended_key_usage
    if purposes and not _CLIENT & set(purposes):
        text = (
            "extended_key_usage lacks clientAuth: devices can't authenticate at simplereenroll "
            "with this certificate"
        )
        yield _warning(document, "W201", text, None, "certificate", "extended_key_usage")
    if renewal.window is not None and renewal.window >= content.lifetime:
        text = "the renewal window is as long as the lifetime: it is always open"
        yield _warning(document, "W207", text, None, "reenroll", "window")
    if renewal.grace_after_expiry > content.lifetime:
        text = "expired certificates renew themselves for longer than they were valid"
        yield _warning(document, "W208", text, None, "reenroll", "grace_after_expiry")


def _lint_approval(document: Document, model: ProfileModel) -> Iterator[Problem]:
    approval = model.approval
    if approval.mode == "none":
        return
    if approval.expires < 2 * approval.retry_after:
        text = "a request may be over before its device asks again: see retry_after"
        yield _warning(document, "W230", text, None, "approval", "expires")
    if approval.when is None and model.reenroll is not None:
        text = "every renewal waits for a person too"
        hint = "when: \"request.operation == 'simpleenroll'\" lets renewals through"
        yield _warning(document, "W231", text, hint, "approval", "mode")


def _lint_names(document: Document, model: ProfileModel) -> Iterator[Problem]:
    for kind in ("dns", "ip", "email", "uri"):
        rule: AlternativeName | None = getattr(model.subject_alternative_names, kind)
        if rule is not None and "max" not in rule.model_fields_set and _many(kind, rule):
            text = f"a pattern allows many {kind} names, and at most {rule.max} of them by default"
            where = ("subject_alternative_names", kind, "allow")
            yield _warning(document, "W203", text, f"write `max: {rule.max}`, or fewer", *where)
    for part in ("subject", "subject_alternative_names"):
        if getattr(model, part).as_requested:
            text = f"{part} is taken as requested: whoever may enroll takes any name"
            hint = "for interop tests; a production profile says where names come from"
            yield _warning(document, "W204", text, hint, part, "as_requested")


def lint_superseding(server: ServerModel, profiles: Mapping[str, ProfileFile]) -> Iterator[Problem]:
    """Yield warnings about devices that lose an answer and find their certificate revoked."""
    window = server.limits.idempotency_window
    for file in profiles.values():
        renewal = file.model.reenroll
        if renewal is not None and renewal.old == "supersede" and renewal.after < window:
            text = (
                "a device that lost the answer can ask for it again for this long only, not for "
                f"limits.idempotency_window ({duration_text(window)})"
            )
            where = "after" if "after" in renewal.model_fields_set else "old"
            yield _warning(file.document, "W212", text, None, "reenroll", where)


def lint_pointers(
    document: Document, server: ServerModel, profiles: Mapping[str, ProfileFile]
) -> Iterator[Problem]:
    """Yield a warning about a URL that works here only and that profiles put into certificates."""
    public = server.listeners.public
    names = [name for name, file in profiles.items() if file.model.certificate.pointers]
    if public is not None and names and urlsplit(public.url).hostname in _LOCAL:
        text = f"{public.url} works on this machine only, and certificates carry it"
        hint = f"profiles with pointers: {', '.join(names)}"
        at = document.value("listeners", "public", "url")
        yield Problem(at, "W206", text, hint, severity="warning")


def lint_deltas(server: ServerModel, profiles: Mapping[str, ProfileFile]) -> Iterator[Problem]:
    """Yield warnings about certificates whose relying parties hear of a revocation late."""
    for file in profiles.values():
        wanted = file.model.certificate.pointers
        ca = server.cas.get(file.model.ca)
        deltas = ca is not None and (ca.crl is None or ca.crl.delta)
        if deltas and "crl" in wanted and "delta-crl" not in wanted:
            text = "many relying parties look for delta CRLs in the certificate only"
            hint = "add delta-crl (RFC 5280 4.2.1.15)"
            yield _warning(file.document, "W273", text, hint, "certificate", "pointers")


def lint_against_issuers(
    configuration: Configuration, issuers: Mapping[str, Issuer], now: datetime
) -> tuple[Problem, ...]:
    """Return warnings that need the CAs' certificates and the time.

    Args:
        configuration: as loaded.
        issuers: facts about the CAs by name, once they are open.
        now: aware.
    """
    found: list[Problem] = []
    for profile in configuration.profiles.values():
        document, content = profile.document, profile.model.certificate
        issuer = issuers[profile.model.ca]
        end = issuer.certificate.not_valid_after_utc
        if now - content.backdate + content.lifetime > end:
            text = f"CA {issuer.name} ends {end:%Y-%m-%d}: certificates will be shorter than this"
            hint = "renew the CA, or shorten the lifetime"
            found.append(_warning(document, "W202", text, hint, "certificate", "lifetime"))
        for index, pointer in enumerate(content.pointers):
            if not issuer.publishes(pointer):
                text = f"CA {issuer.name} publishes no {pointer}: certificates won't carry it"
                path = ("certificate", "pointers", index)
                found.append(_warning(document, "W210", text, None, *path))
    for name, store in configuration.trust.items():
        for certificate in (*store.anchors, *store.intermediates):
            if (end := certificate.not_valid_after_utc) < now:
                text = f"{certificate.subject.rfc4514_string()!r} expired {end:%Y-%m-%d}"
                found.append(_warning(configuration.document, "W209", text, None, "trust", name))
    return tuple(found)


def _many(kind: str, rule: AlternativeName) -> bool:
    if kind == "ip":
        return any(network(pattern).num_addresses > 1 for pattern in rule.allow)
    return any("*" in pattern for pattern in rule.allow)


def _warning(
    document: Document, code: str, text: str, hint: str | None, *path: str | int
) -> Problem:
    return Problem(document.value(*path), code, text, hint, severity="warning")
