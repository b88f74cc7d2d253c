"""The gate on what /csrattrs demands: attributes and extensions that every CSR must have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.profiles.decision import Gate

if TYPE_CHECKING:
    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.profile import Profile


def csrattrs_gate(profile: Profile, request: RequestFacts) -> Gate:
    """Return ``csrattrs``: does the request have what the profile's `csr_attributes` requires?

    Only what stands there is demanded. The usages that /csrattrs tells are what the certificate
    gets whether the request asks for them or not.
    """
    wanted = profile.model.csr_attributes
    at = profile.position("csr_attributes")
    attributes = {attribute.oid for attribute in request.csr.attributes}
    extensions = {extension.oid.dotted_string for extension in request.csr.extensions}
    missing = [
        *(f"attribute {oid}" for oid in wanted.require if oid not in attributes),
        *(f"extension {oid}" for oid in wanted.require_extensions if oid not in extensions),
    ]
    if missing:
        detail = f"the request lacks {', '.join(missing)}, which /csrattrs asks for"
        return Gate("csrattrs.missing", ok=False, detail=detail, position=at)
    return Gate("csrattrs", ok=True, detail="what /csrattrs demands is there", position=at)
