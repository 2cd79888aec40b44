"""How often somebody may ask: a rolling window that all managers share.

A request costs no round trip: it is counted here and let through or refused by what is known; twice a second one
atomic call of Redis adds up what all managers counted. So a caller may be let through too often by what arrives at all
managers within that time (docs/decisions/0009). While Redis is away nobody is refused and nothing is counted.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import structlog
from prometheus_client import Counter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from caravan_common.errors import TooManyRequestsError

log = structlog.get_logger()

WINDOW_SECONDS = 900
BUCKET_SECONDS = 30
ANONYMOUS_LIMIT = 1000
SYNC_SECONDS = 0.5
AWAY_SECONDS = 5.0
ANSWER_SECONDS = 2.0
CAPACITY = 20_000
"""How many callers one manager counts at most; the longest silent is forgotten first."""
AT_ONCE = 200
"""How many callers one call of Redis adds up, so that it never holds Redis up for long."""
PREFIX = "caravan:rate:"

REFUSED = Counter("caravan_rate_limited_total", "Requests refused with 429", ["kind"])
UNCOUNTED = Counter("caravan_rate_uncounted_total", "Requests let through uncounted while Redis was away")

# Each caller is a hash: number of a bucket of time -> requests in it. The window is the buckets that began within it
# and the one before, so that no 900 seconds hold more than the limit. Redis's clock counts, which all managers share.
_ADD_UP = """
local width, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local now = tonumber(redis.call('TIME')[1])
local bucket = math.floor(now / width)
local kept = window / width
local answer = {}
for i, key in ipairs(KEYS) do
  local more = tonumber(ARGV[i + 2])
  if more > 0 then
    redis.call('HINCRBY', key, bucket, more)
    redis.call('EXPIRE', key, window + width)
  end
  local total, first = 0, bucket
  local found = redis.call('HGETALL', key)
  for j = 1, #found, 2 do
    local of = tonumber(found[j])
    if of < bucket - kept then
      redis.call('HDEL', key, found[j])
    else
      total = total + tonumber(found[j + 1])
      if of < first then first = of end
    end
  end
  answer[2 * i - 1] = total
  answer[2 * i] = (first + kept + 1) * width - now
end
return answer
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a caller stands: requests allowed in a window, requests left, and seconds until some more are."""

    limit: int
    remaining: int
    reset: int


@dataclass(slots=True)
class _Count:
    """One caller: what all managers had counted when Redis was last asked, and what this one admitted since."""

    asked_at: float
    shared: int = 0
    fresh: int = 0
    reset: int = WINDOW_SECONDS
    is_touched: bool = False


class RateLimits:
    """Counts requests by caller. ``admit`` never waits; ``run`` keeps the counts of all managers together."""

    def __init__(self, redis: "Redis", clock: Callable[[], float]) -> None:
        self._redis = redis
        self._clock = clock
        self._add_up = redis.register_script(_ADD_UP)
        self._counts: OrderedDict[str, _Count] = OrderedDict()
        self._is_away = False

    @property
    def known(self) -> int:
        """How many callers are counted here."""
        return len(self._counts)

    def admit(self, subject: str, limit: int) -> Standing:
        """Count one request of ``subject``. Raises TooManyRequestsError when the window is full already."""
        if self._is_away:
            UNCOUNTED.inc()
            return Standing(limit, limit, WINDOW_SECONDS)
        count = self._counts.get(subject)
        if count is None:
            count = self._counts[subject] = _Count(asked_at=self._clock())
            if len(self._counts) > CAPACITY:
                self._counts.popitem(last=False)
        count.is_touched = True
        remaining = limit - count.shared - count.fresh
        if remaining <= 0 and self._clock() - count.asked_at < count.reset:
            REFUSED.labels(subject.partition(":")[0]).inc()
            raise TooManyRequestsError
        count.fresh += 1
        return Standing(limit, max(0, remaining - 1), count.reset)

    async def run(self) -> None:
        """Share the counts until cancelled."""
        while True:
            await asyncio.sleep(AWAY_SECONDS if self._is_away else SYNC_SECONDS)
            await self.share()

    async def share(self) -> None:
        """Add what was counted here to what all managers counted, and learn the sums."""
        now = self._clock()
        touched = [(subject, count) for subject, count in self._counts.items() if count.is_touched]
        try:
            async with asyncio.timeout(ANSWER_SECONDS * (1 + len(touched) // AT_ONCE)):
                if self._is_away:
                    await self._redis.ping()  # pyright: ignore[reportUnknownMemberType]  # partly untyped
                for start in range(0, len(touched), AT_ONCE):
                    await self._share(touched[start : start + AT_ONCE], now)
        except (RedisError, OSError, TimeoutError) as err:
            self._lost(err)
            return
        if self._is_away:
            self._is_away = False
            log.info("limits.counting")
        self._forget(now)

    async def _share(self, some: Sequence[tuple[str, _Count]], now: float) -> None:
        sent = [count.fresh for _, count in some]
        arguments: list[Any] = [BUCKET_SECONDS, WINDOW_SECONDS, *sent]
        sums: list[int] = await self._add_up(keys=[PREFIX + subject for subject, _ in some], args=arguments)
        for number, (subject, count) in enumerate(some):
            count.shared, count.reset = sums[2 * number], sums[2 * number + 1]
            count.fresh -= sent[number]
            count.is_touched = count.fresh > 0
            count.asked_at = now
            if subject in self._counts:
                self._counts.move_to_end(subject)

    def _lost(self, err: Exception) -> None:
        if not self._is_away:
            log.warning("limits.not_counting", error=str(err) or type(err).__name__)
        self._is_away = True
        self._counts.clear()

    def _forget(self, now: float) -> None:
        """Drop who was silent for a whole window."""
        while self._counts:
            subject, count = next(iter(self._counts.items()))
            if count.is_touched or now - count.asked_at < WINDOW_SECONDS:
                return
            del self._counts[subject]


def subject_of_keypair(access_key: str) -> str:
    """Return under which name a keypair's requests are counted."""
    return f"keypair:{access_key}"


def subject_of_address(address: str | None) -> str:
    """Return under which name requests of nobody in particular are counted: an IPv6 client owns a whole /64."""
    try:
        parsed = ip_address(address or "")
    except ValueError:
        return "address:unknown"
    if isinstance(parsed, IPv6Address):
        return f"address:{ip_network((parsed, 64), strict=False).network_address}"
    return f"address:{parsed}"
