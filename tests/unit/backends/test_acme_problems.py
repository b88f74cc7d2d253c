"""What an ACME server's problem documents mean."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.acme_problems import AcmeProblemError, failure
from backends.remote import Answer, Remote
from est_server.errors import BackendRejected, BackendUnavailable

REMOTE = Remote("acme", "https://acme.example", tls=True, timeout=timedelta(seconds=1))
SAID = "urn:ietf:params:acme:error:"
REFUSED, TAKEN = "refused", "perhaps"
KINDS = {
    "badCSR": REFUSED,
    "rejectedIdentifier": REFUSED,
    "unsupportedIdentifier": REFUSED,
    "caa": REFUSED,
    "compound": REFUSED,
    "malformed": REFUSED,
    "rateLimited": "ca.busy",
    "badNonce": "ca.busy",
    "unauthorized": "ca.forbidden",
    "accountDoesNotExist": "ca.login",
    "externalAccountRequired": "ca.login",
    "userActionRequired": "ca.login",
    "badSignatureAlgorithm": "ca.misconfigured",
    "serverInternal": TAKEN,
    "somethingNew": TAKEN,
}


def problem(body, status=400, **headers):
    octets = body if isinstance(body, bytes) else json.dumps(body).encode()
    return AcmeProblemError(Answer(status, headers, octets))


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind):
    found = failure(problem({"type": SAID + kind, "detail": "because"}), REMOTE)
    assert "because" in found.hint
    assert "because" not in found.message
    if KINDS[kind] == REFUSED:
        assert isinstance(found, BackendRejected)
        assert found.rule == "ca.refused"
    else:
        assert isinstance(found, BackendUnavailable)
        assert found.nothing_issued == (KINDS[kind] != TAKEN)
        assert found.rule == ("ca.unavailable" if KINDS[kind] == TAKEN else KINDS[kind])


def test_a_limit_says_when_to_come_back():
    found = failure(problem({"type": SAID + "rateLimited"}, 429, **{"retry-after": "1234"}), REMOTE)
    assert (found.retry_after, found.nothing_issued) == (1234, True)
    found = failure(problem(b"slow down", 429, **{"retry-after": "12"}), REMOTE)
    assert (found.rule, found.retry_after, found.nothing_issued) == ("ca.busy", 12, True)


def test_what_is_wrong_with_the_csr_is_a_verdict():
    said = problem({"type": SAID + "unauthorized"}, 403)
    assert isinstance(failure(said, REMOTE, finalizing=True), BackendRejected)


def test_subproblems_are_shown():
    sub = {"type": SAID + "caa", "detail": "forbidden", "identifier": {"value": "a.example"}}
    found = failure(problem({"type": SAID + "compound", "subproblems": [sub, 7]}), REMOTE)
    assert "a.example: forbidden" in found.hint


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["type", "detail", "subproblems", "identifier", "value"]), inner,
    ),
    max_leaves=10,
)  # fmt: skip


@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()), st.booleans())
def test_any_answer(body, finalizing):
    found = failure(problem(body, 500), REMOTE, finalizing=finalizing)
    assert isinstance(found, BackendRejected | BackendUnavailable)
    assert found.hint.isprintable()
    assert len(found.hint) < 700
