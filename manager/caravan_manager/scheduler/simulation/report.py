"""Runs side by side, as a table for a terminal. Pure."""

from collections.abc import Callable, Sequence

from caravan_manager.scheduler.simulation.measures import Figures

_ROWS: tuple[tuple[str, Callable[[Figures], str]], ...] = (
    ("sessions", lambda f: str(f.sessions)),
    ("started", lambda f: str(f.started)),
    ("wait, mean", lambda f: length(f.mean_wait)),
    ("wait, median", lambda f: length(f.median_wait)),
    ("wait, 95 %", lambda f: length(f.p95_wait)),
    ("wait, longest", lambda f: length(f.longest_wait)),
    ("until the last start", lambda f: length(f.window)),
    ("use of cpu", lambda f: percent(f.cpu)),
    ("use of accelerators", lambda f: percent(f.accelerators)),
    ("fairness of shares", lambda f: index(f.fairness_of_shares)),
    ("fairness of slowdowns", lambda f: index(f.fairness_of_slowdowns)),
)


def side_by_side(runs: Sequence[tuple[str, Figures]]) -> list[str]:
    """Return the lines of a table with a column for each run."""
    rows = [("", [name for name, _ in runs]), *((title, [show(f) for _, f in runs]) for title, show in _ROWS)]
    return table([[title, *cells] for title, cells in rows])


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines: the first column on the left, the others on the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def length(seconds: float | None) -> str:
    """Return a duration in the unit that suits it."""
    if seconds is None:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def percent(part: float | None) -> str:
    """Return a part of 1 in percent."""
    return "-" if part is None else f"{100 * part:.2f} %"


def index(value: float | None) -> str:
    """Return an index from 0 to 1."""
    return "-" if value is None else f"{value:.3f}"
