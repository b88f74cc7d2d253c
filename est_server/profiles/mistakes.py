"""What is wrong with a profile that is well formed, each with its place in the file.

Everything here would otherwise refuse every device, or stop the server where nobody can tell why.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from est_server.pki.keys import KEY_ALGORITHMS, is_key_pattern
from est_server.pki.usages import OCSP_SIGNING
from est_server.profiles.alternative_names import KINDS, general_name
from est_server.profiles.patterns import dns_pattern, network
from est_server.profiles.subject import subject_flaw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from est_server.profiles.alternative_names import Kind
    from est_server.profiles.model import ProfileModel
    from est_server.profiles.naming import AlternativeName
    from est_server.profiles.profile import ConfigPath

_NAMES = "subject_alternative_names"


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake: where, what, and what may have been meant.

    Attributes:
        path: the place in the profile.
        message: what is wrong.
        hint: what to do.
        also: other places that it follows from.
    """

    path: ConfigPath
    message: str
    hint: str | None = None
    also: tuple[ConfigPath, ...] = ()


def mistakes(model: ProfileModel) -> Iterator[Mistake]:
    """Yield what is wrong with a profile, apart from the names of other things in server.yaml."""
    if not model.authenticate and model.reenroll is None:
        text = "nobody can use a profile without any way to authenticate"
        yield Mistake(("authenticate",), text, also=(("reenroll",),))
    yield from _subject(model)
    for kind in KINDS:
        rule: AlternativeName | None = getattr(model.subject_alternative_names, kind)
        if rule is not None:
            yield from _alternative_names(model, kind, rule)
    for index, pattern in enumerate(model.key.allow):
        if not is_key_pattern(pattern):
            yield _no_algorithm(("key", "allow", index), pattern)
    yield from _certificate(model)
    yield from _demands(model)
    for name, count in Counter(rule.name for rule in model.rules).items():
        if count > 1:
            yield Mistake(("rules",), f"{count} rules are called {name!r}")


def _no_algorithm(path: ConfigPath, name: str) -> Mistake:
    close = get_close_matches(name, KEY_ALGORITHMS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else ", ".join(KEY_ALGORITHMS)
    return Mistake(path, f"no key algorithm {name!r}", hint)


def _subject(model: ProfileModel) -> Iterator[Mistake]:
    subject, names = model.subject, model.subject_alternative_names
    fields = subject.fields()
    kinds = (names.dns, names.ip, names.email, names.uri)
    if not (subject.as_requested or fields or names.as_requested or any(kinds)):
        text = "the certificate would have no name at all"
        yield Mistake(("subject",), text, also=((_NAMES,),))
    for name, rule in fields.items():
        if rule.fixed is not None and (flaw := subject_flaw(name, rule.fixed)) is not None:
            yield Mistake(("subject", name, "fixed"), flaw[1])
        yield from _source(model, rule.from_, ("subject", name, "from"))


def _alternative_names(model: ProfileModel, kind: Kind, rule: AlternativeName) -> Iterator[Mistake]:
    for index, text in enumerate(rule.fixed):
        if problem := _problem(lambda text: general_name(kind, text), text):
            yield Mistake((_NAMES, kind, "fixed", index), problem)
    check: dict[str, Callable[[str], object]] = {"dns": dns_pattern, "ip": network}
    for index, text in enumerate(rule.allow):
        if kind in check and (problem := _problem(check[kind], text)):
            yield Mistake((_NAMES, kind, "allow", index), problem)
    yield from _source(model, rule.from_, (_NAMES, kind, "from"))


def _source(model: ProfileModel, source: str | None, path: ConfigPath) -> Iterator[Mistake]:
    if source is not None and source.startswith("device.") and model.registration == "none":
        yield Mistake(path, f"registration: none has no devices, so {source} is always missing")


def _certificate(model: ProfileModel) -> Iterator[Mistake]:
    content = model.certificate
    if content.lifetime <= content.backdate:
        text = "is over before it begins: see backdate"
        yield Mistake(("certificate", "lifetime"), text, also=(("certificate", "backdate"),))
    if OCSP_SIGNING in content.extended_key_usage:
        text = "a device could then answer for the CA (RFC 6960 4.2.2.2)"
        hint = "the server makes its own OCSP responders"
        yield Mistake(("certificate", "extended_key_usage"), text, hint)
    only = {"encipherOnly", "decipherOnly"} & set(content.key_usage)
    if only and "keyAgreement" not in content.key_usage:
        text = f"{', '.join(sorted(only))} without keyAgreement means nothing (RFC 5280 4.2.1.3)"
        yield Mistake(("certificate", "key_usage"), text)
    if set(content.key_usage) >= {"encipherOnly", "decipherOnly"}:
        text = "encipherOnly and decipherOnly exclude each other (RFC 5280 4.2.1.3)"
        yield Mistake(("certificate", "key_usage"), text)


def _demands(model: ProfileModel) -> Iterator[Mistake]:
    made = model.server_key_generation
    for index, name in enumerate(() if made is None else made.algorithms):
        if name not in KEY_ALGORITHMS:
            yield _no_algorithm(("server_key_generation", "algorithms", index), name)
    proofs, wanted = model.proof_of_possession, model.csr_attributes
    required = "required" in {proofs.channel_binding, proofs.otp} or model.attestation is not None
    if wanted.publish == "nothing" and (required or wanted.require or wanted.require_extensions):
        text = "devices are not told what they must send (RFC 7030 4.5.2)"
        yield Mistake(("csr_attributes", "publish"), text, "publish: list")
    for key, oids in (
        ("require", wanted.require),
        ("require_extensions", wanted.require_extensions),
    ):
        for index, oid in enumerate(oids):
            if oid in oids[:index]:
                yield Mistake(("csr_attributes", key, index), f"{oid} stands there twice")


def _problem(check: Callable[[str], object], text: str) -> str | None:
    try:
        check(text)
    except ValueError as error:
        return str(error) or f"{text!r} is not valid"
    return None
