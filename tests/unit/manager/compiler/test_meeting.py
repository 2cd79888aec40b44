"""What a kernel of a session on several nodes learns of the others as it begins."""

from dataclasses import replace

import pytest
from tests.unit.manager.compiler.test_job import fixed

from caravan_common.errors import UnavailableError
from caravan_common.nomad.ports import PublishedPort
from caravan_common.wire.agent import Endpoint, Release
from caravan_manager.compiler.meeting import compile_release

PORTS = {
    "main1": {"ssh": PublishedPort("10.0.0.1", 20001), "master": PublishedPort("10.0.0.1", 20002)},
    "sub1": {"ssh": PublishedPort("10.0.0.2", 20003)},
}


def test_the_first_rank_is_told_at_which_port_it_must_listen_and_the_others_where_that_is() -> None:
    session = fixed(2)
    first, second = (compile_release(session, kernel, PORTS) for kernel in session.kernels)
    assert first.environ == {"MASTER_PORT": "20002"}
    assert second.environ == {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "20002"}


def test_kernels_on_the_same_node_meet_in_their_network_and_those_on_others_at_published_ports() -> None:
    first, second = (compile_release(fixed(2), kernel, PORTS) for kernel in fixed(2).kernels)
    assert first.ssh == {"main1": Endpoint(host="main1", port=2200), "sub1": Endpoint(host="10.0.0.2", port=20003)}
    assert second.ssh == {"main1": Endpoint(host="10.0.0.1", port=20001), "sub1": Endpoint(host="sub1", port=2200)}


def test_what_a_user_set_stays_and_a_session_on_one_node_is_told_nothing() -> None:
    session = replace(fixed(2), environ={"MASTER_PORT": "6000"})
    assert compile_release(session, session.kernels[1], PORTS).environ == {"MASTER_ADDR": "10.0.0.1"}
    together = replace(fixed(2), kernels=tuple(replace(kernel, node="node1") for kernel in fixed(2).kernels))
    assert compile_release(together, together.kernels[1], {}) == Release()


def test_ports_of_an_earlier_attempt_are_not_those_of_this_one() -> None:
    again = replace(fixed(2), attempt=2)
    with pytest.raises(UnavailableError, match="of main1"):
        compile_release(again, again.kernels[1], PORTS)
    renewed = {f"{group}-2": ports for group, ports in PORTS.items()}
    assert compile_release(again, again.kernels[0], renewed).environ == {"MASTER_PORT": "20002"}
