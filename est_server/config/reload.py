"""What a new configuration changes, and which of it takes effect without a restart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.errors import Problem

if TYPE_CHECKING:
    from est_server.config.configuration import Configuration

_AT_ONCE = ("limits", "log", "realm", "lenient_bodies", "credentials", "attestation")


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between two configurations.

    Attributes:
        profiles_added: names.
        profiles_removed: names.
        profiles_changed: names of those whose text differs.
        policies: names of the appraisal policies that were added, removed or changed.
        trust: names of the trust stores that were added, removed or changed.
        settings: paths in server.yaml that take effect at once, such as ``limits``.
        certificates: whether a listener presents another certificate.
        restart: warnings, with positions in the new server.yaml, about what takes effect at the
            next start only.
    """

    profiles_added: tuple[str, ...]
    profiles_removed: tuple[str, ...]
    profiles_changed: tuple[str, ...]
    policies: tuple[str, ...]
    trust: tuple[str, ...]
    settings: tuple[str, ...]
    certificates: bool
    restart: tuple[Problem, ...]

    def __bool__(self) -> bool:
        """Tell whether anything changed."""
        return any(getattr(self, name) for name in self.__slots__)


def compare(old: Configuration, new: Configuration) -> Changes:
    """Return what changes from `old`, which runs, to `new`, which was loaded."""
    before, after = old.profiles, new.profiles
    return Changes(
        profiles_added=tuple(sorted(after.keys() - before.keys())),
        profiles_removed=tuple(sorted(before.keys() - after.keys())),
        profiles_changed=tuple(
            name
            for name in sorted(after.keys() & before.keys())
            if after[name].text != before[name].text
        ),
        policies=tuple(
            name
            for name in sorted(old.policies.keys() | new.policies.keys())
            if _text(old, name) != _text(new, name)
        ),
        trust=tuple(
            name
            for name in sorted(old.trust.keys() | new.trust.keys())
            if old.trust.get(name) != new.trust.get(name)
        ),
        settings=tuple(_settings(old, new)),
        certificates=_presented(old) != _presented(new),
        restart=tuple(_restart(old, new)),
    )


def _text(configuration: Configuration, policy: str) -> str | None:
    found = configuration.policies.get(policy)
    return None if found is None else found.policy.text


def _settings(old: Configuration, new: Configuration) -> list[str]:
    before, after = old.server, new.server
    found = [name for name in _AT_ONCE if getattr(before, name) != getattr(after, name)]
    one, other = before.listeners.public, after.listeners.public
    if one is not None and other is not None and one.url != other.url:
        found.append("listeners.public.url")
    if before.listeners.est.proxies != after.listeners.est.proxies:
        found.append("listeners.est.proxies")
    return found


def _presented(configuration: Configuration) -> list[tuple[str, str, str | None]]:
    folder = configuration.path.parent
    return [
        (
            listener.certificate,
            listener.key.reference,
            configuration.digests.get(str(folder / listener.certificate)),
        )
        for listener in (configuration.server.listeners.est, configuration.server.listeners.admin)
    ]


def _restart(old: Configuration, new: Configuration) -> list[Problem]:
    before, after, document = old.server, new.server, new.document
    found: list[Problem] = []
    for name in ("est", "public", "admin"):
        one, other = getattr(before.listeners, name), getattr(after.listeners, name)
        address = None if one is None else one.listen
        wanted = None if other is None else other.listen
        if address != wanted:
            text = f"listeners.{name}: {address or 'nothing'} until the next start"
            at = document.value("listeners", name, "listen")
            found.append(Problem(at, "W301", text, severity="warning"))
    for name in sorted(before.cas.keys() | after.cas.keys()):
        if before.cas.get(name) != after.cas.get(name):
            text = f"cas.{name}: as it was until the next start"
            found.append(Problem(document.key("cas", name), "W302", text, severity="warning"))
    if before.state != after.state:
        text = "state: as it was until the next start"
        found.append(Problem(document.key("state"), "W303", text, severity="warning"))
    return found
