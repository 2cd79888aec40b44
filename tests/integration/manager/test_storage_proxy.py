"""The contract of a storage proxy as the manager sees it: kept by the real one, and by the fake."""

import os
from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pydantic import BaseModel, SecretStr
from tests.integration.manager.fake_storage import FakeStorageProxy

from caravan_common.errors import CaravanError, ConflictError, ForbiddenError, InvalidParametersError, UnavailableError
from caravan_common.http import Handler, json_response, problems
from caravan_common.wire.storage import FolderRef, ListFiles, MakeDirectories, RequestDownload, RequestUpload
from caravan_manager.config import StorageSection
from caravan_manager.vfolders.proxies import (
    FileNotInFolderError,
    HttpStorageProxy,
    StorageFullError,
    StorageProxy,
    StorageProxyError,
)
from caravan_storage.app import manager_app
from caravan_storage.config import StorageConfig
from caravan_storage.wiring import build_storage

TOKEN = "the manager's token"


def serve(fake: FakeStorageProxy) -> web.Application:
    """The storage proxy's manager API on top of the fake, for the client to speak to."""
    routes = web.RouteTableDef()

    def answer(result: BaseModel | None) -> web.Response:
        return web.Response(status=204) if result is None else json_response(result.model_dump(mode="json"))

    @routes.get("/volumes")
    async def volumes(_request: web.Request) -> web.Response:
        return answer(await fake.volumes())

    @routes.post("/folders")
    async def create(request: web.Request) -> web.Response:
        return answer(await fake.create(FolderRef.model_validate_json(await request.read())))

    @routes.post("/folders/delete")
    async def delete(request: web.Request) -> web.Response:
        return answer(await fake.delete(FolderRef.model_validate_json(await request.read())))

    @routes.post("/folders/usage")
    async def usage(request: web.Request) -> web.Response:
        return answer(await fake.usage(FolderRef.model_validate_json(await request.read())))

    @routes.post("/folders/mkdir")
    async def mkdir(request: web.Request) -> web.Response:
        return answer(await fake.make_directories(MakeDirectories.model_validate_json(await request.read())))

    @routes.post("/folders/files")
    async def files(request: web.Request) -> web.Response:
        return answer(await fake.files(ListFiles.model_validate_json(await request.read())))

    @routes.post("/folders/upload")
    async def upload(request: web.Request) -> web.Response:
        return answer(await fake.request_upload(RequestUpload.model_validate_json(await request.read())))

    @routes.post("/folders/download")
    async def download(request: web.Request) -> web.Response:
        return answer(await fake.request_download(RequestDownload.model_validate_json(await request.read())))

    @web.middleware
    async def bearer(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return json_response({"title": "wrong token"}, status=401)
        return await handler(request)

    app = web.Application(middlewares=[problems, bearer])
    app.add_routes(routes)
    return app


def section(url: str, token: str = TOKEN) -> StorageSection:
    return StorageSection(manager_url=url, token=SecretStr(token))


def real(volume: Path) -> web.Application:
    """The real storage proxy's manager API, with its one volume in a folder of the test."""
    account = {"uid": os.getuid(), "gid": os.getgid()}
    config = {
        "name": "local",
        "secret": "a signing key for the tests, long enough",
        **account,
        "client_api": {"public_url": "http://storage.example"},
        "manager_api": {"token": TOKEN},
        "volumes": {"volume1": {"path": str(volume)}},
    }
    return manager_app(build_storage(StorageConfig.model_validate(config)))


@pytest.fixture(params=["fake", "fake over HTTP", "real"])
async def proxy(
    request: pytest.FixtureRequest, storage: FakeStorageProxy, tmp_path: Path
) -> AsyncGenerator[StorageProxy, None]:
    if request.param == "fake":
        yield storage
        return
    app = real(tmp_path) if request.param == "real" else serve(storage)
    async with TestServer(app) as server, aiohttp.ClientSession() as client:
        yield HttpStorageProxy(client, section(str(server.make_url("/"))))


@pytest.fixture
def ref() -> FolderRef:
    return FolderRef(volume="volume1", quota_scope=f"user:{uuid4()}", folder=uuid4())


async def test_volumes_are_listed(proxy: StorageProxy) -> None:
    (volume,) = (await proxy.volumes()).volumes
    assert (volume.name, volume.backend, volume.capabilities) == ("volume1", "vfs", ["vfolder"])


async def test_creating_and_deleting_twice_is_doing_it_once(proxy: StorageProxy, ref: FolderRef) -> None:
    await proxy.create(ref)
    await proxy.create(ref)
    assert (await proxy.usage(ref)).files == 0
    await proxy.delete(ref)
    await proxy.delete(ref)
    with pytest.raises(FileNotInFolderError):
        await proxy.usage(ref)


async def test_directories_are_made_one_by_one(proxy: StorageProxy, ref: FolderRef) -> None:
    await proxy.create(ref)
    request = MakeDirectories(**ref.model_dump(), paths=["a", "a", "b"])
    outcomes = (await proxy.make_directories(request)).outcomes
    assert [outcome.path for outcome in outcomes] == ["a", "a", "b"]
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    listing = await proxy.files(ListFiles(**ref.model_dump()))
    assert [(entry.name, entry.type) for entry in listing.entries] == [("a", "DIRECTORY"), ("b", "DIRECTORY")]


async def test_a_directory_outside_the_folder_is_not_made(proxy: StorageProxy, ref: FolderRef) -> None:
    await proxy.create(ref)
    request = MakeDirectories(**ref.model_dump(), paths=["../a", "b"])
    outcomes = (await proxy.make_directories(request)).outcomes
    assert [outcome.error is None for outcome in outcomes] == [False, True]


async def test_files_are_uploaded_and_downloaded_with_tickets(proxy: StorageProxy, ref: FolderRef) -> None:
    await proxy.create(ref)
    ticket = await proxy.request_upload(RequestUpload(**ref.model_dump(), path="a.txt", size=0))
    assert ticket.token
    assert ticket.url.startswith("http")
    assert (await proxy.usage(ref)).files == 1
    assert (await proxy.request_download(RequestDownload(**ref.model_dump(), path="a.txt"))).token


async def test_what_does_not_exist_is_not_found(proxy: StorageProxy, ref: FolderRef) -> None:
    await proxy.create(ref)
    with pytest.raises(FileNotInFolderError):
        await proxy.files(ListFiles(**ref.model_dump(), path="nowhere"))
    with pytest.raises(FileNotInFolderError):
        await proxy.request_download(RequestDownload(**ref.model_dump(), path="nothing"))


@pytest.mark.parametrize("path", ["../other", "/etc/passwd"])
async def test_paths_that_leave_the_folder_are_refused(proxy: StorageProxy, ref: FolderRef, path: str) -> None:
    await proxy.create(ref)
    with pytest.raises(InvalidParametersError):
        await proxy.files(ListFiles(**ref.model_dump(), path=path))


async def test_an_unknown_volume_is_refused(proxy: StorageProxy, ref: FolderRef) -> None:
    with pytest.raises(FileNotInFolderError):
        await proxy.create(ref.model_copy(update={"volume": "volume9"}))


async def test_a_proxy_that_does_not_answer_is_unavailable(storage: FakeStorageProxy, ref: FolderRef) -> None:
    storage.silent = True
    with pytest.raises(UnavailableError):
        await storage.create(ref)
    async with TestServer(serve(storage)) as server, aiohttp.ClientSession() as client:
        with pytest.raises(UnavailableError):
            await HttpStorageProxy(client, section(str(server.make_url("/")))).create(ref)


async def test_a_proxy_that_nobody_runs_is_unavailable(ref: FolderRef) -> None:
    async with aiohttp.ClientSession() as client:
        with pytest.raises(UnavailableError):
            await HttpStorageProxy(client, section("http://127.0.0.1:9")).create(ref)


async def test_a_wrong_token_is_our_fault_and_not_the_users(storage: FakeStorageProxy, ref: FolderRef) -> None:
    async with TestServer(serve(storage)) as server, aiohttp.ClientSession() as client:
        with pytest.raises(StorageProxyError) as caught:
            await HttpStorageProxy(client, section(str(server.make_url("/")), "wrong")).create(ref)
    assert caught.value.status == 502
    assert TOKEN not in str(caught.value.problem())


@pytest.mark.parametrize("body", [b"", b"{}", b"<html>", b"[1]"])
async def test_an_answer_that_makes_no_sense_is_an_error_of_the_proxy(body: bytes) -> None:
    async def nonsense(_request: web.Request) -> web.Response:
        return web.Response(body=body)

    app = web.Application()
    app.router.add_get("/volumes", nonsense)
    async with TestServer(app) as server, aiohttp.ClientSession() as client:
        with pytest.raises(StorageProxyError):
            await HttpStorageProxy(client, section(str(server.make_url("/")))).volumes()


@pytest.mark.parametrize("body", [b"", b"not JSON", b"[]", b'{"msg": 5}'])
async def test_a_refusal_without_a_reason_is_still_an_error(body: bytes) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=500, body=body)

    app = web.Application()
    app.router.add_get("/volumes", refuse)
    async with TestServer(app) as server, aiohttp.ClientSession() as client:
        with pytest.raises(CaravanError, match="no reason"):
            await HttpStorageProxy(client, section(str(server.make_url("/")))).volumes()


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (400, InvalidParametersError),
        (401, StorageProxyError),
        (403, ForbiddenError),
        (404, FileNotInFolderError),
        (409, ConflictError),
        (500, StorageProxyError),
        (302, StorageProxyError),
        (503, UnavailableError),
        (507, StorageFullError),
    ],
)
async def test_a_refusal_keeps_its_kind_and_its_reason(status: int, problem: type[CaravanError]) -> None:
    async def refuse(_request: web.Request) -> web.Response:
        return json_response({"title": "No.", "msg": "because"}, status=status)

    app = web.Application()
    app.router.add_get("/volumes", refuse)
    async with TestServer(app) as server, aiohttp.ClientSession() as client:
        with pytest.raises(problem, match="because"):
            await HttpStorageProxy(client, section(str(server.make_url("/")))).volumes()
