"""Recorded exchanges with the real manager, and the sending of their requests to another one, signed anew."""

import http.client
import json
import re
import urllib.parse
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from caravan_manager.api.signature import SignedRequest, sign

LIMIT_SECONDS = 120
_OF_ONE_CONNECTION = frozenset(
    {"host", "date", "authorization", "content-length", "accept-encoding", "connection", "transfer-encoding"}
)
_PAIR = re.compile(
    r">>> (?P<method>\S+) (?P<path>\S+)\n(?P<sent>(?:> .*\n)*)>\n(?P<body>.*?)\n\n"
    r"<<< (?P<status>\d+)[^\n]*\n(?P<got>(?:< .*\n)*)<\n(?P<answer>.*?)(?:\n\n# raw body:.*)?\Z",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it was recorded. ``headers`` are without those that belong to one connection or one signature."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    signed: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. ``body`` is the decoded JSON, the text of anything else, or None when there is none."""

    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and the answer to it, under the name that lists of differences use."""

    name: str
    request: Request
    answer: Answer


def read_pairs(folder: Path) -> list[Exchange]:
    """Return the exchanges of a folder of `>>>`/`<<<` files, by file name."""
    return [_pair(path) for path in sorted(folder.glob("*.txt"))]


def _pair(path: Path) -> Exchange:
    read = _PAIR.match(path.read_text(encoding="utf-8"))
    assert read is not None, f"{path} is no recorded exchange"
    request = _request(read["method"], read["path"], _headers(read["sent"], "> "), read["body"])
    return Exchange(
        path.stem, request, Answer(int(read["status"]), _decoded(read["answer"]), _headers(read["got"], "< "))
    )


def read_wire(file: Path) -> list[Exchange]:
    """Return the exchanges that a client's run left, one JSON object a line, in the order of the run; no WebSockets.

    Each is named after its line (from 1) and the command that caused it.
    """
    lines = enumerate(map(json.loads, file.read_text(encoding="utf-8").splitlines()), 1)
    return [_exchange(number, line) for number, line in lines if "status" in line]


def _exchange(number: int, line: dict[str, Any]) -> Exchange:
    given = line["req_body"]
    text = "" if given is None else given if isinstance(given, str) else json.dumps(given)
    request = _request(line["method"], line["path"], line["req_headers"], text)
    answer = Answer(line["status"], line["resp_body"], line["resp_headers"])
    return Exchange(f"{number:03} {line['cmd']}", request, answer)


def _request(method: str, path: str, headers: dict[str, str], body: str) -> Request:
    kept = {name: value for name, value in headers.items() if name.lower() not in _OF_ONE_CONNECTION}
    return Request(method, path, kept, body.encode(), "Authorization" in headers)


def _headers(text: str, mark: str) -> dict[str, str]:
    lines = (line.removeprefix(mark).partition(": ") for line in text.splitlines())
    return {name: value for name, _, value in lines}


def _decoded(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return text


@dataclass(frozen=True, slots=True)
class Caller:
    """Sends requests to the manager at ``endpoint``, signed with one keypair now."""

    endpoint: str
    access_key: str
    secret_key: str

    def send(self, request: Request) -> Answer:
        """Send a request, with a signature if it was recorded with one."""
        url = urllib.parse.urlsplit(self.endpoint)
        headers = {"Host": url.netloc, **request.headers}
        if request.signed:
            headers |= self._signature(request, url.netloc)
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=LIMIT_SECONDS)
        try:
            connection.request(request.method, request.path, body=request.body or None, headers=headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            return Answer(answer.status, _decoded(text), dict(answer.getheaders()))
        finally:
            connection.close()

    def _signature(self, request: Request, host: str) -> dict[str, str]:
        date = datetime.now(UTC)
        sent = {name.lower(): value for name, value in request.headers.items()}
        content_type = sent.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
        version = sent["x-backendai-version"]
        signed = SignedRequest(request.method, request.path, date.isoformat(), host, content_type, version)
        signature = sign(signed, date, self.secret_key, "sha256")
        return {
            "Date": date.isoformat(),
            "Authorization": f"BackendAI signMethod=HMAC-SHA256, credential={self.access_key}:{signature}",
        }


def rewritten(request: Request, words: dict[str, str]) -> Request:
    """Return the request with words of the recorded world replaced by those of this one, in its path and body."""
    path, body = request.path, request.body.decode()
    for recorded, ours in words.items():
        path = path.replace(urllib.parse.quote(recorded, safe=":"), urllib.parse.quote(ours, safe=":"))
        body = body.replace(recorded, ours)
    return replace(request, path=path, body=body.encode())
