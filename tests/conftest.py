"""What all tests share: one whole stack of their own for the whole run, started when the first test asks for it."""

import signal
from collections.abc import Generator
from types import FrameType

import pytest
from hypothesis import settings
from tests.accelerators import fake_accelerators

from caravan_deploy.second import Stack, second_stack

settings.register_profile("caravan", deadline=None)  # what else the machine does is nothing that a test is about
settings.load_profile("caravan")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def pytest_configure() -> None:
    """Let SIGTERM end a run as Ctrl-C does: fixtures take down what they started."""
    signal.signal(signal.SIGTERM, _interrupt)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests with accelerators at the end: all others see a node without any."""
    items.sort(key=lambda item: "accelerators" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def stack() -> Generator[Stack]:
    """Give a running Caravan on free ports in a temporary folder, beside any other on this machine."""
    with second_stack() as running:
        yield running


@pytest.fixture(scope="session")
def accelerators(stack: Stack) -> Generator[None]:
    """Have fake accelerators on the stack's node, from the first test that asks for them to the end of the run.

    To put them in or to take them out takes Nomad ten seconds and more: a test leaves them as it found them.
    """
    with fake_accelerators(stack):
        yield
