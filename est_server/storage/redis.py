"""Ephemeral state in Redis: one count for all servers.

Redis decides nothing that must not be lost, and its absence stops nothing: while it is away each
server counts for itself, and tries again every second.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from est_server.storage.memory import MemoryEphemeral, short

if TYPE_CHECKING:
    from collections.abc import Callable

    from est_server.ports.ephemeral import Budget, Ephemeral

PREFIX = b"est-server:attempts:"
_MOST_CONNECTIONS = 16
_ANSWERS_WITHIN = 0.5  # seconds; a device waits for it
_TRIES_AGAIN_AFTER = 1.0  # seconds

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
        clock: seconds that never go back.

    Raises:
        ValueError: the URL can't be read.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
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
        if self._away:
            self._away = False
            log.info("ephemeral.redis_back")
        return int(wait)

    def _gone(self, error: Exception) -> None:
        self._try_at = self._clock() + _TRIES_AGAIN_AFTER
        if not self._away:
            self._away = True
            log.warning(
                "ephemeral.redis_away", error=str(error), meanwhile="each server counts for itself"
            )


_: Callable[[str], Ephemeral] = RedisEphemeral
