"""What an operator says of a scaling group's scheduling: its `scheduler`, and the object `scheduler_opts`. Pure.

Who reads it for a pass goes on with the default of what cannot be read; who writes it is refused.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TypeVar, cast

from caravan_common.errors import InvalidParametersError
from caravan_common.states import SessionType
from caravan_manager.nodes.model import SESSION_TYPES
from caravan_manager.scheduler.plugins import DEFAULT_SELECTOR, Plugins
from caravan_manager.scheduler.snapshot import GroupView, PreemptionMode, PreemptionOrder, PreemptionRules, VictimScope
from caravan_manager.sessions.durations import parse_duration

SELECTOR = "agent_selection_strategy"
PENDING_TIMEOUT = "pending_timeout"
PREEMPTION = "preemption"
HALF_LIFE = "fair_share_half_life"
"""After how long what was had counts half; DEFAULT_HALF_LIFE otherwise."""
WEIGHTS = "fair_share_weights"
"""``{"domains": {name: weight}, "projects": {…}, "users": {…}}``, 1 where unnamed."""
WEIGHED = ("domains", "projects", "users")
DEFAULT_HALF_LIFE = timedelta(days=7)

Options = Mapping[str, object]
Value = TypeVar("Value")


def group_view(name: str, scheduler: str, options: Options) -> tuple[GroupView, list[str]]:
    """Return a scaling group's rules, and what of its options cannot be read: that has its default."""
    problems: list[str] = []
    view = GroupView(
        name,
        scheduler,
        selector=str(options.get(SELECTOR) or DEFAULT_SELECTOR),
        pending_timeout=_read(_pending_timeout, options, problems),
        preemption=_read(_preemption, options, problems),
        options=dict(options),
    )
    return view, problems


def check_options(scheduler: str, options: Options, plugins: Plugins) -> None:
    """Raise InvalidParametersError for options that cannot be read, and for a plugin that is not installed here."""
    view, problems = group_view("", scheduler, options)
    for parse in (half_life, _weights, _session_types):
        _read(parse, options, problems)
    if scheduler not in plugins.sequencers:
        problems.append(f"there is no scheduler {scheduler!r}; there are {', '.join(sorted(plugins.sequencers))}")
    if view.selector not in plugins.selectors:
        known = ", ".join(sorted(plugins.selectors))
        problems.append(f"there is no {SELECTOR} {view.selector!r}; there are {known}")
    if problems:
        raise InvalidParametersError("; ".join(problems))


def _read(parse: Callable[[Options], Value], options: Options, problems: list[str]) -> Value | None:
    try:
        return parse(options)
    except (InvalidParametersError, ValueError) as err:
        problems.append(str(err))
    return None


def half_life(options: Options) -> timedelta:
    """Return the half-life of `fair-share`. Raises InvalidParametersError."""
    written = parse_duration(options.get(HALF_LIFE) or DEFAULT_HALF_LIFE.total_seconds())
    return written if written > timedelta() else DEFAULT_HALF_LIFE


def _pending_timeout(options: Options) -> timedelta | None:
    """Return how long sessions may wait; None for ever."""
    limit = parse_duration(options.get(PENDING_TIMEOUT) or 0)
    return limit if limit > timedelta() else None


def _preemption(options: Options) -> PreemptionRules | None:
    """Return the rules of preemption; None unless they are enabled."""
    given = _object(PREEMPTION, options.get(PREEMPTION))
    rules = PreemptionRules(
        preemptible_priority=int(str(given.get("preemptible_priority", 5))),
        order=PreemptionOrder(str(given.get("order", PreemptionOrder.LEAST_WORK))),
        mode=PreemptionMode(str(given.get("mode", PreemptionMode.TERMINATE))),
        min_runtime=parse_duration(given.get("preemption_min_runtime") or 0),
        scope=VictimScope(str(given.get("victim_scope", VictimScope.USER))),
    )
    return rules if given.get("enabled") is True else None


def _session_types(options: Options) -> None:
    """Raise ValueError for types of sessions that there are not."""
    written = options.get(SESSION_TYPES, [])
    if not isinstance(written, list):
        raise ValueError(f"{SESSION_TYPES} is a list")  # noqa: TRY004 - it is an operator's value, not a program's
    known = [kind.value.lower() for kind in SessionType]
    for kind in cast("list[object]", written):
        if kind not in known:
            raise ValueError(f"{SESSION_TYPES}: there is no type {kind!r}; there are {', '.join(known)}")


def _weights(options: Options) -> None:
    """Raise ValueError for weights that `fair-share` would leave out."""
    given = _object(WEIGHTS, options.get(WEIGHTS))
    if unknown := given.keys() - set(WEIGHED):
        raise ValueError(f"{WEIGHTS} are of {', '.join(WEIGHED)}, not of {min(unknown)!r}")
    for level, weights in given.items():
        for name, weight in _object(f"{WEIGHTS}.{level}", weights).items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
                raise ValueError(f"{WEIGHTS}: the weight of {name!r} is a number above 0")


def _object(name: str, value: object) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{name} is an object in JSON")  # noqa: TRY004 - as above
    return cast("dict[str, object]", value)
