"""Traces of others are read, and run by the real planner; the figures are what one can work out by hand."""

import gzip
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result
from tests.unit.manager.scheduler.made import GIB, NOW, gpus, node, session, slots, tenant

from caravan_common.errors import ConfigurationError, InvalidParametersError
from caravan_common.states import ClusterMode, SessionResult, SessionStatus
from caravan_manager.cli import cli
from caravan_manager.scheduler.plugins import find_plugins
from caravan_manager.scheduler.simulation import openb, recording, slurm
from caravan_manager.scheduler.simulation.measures import course_of, figures_of, jain
from caravan_manager.scheduler.simulation.plot import draw
from caravan_manager.scheduler.simulation.policy import load_policy
from caravan_manager.scheduler.simulation.reading import read_trace
from caravan_manager.scheduler.simulation.simulator import Rules, Run, simulate
from caravan_manager.scheduler.simulation.trace import EPOCH, Arrival, Held, Trace
from caravan_manager.scheduler.snapshot import GroupView, NodeView, PreemptionMode, PreemptionOrder, PreemptionRules
from caravan_manager.sessions.model import Parent
from caravan_manager.sessions.queue import PlacedKernel, PlacedSession

PODS = """\
name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time
late,4000,1024,2,1000,T4|P100,LS,Running,100,160,130
early,500,2048,1,460,,BE,Running,10,,10
none,1000,1024,0,0,,BE,Running,20,50,20
"""
JOBS = """\
JobID|User|Account|Submit|Start|End|Timelimit|Priority|NNodes|ReqTRES|AllocTRES|State
7|ann|physics|2026-11-21T09:00:00|2026-11-21T09:10:00|2026-11-21T11:10:00|1-02:00:00|4294|2|\
billing=8,cpu=8,gres/gpu=4,mem=32G,node=2||COMPLETED
7.batch||physics|2026-11-21T09:10:00|2026-11-21T09:10:00|2026-11-21T11:10:00|||1||cpu=4|COMPLETED
8_1|bob|art|2026-11-21T09:01:00|2026-11-21T09:02:00|Unknown|UNLIMITED|50|1||cpu=1,mem=512M,gres/gpu:a100=1|RUNNING
9|bob|art|2026-11-21T09:01:00|Unknown|2026-11-21T09:30:00|30:00||1|cpu=1||CANCELLED
"""


def trace(*arrivals: tuple[int, float, float | None], cpu: float = 1, **rest: Any) -> Trace:
    """Sessions: the number, the minute at which it comes, and for how many minutes it runs."""
    return Trace(
        tuple(
            Arrival(
                session(number, slots(cpu), pending_since=NOW + timedelta(minutes=came), **rest),
                None if runs is None else timedelta(minutes=runs),
            )
            for number, came, runs in arrivals
        )
    )


def ran(of: Trace, *nodes: NodeView, sequencer: str = "fifo", every: float = 0, **group: Any) -> Run:
    rules = Rules("x", nodes, (GroupView("default", sequencer, **group),), timedelta(minutes=every))
    return simulate(of, rules, find_plugins())


def began(run: Run) -> dict[int, float | None]:
    """When each session began, in minutes."""
    return {o.session.id.int: None if o.began is None else (o.began - NOW).total_seconds() / 60 for o in run.outcomes}


def test_sessions_wait_for_those_before_them() -> None:
    run = ran(trace((1, 0, 10), (2, 1, 10), (3, 2, 10)), node("n1", cpu=1))
    assert began(run) == {1: 0, 2: 10, 3: 20}
    figures = figures_of(run)
    assert (figures.sessions, figures.started) == (3, 3)
    assert (figures.mean_wait, figures.median_wait) == (9 * 60, 9 * 60)
    assert (figures.p95_wait, figures.longest_wait, figures.window) == (18 * 60, 18 * 60, 20 * 60)
    assert (figures.cpu, figures.accelerators) == (1.0, None)


def test_another_policy_changes_who_is_first() -> None:
    assert began(ran(trace((1, 0, 10), (2, 1, 10), (3, 2, 10)), node("n1", cpu=1), sequencer="lifo")) == {
        1: 0,
        2: 20,
        3: 10,
    }


def test_what_ends_at_a_moment_makes_room_at_that_moment() -> None:
    assert began(ran(trace((1, 0, 10), (2, 10, 1)), node("n1", cpu=1))) == {1: 0, 2: 10}


def test_a_limit_ends_a_session_and_one_without_an_end_stays() -> None:
    limited = trace((1, 0, 60), (2, 1, None), (3, 2, 1), time_limit=timedelta(minutes=5))
    assert began(ran(limited, node("n1", cpu=1))) == {1: 0, 2: 5, 3: 10}
    assert began(ran(trace((1, 0, None), (2, 1, 1)), node("n1", cpu=1))) == {1: 0, 2: None}


def test_passes_can_be_apart() -> None:
    run = ran(trace((1, 0, 60), (2, 1, 60), (3, 2, 60)), node("n1", cpu=3), every=5)
    assert began(run) == {1: 0, 2: 5, 3: 5}
    assert run.passes == 2


def test_a_session_waits_for_its_time_and_for_those_it_depends_on() -> None:
    first, second, third = trace((1, 0, 10), (2, 0, 10), (3, 0, 10)).arrivals
    parent = Parent(first.session.id, "1", SessionStatus.PENDING, SessionResult.UNDEFINED)
    second = replace(second, session=replace(second.session, parents=(parent,)))
    third = replace(third, session=replace(third.session, starts_at=NOW + timedelta(minutes=4)))
    run = ran(Trace((first, second, third)), node("n1"))
    assert began(run) == {1: 0, 2: 10, 3: 4}
    assert figures_of(run).longest_wait == 600


def test_one_that_waits_for_too_long_leaves() -> None:
    run = ran(trace((1, 0, 60), (2, 0, 1)), node("n1", cpu=1), pending_timeout=timedelta(minutes=7))
    assert began(run) == {1: 0, 2: None}
    assert figures_of(run).started == 1


def test_what_holds_nodes_at_the_begin_is_in_the_way_until_it_ends() -> None:
    holding = PlacedSession(
        session(9, slots()).id,
        10,
        session(9, slots()).type,
        "default",
        tenant(1),
        NOW,
        (PlacedKernel("n1", slots(cpu=1)),),
    )
    held = replace(trace((1, 0, 1)), held=(Held(holding, NOW + timedelta(minutes=3)),))
    assert began(ran(held, node("n1", cpu=1))) == {1: 3}


def test_fair_share_remembers_who_had_much() -> None:
    busy, rare = tenant(1), tenant(2)
    arrivals = [
        *trace((1, 0, 60), (2, 1, 60), (3, 2, 60), tenant=busy).arrivals,
        *trace((4, 30, 60), tenant=rare).arrivals,
    ]
    assert began(ran(Trace(tuple(arrivals)), node("n1", cpu=1)))[4] == 180
    assert began(ran(Trace(tuple(arrivals)), node("n1", cpu=1), sequencer="fair-share"))[4] == 60


@pytest.mark.parametrize(("mode", "starts"), [("terminate", 0), ("reschedule", 15)])
def test_a_session_that_is_preempted_is_over_or_comes_back(mode: str, starts: float) -> None:
    low = trace((1, 0, 60), priority=1).arrivals
    high = trace((2, 5, 10), priority=50).arrivals
    rules = PreemptionRules(mode=PreemptionMode(mode))
    run = ran(Trace(low + high), node("n1", cpu=1), preemption=rules)
    assert began(run) == {1: starts, 2: 5}
    assert {o.session.id.int: o.ended for o in run.outcomes}[1] == NOW + timedelta(minutes=starts + 60 if starts else 5)


@pytest.mark.parametrize(("length", "starts"), [(60, 25), (13, 13)])
def test_a_session_that_is_preempted_goes_on_for_its_grace_or_ends_by_itself(length: int, starts: int) -> None:
    low = trace((1, 0, length), priority=1).arrivals
    high = trace((2, 5, 10), priority=50).arrivals
    rules = PreemptionRules(grace=timedelta(minutes=20))
    run = ran(Trace(low + high), node("n1", cpu=1), preemption=rules)
    assert began(run) == {1: 0, 2: starts}
    assert {o.session.id.int: o.ended for o in run.outcomes}[1] == NOW + timedelta(minutes=starts)


def test_fairness_is_one_when_all_wait_alike() -> None:
    assert jain([2, 2, 2]) == 1
    assert jain([1, 0, 0, 0]) == 0.25
    assert jain([]) is None
    one, other = trace((1, 0, 10), tenant=tenant(1)), trace((2, 0, 10), tenant=tenant(2))
    both = Trace(one.arrivals + other.arrivals)
    assert figures_of(ran(both, node("n1", cpu=2))).fairness_of_slowdowns == 1
    assert figures_of(ran(both, node("n1", cpu=1))).fairness_of_slowdowns == pytest.approx(0.9)


def test_a_course_says_what_is_used_and_who_waits() -> None:
    course = course_of(ran(trace((1, 0, 10), (2, 1, 10)), node("n1", cpu=1)))
    assert (course.of, course.seconds[-1], max(course.waiting), max(course.used)) == ("cpu", 1200, 1, 1.0)
    assert course.waiting[-1] == 0


def test_a_picture_has_a_line_for_each_run_in_both_panels() -> None:
    course = course_of(ran(trace((1, 0, 10), (2, 1, 10)), node("n1", cpu=1)))
    picture = draw([("a <b>", course), ("c", course)])
    assert [element.tag.rpartition("}")[2] for element in ET.fromstring(picture)].count("polyline") == 4
    assert "a &lt;b&gt;" in picture
    assert draw([]).startswith("<svg")


def test_pods_of_openb_are_read() -> None:
    early, none, late = openb.read_pods(PODS.splitlines()).arrivals
    assert [a.session.pending_since - EPOCH for a in (early, none, late)] == [
        timedelta(seconds=n) for n in (10, 20, 100)
    ]
    assert [a.runs_for for a in (early, none, late)] == [None, timedelta(seconds=30), timedelta(seconds=30)]
    assert early.session.slots == {"cpu": Decimal("0.5"), "mem": 2 * GIB, "cuda.shares": Decimal("0.46")}
    assert late.session.slots == {"cpu": 4, "mem": GIB, "cuda.shares": 2}
    assert "cuda.shares" not in none.session.slots
    assert late.session.models == {"T4", "P100"}
    assert early.session.tenant == none.session.tenant != late.session.tenant


def test_pods_without_times_are_refused() -> None:
    with pytest.raises(InvalidParametersError):
        openb.read_pods(["name,cpu_milli,memory_mib,num_gpu,gpu_milli", "a,1,1,0,0"])


def test_nodes_of_openb_are_read() -> None:
    (read,) = openb.read_nodes(["sn,cpu_milli,memory_mib,gpu,model", "n1,64000,262144,2,P100"])
    assert (read.name, read.capacity) == ("n1", {"cpu": 64, "mem": 256 * GIB, "cuda.shares": 2})
    assert [(device.slot, device.model) for device in read.devices] == [("cuda.shares", "P100")] * 2
    with pytest.raises(InvalidParametersError):
        openb.read_nodes(["a,b", "1,2"])


def test_jobs_of_slurm_are_read() -> None:
    read = slurm.read_jobs(JOBS.splitlines())
    gang, single = read.arrivals
    assert read.left_out == 1
    assert gang.session.pending_since == datetime(2026, 11, 21, 9, tzinfo=UTC)
    assert (gang.runs_for, gang.session.time_limit) == (timedelta(hours=2), timedelta(hours=26))
    assert gang.session.cluster_mode is ClusterMode.MULTI_NODE
    assert [kernel.slots for kernel in gang.session.kernels] == [{"cpu": 4, "mem": 16 * GIB, "cuda.device": 2}] * 2
    assert (single.runs_for, single.session.time_limit, single.session.priority) == (None, None, 50)
    assert single.session.slots == {"cpu": 1, "mem": GIB // 2, "cuda.device": 1}
    assert gang.session.priority == 10
    assert gang.session.tenant.project != single.session.tenant.project


@pytest.mark.parametrize("missing", ["JobID", "Submit", "Start", "End"])
def test_a_list_of_jobs_without_a_needed_column_is_refused(missing: str) -> None:
    with pytest.raises(InvalidParametersError, match=missing):
        slurm.read_jobs(JOBS.replace(f"{missing}|", "").splitlines())


def test_a_recording_comes_back() -> None:
    made = replace(trace((1, 0, 10), (2, 1, None)), nodes=(node("n1", 8, 8, *gpus(1)),), left_out=3)
    assert recording.read(recording.write(made)) == made
    with pytest.raises(InvalidParametersError):
        recording.read(b'{"format":"caravan-trace-1","trace":7}')


def test_sessions_can_come_faster() -> None:
    fast = trace((1, 0, 10), (2, 60, 10)).faster(6)
    assert began(ran(fast, node("n1", cpu=1))) == {1: 0, 2: 10}


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["simulate", *[str(argument) for argument in arguments]])


def test_policies_are_compared_side_by_side_with_a_picture(tmp_path: Path) -> None:
    (tmp_path / "jobs.gz").write_bytes(gzip.compress(JOBS.encode()))
    ours = """
        [[nodes]]
        count = 2
        slots = { cpu = 4, mem = "16g" }
        devices = [{ slot = "cuda.device", count = 2 }]
    """
    one = write(tmp_path / "one.toml", 'sequencer = "fifo"' + ours)
    other = write(tmp_path / "other.toml", 'name = "last first"\nsequencer = "lifo"' + ours)
    picture = tmp_path / "out.svg"
    said = run("--trace", tmp_path / "jobs.gz", "--policy", one, "--policy", other, "--plot", picture)
    assert said.exit_code == 0, said.output
    lines = said.output.splitlines()
    assert lines[0].startswith("1 sessions are left out")
    assert lines[1].split() == ["one", "last", "first"]
    assert [line.split()[-2:] for line in lines if line.startswith("started")] == [["2", "2"]]
    assert picture.read_text().startswith("<svg")


def test_a_group_of_its_own_has_rules_of_its_own(tmp_path: Path) -> None:
    written = """
        selector = "dispersed"
        preemption = { order = "newest", min_runtime = 60 }
        [groups.gpu]
        preemption = "off"
        sequencer = "drf"
        pending_timeout = "1h"
        options = { a = 1 }
        spread_replicas = true
    """
    policy = load_policy(write(tmp_path / "p.toml", written), find_plugins())
    rules = PreemptionRules(order=PreemptionOrder.NEWEST, min_runtime=timedelta(minutes=1))
    given = [
        GroupView("gpu", "lifo", "roundrobin", preemption=PreemptionRules()),
        GroupView("cpu", "lifo", pending_timeout=timedelta(1), spread_replicas=True),
    ]
    assert policy.groups_for(given, ["other"]) == (
        GroupView("cpu", "lifo", "dispersed", timedelta(1), rules, spread_replicas=True),
        GroupView("gpu", "drf", "roundrobin", timedelta(hours=1), options={"a": 1}, spread_replicas=True),
        GroupView("other", "fifo", "dispersed", preemption=rules),
    )


@pytest.mark.parametrize(
    ("policy", "word"),
    [
        ('sequencer = "none"', "there is no 'none'"),
        ('[groups.gpu]\nselector = "none"', "there is no 'none'"),
        ('pending_timeout = "soon"', "pending_timeout"),
        ("colour = 1", "colour"),
        ("sequencer", "is not TOML"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(tmp_path: Path, policy: str, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        load_policy(write(tmp_path / "p.toml", policy), find_plugins())


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("hello", "is no trace"),
        ("", "is no trace"),
        ('{"format":"caravan-trace-1","trace":{}}', "no recording"),
        (PODS.replace("4000", "many"), "no number"),
    ],
)
def test_a_file_that_is_no_trace_is_refused(tmp_path: Path, text: str, word: str) -> None:
    with pytest.raises(ConfigurationError, match=word):
        read_trace(write(tmp_path / "trace", text))
    with pytest.raises(ConfigurationError, match="cannot read"):
        read_trace(tmp_path / "nothing")


def test_without_nodes_or_sessions_there_is_nothing_to_simulate(tmp_path: Path) -> None:
    policy, jobs = write(tmp_path / "p.toml", ""), write(tmp_path / "jobs", JOBS)
    assert "no nodes" in str(run("--trace", jobs, "--policy", policy).exception)
    empty = write(tmp_path / "empty", JOBS.splitlines()[0])
    assert "no session" in str(run("--trace", empty, "--policy", policy).exception)
