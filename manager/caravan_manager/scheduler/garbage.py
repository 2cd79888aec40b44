"""Keeps Python's collector of cycles out of plans: these make many objects that live as long as the plan does.

Each time there are some hundred more of them it looks at all again, which is a fifth of a pass and finds nothing.
"""

import gc
from collections.abc import Generator
from contextlib import contextmanager
from threading import Lock

_lock = Lock()
_paused = 0
_was_on = True


@contextmanager
def no_collection() -> Generator[None]:
    """Pause the collector of the whole process while the block runs, in whichever threads at once."""
    _pause(1)
    try:
        yield
    finally:
        _pause(-1)


def settle() -> None:
    """Leave out of all collections to come what a process made when it started, and keeps until it ends."""
    gc.collect()
    gc.freeze()


def _pause(by: int) -> None:
    global _paused, _was_on  # noqa: PLW0603 - as the collector is, there is one of them in a process
    with _lock:
        if not _paused:
            _was_on = gc.isenabled()
        _paused += by
        if _paused:
            gc.disable()
        elif _was_on:
            gc.enable()
