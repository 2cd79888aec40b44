"""What an operator says of a scaling group's scheduling: its `scheduler`, and the object `scheduler_opts`. Pure.

Who reads it for a pass goes on with the default of what cannot be read; who writes it is refused.
"""

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import TypeVar, cast

from caravan_common.errors import InvalidParametersError
from caravan_common.states import SessionType
from caravan_manager.nodes.model import DEFAULT_PRIORITY, HIGHEST_PRIORITY, SESSION_TYPES, USER_PRIORITY
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
CONFIG = "config"
"""What a scheduler of another package reads, and nothing here."""
SELECTOR_CONFIG = "agent_selector_config"
"""What a selector of another package reads, and nothing here."""
SPREADING = "enforce_spreading_endpoint_replica"
"""Whether the sessions of one endpoint are spread over the nodes."""
FRAGMENTATION = "allow_fractional_resource_fragmentation"
"""Kept, and without effect: here a part of a device is never made of two."""
ROUTE_CLEANUP = "route_cleanup_target_statuses"
"""Belongs to model services: kept, and without effect until there are such."""
ROUTE_STATUSES = ("healthy", "unhealthy", "degraded")
SAME_SELECTORS = {"legacy": "dispersed"}
"""Backend.AI's names of selectors that are another one here: both take the node that has most left."""
ALIKE = 0.85
"""From which likeness on (difflib's ratio) an unknown option is taken for a known one that was written wrongly."""

HEAVIEST = 1_000_000
"""The largest weight."""
RULES = (
    "enabled",
    "preemptible_priority",
    "order",
    "mode",
    "preemption_min_runtime",
    "preemption_grace",
    "victim_scope",
)
LONGEST_GRACE = timedelta(hours=1)
"""The longest time that a session may be given to end by itself."""
TYPES = tuple(kind.value for kind in SessionType)

Options = Mapping[str, object]
Value = TypeVar("Value")
Word = TypeVar("Word", bound=StrEnum)


def group_view(name: str, scheduler: str, options: Options) -> tuple[GroupView, list[str]]:
    """Return a scaling group's rules, and what of its options cannot be read.

    That has its default; of preemption no rule holds where one cannot be read: nobody is ended by half of the rules.
    """
    problems: list[str] = []
    rules = _read(PREEMPTION, _rules, options, problems) if _is_preemption_enabled(options) else None
    view = GroupView(
        name,
        scheduler,
        selector=_selector(options),
        pending_timeout=_read(PENDING_TIMEOUT, _pending_timeout, options, problems),
        preemption=rules,
        options=dict(options),
        spread_replicas=_read(SPREADING, partial(_flag, SPREADING), options, problems) or False,
    )
    return view, problems


def check_options(scheduler: str, options: Options, plugins: Plugins) -> None:
    """Raise InvalidParametersError for options that cannot be read, and for a plugin that is not installed here.

    Options that nothing here knows are kept, for schedulers of other packages; not one that is nearly a known one.
    """
    problems: list[str] = []
    for name, parse in _CHECKS.items():
        _read(name, parse, options, problems)
    problems += [problem for name in options if (problem := _mistyped(name)) is not None]
    if scheduler not in plugins.sequencers:
        problems.append(f"scheduler: {_not_among(scheduler, sorted(plugins.sequencers))}")
    if (selector := _selector(options)) not in plugins.selectors:
        problems.append(f"{SELECTOR}: {_not_among(selector, sorted({*plugins.selectors, *SAME_SELECTORS}))}")
    if problems:
        raise InvalidParametersError("; ".join(problems))


def half_life(options: Options) -> timedelta:
    """Return the half-life of `fair-share`. Raises InvalidParametersError."""
    written = _duration(options.get(HALF_LIFE) or DEFAULT_HALF_LIFE.total_seconds())
    return written if written > timedelta() else DEFAULT_HALF_LIFE


def selector_options(options: Options) -> Options:
    """Return what the selector of a scaling group is given; nothing of what is no object."""
    written = options.get(SELECTOR_CONFIG)
    return cast("dict[str, object]", written) if isinstance(written, dict) else {}


def _read(name: str, parse: Callable[[Options], Value], options: Options, problems: list[str]) -> Value | None:
    try:
        return parse(options)
    except (InvalidParametersError, ValueError) as err:
        problems.append(f"{name}: {err}")
    return None


def _mistyped(name: str) -> str | None:
    """Say which option an unknown one probably was to be; None for a known one, and for one unlike all of them."""
    if name in KNOWN:
        return None
    close = difflib.get_close_matches(name.lower().replace("-", "_"), KNOWN, n=1, cutoff=ALIKE)
    return f"there is no option {_cut(name)}; did you mean {close[0]}?" if close else None


def _selector(options: Options) -> str:
    """Return the name of the selector."""
    named = str(options.get(SELECTOR) or DEFAULT_SELECTOR)
    return SAME_SELECTORS.get(named, named)


def _pending_timeout(options: Options) -> timedelta | None:
    """Return how long sessions may wait; None for ever."""
    limit = _duration(options.get(PENDING_TIMEOUT) or 0)
    return limit if limit > timedelta() else None


def _is_preemption_enabled(options: Options) -> bool:
    written = options.get(PREEMPTION)
    return isinstance(written, dict) and cast("dict[str, object]", written).get("enabled") is True


def _rules(options: Options) -> PreemptionRules:
    given = _object(options.get(PREEMPTION))
    priority = given.get("preemptible_priority", 5)
    if isinstance(priority, bool) or not str(priority).isdecimal():
        raise ValueError(f"preemptible_priority is a whole number, not {_cut(priority)}")
    return PreemptionRules(
        preemptible_priority=int(str(priority)),
        order=_one_of(PreemptionOrder, "order", given.get("order", PreemptionOrder.LEAST_WORK)),
        mode=_one_of(PreemptionMode, "mode", given.get("mode", PreemptionMode.TERMINATE)),
        min_runtime=_duration(given.get("preemption_min_runtime") or 0),
        grace=_grace(given.get("preemption_grace") or 0),
        scope=_one_of(VictimScope, "victim_scope", given.get("victim_scope", VictimScope.USER)),
    )


def _grace(written: object) -> timedelta:
    if (grace := _duration(written)) > LONGEST_GRACE:
        raise ValueError(f"preemption_grace is at most an hour, not {_cut(written)}")
    return grace


def _checked_rules(options: Options) -> None:
    """Raise ValueError for rules that cannot be, also where they are not enabled, and for others than there are."""
    given = _object(options.get(PREEMPTION))
    if unknown := sorted(given.keys() - set(RULES)):
        raise ValueError(_not_among(unknown[0], RULES))
    if not isinstance(given.get("enabled", False), bool):
        raise ValueError("enabled is true or false")  # noqa: TRY004 - it is an operator's value, not a program's
    _rules(options)


def _session_types(options: Options) -> None:
    """Raise ValueError for types of sessions that there are not."""
    _words(SESSION_TYPES, TYPES, options)
    if options.get(SESSION_TYPES) == []:
        raise ValueError("it names one type at least")


def _words(name: str, known: Collection[str], options: Options) -> None:
    """Raise ValueError unless an option is a list of known words, or absent."""
    written = options.get(name)
    if written is not None and not isinstance(written, list):
        raise ValueError("it is a list")
    for word in cast("list[object]", written or []):
        if word not in known:
            raise ValueError(_not_among(word, known))


def _user_priority(options: Options) -> None:
    """Raise ValueError unless the highest priority of users can be one, or is absent."""
    written = options.get(USER_PRIORITY)
    if written is None:
        return
    if isinstance(written, bool) or not isinstance(written, int) or not DEFAULT_PRIORITY <= written <= HIGHEST_PRIORITY:
        raise ValueError(f"it is a whole number from {DEFAULT_PRIORITY} to {HIGHEST_PRIORITY}")


def _flag(name: str, options: Options) -> bool:
    """Return whether an option is true; absent it is not. Raises ValueError for what is neither true nor false."""
    written = options.get(name)
    if not isinstance(written, bool | None):
        raise ValueError("it is true or false")  # noqa: TRY004 - it is an operator's value, not a program's
    return bool(written)


def _own(name: str, options: Options) -> None:
    """Raise ValueError unless an option that only a plugin reads is an object, or absent."""
    _object(options.get(name))


def _weights(options: Options) -> None:
    """Raise ValueError for weights that `fair-share` would leave out."""
    given = _object(options.get(WEIGHTS))
    if unknown := sorted(given.keys() - set(WEIGHED)):
        raise ValueError(_not_among(unknown[0], WEIGHED))
    for weights in given.values():
        for name, weight in _object(weights).items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= HEAVIEST:
                raise ValueError(f"the weight of {_cut(name)} is a number above 0, at most {HEAVIEST:,}")


def _duration(written: object) -> timedelta:
    """Read a duration of operators: none of theirs is negative."""
    if (read := parse_duration(written)) < timedelta():
        raise ValueError(f"{_cut(written)} is negative")
    return read


def _one_of(kind: type[Word], name: str, value: object) -> Word:
    words = [str(word) for word in kind]
    if value not in words:
        raise ValueError(f"{name}: {_not_among(value, words)}")
    return kind(value)


def _object(value: object) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("it is an object in JSON")  # noqa: TRY004 - as above
    return cast("dict[str, object]", value)


def _not_among(value: object, known: Iterable[str]) -> str:
    return f"there is no {_cut(value)}; there are {', '.join(known)}"


def _cut(value: object) -> str:
    return repr(value if isinstance(value, int | float) else str(value)[:100])


_CHECKS: dict[str, Callable[[Options], object]] = {
    PENDING_TIMEOUT: _pending_timeout,
    HALF_LIFE: half_life,
    WEIGHTS: _weights,
    SESSION_TYPES: _session_types,
    PREEMPTION: _checked_rules,
    USER_PRIORITY: _user_priority,
    CONFIG: partial(_own, CONFIG),
    SELECTOR_CONFIG: partial(_own, SELECTOR_CONFIG),
    SPREADING: partial(_flag, SPREADING),
    FRAGMENTATION: partial(_flag, FRAGMENTATION),
    ROUTE_CLEANUP: partial(_words, ROUTE_CLEANUP, ROUTE_STATUSES),
}
KNOWN = (SELECTOR, *_CHECKS)
"""The options that are understood here."""
