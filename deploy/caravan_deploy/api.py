"""JSON over HTTP to one of the three servers: a request, its answer, and one sentence when it fails."""

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from caravan_deploy.errors import ApiError
from caravan_deploy.layout import LOOPBACK

NO_ANSWER = 0


@dataclass(frozen=True, slots=True)
class Api:
    """One server's HTTP API, on this machine or by TLS on another; ``headers`` carry the token and are never shown."""

    name: str
    port: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    host: str = LOOPBACK
    tls: ssl.SSLContext | None = None

    def call(self, method: str, path: str, body: object | None = None, *, limit: float = 15) -> Any:
        """Return the JSON answer (None for an empty one). Raises ApiError for a status of 400 and above."""
        content = None if body is None else json.dumps(body)
        status, text = self._send(method, path, content, limit)
        if status >= 400:
            raise ApiError(f"{self.name} refused {method} {path}: {status} {text.strip()[:400]}", status)
        try:
            return json.loads(text) if text else None
        except json.JSONDecodeError:
            return text

    def find(self, path: str) -> Any:
        """GET, or None when there is no such thing."""
        try:
            return self.call("GET", path)
        except ApiError as error:
            if error.answered == 404:
                return None
            raise

    def answers(self, path: str) -> bool:
        """Say whether the server answers with a status below 400."""
        try:
            self.call("GET", path, limit=2)
        except ApiError:
            return False
        return True

    def _send(self, method: str, path: str, content: str | None, limit: float) -> tuple[int, str]:
        connection = self._connection(limit)
        try:
            connection.request(method, path, content, dict(self.headers))
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            where = f"port {self.port}" if self.host == LOOPBACK else f"{self.host}:{self.port}"
            raise ApiError(f"{self.name} does not answer on {where} ({error}).", NO_ANSWER) from error
        finally:
            connection.close()

    def _connection(self, limit: float) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=limit)
        return http.client.HTTPSConnection(self.host, self.port, timeout=limit, context=self.tls)
