"""What passes decided is kept in PostgreSQL, goes away in time, and can be planned again and exported."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import select, update
from tests.integration.manager.test_session_life import Manager, request
from tests.integration.manager.test_session_life import manager as manager  # noqa: PLC0414

from caravan_manager.cli import cli
from caravan_manager.config import DatabaseSection
from caravan_manager.db.engine import Begin
from caravan_manager.db.tables import scheduler_passes
from caravan_manager.people.model import Principal
from caravan_manager.scheduler.decisions import log as log_module
from caravan_manager.scheduler.decisions import repository
from caravan_manager.scheduler.decisions.log import DecisionLog, Keep
from caravan_manager.scheduler.decisions.packed import PackedPass
from caravan_manager.scheduler.decisions.repository import PassNotFoundError

WEEK = timedelta(days=7)
ROOMY = Keep(WEEK, 2**28)


@pytest.fixture
def log(manager: Manager) -> DecisionLog:
    made = DecisionLog(manager.begin, ROOMY, manager.clock)
    manager.scheduler._record = made.record
    return made


@pytest.fixture
def config(database: DatabaseSection, tmp_path: Path) -> Path:
    path = tmp_path / "manager.toml"
    path.write_text(
        f"""
        session_job = "session.nomad.json"
        storage = {{}}
        agents = {{ token = "t" }}
        redis = {{ host = "localhost", port = 6379, password = "p" }}
        nomad = {{ address = "http://localhost:4646" }}
        consul = {{ address = "http://localhost:8500" }}
        vault = {{ address = "http://localhost:8200", token_file = "token" }}
        database = {{ host = "{database.host}", port = {database.port}, name = "{database.name}",
                      user = "{database.user}", password = "" }}
        """.replace(",\n", ",").replace("                      ", " ")
    )
    return path


async def run(*arguments: str | Path) -> Result:
    """Run a command; it has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, cli, [str(argument) for argument in arguments])


async def numbers(begin: Begin) -> list[int]:
    async with begin() as tx:
        return await repository.list_numbers(tx)


async def passes(begin: Begin) -> list[PackedPass]:
    async with begin() as tx:
        return [await repository.get(tx, number) for number in await repository.list_numbers(tx)]


async def test_a_pass_is_kept_once_however_often_it_decides_the_same(
    manager: Manager, log: DecisionLog, user: Principal
) -> None:
    await manager.add_node(cpu="1")
    first = (await manager.service.create(user, request("first"))).session
    second = (await manager.service.create(user, request("second"))).session
    for _ in range(3):
        manager.clock.now += timedelta(seconds=2)
        await manager.schedule()
        await log.write()
    placing, waiting = await passes(manager.begin)
    assert [placement.session for placement in placing.unpack_decisions().placements] == [first.id]
    assert placing.unpack_decisions().placements[0].seats[0][1].node == "node1"
    assert [wait.session for wait in waiting.unpack_decisions().waits] == [second.id]
    assert [held.id for held in waiting.unpack_snapshot().placed] == [first.id]


async def test_the_log_writes_by_itself(manager: Manager, log: DecisionLog, user: Principal) -> None:
    running = asyncio.create_task(log.run())
    await manager.service.create(user, request())
    await manager.schedule()
    for _ in range(200):
        if await numbers(manager.begin):
            break
        await asyncio.sleep(0.05)
    running.cancel()
    assert len(await numbers(manager.begin)) == 1


async def test_a_kept_pass_names_no_session_and_no_secret(manager: Manager, log: DecisionLog, user: Principal) -> None:
    await manager.add_node()
    parent = (await manager.service.create(user, request("wedding-present"))).session
    await manager.service.create(
        user,
        request(
            "after-it",
            dependencies=[str(parent.id)],
            environ={"TOKEN": "s3cr3t"},
            startup_command="echo s3cr3t",
            tag="my-tag",
        ),
    )
    await manager.schedule()
    await log.write()
    (kept,) = await passes(manager.begin)
    said = repr((kept.unpack_snapshot(), kept.unpack_decisions()))
    assert str(parent.id) in said
    assert not any(text in said for text in ("wedding-present", "after-it", "s3cr3t", "my-tag"))


async def test_old_passes_and_too_many_bytes_go_away(manager: Manager, log: DecisionLog, user: Principal) -> None:
    await manager.service.create(user, request())
    await manager.schedule()
    await log.write()
    (kept,) = await passes(manager.begin)
    size = len(kept.snapshot) + len(kept.decisions)
    async with manager.begin() as tx:
        for seconds in range(1, 6):
            await repository.add(tx, replace(kept, taken_at=kept.taken_at + timedelta(seconds=seconds)))
        assert await repository.prune(tx, kept.taken_at - WEEK, 100 * size) == 0
        assert await repository.prune(tx, kept.taken_at + timedelta(seconds=2), 100 * size) == 2
        assert await repository.prune(tx, kept.taken_at, 2 * size + 1) == 2
    left = [one.taken_at for one in await passes(manager.begin)]
    assert left == [kept.taken_at + timedelta(seconds=4), kept.taken_at + timedelta(seconds=5)]


async def test_the_log_prunes_now_and_then(manager: Manager, user: Principal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "PRUNE_AFTER", 20)
    await manager.service.create(user, request())
    log = DecisionLog(manager.begin, Keep(timedelta(minutes=10), 2**28), manager.clock)
    manager.scheduler._record = log.record
    for passed in range(20 + 1):
        manager.clock.now += timedelta(minutes=1)
        await manager.add_node(cpu=f"0.{passed + 1:03}")  # each pass sees another node
        await manager.schedule()
        await log.write()
    kept = await passes(manager.begin)
    assert len(kept) == 11
    assert kept[0].taken_at == manager.clock() - timedelta(minutes=10)


async def until_left(begin: Begin, count: int) -> list[int]:
    """Wait until so many passes are left, for ten seconds at most, and return which."""
    for _ in range(200):
        if len(left := await numbers(begin)) == count:
            return left
        await asyncio.sleep(0.05)
    return await numbers(begin)


async def test_old_passes_go_away_also_while_nothing_waits(
    manager: Manager, log: DecisionLog, user: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "PRUNE_SECONDS", 0.1)
    await manager.service.create(user, request())
    await manager.schedule()
    await log.write()
    running = asyncio.create_task(log.run())
    await asyncio.sleep(0.5)
    assert len(await numbers(manager.begin)) == 1
    manager.clock.now += WEEK + timedelta(seconds=1)
    assert await until_left(manager.begin, 0) == []
    running.cancel()


async def test_where_nothing_is_kept_what_was_kept_before_goes_away(
    manager: Manager, log: DecisionLog, user: Principal
) -> None:
    await manager.service.create(user, request())
    await manager.schedule()
    await log.write()
    await DecisionLog(manager.begin, ROOMY, manager.clock).prune()
    assert len(await numbers(manager.begin)) == 1
    running = asyncio.create_task(DecisionLog(manager.begin, Keep(WEEK, 0), manager.clock).run())
    assert await until_left(manager.begin, 0) == []
    running.cancel()


async def test_replay_decides_the_same_and_says_so(
    manager: Manager, log: DecisionLog, user: Principal, config: Path
) -> None:
    await manager.add_node(cpu="2")
    for name in ("first", "second", "third"):
        await manager.service.create(user, request(name))
    for _ in range(2):
        manager.clock.now += timedelta(hours=1)
        await manager.schedule()
        await log.write()
    said = await run("replay", "--config", config)
    assert (said.exit_code, said.exception) == (0, None)
    assert said.output.count("the same") == 2
    assert "2 passes, 0 decided otherwise" in said.output
    since = manager.clock().isoformat()
    assert "1 passes, 0" in (await run("replay", "--config", config, "--since", since)).output
    (_, last) = await numbers(manager.begin)
    assert "1 passes, 0" in (await run("replay", "--config", config, str(last))).output


async def test_replay_shows_what_is_other_and_fails(
    manager: Manager, log: DecisionLog, user: Principal, config: Path
) -> None:
    await manager.add_node()
    made = (await manager.service.create(user, request())).session
    await manager.schedule()
    await log.write()
    async with manager.begin() as tx:
        (kept,) = [await repository.get(tx, number) for number in await repository.list_numbers(tx)]
        decided = kept.unpack_decisions()
        other = PackedPass.of(kept.unpack_snapshot(), replace(decided, placements=()))
        await tx.execute(update(scheduler_passes).values(decisions=other.decisions))
    said = await run("replay", "--config", config)
    assert said.exit_code == 1
    assert f'placements[0]: nothing became {{"session":"{made.id}"' in said.output
    assert "1 passes, 1 decided otherwise" in said.output


async def test_replay_of_a_pass_that_is_not_kept_is_refused(config: Path, manager: Manager) -> None:
    said = await run("replay", "--config", config, "77")
    assert isinstance(said.exception, PassNotFoundError)


async def test_a_recording_is_exported_and_simulated(
    manager: Manager, log: DecisionLog, user: Principal, config: Path, tmp_path: Path
) -> None:
    await manager.add_node(cpu="1")
    first = (await manager.service.create(user, request("name-of-one"))).session
    second = (await manager.service.create(user, request("name-of-other"))).session
    for session in (first, second):
        await manager.started(session.id)
        await log.write()
        manager.clock.now += timedelta(minutes=10)
        await manager.moves.apply(session.id, lambda s, now: s.kernel_terminated(s.main_kernel.id, 0, "exited", now))
    trace, policy = tmp_path / "trace.json", tmp_path / "as-it-was.toml"
    said = await run("export-trace", "--config", config, trace)
    assert "2 sessions from 2 passes, 0 left out" in said.output
    written = json.loads(trace.read_text())
    assert written["format"] == "caravan-trace-1"
    assert "name-of" not in trace.read_text()
    policy.write_text("")
    simulated = await run("simulate", "--trace", trace, "--policy", policy)
    assert simulated.exit_code == 0, simulated.output
    lines = {line[:22].strip(): line[22:].strip() for line in simulated.output.splitlines()}
    assert (lines["started"], lines["wait, longest"], lines["use of cpu"]) == ("2", "10.0 min", "100.00 %")


async def test_what_is_not_kept_is_asked_for_in_vain(begin: Begin) -> None:
    async with begin() as tx:
        with pytest.raises(PassNotFoundError):
            await repository.get(tx, 1)
        assert await repository.list_stays(tx, [uuid4()]) == {}
        assert list(await tx.scalars(select(scheduler_passes.c.id))) == []
