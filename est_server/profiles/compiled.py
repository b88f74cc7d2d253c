"""What a profile says that no request changes, worked out once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.pki.plan import Pointers
from est_server.pki.usages import EXTENDED_KEY_USAGES
from est_server.profiles.alternative_names import name_kinds
from est_server.profiles.subject import subject_parts

if TYPE_CHECKING:
    from est_server.profiles.alternative_names import NameKind
    from est_server.profiles.model import ProfileModel
    from est_server.profiles.subject import SubjectPart


@dataclass(frozen=True, slots=True)
class Compiled:
    """The constants of a profile.

    Attributes:
        methods: what `authenticate` takes, in the words of `Identity.method`.
        subject: the subject's attributes in order; empty with ``as_requested``.
        names: the kinds of alternative names that are configured.
        key_usage: names of key usages.
        extended_key_usage: dotted OIDs, in order.
        pointers: the URLs that certificates carry.
        demands: whether `csr_attributes` requires anything of a request.
    """

    methods: frozenset[str]
    subject: tuple[SubjectPart, ...]
    names: tuple[NameKind, ...]
    key_usage: frozenset[str]
    extended_key_usage: tuple[str, ...]
    pointers: Pointers
    demands: bool


def compile_model(model: ProfileModel, urls: Pointers) -> Compiled:
    """Return the constants of a profile.

    Args:
        model: the profile as written.
        urls: all that its CA offers.

    Raises:
        ValueError: a name or a pattern in it is not valid (`est_server.profiles.mistakes`).
    """
    content = model.certificate
    wanted = content.pointers
    return Compiled(
        methods=frozenset(
            "credential" if method.client_certificate is None else "client-certificate"
            for method in model.authenticate
        ),
        subject=subject_parts(model.subject),
        names=name_kinds(model.subject_alternative_names),
        key_usage=frozenset(content.key_usage),
        extended_key_usage=tuple(
            dict.fromkeys(
                EXTENDED_KEY_USAGES.get(name, name) for name in content.extended_key_usage
            )
        ),
        pointers=Pointers(
            crl=urls.crl if "crl" in wanted else (),
            freshest_crl=urls.freshest_crl if "delta-crl" in wanted else (),
            ocsp=urls.ocsp if "ocsp" in wanted else (),
            ca_issuers=urls.ca_issuers if "ca-issuers" in wanted else (),
        ),
        demands=bool(model.csr_attributes.require or model.csr_attributes.require_extensions),
    )
