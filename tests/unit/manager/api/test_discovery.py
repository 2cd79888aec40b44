"""What Prometheus is told to ask."""

from caravan_common.consul.catalog import Instance
from caravan_manager.api.rest.discovery import targets


def test_each_address_is_one_target_with_its_service_as_labels() -> None:
    found = targets(
        [
            Instance("caravan-agent", "10.0.0.3:6003", "n1", "_nomad-task-a"),
            Instance("caravan-manager", "10.0.0.1:18080", "n2", "_nomad-task-m"),
        ]
    )
    assert found == [
        {
            "targets": ["10.0.0.3:6003"],
            "labels": {"service_group": "agent", "display_name": "agent-n1", "service_id": "_nomad-task-a"},
        },
        {
            "targets": ["10.0.0.1:18080"],
            "labels": {"service_group": "manager", "display_name": "manager-n2", "service_id": "_nomad-task-m"},
        },
    ]


def test_registrations_that_share_an_address_are_asked_once() -> None:
    both = [Instance("caravan-manager", "10.0.0.1:18080", "n1", number) for number in ("a", "b")]
    [found] = targets(both)
    assert found["labels"] == {"service_group": "manager", "display_name": "manager-n1"}
