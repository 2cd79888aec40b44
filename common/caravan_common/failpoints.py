"""Named places at which a test lets a process die: beside every commit, and every call to another service.

A process that may be killed between any two statements must leave nothing behind that the next one does not finish.
The places where that matters have names, so that tests can kill a process at each of them, and can tell when one of
them is not passed any more.

Off unless the environment of the process names a folder in ``CARAVAN_FAILPOINTS``; then passing a place costs one
comparison. On, a process that passes a place whose name is a line of the folder's file ``armed`` touches ``died``,
takes that line away and kills itself with SIGKILL, so that its successor passes; and each place passed leaves a file of
its name in ``passed/``. Only a test may switch it on.
"""

import os
import signal
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from types import TracebackType

VARIABLE = "CARAVAN_FAILPOINTS"

Observer = Callable[[str], None]
"""Is told the name of each place as it is passed, in whatever thread that happens."""


class _Switch:
    """Who is told: nobody, unless a test wants to know."""

    observer: Observer | None = None


_NAMES: set[str] = set()


class Failpoint:
    """One place. Made once, when its module is imported, with a name that no other place has."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        if name in _NAMES:
            raise ValueError(f"two failpoints are called {name}")
        _NAMES.add(name)
        self.name = name

    def reach(self) -> None:
        """Pass the place."""
        if _Switch.observer is not None:
            _Switch.observer(self.name)


class FailpointPair:
    """The two places around a commit or a call: ``with PLACED: …`` passes ``<name>.before`` and ``<name>.after``.

    The second is not passed when the block raises. Holds no state: several tasks may be inside at once.
    """

    __slots__ = ("_after", "_before")

    def __init__(self, name: str) -> None:
        self._before = Failpoint(f"{name}.before")
        self._after = Failpoint(f"{name}.after")

    def __enter__(self) -> None:
        self._before.reach()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._after.reach()


def failpoint_names() -> list[str]:
    """Return the names of all places in the modules that are imported, sorted."""
    return sorted(_NAMES)


@contextmanager
def observed(observer: Observer) -> Generator[None]:
    """Tell ``observer`` of each place that this process passes while the block runs."""
    before, _Switch.observer = _Switch.observer, observer
    try:
        yield
    finally:
        _Switch.observer = before


class Folder:
    """The folder through which a test and the processes that it kills speak to each other."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()

    def arm(self, *names: str) -> None:
        """Let a process die at each of the places, once, as it is passed next; at no other place."""
        self._write(names)

    @property
    def armed(self) -> list[str]:
        """The places that were armed and at which nobody has died yet."""
        try:
            return (self.path / "armed").read_text(encoding="utf-8").split()
        except FileNotFoundError:
            return []

    def disarm(self) -> None:
        """Let nobody die."""
        self._write(())

    @property
    def died_at(self) -> float:
        """When somebody died last at a place that was armed, in seconds since the epoch; 0 for never."""
        died = self.path / "died"
        return died.stat().st_mtime if died.exists() else 0.0

    def passed(self) -> set[str]:
        """Return the names of the places that any process has passed."""
        return {file.name for file in (self.path / "passed").glob("*")}

    def observe(self, name: str) -> None:
        """Note that this process passes a place, and die there if it is armed."""
        with self._lock:
            (self.path / "passed").mkdir(exist_ok=True)
            (self.path / "passed" / name).touch()
            armed = self.armed
            if name not in armed:
                return
            (self.path / "died").touch()
            self._write([other for other in armed if other != name])
            os.kill(os.getpid(), signal.SIGKILL)

    def _write(self, names: Iterable[str]) -> None:
        fresh = self.path / "armed.new"
        fresh.write_text("\n".join(names), encoding="utf-8")
        fresh.replace(self.path / "armed")


if VARIABLE in os.environ:
    _Switch.observer = Folder(Path(os.environ[VARIABLE])).observe
