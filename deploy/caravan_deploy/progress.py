"""What people see while something takes its time: one line when it is done, and a sign of life before."""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

import click

from caravan_deploy.errors import SetupError

Found = TypeVar("Found")
SIGN_OF_LIFE = 10.0
FIRST_SIGN = 2.0


def say(line: str) -> None:
    """Print one line for the person at the terminal."""
    click.echo(line)


@contextmanager
def step(what: str) -> Generator[Callable[[str], None]]:
    """Tell how long the block took; ``what`` is printed after two seconds, and again every ten, while it runs.

    Gives a function that sets the words of the closing line.
    """
    began = time.monotonic()
    closing = [what]
    done = threading.Event()

    def tick() -> None:
        pause = FIRST_SIGN
        while not done.wait(pause):
            say(f"  … {what}, {time.monotonic() - began:.0f} s")
            pause = SIGN_OF_LIFE

    ticker = threading.Thread(target=tick, daemon=True)
    ticker.start()
    try:
        yield lambda words: closing.__setitem__(0, words)
    finally:
        done.set()
        ticker.join()
    say(f"  {closing[0]} ({time.monotonic() - began:.1f} s)")


def wait_for(what: str, probe: Callable[[], Found | None], seconds: float, pause: float = 0.1) -> Found:
    """Call ``probe`` until it gives something. Raises SetupError with ``what`` after ``seconds``."""
    deadline = time.monotonic() + seconds
    while (found := probe()) is None:
        if time.monotonic() > deadline:
            raise SetupError(f"{what} within {seconds:.0f} s.")
        time.sleep(pause)
    return found
