"""Only a token that this proxy signed, for this operation, that has not expired, is good for anything."""

import base64
import json
from uuid import UUID

import jwt
import pytest
from tests.unit.storage.running_proxy import SCOPE, SECRET, Proxy

from caravan_common.errors import AuthorizationFailedError, ForbiddenError, InvalidAuthParametersError
from caravan_common.wire.storage import FolderRef
from caravan_storage.tokens import Tokens

FOLDER = FolderRef(volume="volume1", quota_scope=SCOPE, folder=UUID(int=5))
NOW = 1_800_000_000.0


def tokens(now: float = NOW, key: str = SECRET) -> Tokens:
    return Tokens(key, 3600, 600, now=lambda: now)


def test_the_claims_are_those_of_the_protocol() -> None:
    token = tokens().for_upload(FOLDER, "a.txt", 3, "f" * 32)
    claims = jwt.decode(token, SECRET, algorithms=["HS256"], options={"verify_exp": False})
    assert claims == {
        "op": "upload",
        "volume": "volume1",
        "vfid": f"{SCOPE}/{5:032x}",
        "relpath": "a.txt",
        "size": 3,
        "session": "f" * 32,
        "exp": int(NOW) + 3600,
    }


def test_a_token_says_what_it_was_made_for() -> None:
    claims = tokens().read(tokens().for_download(FOLDER, "d", archive=True), "download")
    assert (claims.folder(), claims.relpath, claims.archive) == (FOLDER, "d", True)


def test_a_missing_token_is_told_as_such() -> None:
    with pytest.raises(InvalidAuthParametersError):
        tokens().read("", "download")


@pytest.mark.parametrize("seconds", [600, 601, 10**6])
def test_an_expired_token_is_refused(seconds: int) -> None:
    token = tokens().for_download(FOLDER, "a", archive=False)
    with pytest.raises(AuthorizationFailedError, match="expired"):
        tokens(NOW + seconds).read(token, "download")


def test_a_token_for_a_download_is_not_good_for_an_upload() -> None:
    with pytest.raises(ForbiddenError):
        tokens().read(tokens().for_download(FOLDER, "a", archive=False), "upload")


def test_a_token_of_another_key_is_refused() -> None:
    with pytest.raises(AuthorizationFailedError):
        tokens().read(tokens(key="another key" * 5).for_download(FOLDER, "a", archive=False), "download")


def _part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


CLAIMS = {"op": "download", "volume": "volume1", "vfid": f"{SCOPE}/{5:032x}", "relpath": "a", "exp": int(NOW) + 60}


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a.b.c",
        f"{_part({'alg': 'none'})}.{_part(CLAIMS)}.",
        jwt.encode({k: v for k, v in CLAIMS.items() if k != "exp"}, SECRET),
        jwt.encode(CLAIMS | {"vfid": "user:x/y"}, SECRET),
        jwt.encode(CLAIMS | {"vfid": "../../etc"}, SECRET),
        jwt.encode(CLAIMS | {"op": "delete"}, SECRET),
        jwt.encode(CLAIMS, SECRET, algorithm="HS512"),
    ],
)
def test_a_forged_token_is_refused(token: str) -> None:
    with pytest.raises(AuthorizationFailedError):
        tokens().read(token, "download")


@pytest.mark.parametrize(("method", "path"), [("GET", "/download"), ("HEAD", "/upload"), ("PATCH", "/upload")])
async def test_every_client_call_needs_a_token(proxy: Proxy, method: str, path: str) -> None:
    headers = {"Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    for token, status in (("", 400), ("x", 401)):
        answer = await proxy.ask(method, proxy.client_url + path, params={"token": token}, headers=headers)
        assert (answer.status, answer.content_type) == (status, "application/problem+json")
        assert answer.headers["Access-Control-Allow-Origin"] == "*"


async def test_the_wrong_kind_of_token_is_refused_by_the_doors(proxy: Proxy) -> None:
    await proxy.upload("a", b"x")
    fetch, send = await proxy.ticket("download", path="a"), await proxy.ticket("upload", path="a", size=1)
    assert ((await proxy.patch(fetch, 0, b"y")).status, (await proxy.get(send)).status) == (403, 403)
    assert await proxy.download("a") == b"x"


async def test_the_client_door_says_who_it_is(proxy: Proxy) -> None:
    answer = (await proxy.ask("GET", proxy.client_url)).json()
    assert (answer["type"], set(answer)) == ("client-facing", {"status", "type", "storage-proxy"})


async def test_an_unknown_path_of_the_client_door_is_a_problem_document(proxy: Proxy) -> None:
    answer = await proxy.ask("GET", f"{proxy.client_url}/folders")
    assert (answer.status, answer.content_type) == (404, "application/problem+json")
