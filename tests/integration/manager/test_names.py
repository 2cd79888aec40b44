"""Words that mean sessions: what they find, and that finding it costs the same however many sessions there were."""

import json
from collections.abc import Generator
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Engine, event, text
from tests.integration.manager.conftest import Seed
from tests.integration.manager.test_survey import add

from caravan_manager.config import DatabaseSection
from caravan_manager.db.engine import Begin, database_url
from caravan_manager.db.reading import Query, Reader, ReadRow
from caravan_manager.sessions import repository

DEAD_OF_ONE_NAME = 3000


class Explaining(Reader):
    """Reads, and keeps how PostgreSQL went about it."""

    def __init__(self, section: DatabaseSection) -> None:
        super().__init__(database_url(section))
        self._section = section
        self.plans: list[Any] = []

    async def rows(self, query: Query, **values: object) -> list[ReadRow]:
        connection = await asyncpg.connect(
            host=self._section.host, port=self._section.port, user=self._section.user, database=self._section.name
        )
        told = await connection.fetchval(f"explain (analyze, format json) {query.text}", *query.arguments(values))
        self.plans.append(json.loads(told)[0]["Plan"])
        await connection.close()
        return await super().rows(query, **values)


def most_rows(plan: dict[str, Any]) -> float:
    """Return the most rows that any step of a plan read, those that it threw away included."""
    thrown = sum(rows for name, rows in plan.items() if name.startswith("Rows Removed"))
    here = (plan["Actual Rows"] + thrown) * plan["Actual Loops"]
    return max([here, *(most_rows(step) for step in plan.get("Plans", ()))])


@pytest.fixture
async def crowd(begin: Begin, seed: Seed) -> Seed:
    """Thousands of dead sessions of the user: half of them called `train`."""
    model = await add(begin, seed, name="train")
    columns = (
        "type, domain_name, project_id, user_id, access_key, scaling_group, image, registry, architecture, "
        "cluster_mode, cluster_size, requested_slots"
    )
    made = f"""insert into sessions (id, name, status, created_at, {columns})
        select gen_random_uuid(), case n % 2 when 0 then 'train' else 'other' || n end, 'TERMINATED',
               now() - n * interval '1 minute', {columns}
        from sessions, generate_series(1, :n) n where id = :model"""
    async with begin() as tx:
        await tx.execute(text(made), {"n": 2 * DEAD_OF_ONE_NAME, "model": model.id})
        await tx.execute(text("update sessions set status = 'TERMINATED' where id = :model"), {"model": model.id})
    async with begin() as tx:
        await tx.execute(text("analyze sessions"))
    return seed


@pytest.fixture
def plans(begin: Begin) -> Generator[list[tuple[str, Any]], None, None]:
    """The statements that transactions sent, with their parameters."""
    del begin
    sent: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        sent.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    yield sent
    event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("word", ["train", "other7", "nowhere", "00000000-0000-0000-0000-000000000001"])
async def test_a_word_finds_a_session_at_the_same_cost_however_many_there_were(
    crowd: Seed, database: DatabaseSection, word: str
) -> None:
    reader = Explaining(database)
    found = await repository.find_matching(reader, word, crowd.user.access_key)
    await reader.close()
    assert len(found) == (word in {"train", "other7"})
    assert max(most_rows(plan) for plan in reader.plans) < 100


async def test_dependencies_cost_the_same_however_many_sessions_of_their_name_there_were(
    crowd: Seed, begin: Begin, plans: list[tuple[str, Any]]
) -> None:
    live = await add(begin, crowd, name="live")
    plans.clear()
    async with begin() as tx:
        words = ["train", "live", "nowhere", str(live.id)]
        found = await repository.find_each(tx, crowd.user.access_key, words)
        ((statement, parameters),) = plans
        told = (await tx.exec_driver_sql(f"explain (analyze, format json) {statement}", parameters)).scalar_one()
    assert found.keys() == {"train", "live", str(live.id)}
    assert found["live"] == found[str(live.id)] == live.id
    assert most_rows(told[0]["Plan"]) < 100


async def test_a_name_means_the_live_session_before_a_later_dead_one_and_the_latest_of_the_dead(
    begin: Begin, seed: Seed
) -> None:
    first = await add(begin, seed, name="train")
    async with begin() as tx:
        await tx.execute(text("update sessions set status = 'CANCELLED'"))
    second = await add(begin, seed, name="train", created_at=first.created_at.replace(year=first.created_at.year + 1))
    for expected in (second, first):
        async with begin() as tx:
            found = await repository.find_each(tx, seed.user.access_key, ["train"])
        assert found == {"train": expected.id}
        assert [s.id for s in await repository.find_matching(begin.reader, "train", seed.user.access_key)] == [
            expected.id
        ]
        async with begin() as tx:  # now the older one lives, and the later one is dead
            await tx.execute(text("update sessions set status = 'CANCELLED' where id = :id"), {"id": second.id})
            await tx.execute(text("update sessions set status = 'PENDING' where id = :id"), {"id": first.id})
    async with begin() as tx:
        await tx.execute(text("update sessions set status = 'CANCELLED'"))
        assert await repository.find_each(tx, seed.user.access_key, ["train"]) == {"train": second.id}
        assert await repository.find_each(tx, seed.admin.access_key, ["train", str(second.id)]) == {}
