"""What all tests share: one whole stack of their own for the whole run, started when the first test asks for it."""

import signal
from collections.abc import Generator
from types import FrameType

import pytest
from hypothesis import settings

from caravan_deploy.second import Stack, second_stack

settings.register_profile("caravan", deadline=None)  # what else the machine does is nothing that a test is about
settings.load_profile("caravan")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def pytest_configure() -> None:
    """Let SIGTERM end a run as Ctrl-C does: fixtures take down what they started."""
    signal.signal(signal.SIGTERM, _interrupt)


@pytest.fixture(scope="session")
def stack() -> Generator[Stack]:
    """Give a running Caravan on free ports in a temporary folder, beside any other on this machine."""
    with second_stack() as running:
        yield running
