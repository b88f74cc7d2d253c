"""Calls of Google's Certificate Authority Service: one channel, and what its statuses mean.

An order is sent on a connection that stands, and once: neither the SDK nor gRPC repeats it, since
the last answer would hide what became of the ones before. So what failed before that has issued
nothing, and of a status that came later the table below tells.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import google.auth
import grpc
from google.auth.exceptions import GoogleAuthError
from google.cloud.security import privateca_v1 as cas
from google.cloud.security.privateca_v1.services.certificate_authority_service import transports

from est_server.errors import BackendRejected, BackendUnavailable

if TYPE_CHECKING:
    from datetime import timedelta

    from google.api_core.exceptions import GoogleAPICallError

_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
_LONGEST_ANSWER = 1 << 20
_LONGEST_BACKOFF = 1.0
_OPTIONS = (
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", int(1000 * _LONGEST_BACKOFF)),
    ("grpc.max_receive_message_length", _LONGEST_ANSWER),
    ("grpc.use_local_subchannel_pool", 1),
)
_RECONNECTS = 1.5 * _LONGEST_BACKOFF
"""Seconds within which a channel that is down has tried once more."""
_LOOKS_EVERY = 0.02  # seconds, while there is no connection

_VERDICTS = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.FAILED_PRECONDITION}
_NOT_TAKEN = {
    grpc.StatusCode.PERMISSION_DENIED: "ca.forbidden",
    grpc.StatusCode.UNAUTHENTICATED: "ca.forbidden",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "ca.busy",
    grpc.StatusCode.NOT_FOUND: "ca.misconfigured",
    grpc.StatusCode.UNIMPLEMENTED: "ca.misconfigured",
}
"""Statuses with which the service says that it did nothing, and that the order is not why."""
_TOO_LONG = "larger than max"
"""What gRPC itself says, with RESOURCE_EXHAUSTED, of an answer that it will not read."""
_NO_TOKEN = "metadata from plugin failed"  # noqa: S105 - an error's text
"""What gRPC itself says of a call that it did not send, for want of an access token."""


class Calls:
    """One pool's connection.

    Args:
        name: the CA's name in server.yaml, for messages.
        endpoint: host, or host:port.
        insecure: neither TLS nor credentials.
        timeout: for one call.
    """

    def __init__(self, name: str, endpoint: str, *, insecure: bool, timeout: timedelta) -> None:
        self._name = name
        self._endpoint = endpoint if ":" in endpoint else f"{endpoint}:443"
        self._insecure = insecure
        self._seconds = timeout.total_seconds()
        self._opening = asyncio.Lock()
        self._channel: Any = None
        self._client: Any = None

    async def call(self, operation: str, request: Any) -> Any:
        """Return the service's answer.

        Raises:
            BackendUnavailable: ``ca.login``, ``ca.unreachable``: nothing was sent.
            GoogleAPICallError: the service's status, or gRPC's own.
        """
        async with self._opening:
            if self._client is None:
                await self._open()
        await self._connected()
        method = getattr(self._client, operation)
        return await method(request=request, retry=None, timeout=self._seconds)

    async def _open(self) -> None:
        if self._insecure:
            self._channel = grpc.aio.insecure_channel(self._endpoint, options=_OPTIONS)
        else:
            try:
                # it may read files, run a program or ask the metadata server: once
                credentials, _ = await asyncio.to_thread(google.auth.default, scopes=_SCOPES)
            except (GoogleAuthError, OSError, ValueError) as error:
                raise self.unavailable("ca.login", str(error), nothing_issued=True) from error
            self._channel = (
                transports.CertificateAuthorityServiceGrpcAsyncIOTransport.create_channel(
                    self._endpoint, credentials=credentials, options=_OPTIONS
                )
            )
        self._client = cas.CertificateAuthorityServiceAsyncClient(
            transport=transports.CertificateAuthorityServiceGrpcAsyncIOTransport(
                channel=self._channel
            )
        )

    async def _connected(self) -> None:
        """Return once there is a connection; one attempt of a channel that was down is enough.

        Raises:
            BackendUnavailable: ``ca.unreachable``.
        """
        ready, down = grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE
        state = began = self._channel.get_state(try_to_connect=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(_RECONNECTS if began is down else self._seconds):
                while state is not ready and (state is not down or began is down):
                    # a cancelled `wait_for_state_change` would outlive its event loop
                    await asyncio.sleep(_LOOKS_EVERY)
                    state = self._channel.get_state(try_to_connect=True)
        if state is not ready:
            raise self.unavailable(
                "ca.unreachable", f"no connection to {self._endpoint}", nothing_issued=True
            )

    def failure(
        self, error: GoogleAPICallError, rule: str = "ca.refused"
    ) -> BackendRejected | BackendUnavailable:
        """Return what a status means.

        Args:
            error: from `call`.
            rule: of a verdict.
        """
        code, text = error.grpc_status_code, str(error.message)
        name = code.name if code is not None else type(error).__name__
        detail = f"{name}: {text[:500]}"
        if code in _VERDICTS:
            hint = f"CA {self._name}: {detail}"
            return BackendRejected(rule, "the CA refused the request", hint=hint)
        if _NO_TOKEN in text:
            return self.unavailable("ca.login", detail, nothing_issued=True)
        if code not in _NOT_TAKEN or _TOO_LONG in text:
            return self.unavailable("ca.no-answer", detail)
        busy = code is grpc.StatusCode.RESOURCE_EXHAUSTED
        return self.unavailable(
            _NOT_TAKEN[code], detail, nothing_issued=True, retry_after=10 if busy else 60
        )

    def unavailable(
        self, rule: str, detail: str, *, nothing_issued: bool = False, retry_after: int = 60
    ) -> BackendUnavailable:
        """Return the failure; `detail` is for operators only."""
        return BackendUnavailable(
            rule,
            "the CA can't be asked now" if nothing_issued else "the CA has not answered",
            hint=f"CA {self._name}: {detail}",
            retry_after=retry_after,
            nothing_issued=nothing_issued,
        )

    async def close(self) -> None:
        """Close the connection."""
        if self._channel is not None:
            await self._channel.close()
