"""The CAs of a configuration: those that can be used now, and why the others can't.

One that is broken keeps nobody else from working: what needs it answers 503 (RFC 9110 15.6.4), and
it is tried again until it can be used.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import ValidationError

from est_server.app.clock import system_clock
from est_server.app.keyless import KeylessAuthority
from est_server.errors import BackendUnavailable
from est_server.ports.ca import BackendContext, CertificateAuthority
from est_server.rollover.lifecycle import VISIBLE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import datetime

    from est_server.config.configuration import Configuration
    from est_server.config.server_file import CaSettings
    from est_server.ports.ca import Backend, CaCertificates
    from est_server.ports.rollover import Rollover
    from est_server.ports.validation import Validation

_CONNECT_SECONDS = 10.0
_FIRST_PAUSE = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(seconds=30)

log = structlog.get_logger("ca")


@dataclass(slots=True)
class Authorities:
    """The CAs of server.yaml, and the successors that rollovers gave them.

    Attributes:
        configuration: as loaded.
        open: by name; a CA that was opened stays, whatever happens to it. One more in it changes
            nothing by itself.
        broken: by name, and why.
        logs: whether what happens is logged: a command says it in its own way.
        keyless: where the CAs' certificates are, for a process that has no key; None for others.
    """

    configuration: Configuration
    logs: bool = False
    open: dict[str, CertificateAuthority] = field(default_factory=dict)
    broken: dict[str, BackendUnavailable] = field(default_factory=dict)
    keyless: Validation | None = None
    _made: dict[str, CertificateAuthority] = field(default_factory=dict)
    _pauses: dict[str, tuple[timedelta, datetime]] = field(default_factory=dict)

    async def connect(self, rollovers: Sequence[Rollover] = ()) -> list[str]:
        """Try those that are not open and whose turn it is; return which opened."""
        now = system_clock()
        wanted = [
            name
            for name in self._names(rollovers)
            if name not in self.open and self._due(name, now)
        ]
        tried = await asyncio.gather(*(self._try(name, rollovers) for name in wanted))
        return [name for name, opened in zip(wanted, tried, strict=True) if opened]

    def unavailable(self, ca: str, rollovers: Sequence[Rollover] = ()) -> BackendUnavailable | None:
        """Return why what says ``ca: <name>`` can't be served now; None if it can.

        A rollover's new CA counts too: its certificates belong to what the old one publishes.
        """
        family = [ca, *(one.successor for one in _visible(rollovers) if one.ca == ca)]
        for name in family:
            if name not in self.open:
                return self.broken.get(name) or BackendUnavailable(
                    "ca.unavailable", f"CA {name} is not open yet", retry_after=5
                )
        return None

    def refuse(self, names: Collection[str], error: Exception) -> None:
        """Take CAs that were opened just now back: they don't fit the configuration."""
        for name in names:
            self._made[name] = self.open.pop(name)
            hint = "mend server.yaml and restart"
            self._note(name, BackendUnavailable("ca.configuration", str(error), hint=hint))

    def certificates(self) -> dict[str, CaCertificates]:
        """Return what every open CA shows of itself now."""
        return {name: authority.certificates() for name, authority in self.open.items()}

    async def close(self) -> None:
        """Close all of them."""
        for authority in {**self._made, **self.open}.values():
            await authority.close()

    def _names(self, rollovers: Sequence[Rollover]) -> Iterator[str]:
        yield from self.configuration.ca_settings
        for rollover in _visible(rollovers):
            if rollover.ca in self.configuration.ca_settings:
                yield rollover.successor

    def _due(self, name: str, now: datetime) -> bool:
        return name not in self._pauses or self._pauses[name][1] <= now

    async def _try(self, name: str, rollovers: Sequence[Rollover]) -> bool:
        try:
            if name not in self._made:
                self._made[name] = self._make(name, rollovers)
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._made[name].connect()
        except BackendUnavailable as error:
            self._note(name, error)
        except TimeoutError:
            hint = "see whether its network and its service are up"
            self._note(name, BackendUnavailable("ca.unreachable", "no answer", hint=hint))
        except Exception as error:
            if self.logs:
                log.exception("ca.failed", ca=name)
            hint = f"the log has the whole error: {type(error).__name__}: {error}"
            self._note(name, BackendUnavailable("ca.failed", "its backend failed", hint=hint))
        else:
            self.open[name] = self._made.pop(name)
            if self.broken.pop(name, None) is not None and self.logs:
                log.info("ca.opened", ca=name)
            self._pauses.pop(name, None)
            return True
        return False

    def _make(self, name: str, rollovers: Sequence[Rollover]) -> CertificateAuthority:
        context = BackendContext(name, self.configuration.base, system_clock)
        backend, settings = self._settings(name, rollovers)
        if self.keyless is not None:
            return KeylessAuthority(name, backend.capabilities(settings), self.keyless)
        return backend.open(settings, context)

    def _settings(self, name: str, rollovers: Sequence[Rollover]) -> CaSettings:
        for rollover in rollovers:
            if rollover.successor == name:
                backend, _ = self.configuration.ca_settings[rollover.ca]
                return backend, successor_settings(backend, rollover)
        return self.configuration.ca_settings[name]

    def _note(self, name: str, error: BackendUnavailable) -> None:
        known = self.broken.get(name)
        if self.logs and (known is None or str(known) != str(error)):
            log.error("ca.unusable", ca=name, rule=error.rule, error=error.message, hint=error.hint)
        self.broken[name] = error
        pause, _ = self._pauses.get(name, (_FIRST_PAUSE / 2, None))
        pause = min(pause * 2, _LONGEST_PAUSE)
        self._pauses[name] = (pause, system_clock() + pause)


async def open_authorities(
    configuration: Configuration, rollovers: Sequence[Rollover] = ()
) -> Mapping[str, CertificateAuthority]:
    """Open every CA of the configuration, and the successors that rollovers gave them.

    Raises:
        BackendUnavailable: one can't be opened.
    """
    authorities = Authorities(configuration)
    await authorities.connect(rollovers)
    for error in authorities.broken.values():
        await authorities.close()
        raise error
    return authorities.open


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


def _visible(rollovers: Sequence[Rollover]) -> Iterator[Rollover]:
    return (rollover for rollover in rollovers if rollover.state in VISIBLE)
