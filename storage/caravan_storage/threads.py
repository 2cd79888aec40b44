"""Blocking calls off the event loop. Everything that touches a file goes through here."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from functools import partial
from typing import ParamSpec, TypeVar

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Item = TypeVar("Item")


async def in_thread(call: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
    """Run ``call`` in the loop's thread pool and return what it returns.

    When the caller is cancelled, the cancellation passes on only after the call has ended: a descriptor must not be
    closed, and its number given to another file, while a thread still writes to it.
    """
    running = asyncio.get_running_loop().run_in_executor(None, partial(call, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def iterate(steps: Generator[Item, None, None]) -> AsyncGenerator[Item, None]:
    """Run a blocking generator, each step in a thread. Close it (``aclosing``) when leaving early."""
    try:
        while True:
            step = await in_thread(_next_step, steps)
            if step is None:
                return
            yield step[0]
    finally:
        await in_thread(steps.close)


def _next_step(steps: Generator[Item, None, None]) -> tuple[Item] | None:
    for item in steps:
        return (item,)
    return None
