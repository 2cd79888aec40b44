"""What the scheduler does for sessions beside its passes, so that one that takes long holds up no other."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from uuid import UUID

import structlog

from caravan_common.errors import CaravanError
from caravan_manager.sessions.model import Session

log = structlog.get_logger()

Act = Callable[[Session], Awaitable[None]]
Key = tuple[str, UUID]
"""What is done, and for which session."""

AT_ONCE = 16
"""How many things of a kind are done at one moment for the sessions of a node: a silent one holds up its own only."""


class Acts:
    """Runs each kind of act once at a time for each session; ``again`` is called when a pass asked for one meanwhile.

    An act that meets an outage or a bug is told and left, and wakes nobody: a later pass finds the session as it was.
    The session that an act is given may have moved on while the act waited for its place.
    """

    def __init__(self, again: Callable[[], None], at_once: int = AT_ONCE) -> None:
        self._again = again
        self._tasks: dict[Key, asyncio.Task[bool]] = {}
        self._asked_again: set[Key] = set()
        self._places: defaultdict[tuple[str, str | None], asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(at_once)
        )

    def begin(self, kind: str, sessions: Iterable[Session], act: Act) -> None:
        """Begin the act for each of the sessions, except where it is under way."""
        for session in sessions:
            key = kind, session.id
            if key in self._tasks:
                self._asked_again.add(key)
                continue
            self._tasks[key] = task = asyncio.create_task(self._do(kind, session, act))
            task.add_done_callback(partial(self._over, key))

    async def settled(self) -> None:
        """Return when everything that was begun is over. Raises what ends a process."""
        try:
            while self._tasks:
                await asyncio.gather(*self._tasks.values())
        except BaseException:
            await self.cancel()
            raise

    async def drain(self, seconds: float) -> None:
        """Let what was begun come to its end, at most so long; cancel the rest."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=seconds)
        await self.cancel()

    async def cancel(self) -> None:
        """End everything that was begun, where it stands."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _do(self, kind: str, session: Session, act: Act) -> bool:
        """Act; says whether that went well."""
        done = False
        try:
            async with self._places[kind, session.main_kernel.node]:
                await act(session)
                done = True
        except* CaravanError as errors:
            log.warning("session.not_moved", session=str(session.id), error=str(errors.exceptions[0]))
        except* Exception:  # one session must not keep the others; the sweep ends what never starts
            log.exception("session.not_moved", session=str(session.id))
        return done

    def _over(self, key: Key, task: asyncio.Task[bool]) -> None:
        del self._tasks[key]
        asked_again = key in self._asked_again
        self._asked_again.discard(key)
        if asked_again and not task.cancelled() and task.exception() is None and task.result():
            self._again()
