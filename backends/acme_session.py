"""The conversation with an ACME server: directory, nonces, account and signed requests (RFC 8555).

JWS and the external account binding are certbot's `acme`; the transport is `Remote`. Every URL that
the server names has to be at the directory's own origin: this server sends requests nowhere else.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from acme.jws import JWS
from acme.messages import Directory as Resources
from acme.messages import ExternalAccountBinding
from josepy.errors import DeserializationError
from josepy.json_util import decode_b64jose
from pydantic import BaseModel, Field, ValidationError

from backends.acme_problems import BUSY_FOR, AcmeProblemError, failure, json_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backends.acme_account import Account
    from backends.remote import Answer, Remote
    from est_server.errors import BackendUnavailable

_NONCE_ATTEMPTS = 8
_MOST_NONCES = 64
_HEADERS = {"Content-Type": "application/jose+json", "User-Agent": "est-server"}


class Meta(BaseModel):
    """What the server says of itself (RFC 8555 7.1.1); the rest is left alone."""

    terms_of_service: str | None = Field(default=None, alias="termsOfService")
    external_account_required: bool = Field(default=False, alias="externalAccountRequired")


class Directory(BaseModel):
    """Where the server's resources are."""

    new_nonce: str = Field(alias="newNonce")
    new_account: str = Field(alias="newAccount")
    new_order: str = Field(alias="newOrder")
    revoke_cert: str = Field(alias="revokeCert")
    meta: Meta = Meta()


class AcmeSession:
    """One account at one server."""

    def __init__(self, remote: Remote, directory: str, account: Account) -> None:
        self.remote = remote
        self._at = directory
        self._account = account
        self._kid: str | None = None
        self._known: Directory | None = None
        self._nonces: deque[bytes] = deque(maxlen=_MOST_NONCES)

    @property
    def directory(self) -> Directory:
        """Where the resources are, as of the last `open`."""
        if self._known is None:
            raise RuntimeError("open first")
        return self._known

    async def open(self) -> None:
        """Read the directory and find the account, or open one.

        Raises:
            BackendUnavailable: what is wrong, and what to do.
        """
        await self._read_directory()
        try:
            self._kid = await self._existing() or await self._opened()
        except AcmeProblemError as problem:
            raise self._away("ca.login", problem, "no account") from problem

    async def check(self) -> None:
        """Read the directory and the account; like `open`, without asking for an account again.

        Raises:
            BackendUnavailable: as `open`.
        """
        if self._kid is None:
            await self.open()
            return
        await self._read_directory()
        try:
            self._require_valid(await self._signed(self._kid, None, self._kid))
        except AcmeProblemError as problem:
            if problem.kind != "accountDoesNotExist":
                raise self._away("ca.forbidden", problem, "the account") from problem
            await self.open()

    async def _read_directory(self) -> None:
        answer = await self.remote.send("GET", self.path(self._at))
        if answer.status != 200:
            raise self._away("ca.unavailable", AcmeProblemError(answer), self._at)
        try:
            self._known = Directory.model_validate(json_object(answer.body))
        except ValidationError as error:
            raise self.remote.unavailable(
                "ca.misconfigured", f"{self._at} is no ACME directory", nothing_issued=True
            ) from error

    async def post(self, url: str, payload: Mapping[str, Any] | None = None) -> Answer:
        """Return the answer to a request signed by the account.

        Args:
            url: one that the server named.
            payload: None reads a resource (POST-as-GET, RFC 8555 6.3).

        Raises:
            AcmeProblemError: any answer that is an error; a nonce that was too old is replaced.
            BackendUnavailable: no answer.
        """
        try:
            return await self._signed(url, payload, self._kid)
        except AcmeProblemError as problem:
            if problem.kind != "accountDoesNotExist":
                raise
        await self.open()  # the server has lost it
        return await self._signed(url, payload, self._kid)

    async def _signed(self, url: str, payload: Mapping[str, Any] | None, kid: str | None) -> Answer:
        text = b"" if payload is None else json.dumps(payload).encode()
        signer = self._account.signer
        for _ in range(_NONCE_ATTEMPTS):
            nonce = self._nonces.popleft() if self._nonces else await self._nonce()
            signed = JWS.sign(text, signer.key, signer.algorithm, nonce, url, kid)
            body = json.dumps(signed.to_partial_json()).encode()
            answer = await self.remote.send("POST", self.path(url), headers=_HEADERS, body=body)
            self._keep_nonce(answer)
            if answer.status < 300:
                return answer
            problem = AcmeProblemError(answer)
            if problem.kind != "badNonce":
                break
        raise problem

    async def _nonce(self) -> bytes:
        answer = await self.remote.send("HEAD", self.path(self.directory.new_nonce))
        self._keep_nonce(answer)
        if not self._nonces:
            raise failure(AcmeProblemError(answer), self.remote)
        return self._nonces.popleft()

    def _keep_nonce(self, answer: Answer) -> None:
        try:
            self._nonces.append(decode_b64jose(answer.headers["replay-nonce"]))
        except (KeyError, DeserializationError):
            return

    async def _existing(self) -> str | None:
        """Return the URL of the account that the key has already (RFC 8555 7.3.1)."""
        try:
            answer = await self._signed(
                self.directory.new_account, {"onlyReturnExisting": True}, None
            )
        except AcmeProblemError as problem:
            if problem.kind != "accountDoesNotExist":
                raise
            return None
        return self._account_url(answer)

    async def _opened(self) -> str:
        """Open an account (RFC 8555 7.3)."""
        account, directory = self._account, self.directory
        terms = directory.meta.terms_of_service
        if terms is not None and not account.terms_of_service_agreed:
            raise self.remote.unavailable(
                "ca.login",
                f"read {terms}, and set terms_of_service_agreed: true",
                nothing_issued=True,
            )
        body: dict[str, Any] = {"termsOfServiceAgreed": account.terms_of_service_agreed}
        if account.contact:
            body["contact"] = [*account.contact]
        if account.external is not None:
            key_id, mac_key = account.external
            body["externalAccountBinding"] = ExternalAccountBinding.from_data(
                account.signer.key.public_key(),
                key_id,
                mac_key,
                Resources({"newAccount": directory.new_account}),
            )
        elif directory.meta.external_account_required:
            raise self.remote.unavailable(
                "ca.login",
                "it opens accounts for its customers only: set external_account",
                nothing_issued=True,
            )
        return self._account_url(await self._signed(directory.new_account, body, None))

    def _account_url(self, answer: Answer) -> str:
        self._require_valid(answer)
        url = answer.headers.get("location")
        if url is None:
            raise self.remote.unavailable("ca.login", "the account has no URL", nothing_issued=True)
        return url

    def _require_valid(self, answer: Answer) -> None:
        status = json_object(answer.body).get("status")
        if status != "valid":
            raise self.remote.unavailable(
                "ca.forbidden", f"the account is {status}", nothing_issued=True
            )

    def _away(self, rule: str, problem: AcmeProblemError, what: str) -> BackendUnavailable:
        """Return why the conversation can't begin."""
        return self.remote.unavailable(
            rule,
            f"{what}: {problem.detail}",
            nothing_issued=True,
            retry_after=problem.retry_after or BUSY_FOR,
        )

    def path(self, url: str) -> str:
        """Return the part of a URL after its origin.

        Raises:
            BackendUnavailable: ``ca.misconfigured``: it is somewhere else.
        """
        if origin(url) != self.remote.url:
            raise self.remote.unavailable(
                "ca.misconfigured", f"it names a URL that is not its own: {url[:200]!r}"
            )
        return url[len(self.remote.url) :] or "/"


def origin(url: str) -> str:
    """Return scheme, host and port of a URL, as it is written."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
