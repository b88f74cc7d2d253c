"""Ephemeral state in Redis: one count for all servers, and wake-ups among them.

Redis decides nothing that must not be lost, and its absence stops nothing: while it is away each
server counts for itself and wakes nobody else, and tries again every second.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from est_server.storage.memory import MemoryEphemeral, short

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio.client import PubSub

    from est_server.ports.ephemeral import Budget, Ephemeral, Topic, Wakes

PREFIX = b"est-server:attempts:"
CHANNEL = "est-server:wake:"
_MOST_CONNECTIONS = 16
_ANSWERS_WITHIN = 0.5  # seconds; a device waits for it
_TRIES_AGAIN_AFTER = 1.0  # seconds
_SILENCE = 1.0  # seconds after which a subscription is asked whether it is alive

# The algorithm of MemoryEphemeral, in whole microseconds of Redis' own clock, which all servers
# share. Numbers are written with %.0f: tostring keeps 14 digits, the time has 16.
# KEYS[1] key; ARGV[1] microseconds an attempt costs; ARGV[2] the window; ARGV[3] 1 to spend
_ATTEMPT = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local whole = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + ARGV[1]
local wait = whole - now - ARGV[2]
if wait > 0 then return math.ceil(wait / 1000000) end
if ARGV[3] == '1' then
  local lasts = math.ceil((whole - now) / 1000) + 1
  redis.call('SET', KEYS[1], string.format('%.0f', whole), 'PX', lasts)
end
return 0
"""

log = structlog.get_logger("ephemeral")


class RedisEphemeral:
    """Counts in Redis 5 or later, and in the process while Redis is away.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``, as redis-py reads it.
        password: None if Redis asks for none.
        clock: seconds that never go back.

    Raises:
        ValueError: the URL can't be read.
    """

    def __init__(
        self,
        url: str,
        password: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            password=password,
            max_connections=_MOST_CONNECTIONS,
            timeout=_ANSWERS_WITHIN,
            socket_timeout=_ANSWERS_WITHIN,
            socket_connect_timeout=_ANSWERS_WITHIN,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)
        self._attempt = self._redis.register_script(_ATTEMPT)
        self._clock = clock
        self._instead = MemoryEphemeral(clock)
        self._away = False
        self._try_at = 0.0
        self._listening: asyncio.Task[None] | None = None

    @property
    def away(self) -> bool:
        """Whether Redis is away; see `Ephemeral.away`."""
        return self._away

    async def notify(self, topic: Topic) -> None:
        """Wake who waits, here and at other servers; see `Ephemeral.notify`."""
        await self._instead.notify(topic)
        if self._away and self._clock() < self._try_at:
            return
        try:
            await self._redis.publish(CHANNEL + topic, b"")
        except (RedisError, OSError) as error:
            self._gone(error)

    def wakes(self, topic: Topic) -> Wakes:
        """Return what hears a topic; see `Ephemeral.wakes`."""
        if self._listening is None:
            loop = asyncio.get_running_loop()
            self._listening = loop.create_task(self._listen(), name="wake-ups")
        return self._instead.wakes(topic)

    async def spend(self, key: str, budget: Budget) -> int:
        """Take one attempt; see `Ephemeral.spend`."""
        wait = await self._ask(key, budget, b"1")
        return await self._instead.spend(key, budget) if wait is None else wait

    async def peek(self, key: str, budget: Budget) -> int:
        """Tell what `spend` would say; see `Ephemeral.peek`."""
        wait = await self._ask(key, budget, b"0")
        return await self._instead.peek(key, budget) if wait is None else wait

    async def close(self) -> None:
        """Close the connections."""
        if self._listening is not None:
            self._listening.cancel()
            with suppress(asyncio.CancelledError):
                await self._listening
        await self._redis.aclose()
        await self._instead.close()

    async def _ask(self, key: str, budget: Budget, spend: bytes) -> int | None:
        """Return Redis' answer; None while it is away."""
        if self._away:
            if self._clock() < self._try_at:
                return None
            self._try_at = self._clock() + _TRIES_AGAIN_AFTER  # this call tries, others don't wait
        window = budget.seconds * 1_000_000
        try:
            wait: Any = await self._attempt(
                keys=[PREFIX + short(key)], args=[window // budget.attempts, window, spend]
            )
        except (RedisError, OSError) as error:
            self._gone(error)
            return None
        self._back()
        return int(wait)

    async def _listen(self) -> None:
        """Hand on what others notify, for as long as this store is open."""
        while True:
            try:
                async with self._redis.pubsub() as heard:
                    await self._hear(heard)
            except (RedisError, OSError) as error:
                self._gone(error)
            await asyncio.sleep(_TRIES_AGAIN_AFTER)

    async def _hear(self, heard: PubSub) -> None:
        await heard.psubscribe(CHANNEL + "*")
        asked = False
        while True:
            message = await heard.get_message(timeout=_SILENCE)
            if message is None:
                if asked:  # a connection that is open to nobody looks like silence
                    raise TimeoutError("Redis is silent")
                await heard.ping()
                asked = True
                continue
            asked = False
            if message["type"] == "psubscribe":
                self._back()
                self._instead.notify_all()  # what was said meanwhile is not said again
            elif message["type"] == "pmessage":
                topic: Any = message["channel"].decode().removeprefix(CHANNEL)
                await self._instead.notify(topic)

    def _back(self) -> None:
        if self._away:
            self._away = False
            log.info("ephemeral.redis_back")

    def _gone(self, error: Exception) -> None:
        self._try_at = self._clock() + _TRIES_AGAIN_AFTER
        if not self._away:
            self._away = True
            log.warning(
                "ephemeral.redis_away", error=str(error), meanwhile="each server counts for itself"
            )


_: Callable[[str], Ephemeral] = RedisEphemeral
