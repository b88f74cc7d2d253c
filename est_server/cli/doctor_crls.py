"""The check of `doctor` that looks at revocation lists: in the ledger, outside, over HTTP."""

from __future__ import annotations

import asyncio
import http.client
import urllib.request
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from est_server.app.crls import open_crls
from est_server.cli.patient import Finding
from est_server.errors import ConfigurationError, EstServerError, Malformed
from est_server.ports.crl import crl_file
from est_server.ports.ledger import NODE_ALIVE_FOR
from est_server.revocation.checker import check_outline
from est_server.storage.crl_directory import CrlDirectory
from est_server.wire.crl_reading import MOST_OCTETS, read_crl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from est_server.app.crls import Crls
    from est_server.cli.patient import Patient
    from est_server.ports.ca import CertificateAuthority
    from est_server.ports.crl import CrlKind, CrlScope, PublishedCrl
    from est_server.ports.ledger import Ledger
    from est_server.revocation.issuer import CrlIssuer

_LATE = timedelta(minutes=1)
_JUST_NOW = timedelta(seconds=10)
"""How long a new list may take to get everywhere before it is missed there."""
_TIMEOUT = 5.0
_KINDS: tuple[CrlKind, ...] = ("base", "delta")


@dataclass(frozen=True, slots=True)
class _Look:
    """What the checks of one list share."""

    patient: Patient
    ledger: Ledger
    crls: Crls
    authorities: Mapping[str, CertificateAuthority]
    served: bool


async def check_crls(patient: Patient) -> AsyncIterator[Finding]:
    """Yield how the lists of each CA stand."""
    if (ledger := patient.ledger) is None:
        return
    try:
        rollovers = await ledger.rollovers.all()
        known = patient.cas.open
        crls = open_crls(patient.configuration, known, ledger, rollovers)
        scopes = {(scope.ca, scope.shard): scope for scope in await ledger.crls.scopes()}
    except (EstServerError, ConfigurationError) as error:
        yield Finding("fail", f"{error}", "mend what the other checks name first")
        return
    begin = patient.now - NODE_ALIVE_FOR
    served = any(node.seen_at > begin for node in await ledger.nodes())
    look = _Look(patient, ledger, crls, known, served=served)
    for name, issuer in crls.publisher.issuers.items():
        for shard in issuer.all_shards():
            scope = scopes.get((name, shard))
            if scope is None or scope.newest("base") is None:
                file = crl_file(name, shard, "base")
                then = f"a server does it when it starts, or est-server crl publish {name}"
                yield Finding("warn", f"{file}: nothing is published yet", then)
                continue
            for finding in _numbers(scope):
                yield finding
            for kind in _KINDS:
                async for finding in _list(look, issuer, scope, kind):
                    yield finding
    async for finding in _feed(patient, served=served):
        yield finding


def _numbers(scope: CrlScope) -> Iterator[Finding]:
    newest = max(crl.number for crl in scope.published)
    if newest > scope.last_number:
        file = crl_file(scope.ca, scope.shard, "base")
        text = f"{file}: number {newest} is published, and only {scope.last_number} are given out"
        yield Finding("fail", text, f"est-server crl floor {scope.ca} {newest}")


async def _list(
    look: _Look, issuer: CrlIssuer, scope: CrlScope, kind: CrlKind
) -> AsyncIterator[Finding]:
    """Yield what is wrong with one list, or how it stands."""
    deltas = issuer.times.delta_lifetime
    if kind == "delta" and deltas is None:
        return
    crl, file = scope.newest(kind), crl_file(scope.ca, scope.shard, kind)
    found = await look.ledger.crls.crl_der(scope.ca, scope.shard, kind)
    if crl is None or found is None:
        yield Finding("warn", f"{file}: none is published", "a server does it within a second")
        return
    patient = look.patient
    wrong = [*_times(crl, file, issuer, patient), *_octets(look, crl, file, found[1])]
    outlet = look.crls.publisher.outlets.get(scope.ca)
    if isinstance(outlet, CrlDirectory):
        wrong += await _outside(outlet, crl, file, found[1], patient)
    if look.served and issuer.url is not None:
        wrong += await asyncio.to_thread(_over_http, issuer.url + file, crl, patient)
    for finding in wrong:
        yield finding
    if not wrong:
        yield Finding("ok", f"{file}: number {crl.number}, ends {crl.next_update:%F %TZ}")


def _times(crl: PublishedCrl, file: str, issuer: CrlIssuer, patient: Patient) -> Iterator[Finding]:
    then = f"start a server, or est-server crl publish {crl.ca}"
    deltas = issuer.times.delta_lifetime
    every = issuer.times.interval if crl.kind == "base" or deltas is None else deltas / 2
    late = patient.now - crl.this_update - every
    if crl.next_update <= patient.now:
        text = f"{file}: it ended {crl.next_update:%F %TZ}; relying parties refuse it"
        yield Finding("fail", text, then)
    elif late > _LATE:
        text = f"{file}: its successor is {late} late"
        yield Finding("warn", text, f"{then}; crl.failed in its log tells why")


def _octets(look: _Look, crl: PublishedCrl, file: str, der: bytes) -> Iterator[Finding]:
    certificate = look.authorities[crl.ca].certificates().issuer
    then = f"est-server crl verify, then est-server crl publish {crl.ca}"
    try:
        parsed = read_crl(der)
    except Malformed as error:
        yield Finding("fail", f"{file}: {error}", then)
        return
    if parsed.number != crl.number:
        text = f"{file}: the ledger calls it {crl.number}, it says {parsed.number}"
        yield Finding("fail", text, then)
    for finding in check_outline(parsed, der, certificate, look.patient.now):
        if finding.rule != "crl.ended":  # said already
            yield Finding("fail", f"{file}: {finding.rule}: {finding.message}", then)


async def _outside(
    outlet: CrlDirectory, crl: PublishedCrl, file: str, der: bytes, patient: Patient
) -> list[Finding]:
    path = outlet.path / file
    then = f"who runs the server has to be able to write into {outlet.path}"
    try:
        number = await outlet.number(file)
        same = number == crl.number and path.read_bytes() == der
    except (EstServerError, OSError) as error:
        return [Finding("fail", f"{path}: {getattr(error, 'hint', None) or error}", then)]
    if same or (number < crl.number and crl.published_at > patient.now - _JUST_NOW):
        return []
    if number < crl.number:
        state = f"is number {number}" if number else "is missing or no list"
        return [Finding("fail", f"{path}: {state}; the newest is {crl.number}", then)]
    return [_ahead(str(path), number, crl)]


def _over_http(url: str, crl: PublishedCrl, patient: Patient) -> list[Finding]:
    try:
        number = read_crl(_get(url, MOST_OCTETS)).number
    except (OSError, ValueError, http.client.HTTPException, Malformed) as error:
        then = "certificates name this URL: it has to work wherever they are checked"
        return [Finding("warn", f"{url}: {getattr(error, 'reason', None) or error}", then)]
    if number > crl.number:
        return [_ahead(url, number, crl)]
    if number < crl.number and crl.published_at <= patient.now - _JUST_NOW:
        text = f"{url}: number {number} is handed out; the newest is {crl.number}"
        return [Finding("fail", text, "a cache in between, or a server that is not ours")]
    return []


def _ahead(where: str, number: int, crl: PublishedCrl) -> Finding:
    """A list that this ledger does not know: it was restored, and would use its numbers again."""
    text = f"{where}: number {number} is out there, this ledger is at {crl.number}: restored?"
    return Finding("fail", text, f"est-server crl floor {crl.ca} {number}")


async def _feed(patient: Patient, *, served: bool) -> AsyncIterator[Finding]:
    public = patient.configuration.server.listeners.public
    if public is None or not served:
        return
    url = public.url.rstrip("/") + "/revocations?limit=1"
    try:
        await asyncio.to_thread(_get, url, 1 << 20)
    except (OSError, ValueError, http.client.HTTPException) as error:
        then = "gateways follow this URL: est-server follow --url"
        yield Finding("warn", f"{url}: {getattr(error, 'reason', None) or error}", then)
    else:
        yield Finding("ok", f"{url}: followers get their events")


def _get(url: str, most: int) -> bytes:
    asked = urllib.request.Request(url, headers={"Cache-Control": "no-cache"})  # noqa: S310 - http, by the configuration's own pattern
    with urllib.request.urlopen(asked, timeout=_TIMEOUT) as answer:  # noqa: S310 - likewise
        found: bytes = answer.read(most)
    return found
