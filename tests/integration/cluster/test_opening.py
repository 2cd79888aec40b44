"""A stack that one machine had for itself is opened to others, and keeps what it has."""

from pathlib import Path

import pytest

from caravan_deploy.down import take_down
from caravan_deploy.ports import answers
from caravan_deploy.second import second_stack
from caravan_deploy.up import bound_to, check_ports, start_platform, start_servers

pytestmark = [pytest.mark.stack, pytest.mark.slow, pytest.mark.timeout(600)]


def test_a_stack_on_loopback_opens_with_its_data(pair: tuple[str, str, str, str], tmp_path: Path) -> None:
    address = pair[2]
    with second_stack() as own:
        own.client(tmp_path).must("vfolder", "create", "kept", "local:volume1")
        assert not answers(address, own.layout.ports.vault)
        take_down(own.layout)
        opened = bound_to(own.layout, address)
        check_ports(opened)
        start_platform(opened, start_servers(opened, own.programs), own.image)
        assert answers(address, opened.ports.vault)
        assert not answers(address, opened.ports.manager)
        assert "kept" in own.client(tmp_path).must("vfolder", "list").stdout
