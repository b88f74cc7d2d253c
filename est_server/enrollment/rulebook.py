"""What the configuration says, and who is asking under which part of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from est_server.errors import BackendUnavailable, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from est_server.enrollment.appraising import Appraiser
    from est_server.enrollment.authenticate import Authenticator
    from est_server.ports.ephemeral import Budget
    from est_server.profiles.decision import Identity
    from est_server.profiles.profile import Profile


@dataclass(frozen=True, slots=True)
class NonceLimits:
    """How many nonces wait for their evidence.

    Attributes:
        most: of everybody.
        most_per_client: of one address.
        per_address: how fast one address may ask for them.
    """

    most: int
    most_per_client: int
    per_address: Budget


@dataclass(frozen=True, slots=True)
class Rulebook:
    """What the configuration says, swapped whole at a reload.

    Attributes:
        profiles: by name.
        labels: URL label (None without one) -> profile name.
        authenticator: tells who is asking.
        idempotency_window: how long the same question gets the same answer.
        appraiser: appraises evidence under the profiles' policies.
        nonces: caps on nonces for evidence.
        lenient_bodies: whether PEM and raw DER are read as well as base64.
        unavailable: profiles whose CA can't be used now, and why.
    """

    profiles: Mapping[str, Profile]
    labels: Mapping[str | None, str]
    authenticator: Authenticator
    idempotency_window: timedelta
    lenient_bodies: bool
    appraiser: Appraiser
    nonces: NonceLimits
    unavailable: Mapping[str, BackendUnavailable] = field(default_factory=dict)

    def profile_for(self, label: str | None) -> Profile:
        """Return the profile behind a label.

        Raises:
            NotFound: ``label.unknown``.
            BackendUnavailable: its CA can't be used now.
        """
        name = self.labels.get(label)
        if name is None:
            raise NotFound("label.unknown", "there is no such label here")
        if (error := self.unavailable.get(name)) is not None:
            raise BackendUnavailable(
                error.rule,
                "its CA can't be used now",
                hint=error.hint,
                retry_after=error.retry_after,
            )
        return self.profiles[name]


@dataclass(frozen=True, slots=True)
class Asker:
    """Who is asking, and what the configuration said when they began."""

    rulebook: Rulebook
    profile: Profile
    identity: Identity
