"""Files go in and come out whole, as the official clients send and fetch them."""

import asyncio
import io
import os
import zipfile
from email.utils import parsedate_to_datetime
from urllib.parse import unquote

import pytest
from aiohttp import ClientPayloadError
from tests.unit.storage.running_proxy import Proxy

MIB = 1024 * 1024


async def in_thread(call, *args):
    return await asyncio.to_thread(call, *args)


@pytest.mark.parametrize("size", [1, 3, 16 * MIB - 1, 16 * MIB, 16 * MIB + 1, 40 * MIB])
async def test_a_file_comes_out_as_the_python_client_put_it_in(proxy: Proxy, size: int) -> None:
    data = os.urandom(size)
    await proxy.upload("train.py", data)
    assert await proxy.download("train.py") == data


async def test_an_empty_file_is_there_as_soon_as_its_upload_was_asked_for(proxy: Proxy) -> None:
    token = await proxy.ticket("upload", path="empty/__init__.py", size=0)
    assert await proxy.download("empty/__init__.py") == b""
    assert await proxy.offset(token) == 0


async def test_an_upload_makes_the_directories_on_its_way(proxy: Proxy) -> None:
    await proxy.upload("a/b/c.txt", b"deep")
    assert await proxy.download("a/b/c.txt") == b"deep"


async def test_an_upload_replaces_a_file_at_once(proxy: Proxy) -> None:
    await proxy.upload("result.json", b"old")
    token = await proxy.ticket("upload", path="result.json", size=6)
    await proxy.patch(token, 0, b"new")
    assert await proxy.download("result.json") == b"old"
    await proxy.patch(token, 3, b"est")
    assert await proxy.download("result.json") == b"newest"


async def test_an_upload_may_go_below_a_directory_that_the_client_names(proxy: Proxy) -> None:
    token = await proxy.ticket("upload", path="a.txt", size=1)
    await proxy.patch(token, 0, b"x", dst_dir="below")
    assert await proxy.download("below/a.txt") == b"x"


async def test_the_destination_directory_cannot_leave_the_folder(proxy: Proxy) -> None:
    token = await proxy.ticket("upload", path="a.txt", size=1)
    for directory in ("..", "/tmp", "x/../..", ".upload"):
        assert (await proxy.patch(token, 0, b"x", dst_dir=directory)).status == 400
    assert await proxy.offset(token) == 0


async def test_a_file_that_arrived_belongs_to_the_user_of_the_kernels(proxy: Proxy) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    await proxy.upload("new/a.txt", b"x")
    for path in ("", "new", "new/a.txt"):
        status = await in_thread(os.stat, proxy.directory / path)
        assert (status.st_uid, status.st_gid) == (1000, 1000)
    assert status.st_mode & 0o777 == 0o644


async def test_a_download_tells_its_length_type_and_version(proxy: Proxy) -> None:
    await proxy.upload("data.csv", b"a,b\n")
    answer = await proxy.get(await proxy.ticket("download", path="data.csv"))
    assert answer.headers["Content-Length"] == "4"
    assert answer.headers["Content-Type"] == "text/csv"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["ETag"].startswith('"')
    assert parsedate_to_datetime(answer.headers["Last-Modified"]) is not None


async def test_head_answers_like_get_without_the_bytes(proxy: Proxy) -> None:
    await proxy.upload("data.bin", b"12345")
    token = await proxy.ticket("download", path="data.bin")
    answer = await proxy.get(token, "HEAD")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (200, "5", b"")


async def test_a_download_goes_on_where_it_broke_off(proxy: Proxy) -> None:
    data = os.urandom(3 * MIB)
    await proxy.upload("big.bin", data)
    token = await proxy.ticket("download", path="big.bin")
    modified = (await proxy.get(token)).headers["Last-Modified"]
    answer = await proxy.get(token, Range=f"bytes={MIB}-", **{"If-Range": modified})
    assert answer.status == 206
    assert answer.headers["Content-Range"] == f"bytes {MIB}-{3 * MIB - 1}/{3 * MIB}"
    assert answer.body == data[MIB:]


async def test_a_file_that_changed_is_sent_from_its_beginning(proxy: Proxy) -> None:
    await proxy.upload("big.bin", b"first")
    token = await proxy.ticket("download", path="big.bin")
    etag = (await proxy.get(token)).headers["ETag"]
    await proxy.upload("big.bin", b"other")
    answer = await proxy.get(token, Range="bytes=2-", **{"If-Range": etag})
    assert (answer.status, answer.body) == (200, b"other")


async def test_a_range_beyond_the_end_is_refused(proxy: Proxy) -> None:
    await proxy.upload("small", b"123")
    answer = await proxy.get(await proxy.ticket("download", path="small"), Range="bytes=3-")
    assert (answer.status, answer.headers["Content-Range"], answer.body) == (416, "bytes */3", b"")


@pytest.mark.parametrize("name", ['we"ird\r\nSet-Cookie: x=1.txt', "한글 결과.json", "a;b=c.bin", "😀", "%41.txt"])
async def test_any_file_name_is_told_safely(proxy: Proxy, name: str) -> None:
    await proxy.upload(name, b"x")
    answer = await proxy.get(await proxy.ticket("download", path=name))
    assert "Set-Cookie" not in answer.headers
    shown = answer.headers["Content-Disposition"]
    assert shown.isascii()
    assert unquote(shown.partition("filename*=UTF-8''")[2]) == name


async def test_a_file_that_shrinks_while_it_is_sent_breaks_the_connection(proxy: Proxy) -> None:
    await in_thread((proxy.directory / "big").write_bytes, b"x" * (64 * MIB))
    token = await proxy.ticket("download", path="big")
    async with proxy.session.get(f"{proxy.client_url}/download", params={"token": token}) as answer:
        await in_thread(os.truncate, proxy.directory / "big", 1)
        with pytest.raises(ClientPayloadError):
            await answer.read()


async def test_a_directory_comes_out_as_an_archive(proxy: Proxy) -> None:
    big = os.urandom(5 * MIB)
    await proxy.upload("d/one.txt", b"1")
    await proxy.upload("d/sub/two.bin", big)
    await proxy.manage("/folders/mkdir", paths=["d/empty"])
    await in_thread(os.symlink, "/etc/passwd", proxy.directory / "d" / "link")
    await in_thread(os.mkfifo, proxy.directory / "d" / "fifo")
    answer = await proxy.get(await proxy.ticket("download", path="d", archive=True))
    assert answer.headers["Content-Type"] == "application/zip"
    assert "d.zip" in answer.headers["Content-Disposition"]
    archive = zipfile.ZipFile(io.BytesIO(answer.body))
    assert await in_thread(archive.testzip) is None
    assert sorted(archive.namelist()) == ["empty/", "one.txt", "sub/", "sub/two.bin"]
    assert await in_thread(archive.read, "sub/two.bin") == big


async def test_a_whole_folder_comes_out_without_its_uploads(proxy: Proxy) -> None:
    await proxy.upload("a.txt", b"1")
    await proxy.ticket("upload", path="later", size=10)
    answer = await proxy.get(await proxy.ticket("download", path=".", archive=True))
    assert zipfile.ZipFile(io.BytesIO(answer.body)).namelist() == ["a.txt"]


async def test_an_archive_of_a_single_file_is_the_file(proxy: Proxy) -> None:
    await proxy.upload("a.txt", b"plain")
    answer = await proxy.get(await proxy.ticket("download", path="a.txt", archive=True))
    assert (answer.body, answer.headers["Content-Length"]) == (b"plain", "5")


async def test_names_that_are_not_unicode_are_archived_readably(proxy: Proxy) -> None:
    await in_thread(_write, os.fsencode(proxy.directory) + b"/bad\xff.txt")
    answer = await proxy.get(await proxy.ticket("download", path=".", archive=True))
    assert zipfile.ZipFile(io.BytesIO(answer.body)).namelist() == ["bad\\xff.txt"]


def _write(path: bytes) -> None:
    with open(path, "wb") as file:  # noqa: PTH123 - pathlib has no bytes
        file.write(b"x")


async def test_a_directory_is_no_download_without_archive(proxy: Proxy) -> None:
    await proxy.upload("d/a", b"1")
    answer = await proxy.manage("/folders/download", path="d")
    assert answer.status == 400
    assert "archive" in answer.json()["msg"]


async def test_what_is_not_there_cannot_be_downloaded(proxy: Proxy) -> None:
    answer = await proxy.manage("/folders/download", path="nothing")
    assert (answer.status, answer.json()["title"]) == (404, "No such file or directory.")


async def test_a_file_that_vanished_after_the_ticket_is_a_problem_document(proxy: Proxy) -> None:
    await proxy.upload("a", b"1")
    token = await proxy.ticket("download", path="a")
    await in_thread((proxy.directory / "a").unlink)
    answer = await proxy.get(token)
    assert (answer.status, answer.content_type) == (404, "application/problem+json")
