"""The gates of serverkeygen (RFC 7030 4.4): what is made, and whether it may leave like this."""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.profiles.decision import Gate
from est_server.profiles.texts import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.profile import Profile


def generation_gates(profile: Profile, request: RequestFacts) -> Iterator[Gate]:
    """Yield ``keygen`` and ``delivery``; the request's own key is not looked at."""
    section, delivery = profile.model.server_key_generation, request.delivery
    at = profile.position("server_key_generation")
    if section is None or delivery is None:
        detail = "this profile makes no keys"
        yield Gate("keygen.not-offered", ok=False, detail=detail, position=at)
        return
    detail = f"{request.csr.key_algorithm} is made here"
    yield Gate("keygen", ok=True, detail=detail, position=at)
    at = profile.position("server_key_generation", "encryption")
    if delivery.problem is not None:
        rule, detail = delivery.problem
        yield Gate(rule, ok=False, detail=shown(detail), position=at)
    elif delivery.recipient is not None:
        yield Gate("delivery", ok=True, detail=shown(delivery.detail), position=at)
    elif section.encryption == "required":
        detail = (
            "the key leaves encrypted only: send DecryptKeyIdentifier or "
            "AsymmetricDecryptKeyIdentifier, and SMIMECapabilities (RFC 7030 4.4.1)"
        )
        yield Gate("keygen.encryption-required", ok=False, detail=detail, position=at)
    else:
        detail = "the key is protected by its TLS connection alone"
        yield Gate("delivery", ok=True, detail=detail, position=at)
