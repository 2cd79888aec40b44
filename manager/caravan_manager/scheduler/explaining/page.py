"""An explanation as people read it in a terminal of 100 columns. Pure."""

import textwrap
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import cast

from caravan_manager.scheduler.explaining.answer import Told, ToldHelp

WIDTH = 100
_LABEL = 12


def page_of(told: Told) -> str:
    """Return the text: a row for each subject, its name in the first column."""
    return "\n".join(line.rstrip() for line in _lines(told))


def _lines(told: Told) -> Iterator[str]:
    name, id_ = told.session["name"], told.session["id"]
    waits = told.verdict == "waits"
    yield from _row("SESSION", [f"{name} ({id_}) {'waits' if waits else told.summary}"])
    yield from _row("QUEUE", _queue(told))
    for number, reason in enumerate(told.reasons, 1):
        label = "WHY NOT" if number == 1 else ""
        then = "and then " if reason.only_then else ""
        yield from _row(label, [f"{number}. {then}{reason.text}", *(f"   - {detail}" for detail in reason.details)])
    yield from _row("NOW IF", _helps(told.would_help) or (["nothing that was tried helps"] if waits else []))
    yield from _row("EVER IF", _helps(told.possible_if))
    yield from _row("STARTS ON" if told.verdict == "starts" else "ON", [_seat(seat) for seat in told.seats])
    yield from _row("START", _estimate(told))
    if not told.complete:
        yield from _row("NOTE", ["there was not enough time to try everything"])


def _row(label: str, entries: Sequence[str]) -> Iterator[str]:
    """Yield a row, its entries below each other and broken where they are longer than the page is wide."""
    first = label
    for entry in entries:
        mark = len(entry) - len(entry.lstrip(" -"))
        lead = " " * max(mark, 2)
        for line in textwrap.wrap(entry, WIDTH - _LABEL, subsequent_indent=lead, break_on_hyphens=False):
            yield f"{first:<{_LABEL}}{line}"
            first = ""


def _queue(told: Told) -> list[str]:
    queue = told.queue
    if queue is None:
        return []
    place = f"{queue['position']} of {queue['length']} that wait in scaling group {queue['scaling_group']}"
    rows = [f"{place} ({queue['scheduler']})"]
    ahead = cast("list[dict[str, object]]", queue["ahead"])
    for each in ahead:
        kept = ", room is kept for it" if each["room_is_kept"] else ""
        rows.append(f"- behind {each['label']} ({each['waits_for']}{kept})")
    more = cast("int", queue["position"]) - 1 - len(ahead)
    return [*rows, f"- and {more} more"] if more else rows


def _helps(helping: Sequence[ToldHelp]) -> list[str]:
    return [
        f"- {each.text} -> {', '.join(dict.fromkeys(str(seat['node']) for seat in each.seats))}" for each in helping
    ]


def _seat(seat: dict[str, object]) -> str:
    devices = cast("list[dict[str, str]]", seat["devices"])
    held = ", ".join(f"{device['amount']} {device['slot']} of {device['id']}" for device in devices)
    return f"{seat['node']}{f': {held}' if held else ''}"


def _estimate(told: Told) -> list[str]:
    estimate = told.estimate
    if estimate is None or told.verdict != "waits":
        return []
    earliest, latest = (_moment(estimate[which]) for which in ("earliest", "latest"))
    span = f"not before {earliest}, " if estimate["earliest"] else ""
    by = f"by {latest}: " if estimate["latest"] else f"latest {latest}: " if span else ""
    rows = [f"{span}{by}{estimate['text']}"]
    if estimate["there_now"]:
        rows.append(f"- there now: {estimate['there_now']}")
    return rows


def _moment(text: object) -> str:
    """Return a moment without parts of seconds."""
    return datetime.fromisoformat(text).isoformat(timespec="seconds") if isinstance(text, str) else "unknown"
