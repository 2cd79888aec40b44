"""Requests of Backend.AI's protocol, signed beforehand, as the bytes that go over the wire."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from caravan_manager.api.signature import SignedRequest, sign

VERSION = "v8.20240915"
VARIANTS = 500
"""How many differently signed copies there are of a request, so that no server can remember one as a whole."""


@dataclass(frozen=True)
class Endpoint:
    """A manager, and a keypair of it."""

    host: str
    port: int
    access_key: str
    secret_key: str

    def prepared(self, method: str, path: str, body: object = None) -> list[str]:
        """Return ``VARIANTS`` copies of the request, each signed for another moment, in base64."""
        began = datetime.now(UTC)
        return [
            base64.b64encode(self.raw(method, path, body, began + timedelta(milliseconds=number))).decode()
            for number in range(VARIANTS)
        ]

    def raw(self, method: str, path: str, body: object, at: datetime) -> bytes:
        """Return one request as it goes over the wire."""
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in self.headers(method, path, at).items())]
        return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content

    def headers(self, method: str, path: str, at: datetime) -> dict[str, str]:
        """Return the headers of a request, signed."""
        host, date = f"{self.host}:{self.port}", at.isoformat()
        signed = SignedRequest(method, path, date, host, "application/json", VERSION)
        signature = sign(signed, at, self.secret_key, "sha256")
        return {
            "Host": host,
            "User-Agent": "caravan-bench",
            "Date": date,
            "Content-Type": "application/json",
            "X-BackendAI-Version": VERSION,
            "Authorization": f"BackendAI signMethod=HMAC-SHA256, credential={self.access_key}:{signature}",
        }
