"""A vendor's own program, asked for what /sys does not tell: found on PATH, never through a shell, and never for long.

It is help and no condition: one that is not there, fails, hangs or prints what nobody can read has told nothing. Kinds
are asked in a thread each and may block, so this does. What is printed is text for people as often as for programs:
numbers are read where they stand, units and all, JSON where it begins, and what is wrong costs its own row only.
"""

import json
import os
import re
import selectors
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import islice
from math import inf, isfinite
from typing import IO, Literal, TypeVar

import structlog
from pydantic import TypeAdapter, ValidationError

log = structlog.get_logger()

LONGEST_SECONDS = 2.0
"""How long all programs of a kind may take: well below what the kind itself may (`inventory.ANSWER_SECONDS`)."""
MOST_BYTES = 1024 * 1024
END_SECONDS = 0.5
"""How long a killed program may take to go. One that a driver holds is left to it, and not started again before."""
ELSEWHERE = ("/usr/local/bin", "/usr/bin", "/opt/rocm/bin")
"""Where vendors put their programs, besides PATH: who starts the agent or the plugin may have given it a short one."""

PASSED_ON = ("PATH", "HOME", "LD_LIBRARY_PATH")
"""What a program gets of the caller's environment, which may hold a token."""

_NUMBER = re.compile(r"\s*([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*([^\W\d_]?)")
_PREFIXES = {"u": 1e-6, "µ": 1e-6, "μ": 1e-6, "m": 1e-3, "k": 1e3}
_MOST_DIGITS = 30
_MOST_TRIES = 16
"""So many brackets of a text may turn out to begin no JSON."""

Row = TypeVar("Row")


class _SilentError(Exception):
    """The program said nothing that is of use; the message says why."""


class _Held:
    """Programs that were killed and did not go, as a driver holds them. Kinds are asked in threads, each in its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left: list[tuple[Sequence[str], subprocess.Popen[bytes]]] = []

    def has(self, command: Sequence[str]) -> bool:
        """Say whether one that was started so is still there."""
        with self._lock:
            self._left = [(line, process) for line, process in self._left if process.poll() is None]
            return any(line == command for line, _ in self._left)

    def keep(self, command: Sequence[str], process: "subprocess.Popen[bytes]") -> None:
        """Remember one."""
        with self._lock:
            self._left.append((command, process))


_HELD = _Held()


def ask(command: Sequence[str], until: float) -> str:
    """Return what a program prints to its standard output, or nothing. Blocks; ``until`` is on the steady clock."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *ELSEWHERE])
    program = shutil.which(command[0], path=places)
    if program is None or time.monotonic() >= until:
        return ""
    line = [program, *command[1:]]
    if _HELD.has(line):
        log.debug("tool.held", command=line)
        return ""
    try:
        return _run(line, until).decode(errors="replace")
    except (OSError, _SilentError) as err:
        log.debug("tool.silent", program=program, error=str(err))
        return ""


def _run(command: Sequence[str], deadline: float) -> bytes:
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in PASSED_ON if name in os.environ} | {"LC_ALL": "C"},
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        said = _read(process.stdout, deadline)
        if code := process.wait(max(0.0, deadline - time.monotonic())):
            raise _SilentError(f"it ended with {code}")
    except subprocess.TimeoutExpired as err:
        raise _SilentError("it takes too long") from err
    else:
        return said
    finally:
        process.stdout.close()
        _end(command, process)


def _read(pipe: IO[bytes], deadline: float) -> bytes:
    said = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            part = os.read(pipe.fileno(), 64 * 1024)
            if not part:
                return said
            said += part
            if len(said) > MOST_BYTES:
                raise _SilentError("it prints too much")
    raise _SilentError("it takes too long")


def _end(command: Sequence[str], process: "subprocess.Popen[bytes]") -> None:
    """End the program and what it started: its process group is its own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        log.warning("tool.does_not_go", command=command, process=process.pid)
        _HELD.keep(command, process)


def number(text: object) -> float | None:
    """Return the number that a text begins with: 41.33 for ``41.33°C``; None for ``N/A`` and what has no size."""
    return _times(text, 1.0)


def watts(text: object) -> float | None:
    """Return a power: 18.5 for ``18.5 W``, ``18500mW`` and ``18500000uW``."""
    matched = _NUMBER.match(str(text))
    return None if matched is None else _times(text, _PREFIXES.get(matched[2], 1.0))


def whole(text: object, unit: int = 1) -> int | None:
    """Return a whole number of what a text counts in units, such as bytes."""
    value = _times(text, float(unit))
    return None if value is None else int(value)


def _times(text: object, factor: float) -> float | None:
    matched = _NUMBER.match(str(text))
    value = inf if matched is None else float(matched[1]) * factor
    return value if isfinite(value) else None


def json_in(text: str, opening: Literal["{", "["]) -> object:
    """Return the JSON object or list in a text that has objects or lists in it, whatever stands around it, or None."""
    decoder = json.JSONDecoder(parse_int=_integer)
    for matched in islice(re.finditer(re.escape(opening), text), _MOST_TRIES):
        try:
            value: dict[str, object] | list[object] = decoder.raw_decode(text, matched.start())[0]
        except (ValueError, RecursionError):
            continue
        parts = value.values() if isinstance(value, dict) else value
        if any(isinstance(part, dict | list) for part in parts):
            return value
    return None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _MOST_DIGITS else inf


def rows(form: TypeAdapter[Row], values: Iterable[object]) -> list[Row]:
    """Return those of the values that have the form."""
    found: list[Row] = []
    for value in values:
        with suppress(ValidationError):
            found.append(form.validate_python(value))
    return found
