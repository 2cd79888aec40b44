"""News inside one process: who is told, in what order, and what a slow reader or a long outage costs."""

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from uuid import uuid4

from tests.unit.manager.sessions.test_events import principal
from tests.unit.manager.sessions_made import pending, running

from caravan_manager.people.model import UserRole
from caravan_manager.sessions.events import EventFilter, SessionEvent, events_of
from caravan_manager.sessions.news import EventStream, News, SessionNews

SESSION = running(pending())
ANYBODY = principal(UserRole.SUPERADMIN, uuid4())


def _event(name: str = "session_started") -> SessionEvent:
    return replace(events_of(None, SESSION)[0], name=name)


async def _read(stream: EventStream) -> list[str]:
    names: list[str] = []
    while (event := await stream.next(0.01)) is not None:
        names.append(event.name)
    return names


async def test_a_follower_gets_what_it_asked_for_in_order_and_from_now_on() -> None:
    news = SessionNews()
    news.moved(News(SESSION.id, (_event("session_enqueued"),)))
    with news.streaming(EventFilter(ANYBODY, scopes=frozenset({"session"}))) as stream:
        news.moved(News(SESSION.id, (_event("session_scheduled"), _event("kernel_started"))))
        news.heard(News(SESSION.id, (_event("session_started"),)))
        assert await _read(stream) == ["session_scheduled", "session_started"]
    news.moved(News(SESSION.id, (_event("session_terminating"),)))
    assert await _read(stream) == []


async def test_the_end_of_the_one_session_that_is_followed_ends_the_stream() -> None:
    for wanted in (EventFilter(ANYBODY, session=SESSION.id), EventFilter(ANYBODY, frozenset({"kernel"}), SESSION.id)):
        stream = EventStream(wanted)
        stream.offer(_event("session_terminating"))
        assert not stream.is_over
        stream.offer(_event("session_terminated"))
        assert (stream.is_over, stream.finished) == (True, True)
    assert await stream.next(60) is None
    every = EventStream(EventFilter(ANYBODY))
    every.offer(_event("session_terminated"))
    assert not every.is_over


async def test_the_end_of_anothers_session_tells_a_stranger_nothing() -> None:
    stranger = principal(UserRole.USER, uuid4())
    stream = EventStream(EventFilter(stranger, session=SESSION.id))
    stream.offer(_event("session_terminated"))
    assert not stream.is_over


async def test_a_slow_reader_gets_what_was_kept_and_loses_the_stream() -> None:
    stream = EventStream(EventFilter(ANYBODY), longest=3)
    for _ in range(5):
        stream.offer(_event())
    assert (stream.overrun, stream.finished) == (True, False)
    assert len(await _read(stream)) == 3
    assert stream.is_over


async def test_a_reader_that_waits_is_woken_at_once() -> None:
    stream = EventStream(EventFilter(ANYBODY))
    waiting = asyncio.create_task(stream.next(60))
    await asyncio.sleep(0)
    stream.offer(_event())
    async with asyncio.timeout(5):
        assert await waiting == _event()


async def test_who_waits_for_a_session_is_woken_by_its_own_news_only_and_the_scheduler_by_all() -> None:
    news = SessionNews()
    async with news.following(SESSION.id) as waiter:
        news.heard(News(uuid4()))
        assert not waiter.is_set()
        assert news.work.is_set()
        news.heard(News(SESSION.id))
        assert waiter.is_set()


async def test_what_others_told_is_not_sent_back_and_a_long_outage_drops_the_oldest() -> None:
    news = SessionNews(longest_outbox=2)
    news.heard(News(uuid4()))
    told = [News(uuid4()) for _ in range(3)]
    for one in told:
        news.moved(one)
    assert await news.to_send(1) == told[1:2]
    assert await news.to_send(10) == told[2:]
    more = asyncio.create_task(news.to_send(10))
    await asyncio.sleep(0)
    news.moved(told[0])
    async with asyncio.timeout(5):
        assert await more == told[:1]


class Asked(EventFilter):
    """A filter that counts how often it is asked."""

    count = 0

    def wants(self, event: SessionEvent) -> bool:
        Asked.count += 1
        return super().wants(event)


async def test_those_who_follow_other_sessions_are_not_asked_about_an_event() -> None:
    news, Asked.count = SessionNews(), 0
    name, owner = SESSION.name, SESSION.access_key
    with ExitStack() as stack:
        for _ in range(5000):
            stack.enter_context(news.streaming(Asked(ANYBODY, session=uuid4())))
            stack.enter_context(news.streaming(Asked(ANYBODY, session_name="other", access_key=owner)))
            stack.enter_context(news.streaming(Asked(ANYBODY, session_name=name, access_key="AKIAOTHER")))
        wanted = (
            Asked(ANYBODY),
            Asked(ANYBODY, session=SESSION.id, session_name="other", access_key=owner),
            Asked(ANYBODY, session_name=name, access_key=owner),
        )
        streams = [stack.enter_context(news.streaming(each)) for each in wanted]
        news.heard(News(SESSION.id, (_event(),)))
        assert Asked.count == len(wanted)
        assert [await _read(stream) for stream in streams] == [["session_started"]] * len(wanted)
    news.heard(News(SESSION.id, (_event(),)))
    assert Asked.count == len(wanted)


async def test_a_process_that_stops_closes_its_streams() -> None:
    news = SessionNews()
    with news.streaming(EventFilter(ANYBODY)) as stream:
        news.moved(News(SESSION.id, (_event(),)))
        news.close_streams()
        assert await _read(stream) == ["session_started"]
        assert (stream.is_over, stream.finished) == (True, False)
