"""Long-running programs that a stack starts itself: each a recorded process, stopped only if it is still ours."""

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from caravan_deploy.errors import SetupError

CLEAN_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PATIENCE = 20.0


def clean_environment() -> dict[str, str]:
    """Return the environment of our daemons: tasks inherit Nomad's, so nothing of the caller's shell may be in it."""
    return {"PATH": CLEAN_PATH, "HOME": "/root", "LANG": "C.UTF-8"}


def _started_at(pid: int) -> str | None:
    """Return the process's start time in ticks since boot: with it a reused process ID is not taken for ours."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    after_name = stat.rpartition(")")[2].split()
    return None if after_name[0] == "Z" else after_name[19]


@dataclass(frozen=True, slots=True)
class Daemon:
    """One program of the stack: ``record`` holds its process ID and start time while it runs."""

    name: str
    command: Sequence[str]
    record: Path
    log: Path
    environment: Mapping[str, str] = field(default_factory=clean_environment, repr=False)

    def pid(self) -> int | None:
        """Return the process ID when the recorded process is alive and still the one that was started."""
        try:
            pid, started = self.record.read_text(encoding="ascii").split()
        except (OSError, ValueError):
            return None
        return int(pid) if _started_at(int(pid)) == started else None

    def start(self) -> None:
        """Start the program in a session of its own, unless it runs."""
        if self.pid() is not None:
            return
        words = ["env", "-C", "/", *self.command]
        with self.log.open("ab") as log:
            output = [(os.POSIX_SPAWN_DUP2, log.fileno(), number) for number in (1, 2)]
            nothing = (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)
            pid = os.posix_spawnp(words[0], words, self.environment, file_actions=[nothing, *output], setsid=True)
        self.adopt(pid)

    def restart(self, *, changed: bool) -> None:
        """Start the program unless it runs; with a changed configuration it starts anew."""
        if changed:
            self.stop()
        self.start()

    def adopt(self, pid: int) -> None:
        """Record a process that runs already as this one."""
        self.record.write_text(f"{pid} {_started_at(pid)}\n", encoding="ascii")

    def stop(self, patience: float = PATIENCE, by: int = signal.SIGTERM) -> None:
        """Ask the process to end and wait; after ``patience`` seconds it is killed."""
        pid = self.pid()
        if pid is not None:
            os.kill(pid, by)
            if not self._ended(patience):
                os.kill(pid, signal.SIGKILL)
                self._ended(5)
        self.record.unlink(missing_ok=True)

    def reload(self) -> None:
        """Have the program read its certificates again, if it runs."""
        pid = self.pid()
        if pid is not None:
            os.kill(pid, signal.SIGHUP)

    def must_run(self) -> None:
        """Raise SetupError with the program's last words when it has ended."""
        if self.pid() is None:
            raise SetupError(f"{self.name} ended early: {self.last_words()} (the whole log is {self.log})")

    def last_words(self) -> str:
        """Return the last line of the log that says something."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return "it left no log"
        telling = [line for line in lines[-40:] if "rror" in line or "ailed" in line] or lines[-1:]
        return telling[-1].strip() if telling else "its log is empty"

    def _ended(self, patience: float) -> bool:
        deadline = time.monotonic() + patience
        while self.pid() is not None:
            self._reap()
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def _reap(self) -> None:
        pid = self.pid()
        if pid is None:
            return
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return


def stop_orphans(nomad_data: Path, patience: float = 4.0) -> None:
    """Stop the tasks that a Nomad which ended badly left behind: processes whose allocation lies below its data."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + patience
        orphans = orphans_of(nomad_data)
        for pid in orphans:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        while orphans and time.monotonic() < deadline:
            time.sleep(0.1)
            orphans = orphans_of(nomad_data)
        if not orphans:
            return


def orphans_of(nomad_data: Path) -> list[int]:
    """Return the processes of tasks whose allocation lies below Nomad's data, and of their executors."""
    allocations = str(nomad_data / "alloc").encode()
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            with suppress(OSError):
                if _is_task(folder, allocations):
                    found.append(int(folder.name))
    return found


def _is_task(process: Path, allocations: bytes) -> bool:
    """A task has Nomad's variable in its environment; Nomad's helpers name the allocation or hold its files open."""
    if b"\0NOMAD_ALLOC_DIR=" + allocations in b"\0" + (process / "environ").read_bytes():
        return True
    words = (process / "cmdline").read_bytes()
    if words.endswith((b"\0logmon\0", b"\0docker_logger\0")):
        return any(os.fsencode(link.readlink()).startswith(allocations) for link in (process / "fd").iterdir())
    return b"\0executor\0" in words and allocations in words
