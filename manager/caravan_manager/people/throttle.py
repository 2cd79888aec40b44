"""Guessing passwords is slow: failed log-ins are counted in Redis by user and by address, for all managers."""

import asyncio
from collections.abc import Mapping

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from caravan_common.errors import TooManyRequestsError

log = structlog.get_logger()

WINDOW_SECONDS = 900
FAILURES_OF_USER = 10
FAILURES_OF_ADDRESS = 100
ANSWER_SECONDS = 2.0
PREFIX = "caravan:login:"

REFUSED = Counter("caravan_logins_throttled_total", "Log-ins refused because too many failed before")

# An attempt counts before its password is looked at, so that many at once cannot slip through; a success takes it back.
_ATTEMPT = """
local counts = {}
for i, key in ipairs(KEYS) do
  counts[i] = redis.call('INCR', key)
  if counts[i] == 1 then redis.call('EXPIRE', key, tonumber(ARGV[1])) end
end
return counts
"""
_SUCCESS = """
redis.call('DEL', KEYS[1])
if redis.call('EXISTS', KEYS[2]) == 1 and redis.call('DECR', KEYS[2]) <= 0 then redis.call('DEL', KEYS[2]) end
"""


class LoginThrottle:
    """Counts failed log-ins in windows of 15 minutes. While Redis is away everybody may try, and the log says so.

    A user who is refused is so from every address: the counter is of the name that was tried, known or not.
    """

    def __init__(self, redis: "Redis") -> None:
        self._attempt = redis.register_script(_ATTEMPT)
        self._success = redis.register_script(_SUCCESS)

    async def attempt(self, domain: str, username: str, address: str | None) -> None:
        """Count an attempt. Raises TooManyRequestsError after too many of the user or from the address."""
        limits = _limits(domain, username, address)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                counts: list[int] = await self._attempt(keys=list(limits), args=[WINDOW_SECONDS])
        except (RedisError, OSError, TimeoutError) as err:
            log.warning("login.not_throttled", error=str(err) or type(err).__name__)
            return
        if any(count > limit for count, limit in zip(counts, limits.values(), strict=True)):
            REFUSED.inc()
            raise TooManyRequestsError("Too many failed log-in attempts. Please try again later.")

    async def succeeded(self, domain: str, username: str, address: str | None) -> None:
        """Take back an attempt whose password was right, and forget the user's failures."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._success(keys=list(_limits(domain, username, address)))
        except (RedisError, OSError, TimeoutError) as err:
            log.warning("login.not_throttled", error=str(err) or type(err).__name__)


def _limits(domain: str, username: str, address: str | None) -> Mapping[str, int]:
    user = f"{PREFIX}user:{domain.casefold()}:{username.casefold()}"
    return {user: FAILURES_OF_USER, f"{PREFIX}address:{address or 'unknown'}": FAILURES_OF_ADDRESS}
