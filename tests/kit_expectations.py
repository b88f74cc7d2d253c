"""What the conformance kit finds at our own server: where each check must pass."""

from __future__ import annotations

from interop.conformance.run import cases

ELSEWHERE = {
    "none_sent_and_required": "bound",
    "csrattrs_ask_for_it": "bound",
    "no_scheme_to_offer": "idevid",
    "alternative_names_in_another_order": "names",
    "nothing_to_say": "silent",
    "retry_after": "review",
    "the_requests_key_is_ignored": "keygen",
    "two_parts": "keygen",
    "the_key_is_the_certificates": "keygen",
    "an_unknown_key_identifier": "keygen",
}
"""Checks that another label than `interop` is needed for."""

UNBROKEN = {
    "plain_http": "the listener would have to speak both",
    "tls_exporter": "a server that takes none is not at fault (SHOULD): not applicable",
}
"""Checks that no fault of `faults.py` turns red, with the reason."""


def numbers_of_the_kit() -> set[int]:
    """Return the numbers of the cases that the kit must pass at our server."""
    return {found.number for found in cases()}
