"""Caravan's arm: the only place of the benchmark that knows the planner's interface."""

from collections.abc import Sequence

from tests.bench.scheduler.cluster import Arm, Nodes, Request


class NotConnectedError(Exception):
    """The planner has no such interface yet."""


def packed(nodes: Nodes, typical: Sequence[Request]) -> Arm:
    """Return the planner with the selector `packed` on an empty cluster; typical requests are its recent history."""
    raise NotConnectedError("the planner's selector `packed` is not connected to the benchmark yet")


def one_pass(nodes: Nodes, live: Sequence[Request], pending: Sequence[Request]) -> float:
    """Return the seconds of one whole pass over live and pending sessions, its snapshot already read."""
    raise NotConnectedError("the planner's pass is not connected to the benchmark yet")
