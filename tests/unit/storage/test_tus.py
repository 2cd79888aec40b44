"""Uploads go on after anything that can happen to a connection, and nothing that was acknowledged is lost."""

import asyncio
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.storage.running_proxy import Proxy

from caravan_storage.volumes import partial
from caravan_storage.volumes.beneath import Ownership

OWNER = Ownership(os.geteuid(), os.getegid())


async def test_options_tells_the_version_and_lets_browsers_in(proxy: Proxy) -> None:
    answer = await proxy.ask("OPTIONS", f"{proxy.client_url}/upload")
    assert answer.status == 204
    assert answer.headers["Tus-Version"] == answer.headers["Tus-Resumable"] == "1.0.0"
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
    for name in ("Upload-Offset", "Upload-Length", "Tus-Resumable"):
        assert name in answer.headers["Access-Control-Expose-Headers"]
        assert name in answer.headers["Access-Control-Allow-Headers"]


async def test_head_tells_where_the_upload_is(proxy: Proxy) -> None:
    token = await proxy.ticket("upload", path="f", size=10)
    await proxy.patch(token, 0, b"1234")
    answer = await proxy.head(token)
    assert answer.headers["Upload-Offset"] == "4"
    assert answer.headers["Upload-Length"] == "10"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_an_upload_is_neither_listed_nor_reachable_before_it_is_complete(proxy: Proxy) -> None:
    token = await proxy.ticket("upload", path="f", size=2)
    await proxy.patch(token, 0, b"1")
    listing = (await proxy.manage("/folders/files", path=".")).json()
    assert listing["entries"] == []
    assert (await proxy.manage("/folders/download", path="f")).status == 404
    session = proxy.tokens.read(token, "upload").session
    for path in (f".upload/{session}", f"./.upload/{session}", ".upload"):
        assert (await proxy.manage("/folders/download", path=path, archive=True)).status == 400


async def test_a_piece_at_another_offset_is_refused_and_says_where_the_upload_is(proxy: Proxy) -> None:
    token = await proxy.ticket("upload", path="f", size=10)
    await proxy.patch(token, 0, b"1234")
    answer = await proxy.patch(token, 0, b"1234")
    problem = answer.json()
    assert (answer.status, problem["data"]) == (409, {"offset": 4})
    assert await proxy.offset(token) == 4


async def test_more_bytes_than_announced_are_refused_and_nothing_is_lost(proxy: Proxy) -> None:
    token = await proxy.ticket("upload", path="f", size=6)
    await proxy.patch(token, 0, b"1234")
    assert (await proxy.patch(token, 4, b"567")).status == 413
    assert await proxy.offset(token) == 4
    assert (await proxy.patch(token, 4, b"56")).status == 204
    assert await proxy.download("f") == b"123456"


async def test_more_bytes_than_announced_are_refused_when_the_length_was_not_told(proxy: Proxy) -> None:
    async def pieces():
        for _ in range(5):
            yield b"x" * 1000

    token = await proxy.ticket("upload", path="f", size=3004)
    await proxy.patch(token, 0, b"1234")
    assert (await proxy.patch(token, 4, pieces())).status == 413
    assert await proxy.offset(token) == 4


async def test_a_body_that_breaks_off_keeps_what_arrived(proxy: Proxy) -> None:
    token = await proxy.ticket("upload", path="f", size=10)
    await _send_and_break_off(proxy, token, announced=10, sent=b"12345")
    await eventually(lambda: _is_at(proxy, token, 5))
    await eventually(lambda: _accepts(proxy, token, 5, b"67890"))
    assert await proxy.download("f") == b"1234567890"


async def eventually(claim: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the claim is true; what it waits for happens in the proxy, which tells nobody."""
    for _ in range(500):
        if await claim():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not happen within five seconds")


async def _is_at(proxy: Proxy, token: str, offset: int) -> bool:
    return await proxy.offset(token) == offset


async def _accepts(proxy: Proxy, token: str, offset: int, data: bytes) -> bool:
    return (await proxy.patch(token, offset, data)).status == 204


async def _send_and_break_off(proxy: Proxy, token: str, announced: int, sent: bytes) -> None:
    address = urlsplit(proxy.client_url)
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(
        f"PATCH /upload?token={token} HTTP/1.1\r\nHost: x\r\nUpload-Offset: 0\r\nContent-Length: {announced}\r\n"
        "Content-Type: application/offset+octet-stream\r\n\r\n".encode()
        + sent
    )
    await writer.drain()
    await asyncio.sleep(0.1)
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()


async def test_of_two_pieces_at_once_one_wins(proxy: Proxy) -> None:
    sent, go = asyncio.Event(), asyncio.Event()

    async def slowly():
        yield b"12345"
        sent.set()
        await go.wait()
        yield b"67890"

    token = await proxy.ticket("upload", path="f", size=10)
    first = asyncio.create_task(proxy.patch(token, 0, slowly()))
    await sent.wait()
    await asyncio.sleep(0.2)
    second = await proxy.patch(token, 0, b"abcdefghij")
    assert second.status == 423
    assert second.json()["type"].endswith("/upload-busy")
    go.set()
    assert (await first).status == 204
    assert await proxy.download("f") == b"1234567890"


async def test_many_pieces_at_once_make_one_file(proxy: Proxy) -> None:
    token = await proxy.ticket("upload", path="f", size=100_000)
    bodies = [bytes([number]) * 100_000 for number in range(8)]
    answers = await asyncio.gather(*(proxy.patch(token, 0, body) for body in bodies))
    statuses = sorted(answer.status for answer in answers)
    assert statuses[0] == 204
    assert set(statuses[1:]) <= {404, 409, 423}
    assert await proxy.download("f") in bodies


async def test_a_client_that_missed_the_last_answer_learns_that_all_is_well(proxy: Proxy) -> None:
    token = await proxy.ticket("upload", path="f", size=3)
    await proxy.patch(token, 0, b"123")
    assert await proxy.offset(token) == 3
    assert (await proxy.patch(token, 3, b"")).status == 204
    assert (await proxy.patch(token, 0, b"123")).status == 409


async def test_a_token_cannot_write_a_file_twice(proxy: Proxy) -> None:
    token = await proxy.ticket("upload", path="f", size=3)
    await proxy.patch(token, 0, b"123")
    await proxy.upload("f", b"new")
    await proxy.patch(token, 0, b"old")
    assert await proxy.download("f") == b"new"


async def test_a_file_that_a_crash_left_complete_is_put_in_its_place_when_asked_for(proxy: Proxy) -> None:
    token = await proxy.ticket("upload", path="f", size=3)
    session = proxy.tokens.read(token, "upload").session
    await asyncio.to_thread((proxy.directory / ".upload" / session).write_bytes, b"123")
    assert await proxy.offset(token) == 3
    assert await proxy.download("f") == b"123"


async def test_an_upload_that_was_swept_is_unknown(proxy: Proxy) -> None:
    token = await proxy.ticket("upload", path="f", size=3)
    session = proxy.tokens.read(token, "upload").session
    await asyncio.to_thread((proxy.directory / ".upload" / session).unlink)
    assert (await proxy.patch(token, 0, b"123")).status == 404
    answer = await proxy.head(token)
    assert answer.status == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/octet-stream"}, 415),
        ({"Upload-Offset": "-1"}, 400),
        ({"Upload-Offset": "four"}, 400),
        ({"Upload-Offset": "٣"}, 400),
        ({"Upload-Offset": "9" * 30}, 400),
        ({"Tus-Resumable": "0.2.2"}, 412),
    ],
)
async def test_a_request_that_is_no_tus_is_refused(proxy: Proxy, headers: dict[str, str], status: int) -> None:
    token = await proxy.ticket("upload", path="f", size=3)
    answer = await proxy.patch(token, 0, b"123", **headers)
    assert (answer.status, answer.content_type) == (status, "application/problem+json")
    assert await proxy.offset(token) == 0


async def test_a_directory_is_not_overwritten(proxy: Proxy) -> None:
    await proxy.manage("/folders/mkdir", paths=["d"])
    assert (await proxy.manage("/folders/upload", path="d", size=1)).status == 400
    token = await proxy.ticket("upload", path="e", size=1)
    await proxy.manage("/folders/mkdir", paths=["e"])
    assert (await proxy.patch(token, 0, b"x")).status == 400
    assert await asyncio.to_thread((proxy.directory / "e").is_dir)


class Uploading(RuleBasedStateMachine):
    """An upload is a byte string that only grows, until it is the file."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.folder = os.open(self.directory.name, os.O_RDONLY)
        self.content = bytes(range(200))
        self.session = partial.begin(self.folder)
        self.arrived = 0
        self.done = False

    @precondition(lambda self: not self.done)
    @rule(count=st.integers(0, 90))
    def append(self, count: int) -> None:
        piece = self.content[self.arrived : self.arrived + count]
        upload = partial.PartialFile.open(self.folder, self.session, OWNER)
        try:
            with pytest.raises(partial.UploadBusyError):
                partial.PartialFile.open(self.folder, self.session, OWNER)
            upload.append(piece)
            self.arrived += len(piece)
            if self.arrived == len(self.content):
                upload.finish(("a", "b"))
                self.done = True
        finally:
            upload.close()

    @precondition(lambda self: not self.done)
    @rule(count=st.integers(1, 50))
    def overrun(self, count: int) -> None:
        upload = partial.PartialFile.open(self.folder, self.session, OWNER)
        upload.append(b"?" * count)
        upload.truncate(self.arrived)
        upload.close()

    @rule(before=st.sampled_from([0.0, 1.0]))
    def sweep_what_is_fresh(self, before: float) -> None:
        assert partial.sweep(self.folder, before) == 0

    @invariant()
    def the_state_is_what_was_sent(self) -> None:
        state = partial.state(self.folder, self.session, len(self.content))
        assert (state.offset, state.done) == (self.arrived, self.done)
        target = Path(self.directory.name, "a", "b")
        assert target.exists() == self.done
        if self.done:
            assert target.read_bytes() == self.content

    def teardown(self) -> None:
        os.close(self.folder)
        self.directory.cleanup()


TestUploading = Uploading.TestCase
