"""The life of an order at an ACME server (RFC 8555 7.1.6, 7.4), from its names to its certificate.

pending      refused: a name is not authorized       processing   asked again, then `Pending`
ready        the CSR is handed over (finalize)       valid        the certificate is fetched
invalid      refused, by the CA
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from cryptography import x509
from pydantic import BaseModel, Field, ValidationError

from backends.acme_problems import AcmeProblemError, failure, json_object, problem_text, refused
from est_server.errors import BackendRejected, BackendUnavailable, Pending

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from backends.acme_session import AcmeSession
    from backends.remote import Answer

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_PENDING_FOR = 10
_MOST_TICKET = 2000


class Order(BaseModel):
    """An order as the server shows it (RFC 8555 7.1.3)."""

    status: Literal["pending", "ready", "processing", "valid", "invalid"]
    finalize: str
    authorizations: tuple[str, ...] = Field(max_length=100)
    certificate: str | None = None
    error: dict[str, Any] | None = None


class Identifier(BaseModel):
    """What an authorization is for."""

    value: str = Field(pattern=r"^[0-9A-Za-z.:_*-]{1,255}$")


class Authorization(BaseModel):
    """Whether the account may have a name (RFC 8555 7.1.4)."""

    status: str
    identifier: Identifier


_Shown = TypeVar("_Shown", bound=BaseModel)


class AcmeOrders:
    """Orders of one account.

    Args:
        session: opened before an order is made.
        patience: how long an order that is processed is looked at again.
    """

    def __init__(self, session: AcmeSession, patience: timedelta) -> None:
        self._session = session
        self._remote = session.remote
        self._patience = patience.total_seconds()

    async def place(self, body: Mapping[str, Any]) -> str:
        """Return the URL of a new order whose names are all authorized.

        Raises:
            BackendRejected: ``ca.not-authorized``, ``ca.refused``.
            BackendUnavailable: no verdict.
        """
        answer = await self._post(self._session.directory.new_order, body)
        order, url = self._read(Order, answer), answer.headers.get("location", "")
        self._session.path(url)
        if len(url) > _MOST_TICKET:
            raise self._remote.unavailable("ca.misconfigured", "the URL of the order is too long")
        if order.status == "pending":
            if missing := await self._missing(order):
                raise self._not_authorized(missing)
            order = self._read(Order, await self._post(url))  # a server may take a moment
        if order.status != "ready":
            raise self._remote.unavailable("ca.unavailable", f"a new order is {order.status}")
        return url

    async def carry_out(self, url: str, csr: bytes) -> Sequence[x509.Certificate]:
        """Return the certificate of an order and those that came with it; the same each time.

        Raises:
            BackendRejected: the CA made nothing and will not.
            BackendUnavailable: no answer; with `nothing_issued` it never got the CSR from here.
            Pending: it has not decided.
        """
        order = self._read(Order, await self._post(url))
        answer = await self._finalize(order, csr) if order.status == "ready" else None
        try:
            if order.status == "ready":
                order = self._read(Order, answer or await self._post(url))
            return await self._outcome(order, url)
        except BackendUnavailable as error:
            error.nothing_issued = False  # it has the CSR by now
            raise

    async def _finalize(self, order: Order, csr: bytes) -> Answer | None:
        """Hand over the CSR; None if somebody else was faster, or the order has ended."""
        try:
            return await self._session.post(order.finalize, {"csr": base64url(csr)})
        except AcmeProblemError as problem:
            if problem.kind == "orderNotReady":
                return None
            raise failure(problem, self._remote, finalizing=True) from problem

    async def _outcome(self, order: Order, url: str) -> Sequence[x509.Certificate]:
        loop = asyncio.get_running_loop()
        until, pause = loop.time() + self._patience, _FIRST_PAUSE
        while order.status == "processing":
            await asyncio.sleep(pause)
            answer = await self._post(url)
            order = self._read(Order, answer)
            pause = min(max(pause * 2, answer.retry_after or 0), _LONGEST_PAUSE)
            if order.status == "processing" and loop.time() + pause > until:
                raise Pending(
                    "ca.pending",
                    "the CA has not decided yet",
                    retry_after=answer.retry_after or _PENDING_FOR,
                )
        match order.status:
            case "valid" if order.certificate is not None:
                return await self._certificates(order.certificate)
            case "invalid":
                text = problem_text(order.error or {})
                raise refused(self._remote, f"the order is invalid: {text}")
            case "pending":
                raise self._not_authorized(await self._missing(order))
        raise self._remote.unavailable("ca.no-answer", f"the order is {order.status}")

    async def _certificates(self, url: str) -> Sequence[x509.Certificate]:
        """Fetch a certificate and its chain (RFC 8555 7.4.2)."""
        answer = await self._post(url)
        try:
            return x509.load_pem_x509_certificates(answer.body)
        except ValueError as error:
            text = "its answer holds no certificate"
            raise self._remote.unavailable("ca.no-answer", text) from error

    async def _missing(self, order: Order) -> list[str]:
        """Return the names of an order that wait for challenges."""
        found = [self._read(Authorization, await self._post(url)) for url in order.authorizations]
        return sorted(one.identifier.value for one in found if one.status != "valid")

    def _not_authorized(self, missing: Sequence[str]) -> BackendRejected:
        names = ", ".join(missing)
        return BackendRejected(
            "ca.not-authorized",
            f"the CA has not authorized {names or 'these names'}",
            hint=f"CA {self._remote.name} at {self._remote.url}: have the account authorized for "
            f"{names or 'the names'} at the CA; devices can't answer challenges",
        )

    async def _post(self, url: str, body: Mapping[str, Any] | None = None) -> Answer:
        try:
            return await self._session.post(url, body)
        except AcmeProblemError as problem:
            raise failure(problem, self._remote) from problem

    def _read(self, kind: type[_Shown], answer: Answer) -> _Shown:
        try:
            return kind.model_validate(json_object(answer.body))
        except ValidationError as error:
            text = f"it shows no {kind.__name__.lower()} that can be read"
            raise self._remote.unavailable("ca.no-answer", text) from error


def base64url(octets: bytes) -> str:
    """Return base64url without padding (RFC 8555 6.1)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
