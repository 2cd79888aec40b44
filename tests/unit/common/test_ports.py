"""Which ports a job was given, out of Nomad's list of allocations."""

from typing import Any

from caravan_common.nomad.ports import PublishedPort, ports_of


def _allocation(group: str, index: int, *ports: tuple[str, int]) -> dict[str, Any]:
    given = [{"Label": label, "Value": number, "To": 2200, "HostIP": "10.0.0.1"} for label, number in ports]
    return {"TaskGroup": group, "CreateIndex": index, "AllocatedResources": {"Shared": {"Ports": given or None}}}


def test_a_group_has_the_ports_of_its_latest_allocation() -> None:
    listed = [_allocation("main1", 9, ("ssh", 20002), ("master", 20003)), _allocation("main1", 5, ("ssh", 20001))]
    assert ports_of(listed) == {
        "main1": {"ssh": PublishedPort("10.0.0.1", 20002), "master": PublishedPort("10.0.0.1", 20003)}
    }


def test_a_group_without_ports_is_absent() -> None:
    assert ports_of([_allocation("main1", 1), {"TaskGroup": "sub1", "CreateIndex": 2}]) == {}
