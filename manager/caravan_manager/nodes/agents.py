"""The manager's side of the agents' API: prepare a kernel, forget it, read its log."""

import ssl
from typing import Protocol
from uuid import UUID

import aiohttp
import orjson
from pydantic import ValidationError

from caravan_common.errors import CaravanError, NotFoundError, UnavailableError
from caravan_common.wire.agent import KernelList, KernelSpec, Release

TIMEOUT = aiohttp.ClientTimeout(total=10, connect=3)
AGENT_NAME = "caravan-agent.service.consul"
"""The name in every agent's certificate: the cluster's CA gives it to the job caravan-agent only."""
REFUSALS = {400: "invalid", 409: "conflict", 413: "too-large", 422: "invalid"}
"""What is wrong with the specification itself; other failures may be over at the next try."""
PREPARE_SECONDS = 8
"""How long one call waits for a preparation, which takes a tenth of a second as a rule."""
MAX_LOG_BYTES = 16 * 1024 * 1024


class SpecRefusedError(CaravanError):
    """The agent will never prepare this kernel: its specification is wrong for the node.

    ``reason`` is the kind of refusal, one of the values of REFUSALS.
    """

    status = 502
    title = "The agent refused the kernel."

    def __init__(self, message: str, reason: str = "invalid") -> None:
        super().__init__(message)
        self.reason = reason


class LogNotFoundError(NotFoundError):
    """The node has no log of this kernel."""

    object_name = "container log"


class Agents(Protocol):
    """What the manager asks of agents, each at its URL. Raises UnavailableError when one does not answer."""

    async def prepare(self, url: str, spec: KernelSpec) -> None:
        """Have the agent prepare a kernel, and return when all that its container needs is there; twice is harmless.

        Raises SpecRefusedError when it can never be prepared, UnavailableError also when it takes too long or the node
        has an outage (Docker is away, a disk is full): ask again.
        """
        ...

    async def release(self, url: str, kernel: UUID, told: Release) -> None:
        """Let a kernel begin that waits for the others of its gang; twice, or an unknown one, is harmless."""
        ...

    async def forget(self, url: str, kernel: UUID) -> None:
        """Have the agent clean a kernel up; an unknown one is harmless."""
        ...

    async def logs(self, url: str, kernel: UUID) -> bytes:
        """Return a kernel's log, live or saved. Raises LogNotFoundError."""
        ...

    async def kernels(self, url: str) -> KernelList:
        """Return everything that the agent holds."""
        ...


class HttpAgents:
    """The real agents, over HTTP with the token that they share with the manager.

    With ``tls`` only agents are spoken to that show a certificate for AGENT_NAME; without it the way must be safe.
    """

    def __init__(self, client: aiohttp.ClientSession, token: str, tls: ssl.SSLContext | None = None) -> None:
        self._client = client
        self._tls = tls
        self._headers = {"Authorization": f"Bearer {token}"}

    async def prepare(self, url: str, spec: KernelSpec) -> None:
        """Have the agent prepare a kernel, and return when all that its container needs is there; twice is harmless.

        Raises SpecRefusedError when it can never be prepared, UnavailableError also when it takes too long or the node
        has an outage (Docker is away, a disk is full): ask again.
        """
        wanted = f"{url}/kernels/{spec.kernel}?wait={PREPARE_SECONDS}"
        await self._call("PUT", wanted, body=spec.model_dump_json().encode())

    async def release(self, url: str, kernel: UUID, told: Release) -> None:
        """Let a kernel begin that waits for the others of its gang; twice, or an unknown one, is harmless."""
        await self._call("POST", f"{url}/kernels/{kernel}/release", body=told.model_dump_json().encode())

    async def forget(self, url: str, kernel: UUID) -> None:
        """Have the agent clean a kernel up; an unknown one is harmless."""
        await self._call("DELETE", f"{url}/kernels/{kernel}")

    async def logs(self, url: str, kernel: UUID) -> bytes:
        """Return a kernel's log, live or saved. Raises LogNotFoundError."""
        return await self._call("GET", f"{url}/kernels/{kernel}/logs")

    async def kernels(self, url: str) -> KernelList:
        """Return everything that the agent holds."""
        try:
            return KernelList.model_validate_json(await self._call("GET", f"{url}/kernels"))
        except ValidationError as err:
            raise UnavailableError(f"the agent at {url} speaks another version") from err

    async def _call(self, method: str, url: str, body: bytes | None = None) -> bytes:
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        if self._tls is not None and not url.startswith("https://"):
            raise UnavailableError(f"the agent at {url.partition('/kernels')[0]} does not speak TLS")
        try:
            async with self._client.request(
                method,
                url,
                data=body,
                headers=headers,
                timeout=TIMEOUT,
                allow_redirects=False,
                ssl=self._tls or True,
                server_hostname=AGENT_NAME if self._tls is not None else None,
            ) as answer:
                content = await answer.content.read(MAX_LOG_BYTES)
                while len(content) < MAX_LOG_BYTES and (
                    more := await answer.content.read(MAX_LOG_BYTES - len(content))
                ):
                    content += more
        except (TimeoutError, aiohttp.ClientError) as err:
            raise UnavailableError(f"the agent at {url.partition('/kernels')[0]} does not answer") from err
        if answer.status in REFUSALS:
            raise SpecRefusedError(_complaint(content), REFUSALS[answer.status])
        if answer.status == 404:
            raise LogNotFoundError("the agent holds nothing of it")
        if answer.status >= 400:
            raise UnavailableError(f"the agent failed with status {answer.status}: {_complaint(content)}")
        return content


def _complaint(content: bytes) -> str:
    """Return the sentence of a problem document, or the text itself."""
    try:
        return str(orjson.loads(content)["msg"])[:500]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return content[:500].decode(errors="replace")
