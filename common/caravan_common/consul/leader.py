"""Leadership by a Consul session: at most one holder of a key, released when its process dies."""

# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false
# pyright: reportUnknownVariableType=false
# py-consul carries no types; what it answers is given a type here.

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import consul
import structlog
from requests import RequestException

from caravan_common.consul.client import make_consul
from caravan_common.failpoints import FailpointPair

log = structlog.get_logger()

RENEW = FailpointPair("leader.session.consul-renew")
CREATE = FailpointPair("leader.session.consul-create")
SUCCEED = FailpointPair("leader.predecessor.consul-destroy")
ACQUIRE = FailpointPair("leader.key.consul-acquire")

TTL_SECONDS = 15
ANSWER_SECONDS = 3
"""How long Consul may take for one answer; the thread is not kept for longer by one that is silent."""
FRESH_SECONDS = 2.0
"""How long Consul's answer is relied on: asking costs two round trips."""
LOCK_DELAY_SECONDS = 15
"""How long nobody leads after a leader's session was lost: longer than what that leader may still carry out. Who gives
the leadership up, or takes it over from a process that is gone, need not wait.
"""


class Leader(Protocol):
    """What may lead: at most one of those who wish to under one key does."""

    async def hold(self) -> bool:
        """Take or keep the leadership; says whether this one leads."""
        ...

    async def release(self) -> None:
        """Give the leadership up, if it is held."""
        ...


class Leadership:
    """The wish to lead under ``key``. Call :meth:`hold` every few seconds; it answers whether this process leads.

    ``name`` is of this process alone, and its successor's after a crash: who comes with the name of another ends that
    one's session instead of waiting until it expires.
    """

    def __init__(self, address: str, key: str, name: str) -> None:
        self._client = make_consul(address, ANSWER_SECONDS)
        self._key = key
        self._name = name
        self._session: str | None = None
        self._sure_until = 0.0
        self._asking = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="leadership")  # no busy neighbours, no two at once

    async def hold(self) -> bool:
        """Renew or take the leadership. False when another process leads or Consul does not answer."""
        if time.monotonic() < self._sure_until:
            return True
        async with self._asking:
            return time.monotonic() < self._sure_until or await self._ask()

    async def _ask(self) -> bool:
        asked = time.monotonic()
        try:
            async with asyncio.timeout(10):
                held = await asyncio.get_running_loop().run_in_executor(self._thread, self._hold)
        except (consul.ConsulException, RequestException, TimeoutError) as err:
            log.warning("leadership.unknown", key=self._key, error=str(err))
            return False
        self._sure_until = asked + FRESH_SECONDS if held else 0.0
        return held

    async def release(self) -> None:
        """Give the leadership up, so that another process need not wait for the session to expire."""
        self._sure_until = 0.0
        if self._session is None:
            return
        try:
            async with asyncio.timeout(5):
                await asyncio.get_running_loop().run_in_executor(self._thread, self._give_up, self._session)
        except (consul.ConsulException, RequestException, TimeoutError) as err:
            log.warning("leadership.not_released", key=self._key, error=str(err))

    def _hold(self) -> bool:
        if self._session is not None:
            try:
                with RENEW:
                    self._client.session.renew(self._session)
            except consul.NotFound:
                self._session = None
        if self._session is None:
            self._end_predecessors()
            with CREATE:
                self._session = self._client.session.create(
                    name=self._name, behavior="release", ttl=TTL_SECONDS, lock_delay=LOCK_DELAY_SECONDS
                )
        with ACQUIRE:
            return bool(self._client.kv.put(self._key, self._name, acquire=self._session))

    def _give_up(self, session: str) -> None:
        self._client.kv.put(self._key, self._name, release=session)
        self._client.session.destroy(session)

    def _end_predecessors(self) -> None:
        _, sessions = self._client.session.list()
        for session in sessions:
            if session["Name"] == self._name:
                with SUCCEED:
                    self._give_up(session["ID"])
                log.info("leadership.succeeded", key=self._key, session=session["ID"])
