"""A scaling group's options: what is read of them, and what nobody may write."""

from datetime import timedelta
from typing import Any

import pytest

from caravan_common.errors import InvalidParametersError
from caravan_manager.scheduler.options import check_options, group_view, selector_options
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.scheduler.snapshot import PreemptionMode, PreemptionOrder, PreemptionRules, VictimScope

ALL: dict[str, Any] = {
    "agent_selection_strategy": "dispersed",
    "allowed_session_types": ["interactive", "batch"],
    "pending_timeout": "1d12h",
    "fair_share_half_life": 86400,
    "fair_share_weights": {"domains": {"default": 2}, "users": {"b-c": 0.5}},
    "preemption": {
        "enabled": True, "preemptible_priority": 3, "order": "oldest", "mode": "reschedule",
        "preemption_min_runtime": "10m", "preemption_grace": "90s", "victim_scope": "any",
    },
    "max_user_priority": 20,
    "config": {"anything": [1]},
    "agent_selector_config": {},
    "enforce_spreading_endpoint_replica": True,
    "allow_fractional_resource_fragmentation": False,
    "route_cleanup_target_statuses": ["unhealthy", "degraded"],
    "option_of_another_packages_scheduler": [1, 2],
}  # fmt: skip


def test_options_are_read() -> None:
    check_options("drf", ALL, find_plugins())
    view, problems = group_view("g", "drf", ALL)
    assert problems == []
    assert (view.sequencer, view.selector, view.pending_timeout) == ("drf", "dispersed", timedelta(hours=36))
    rules = PreemptionRules(
        3,
        PreemptionOrder.OLDEST,
        PreemptionMode.RESCHEDULE,
        timedelta(minutes=10),
        VictimScope.ANY,
        timedelta(seconds=90),
    )
    assert view.preemption == rules
    assert view.options == ALL
    assert view.spread_replicas


def test_without_options_there_is_no_limit_and_nobody_is_ended() -> None:
    check_options("fifo", {}, find_plugins())
    check_options("fifo", {"preemption": {"enabled": False, "order": "newest"}, "pending_timeout": 0}, find_plugins())
    view, problems = group_view("g", "fifo", {"preemption": {}, "pending_timeout": None})
    assert (view.selector, view.pending_timeout, view.preemption, problems) == ("packed", None, None, [])
    assert not view.spread_replicas


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"agent_selection_strategy": "best"}, "agent_selection_strategy: there is no 'best'; there are concentrated"),
        ({"allowed_session_types": "batch"}, "allowed_session_types: it is a list"),
        (
            {"allowed_session_types": ["batsch"]},
            "types: there is no 'batsch'; there are interactive, batch",
        ),
        ({"allowed_session_types": [["batch"]]}, "allowed_session_types: there is no"),
        ({"allowed_session_types": []}, "allowed_session_types: it names one type at least"),
        ({"max_user_priority": 101}, "max_user_priority: it is a whole number from 10 to 100"),
        ({"max_user_priority": 9}, "max_user_priority: it is a whole number from 10 to 100"),
        ({"max_user_priority": "20"}, "max_user_priority: it is a whole number from 10 to 100"),
        ({"max_user_priority": True}, "max_user_priority: it is a whole number from 10 to 100"),
        ({"config": "x"}, "config: it is an object in JSON"),
        ({"agent_selector_config": [1]}, "agent_selector_config: it is an object in JSON"),
        ({"enforce_spreading_endpoint_replica": "yes"}, "enforce_spreading_endpoint_replica: it is true or false"),
        ({"allow_fractional_resource_fragmentation": 0}, "allow_fractional_resource_fragmentation: it is true or"),
        ({"route_cleanup_target_statuses": "unhealthy"}, "route_cleanup_target_statuses: it is a list"),
        ({"route_cleanup_target_statuses": ["ill"]}, "there is no 'ill'; there are healthy, unhealthy, degraded"),
        ({"pending_timout": "1h"}, "there is no option 'pending_timout'; did you mean pending_timeout?"),
        ({"pendingTimeout": "1h"}, "did you mean pending_timeout?"),
        ({"allowed-session-types": ["batch"]}, "did you mean allowed_session_types?"),
        ({"preemptions": {}}, "did you mean preemption?"),
        ({"pending_timeout": "soon"}, "pending_timeout: 'soon' is not a duration"),
        ({"pending_timeout": "-1h"}, "pending_timeout: '-1h' is negative"),
        ({"fair_share_half_life": "a while"}, "fair_share_half_life: 'a while' is not a duration"),
        ({"fair_share_weights": [1]}, "fair_share_weights: it is an object"),
        ({"fair_share_weights": {"people": {}}}, "there is no 'people'; there are domains, projects, users"),
        ({"fair_share_weights": {"users": {"a": 0}}}, "the weight of 'a' is a number above 0"),
        ({"fair_share_weights": {"users": {"a": 10**400}}}, "the weight of 'a' is a number above 0, at most 1,000,000"),
        ({"fair_share_weights": {"users": {"a": True}}}, "the weight of 'a' is a number above 0"),
        ({"preemption": True}, "preemption: it is an object"),
        (
            {"preemption": {"enabled": True, "order": "random"}},
            "order: there is no 'random'; there are least_work",
        ),
        (
            {"preemption": {"enabled": False, "victim_scope": "all"}},
            "preemption: victim_scope: there is no 'all'",
        ),
        (
            {"preemption": {"enabled": True, "preemptible_priority": "low"}},
            "is a whole number, not 'low'",
        ),
        ({"preemption": {"enabled": True, "preemption_min_runtime": "x"}}, "preemption: 'x' is not a duration"),
        ({"preemption": {"preemption_grace": "61m"}}, "preemption_grace is at most an hour, not '61m'"),
        ({"preemption": {"enabled": "yes"}}, "enabled is true or false"),
        ({"preemption": {"preemptable_priority": 3}}, "there is no 'preemptable_priority'; there are enabled"),
    ],
)
def test_what_cannot_be_read_is_refused_when_it_is_written_and_left_out_of_a_pass(
    wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidParametersError) as refused:
        check_options("drf", ALL | wrong, find_plugins())
    assert message in str(refused.value)
    view, _ = group_view("g", "drf", wrong)
    assert (view.pending_timeout, view.preemption, view.spread_replicas) == (None, None, False)


def test_replicas_are_not_spread_where_the_option_cannot_be_read_and_that_is_told() -> None:
    view, problems = group_view("g", "fifo", {"enforce_spreading_endpoint_replica": "true"})
    assert (view.spread_replicas, problems) == (False, ["enforce_spreading_endpoint_replica: it is true or false"])


@pytest.mark.parametrize("written", [None, [1], "x"])
def test_a_selector_is_given_an_object_whatever_was_written(written: object) -> None:
    assert selector_options({"agent_selector_config": written}) == selector_options({}) == {}


def test_the_selector_legacy_is_dispersed() -> None:
    options = {"agent_selection_strategy": "legacy"}
    check_options("fifo", options, find_plugins())
    view, problems = group_view("g", "fifo", options)
    assert (view.selector, view.options, problems) == ("dispersed", options, [])


@pytest.mark.parametrize("name", ["weights", "timeout", "half_life", "session_types", "backfill_depth", "réglage"])
def test_options_of_other_packages_are_kept(name: str) -> None:
    check_options("fifo", {name: 1}, find_plugins())


def test_a_scheduler_that_is_not_installed_is_refused_and_all_problems_are_told() -> None:
    with pytest.raises(InvalidParametersError) as refused:
        check_options("quickest", {"pending_timeout": "soon"}, find_plugins())
    assert "'soon' is not a duration" in str(refused.value)
    assert "scheduler: there is no 'quickest'; there are drf, fair-share, fifo, lifo" in str(refused.value)
