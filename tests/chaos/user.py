"""A user who keeps asking: signed requests that are repeated while the manager is away, and sessions that they make."""

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from caravan_deploy.layout import LOOPBACK
from caravan_deploy.platform.image import REFERENCE
from caravan_deploy.second import Stack
from caravan_manager.api.signature import SignedRequest, sign

VERSION = "v9.20250722"
DEAD = frozenset({"TERMINATED", "ERROR", "CANCELLED"})
PATIENCE = 300.0
"""After this long something is stuck: a manager that dies at each of forty places needs minutes for one journey."""
POLL_SECONDS = 0.25
LISTED = "query { compute_session_list(limit: 100, offset: 0) { items { session_id name status result status_info } } }"
FOLDER = "chaos"


class NoAnswerError(Exception):
    """The manager did not answer, or not whole."""


def until(look: Callable[[], Any], problem: Callable[[], str], limit: float = PATIENCE) -> Any:
    """Look until there is an answer. Raises AssertionError, with the problem, after ``limit`` seconds."""
    deadline = time.monotonic() + limit
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < deadline, f"after {limit:.0f} s {problem()}"
        time.sleep(POLL_SECONDS)


@dataclass(frozen=True)
class User:
    """The first admin of a stack."""

    stack: Stack

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send one signed request. Raises NoAnswerError."""
        port = self.stack.layout.ports.manager
        now = datetime.now(UTC)
        signed = SignedRequest(method, path, now.isoformat(), f"{LOOPBACK}:{port}", "application/json", VERSION)
        signature = sign(signed, now, self.stack.admin.secret_key, "sha256")
        headers = {
            "Date": signed.date,
            "Content-Type": signed.content_type,
            "X-BackendAI-Version": VERSION,
            "Authorization": f"BackendAI signMethod=HMAC-SHA256, credential={self.stack.admin.access_key}:{signature}",
        }
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=20)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise NoAnswerError(str(error)) from error
        finally:
            connection.close()
        if answer.status >= 500:
            raise NoAnswerError(f"{answer.status}: {raw.decode(errors='replace')}")
        return answer.status, json.loads(raw) if raw else None

    def insist(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Send a request that may be repeated until it is answered."""

        def answered() -> tuple[int, Any] | None:
            try:
                return self.call(method, path, body)
            except NoAnswerError:
                return None

        found: tuple[int, Any] = until(answered, lambda: f"{method} {path} is not answered")
        return found

    def make_folder(self) -> None:
        """Make the folder that sessions mount."""
        status, answer = self.insist("POST", "/folders", {"name": FOLDER, "host": "local:volume1"})
        assert status == 201 or "exist" in json.dumps(answer), answer

    def sessions(self) -> dict[str, dict[str, Any]]:
        """Return all sessions by name. Raises AssertionError when two have one name."""
        status, answer = self.insist("POST", "/admin/gql", {"query": LISTED, "variables": {}})
        items: list[dict[str, Any]] = answer["data"]["compute_session_list"]["items"]
        assert status == 200
        by_name = {item["name"]: item for item in items}
        assert len(by_name) == len(items), "a session was made twice"
        return by_name

    def create(self, name: str, command: str | None = None) -> None:
        """Make a session, once, however often the manager dies meanwhile."""
        kind = {"type": "interactive"} if command is None else {"type": "batch", "startup_command": command}
        wanted = kind | {
            "session_name": name,
            "image": REFERENCE,
            "enqueue_only": True,
            "config": {"resources": {"cpu": "1", "mem": "128m"}, "mounts": [FOLDER]},
        }

        def made() -> bool:
            try:
                status, answer = self.call("POST", "/session", wanted)
            except NoAnswerError:
                return name in self.sessions()
            assert status == 201, answer
            return True

        until(made, lambda: f"session {name} is not made")

    def destroy(self, name: str, *, forced: bool = False) -> None:
        """End a session; one that is gone already is fine."""
        status, answer = self.insist("DELETE", f"/session/{name}" + ("?forced=true" if forced else ""))
        assert status in (200, 204, 404), answer


@dataclass
class Journey:
    """What users do in one round: a desk that is destroyed, a batch job that ends well, a desk destroyed by force."""

    user: User
    name: str
    last_act: float = field(default_factory=time.time)

    def create(self) -> None:
        """Make the sessions."""
        self.user.create(f"{self.name}-desk")
        self.user.create(f"{self.name}-batch", "echo done")
        self.user.create(f"{self.name}-forced")

    def run(self) -> None:
        """Wait until the desks run and the batch job has ended."""
        until(self._going, lambda: f"the sessions of {self.name} do not start: {self.all()}")

    def destroy(self) -> None:
        """Destroy what runs."""
        self.user.destroy(f"{self.name}-desk")
        self.user.destroy(f"{self.name}-forced", forced=True)
        self.last_act = time.time()

    def end(self) -> None:
        """Wait until all have ended."""
        until(self._over, lambda: f"the sessions of {self.name} do not end: {self.all()}")

    def give_up(self) -> None:
        """End what is left of the sessions, so that the next journey finds nothing of this one."""
        for name in ("desk", "batch", "forced"):
            self.user.destroy(f"{self.name}-{name}", forced=True)

    def all(self) -> dict[str, dict[str, Any]]:
        """Return the journey's sessions by the last part of their names."""
        mine = {name: item for name, item in self.user.sessions().items() if name.startswith(f"{self.name}-")}
        return {name.rpartition("-")[2]: item for name, item in mine.items()}

    def problems(self) -> list[str]:
        """Say what went otherwise than it must."""
        found = self.all()
        expected = {"desk": ("TERMINATED", "UNDEFINED"), "batch": ("TERMINATED", "SUCCESS")}
        expected["forced"] = ("TERMINATED", "UNDEFINED")
        return [
            f"{part} is {session['status']}/{session['result']} ({session['status_info']})"
            for part, session in found.items()
            if (session["status"], session["result"].upper()) != expected[part]
        ] + [f"{part} is lost" for part in expected.keys() - found.keys()]

    def _going(self) -> bool:
        states = {part: item["status"] for part, item in self.all().items()}
        assert states.get("desk") not in DEAD, f"the desk ended by itself: {self.all()['desk']}"
        assert states.get("forced") not in DEAD, f"the second desk ended by itself: {self.all()['forced']}"
        return (states.get("desk"), states.get("forced")) == ("RUNNING", "RUNNING") and states.get("batch") in DEAD

    def _over(self) -> bool:
        return all(item["status"] in DEAD for item in self.all().values())
