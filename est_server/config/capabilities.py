"""Profiles that ask for what their CA can't do: mistakes with a place (E280).

What a CA can do is its backend's word (`est_server.ports.ca.Capabilities`), which follows from its
settings alone, so that it is known before anything is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.errors import Problem
from est_server.pki.keys import key_allowed
from est_server.pki.usages import EXTENDED_KEY_USAGES, KEY_USAGES
from est_server.ports.scalars import duration_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from est_server.config.profile_files import ProfileFile
    from est_server.config.server_file import CaSettings
    from est_server.ports.ca import Capabilities
    from est_server.profiles.model import ProfileModel
    from est_server.profiles.profile import ConfigPath

_KINDS = ("dns", "ip", "email", "uri")
_NAMES = {oid: name for name, oid in EXTENDED_KEY_USAGES.items()}
Finding = tuple["ConfigPath", str, str]
"""Where in the profile, what the CA can't do, what to do about it."""


def check_capabilities(
    cas: Mapping[str, CaSettings], profiles: Mapping[str, ProfileFile]
) -> Iterator[Problem]:
    """Yield what profiles ask of CAs that can't do it."""
    for profile in profiles.values():
        model = profile.model
        if (ca := cas.get(model.ca)) is None:
            continue  # `read_profiles` says so
        backend, settings = ca
        for path, text, hint in _findings(model, backend.capabilities(settings)):
            where = ".".join(map(str, path))
            at = profile.document.value(*path)
            yield Problem(at, "E280", f"{where}: CA {model.ca} {text}", hint)


def _findings(model: ProfileModel, can: Capabilities) -> Iterator[Finding]:
    yield from _subject(model, can)
    yield from _content(model, can)
    yield from _allowed("key.allow", model.key.allow, can.device_keys)
    usages = model.certificate.extended_key_usage
    yield from _allowed("certificate.extended_key_usage", usages, can.extended_key_usages)
    names = model.subject_alternative_names
    for kind in _KINDS if can.name_kinds and names is not None else ():
        if getattr(names, kind) is not None and kind not in can.name_kinds:
            path = ("subject_alternative_names", kind)
            yield path, "does not certify such names", _known(can.name_kinds)
    if model.server_key_generation is not None and can.may_wait:
        text = "may let a request wait, and a key that was made here is kept nowhere meanwhile"
        yield ("server_key_generation",), text, "take a CA that decides at once"
    if can.forwards_csr and model.proof_of_possession.challenge == "otp":
        text = "is sent the CSR, and would be told the password in it"
        yield ("proof_of_possession", "challenge_password"), text, "use HTTP Basic, or another CA"


def _subject(model: ProfileModel, can: Capabilities) -> Iterator[Finding]:
    if can.subject == "any":
        return
    hint = "subject: {} leaves it empty"
    if can.subject == "dns":
        hint = "a common name that is one of the DNS names is all that it takes"
    for name in model.subject.fields():
        if name != "common_name" or can.subject == "empty":
            yield ("subject", name), "writes no such attribute", hint


def _content(model: ProfileModel, can: Capabilities) -> Iterator[Finding]:
    content = model.certificate
    shortest = can.shortest_lifetime
    if shortest is not None and content.lifetime - content.backdate < shortest:
        least = duration_text(shortest + content.backdate)
        yield ("certificate", "lifetime"), "issues for longer, whatever is ordered", f"from {least}"
    given: dict[str, Iterable[str]] = {
        "key_usage": content.key_usage,
        "extended_key_usage": content.extended_key_usage,
    }
    for key, names in given.items():
        known = {EXTENDED_KEY_USAGES.get(one, one) for one in names}
        always = can.writes & {*KEY_USAGES} if key == "key_usage" else can.writes - {*KEY_USAGES}
        if always - known:
            missing = ", ".join(sorted(_NAMES.get(one, one) for one in always - known))
            yield ("certificate", key), f"always writes {missing}", f"{key} has to allow it"
    if can.longest_lifetime is not None and content.lifetime > can.longest_lifetime:
        longest = duration_text(can.longest_lifetime)
        yield ("certificate", "lifetime"), "issues for no longer", f"at most {longest}"
    if content.certificate_policies and not can.certificate_policies:
        path = ("certificate", "certificate_policies")
        yield path, "writes no policies of ours", "configure them at the CA"


def _allowed(where: str, asked: Iterable[str], able: frozenset[str]) -> Iterator[Finding]:
    """Yield what is asked for and can't be had; an empty set can do everything."""
    for index, one in enumerate(asked if able else ()):
        if EXTENDED_KEY_USAGES.get(one, one) in able or any(key_allowed([one], k) for k in able):
            continue
        yield (*where.split("."), index), f"does not certify {one}", _known(able)


def _known(names: frozenset[str]) -> str:
    return f"it does: {', '.join(sorted(names))}"
