"""How often the sweep looks: at once after a start, soon while something may have been missed, else seldom."""

# ruff: noqa: ASYNC110 - a test looks again and again

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.fakes.agents import FakeAgents
from tests.fakes.nomad import FakeNomad

from caravan_manager.nodes.service import NodesService
from caravan_manager.reconcile import sweeper
from caravan_manager.reconcile.illness import Illnesses
from caravan_manager.reconcile.sweeper import Limits, Sweeper
from caravan_manager.sessions.moves import SessionMoves
from caravan_manager.sessions.news import SessionNews

LIMITS = Limits(every=timedelta(hours=1), node_silence=timedelta(seconds=30), start=timedelta(minutes=15))
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)


class Counting(Sweeper):
    """Counts its sweeps instead of carrying them out."""

    def __init__(self, moves: SessionMoves, nodes: Any) -> None:
        super().__init__(moves, FakeNomad(), FakeAgents(), nodes, Illnesses(moves), LIMITS)
        self.sweeps = 0

    async def _sweep(self, began: datetime) -> None:
        self.sweeps += 1


class Nodes:
    """Notes since when nodes are asked to have been silent."""

    def __init__(self) -> None:
        self.asked: list[datetime] = []

    async def mark_lost(self, silent_since: datetime) -> list[str]:
        self.asked.append(silent_since)
        return []


def _never() -> Any:
    raise AssertionError("the database is not asked")


async def _until(counting: Counting, sweeps: int) -> None:
    async with asyncio.timeout(5):
        while counting.sweeps < sweeps:
            await asyncio.sleep(0.005)


async def test_it_looks_at_once_and_soon_again_and_then_only_when_something_was_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sweeper, "SOON", timedelta(seconds=0.02))
    monkeypatch.setattr(sweeper, "SHORTEST_PAUSE_SECONDS", 0.01)
    clock = [NOW]
    moves = SessionMoves(_never, SessionNews(), lambda: clock[0])
    counting = Counting(moves, NodesService(_never))
    running = asyncio.create_task(counting.run())
    await _until(counting, 3)
    clock[0] += sweeper.DOUBT
    await asyncio.sleep(0.1)
    settled = counting.sweeps
    await asyncio.sleep(0.1)
    assert counting.sweeps == settled
    moves.news.missed.set()
    await _until(counting, settled + 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_manager_that_was_just_started_calls_no_node_silent() -> None:
    clock = [NOW]
    nodes = Nodes()
    counting = Counting(SessionMoves(_never, SessionNews(), lambda: clock[0]), nodes)
    clock[0] += LIMITS.node_silence / 2
    await counting.mark_lost_nodes(NOW)
    assert nodes.asked == []
    clock[0] += LIMITS.node_silence
    await counting.mark_lost_nodes(NOW)
    assert nodes.asked == [clock[0] - LIMITS.node_silence]
