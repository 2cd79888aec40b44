"""What managers ask of a storage proxy, and that nobody else may."""

import asyncio
import os
import time
from pathlib import Path

import pytest
from tests.unit.storage.running_proxy import MANAGER_TOKEN, SCOPE, Proxy

from caravan_storage import sweeper
from caravan_storage.api import manager

CALLS = sorted((route.method, route.path) for route in manager.routes)


@pytest.mark.parametrize(("method", "call"), CALLS)
@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", f"Basic {MANAGER_TOKEN}", f"Bearer {MANAGER_TOKEN}x", "Bearer é"],
)
async def test_every_call_needs_the_managers_token(
    proxy: Proxy, method: str, call: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = await proxy.ask(method, proxy.manager_url + call, json=proxy.ref, headers=headers)
    assert (answer.status, answer.json()["type"].rpartition("/")[2]) == (401, "auth-failed")


async def test_an_unknown_call_needs_the_managers_token_too(proxy: Proxy) -> None:
    assert (await proxy.ask("GET", f"{proxy.manager_url}/nothing")).status == 401
    answer = await proxy.manage("/nothing")
    assert (answer.status, answer.json()["data"]) == (404, "/nothing")


async def test_volumes_tell_how_full_they_are(proxy: Proxy) -> None:
    (volume,) = (await proxy.manage("/volumes", method="GET")).json()["volumes"]
    assert (volume["name"], volume["backend"], volume["capabilities"]) == ("volume1", "vfs", ["vfolder"])
    assert 0 < volume["usage_percent"] < 100


async def test_creating_twice_is_creating_once(proxy: Proxy) -> None:
    await proxy.upload("kept", b"x")
    await proxy.create()
    assert await proxy.download("kept") == b"x"


async def test_a_deleted_folder_is_gone_at_once_and_its_files_soon(proxy: Proxy) -> None:
    await proxy.upload("d/a", b"x")
    assert (await proxy.manage("/folders/delete")).status == 204
    assert (await proxy.manage("/folders/files")).json()["title"] == "No such virtual folder."
    await proxy.storage.sweeper.sweep()
    assert await asyncio.to_thread(lambda: [p.name for p in proxy.root.iterdir()]) == [SCOPE[5:].replace("-", "")]


async def test_deleting_twice_is_deleting_once(proxy: Proxy) -> None:
    assert [(await proxy.manage("/folders/delete")).status for _ in range(2)] == [204, 204]


async def test_a_token_of_a_deleted_folder_is_good_for_nothing(proxy: Proxy) -> None:
    await proxy.upload("a", b"x")
    fetch, send = await proxy.ticket("download", path="a"), await proxy.ticket("upload", path="b", size=1)
    await proxy.manage("/folders/delete")
    await proxy.create()
    assert ((await proxy.get(fetch)).status, (await proxy.patch(send, 0, b"x")).status) == (404, 404)


async def test_usage_counts_files_and_bytes_but_no_uploads_in_progress(proxy: Proxy) -> None:
    await proxy.upload("a", b"12345")
    await proxy.upload("d/b", b"123")
    await proxy.patch(await proxy.ticket("upload", path="c", size=100), 0, b"x" * 50)
    assert (await proxy.manage("/folders/usage")).json() == {"files": 2, "bytes": 8}


async def test_usage_is_told_as_far_as_it_was_counted_in_time(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    await proxy.upload("a", b"12345")
    monkeypatch.setattr(manager, "USAGE_SECONDS", -1)
    assert (await proxy.manage("/folders/usage")).json() == {"files": 0, "bytes": 0}


async def test_each_directory_has_an_outcome_of_its_own(proxy: Proxy) -> None:
    await proxy.upload("file", b"x")
    answer = await proxy.manage("/folders/mkdir", paths=["new", "new", "x/y", "../up", "file", "file/z", ".upload"])
    errors = [(o["path"], o["error"] is None) for o in answer.json()["outcomes"]]
    assert errors == [
        ("new", True),
        ("new", False),
        ("x/y", False),
        ("../up", False),
        ("file", False),
        ("file/z", False),
        (".upload", False),
    ]


async def test_parents_are_made_and_what_exists_is_fine_when_asked_for(proxy: Proxy) -> None:
    await proxy.upload("file", b"x")
    paths = ["a/b/c", "a/b/c", "a", "file"]
    answer = await proxy.manage("/folders/mkdir", paths=paths, parents=True, exist_ok=True)
    assert [o["error"] for o in answer.json()["outcomes"]] == [None, None, None, "file exists already"]


async def test_more_than_fifty_directories_at_once_are_refused(proxy: Proxy) -> None:
    assert (await proxy.manage("/folders/mkdir", paths=["a"] * 51)).status == 400


async def test_a_listing_tells_each_entry_by_name(proxy: Proxy) -> None:
    await proxy.upload("b.txt", b"12345")
    await proxy.manage("/folders/mkdir", paths=["a"])
    await asyncio.to_thread(os.symlink, "/etc/passwd", proxy.directory / "c")
    await asyncio.to_thread(os.mkfifo, proxy.directory / "d")
    listing = (await proxy.manage("/folders/files", path=".")).json()
    assert [(e["name"], e["type"]) for e in listing["entries"]] == [
        ("a", "DIRECTORY"),
        ("b.txt", "FILE"),
        ("c", "SYMLINK"),
        ("d", "FILE"),
    ]
    assert (listing["entries"][1]["size"], listing["entries"][1]["mode"]) == (5, 0o644)
    assert listing["truncated"] is False


async def test_a_name_that_is_not_unicode_is_listed_readably(proxy: Proxy) -> None:
    await asyncio.to_thread(os.mkdir, os.fsencode(proxy.directory) + b"/bad\xff")
    (entry,) = (await proxy.manage("/folders/files", path=".")).json()["entries"]
    assert entry["name"] == "bad\\xff"


async def test_a_long_listing_is_cut(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manager, "MOST_FILES", 3)
    for name in "edcba":
        await proxy.upload(name, b"")
    listing = (await proxy.manage("/folders/files", path=".")).json()
    assert ([e["name"] for e in listing["entries"]], listing["truncated"]) == (["a", "b", "c"], True)


async def test_too_many_files_for_one_archive_are_refused(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caravan_storage.transfers.archive.MOST_ENTRIES", 2)
    for name in "abc":
        await proxy.upload(name, b"")
    assert (await proxy.manage("/folders/download", path=".", archive=True)).status == 400


async def test_a_message_that_is_wrong_is_named_field_by_field(proxy: Proxy) -> None:
    answer = await proxy.manage("/folders", quota_scope="../../etc", folder="x")
    assert (answer.status, set(answer.json()["data"])) == (400, {"quota_scope", "folder"})


async def test_an_unknown_volume_is_told(proxy: Proxy) -> None:
    answer = await proxy.manage("/folders", volume="volume2")
    assert (answer.status, answer.json()["title"]) == (404, "No such volume.")


async def test_the_address_in_a_ticket_is_the_public_one(proxy: Proxy) -> None:
    answer = await proxy.manage("/folders/upload", path="a", size=1)
    assert answer.json()["url"] == "http://storage.example:6021/upload"


async def test_every_listener_tells_its_health_without_a_token(proxy: Proxy) -> None:
    for url in (proxy.client_url, proxy.manager_url, proxy.metrics_url):
        answer = await proxy.ask("GET", f"{url}/health")
        assert (answer.status, answer.json()["status"]) == (200, "healthy")


async def test_metrics_count_requests_and_bytes(proxy: Proxy) -> None:
    await proxy.upload("a", b"x")
    text = (await proxy.ask("GET", f"{proxy.metrics_url}/metrics")).body.decode()
    assert 'route="/upload",service="storage",status="204"' in text
    assert "caravan_storage_received_bytes_total" in text


async def test_abandoned_uploads_are_swept_after_a_day_and_others_are_not(proxy: Proxy) -> None:
    old, new = [await proxy.ticket("upload", path=name, size=5) for name in ("old", "new")]
    session = proxy.tokens.read(old, "upload").session
    then = time.time() - sweeper.STALE_SECONDS - 60
    await asyncio.to_thread(os.utime, proxy.directory / ".upload" / session, (then, then))
    await proxy.storage.sweeper.sweep()
    assert ((await proxy.head(old)).status, (await proxy.head(new)).status) == (404, 200)


async def test_a_sweep_leaves_what_is_no_folder_alone(proxy: Proxy) -> None:
    def make() -> list[Path]:
        made = [proxy.root / "lost+found", proxy.root / ("a" * 32) / "zz", proxy.root / ("b" * 32) / "01" / "02"]
        for path in made:
            path.mkdir(parents=True)
        return made

    made = await asyncio.to_thread(make)
    await proxy.storage.sweeper.sweep()
    assert await asyncio.to_thread(lambda: all(path.is_dir() for path in made))
