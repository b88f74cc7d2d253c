"""Whatever an ACME server answers, an order ends in a certificate or in a failure that is known."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from backends.acme_orders import AcmeOrders
from backends.acme_problems import AcmeProblemError
from backends.remote import Answer, Remote
from est_server.errors import BackendRejected, BackendUnavailable, Pending

URL = "https://acme.example/order/1"
MEMBERS = {
    "status": st.sampled_from(["pending", "ready", "processing", "valid", "invalid", "odd"]),
    "finalize": st.just(f"{URL}/finalize") | st.integers(),
    "authorizations": st.lists(st.just(f"{URL}/authz"), max_size=2) | st.none(),
    "certificate": st.just(f"{URL}/certificate") | st.none() | st.booleans(),
    "error": st.dictionaries(st.text(max_size=9), st.integers(), max_size=2) | st.none(),
    "identifier": st.fixed_dictionaries({"value": st.text(max_size=9)}) | st.text(max_size=9),
    "type": st.sampled_from(["badCSR", "rateLimited", "orderNotReady", "odd"]).map(
        "urn:ietf:params:acme:error:{}".format
    ),
}
BODIES = st.binary(max_size=40) | st.fixed_dictionaries({}, optional=MEMBERS).map(
    lambda value: json.dumps(value).encode()
)
ANSWERS = st.builds(
    Answer,
    st.sampled_from([200, 200, 200, 400, 404, 429, 500]),
    st.sampled_from([{}, {"location": URL}, {"location": "x" * 3000}, {"retry-after": "1"}]),
    BODIES,
)


class Scripted:
    """A session that gives one answer after the other, the last one for good."""

    remote = Remote("acme", "https://acme.example", tls=True, timeout=timedelta(seconds=1))
    directory = type("Directory", (), {"new_order": URL})

    def __init__(self, answers):
        self._answers = [*answers]

    def path(self, url):
        return url

    async def post(self, url, body=None):
        answer = self._answers[0] if len(self._answers) == 1 else self._answers.pop(0)
        if answer.status >= 300:
            raise AcmeProblemError(answer)
        return answer


@given(st.lists(ANSWERS, min_size=1, max_size=4), st.booleans())
def test_any_answers(answers, whole):
    orders = AcmeOrders(Scripted(answers), timedelta(0))

    async def work():
        url = await orders.place({}) if whole else URL
        return await orders.carry_out(url, b"csr")

    try:
        assert asyncio.run(work())
    except (BackendRejected, BackendUnavailable, Pending) as error:
        assert_fit_for_a_device(error.message)


def assert_fit_for_a_device(message):
    assert message.isascii()
    assert message.isprintable()
    assert "acme.example" not in message
