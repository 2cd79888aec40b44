"""What all tests share: one whole stack of their own for the whole run, started when the first test asks for it."""

from collections.abc import Generator

import pytest

from caravan_deploy.second import Stack, second_stack


@pytest.fixture(scope="session")
def stack() -> Generator[Stack]:
    """Give a running Caravan on free ports in a temporary folder, beside any other on this machine."""
    with second_stack() as running:
        yield running
