"""Machines that join: the token, the address, and what is remembered of both."""

import base64
from dataclasses import replace
from pathlib import Path

import pytest

from caravan_deploy.addresses import address_towards, checked_address, interface_of
from caravan_deploy.errors import SetupError
from caravan_deploy.layout import LOOPBACK, Layout, load_layout
from caravan_deploy.nodes.joining import accept
from caravan_deploy.nodes.token import JoinToken, read_token
from caravan_deploy.platform.jobs import variables
from caravan_deploy.processes import Daemon
from caravan_deploy.up import bound_to

TOKEN = JoinToken("192.168.56.10", 8200, "ab" * 32, "hvs.wrapped")


def test_a_token_is_one_word_and_is_read_as_it_was_written() -> None:
    assert not any(character.isspace() for character in TOKEN.text())
    assert read_token(f" {TOKEN.text()}\n") == TOKEN


def test_a_token_does_not_show_its_secret_in_a_log() -> None:
    assert "hvs" not in repr(TOKEN)


@pytest.mark.parametrize(
    "text", ["", "nonsense", "a" * 10_000, base64.urlsafe_b64encode(b"[]").decode(), base64.b64encode(b"{}").decode()]
)
def test_what_is_no_token_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(SetupError, match="no join token"):
        read_token(text)


def test_loopback_is_an_address_of_this_machine() -> None:
    assert checked_address(LOOPBACK) == LOOPBACK
    assert interface_of(LOOPBACK) == "lo"
    assert address_towards(LOOPBACK) == LOOPBACK


@pytest.mark.parametrize("text", ["localhost", "192.0.2.300", "", "::1", "198.51.100.77"])
def test_an_address_that_this_machine_has_not_is_refused(text: str) -> None:
    with pytest.raises(SetupError):
        checked_address(text)


def test_a_joined_machine_remembers_its_server_and_its_name(tmp_path: Path) -> None:
    made = Layout(root=tmp_path, name="lab", address="192.0.2.7", server="192.0.2.1", node="client1")
    made.make_folders()
    made.save()
    found = load_layout(tmp_path, {})
    assert found == made
    assert (found.has_joined, found.node_name) == (True, "client1")
    assert not (tmp_path / "data" / "postgres").exists()


def test_a_node_of_one_stack_does_not_join_another_by_accident(tmp_path: Path) -> None:
    joined = Layout(root=tmp_path, name="lab", address="192.0.2.7", server="192.0.2.1", node="client1")
    with pytest.raises(SetupError, match="make leave"):
        accept(joined, TOKEN, None)


def test_a_stack_listens_on_loopback_until_somebody_says_otherwise(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path)
    assert not layout.is_open
    assert variables(layout)["address"] == LOOPBACK
    assert variables(replace(layout, address="192.0.2.1"))["host"] == LOOPBACK


def test_another_address_needs_another_certificate(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path)
    layout.make_folders()
    layout.certificate.write_text("for the old address")
    assert bound_to(layout, LOOPBACK).certificate.exists()
    assert bound_to(layout, "192.0.2.1").address == "192.0.2.1"
    assert not layout.certificate.exists()


def test_a_running_stack_does_not_change_its_address(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path)
    layout.make_folders()
    running = Daemon("consul", ["sleep", "60"], layout.run / "consul.pid", layout.logs / "consul.log")
    running.start()
    try:
        with pytest.raises(SetupError, match="make down"):
            bound_to(layout, "192.0.2.1")
    finally:
        running.stop()
