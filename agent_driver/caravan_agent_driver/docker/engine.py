"""Talking to Docker: one connection pool, JSON in and out, its refusals as errors."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from caravan_common.errors import CaravanError

ANSWER_SECONDS = 30.0
_CHUNK = 64 * 1024

Json = Any
"""What Docker answers, before one of our classes reads it."""


class DockerError(CaravanError):
    """Docker refused a call, or cannot be reached (``docker_status`` 0)."""

    status = 503
    slug = "service-unavailable"
    title = "Docker refused."
    code = "backendai_docker_unavailable"

    def __init__(self, message: str, docker_status: int = 0) -> None:
        super().__init__(message)
        self.docker_status = docker_status

    @property
    def is_outage(self) -> bool:
        """Whether Docker is at fault, or away, and not what it was asked for."""
        return self.docker_status == 0 or self.docker_status >= 500


class Engine:
    """Docker's API at a Unix socket. Connects when it is used; ``close`` when done."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.UnixConnector(path=str(self._socket), limit=0)
            self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None))
        return self._session

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, query: Mapping[str, str], body: object
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        data = None if body is None else orjson.dumps(body)
        headers = {} if data is None else {"Content-Type": "application/json"}
        try:
            async with self._client().request(
                method, f"http://docker{path}", params=query, data=data, headers=headers
            ) as response:
                if response.status >= 400:
                    raise DockerError(await _complaint(response), response.status)
                yield response
        except (aiohttp.ClientError, OSError) as err:
            raise DockerError(f"Docker at {self._socket} does not answer: {err}") from err

    async def call(self, method: str, path: str, query: Mapping[str, str] | None = None, body: object = None) -> Json:
        """Make one call and return its JSON, None when the answer is empty. Raises DockerError."""
        try:
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                self._request(method, path, query or {}, body) as response,
            ):
                raw = await response.read()
        except TimeoutError as err:
            raise DockerError(f"Docker did not answer {method} {path} in {ANSWER_SECONDS:.0f} s") from err
        return orjson.loads(raw) if raw.strip() else None

    async def call_if_there(self, method: str, path: str, query: Mapping[str, str] | None = None) -> None:
        """Make one call about a thing that may be gone, or already be as the call wants it."""
        try:
            await self.call(method, path, query)
        except DockerError as err:
            if err.docker_status not in (404, 409):
                raise

    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
        """Yield what Docker sends, as it comes, until it ends the answer; first nothing, when the stream is open.

        Raises DockerError.
        """
        async with self._request("GET", path, query, None) as response:
            yield b""
            async for chunk in response.content.iter_chunked(_CHUNK):
                yield chunk


async def _complaint(response: aiohttp.ClientResponse) -> str:
    raw = await response.read()
    try:
        return str(orjson.loads(raw)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return raw.decode(errors="replace") or response.reason or "no reason given"
