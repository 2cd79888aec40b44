"""How the tests speak to a storage proxy that runs."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from aiohttp import ClientSession

from caravan_common.ids import folder_path
from caravan_storage.config import StorageConfig
from caravan_storage.tokens import Tokens
from caravan_storage.wiring import Storage

MANAGER_TOKEN = "the-manager's-token-of-the-tests"
SECRET = "a signing key that only the tests know, and that is long enough for any HMAC"
SCOPE = "user:f38dea23-50fa-42a0-b5ae-338f5f4693f4"


@dataclass(frozen=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def content_type(self) -> str:
        return self.headers["Content-Type"].partition(";")[0]


@dataclass
class Proxy:
    """A proxy that runs, and how the tests speak to it."""

    session: ClientSession
    storage: Storage
    root: Path
    client_url: str
    manager_url: str
    metrics_url: str
    folder: UUID = field(default_factory=uuid4)

    @property
    def ref(self) -> dict[str, object]:
        return {"volume": "volume1", "quota_scope": SCOPE, "folder": str(self.folder)}

    @property
    def directory(self) -> Path:
        return self.root / folder_path(SCOPE, self.folder)

    @property
    def tokens(self) -> Tokens:
        return self.storage.tokens

    async def ask(self, method: str, url: str, **options: object) -> Answer:
        async with self.session.request(method, url, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def manage(self, call: str, token: str = MANAGER_TOKEN, method: str = "POST", **body: object) -> Answer:
        headers = {"Authorization": f"Bearer {token}"}
        return await self.ask(method, self.manager_url + call, json=self.ref | body, headers=headers)

    async def create(self) -> None:
        assert (await self.manage("/folders")).status == 204

    async def ticket(self, kind: str, **body: object) -> str:
        """Ask for a transfer; return the token."""
        answer = await self.manage(f"/folders/{kind}", **body)
        assert answer.status == 200, answer.body
        return str(answer.json()["token"])

    async def patch(self, token: str, offset: int, data: object, dst_dir: str = "", **headers: str) -> Answer:
        """Send one piece as the official Python client does."""
        sent = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream", **headers}
        body = io.BytesIO(data) if isinstance(data, bytes) else data
        query = {"token": token} | ({"dst_dir": dst_dir} if dst_dir else {})
        return await self.ask("PATCH", f"{self.client_url}/upload", params=query, data=body, headers=sent)

    async def upload(self, path: str, data: bytes, chunk: int = 16 * 1024 * 1024) -> None:
        """Upload a whole file: no HEAD, pieces from offset 0, nothing at all for an empty file."""
        token = await self.ticket("upload", path=path, size=len(data))
        for offset in range(0, len(data), chunk):
            answer = await self.patch(token, offset, data[offset : offset + chunk])
            assert answer.status == 204, answer.body
            assert int(answer.headers["Upload-Offset"]) == min(offset + chunk, len(data))

    async def head(self, token: str) -> Answer:
        return await self.ask("HEAD", f"{self.client_url}/upload", params={"token": token})

    async def offset(self, token: str) -> int:
        answer = await self.head(token)
        assert answer.status == 200
        return int(answer.headers["Upload-Offset"])

    async def get(self, token: str, method: str = "GET", **headers: str) -> Answer:
        return await self.ask(method, f"{self.client_url}/download", params={"token": token}, headers=headers)

    async def download(self, path: str) -> bytes:
        answer = await self.get(await self.ticket("download", path=path))
        assert answer.status == 200, answer.body
        return answer.body


def config_of(root: Path) -> StorageConfig:
    return StorageConfig.model_validate(
        {
            "name": "local",
            "secret": SECRET,
            "client_api": {"public_url": "http://storage.example:6021"},
            "manager_api": {"token": MANAGER_TOKEN},
            "volumes": {"volume1": {"path": str(root)}},
        }
    )
