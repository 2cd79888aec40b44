"""Ports: free, taken, and by whom."""

import os
import socket
from collections.abc import Generator

import pytest

from caravan_deploy import ports
from caravan_deploy.errors import SetupError
from caravan_deploy.ports import BLOCK_SIZE, free_block, holder, is_free, refuse_taken


@pytest.fixture
def taken() -> Generator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_port_somebody_listens_on_is_not_free(taken: int) -> None:
    assert not is_free(taken)


def test_the_sentence_about_a_taken_port_names_its_holder_and_the_way_out(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports, "ENDING_PATIENCE", 0.1)
    with pytest.raises(SetupError) as refused:
        refuse_taken({"vault": taken})
    assert f"port {taken} (vault) is taken by process {os.getpid()}" in str(refused.value)
    assert "--port vault=" in str(refused.value)


def test_free_ports_are_not_refused(taken: int) -> None:
    with free_block() as base:
        refuse_taken({"vault": base, "nomad_http": base + 1})


def test_nobody_holds_a_free_port() -> None:
    with free_block() as base:
        assert holder(base) == "another process"


def test_two_blocks_at_a_time_do_not_overlap() -> None:
    with free_block() as first, free_block() as second:
        assert abs(first - second) >= BLOCK_SIZE
