"""Runs as a picture: what was in use and how many waited, over time. SVG by a few lines of our own. Pure."""

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil

from caravan_manager.scheduler.simulation.measures import Course

WIDTH, HEIGHT = 860, 250
"""Of one of the two panels, in pixels; the margins are in it."""
LEFT, TOP, RIGHT, BOTTOM = 70, 34, 20, 34
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#7f7f7f")
POINTS = 1000
"""A longer course is drawn by so many points; each is the last one of its stretch."""
MOST_TICKS = 8
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800)
"""Seconds between ticks that people like to read."""


def draw(courses: Sequence[tuple[str, Course]]) -> str:
    """Return the picture."""
    end = max((course.seconds[-1] for _, course in courses if course.seconds), default=0.0) or 1.0
    most = max((max(course.waiting) for _, course in courses if course.waiting), default=0) or 1
    of = courses[0][1].of if courses else ""
    panels = [
        *_panel(0, f"use of {of}", end, "100 %", [(c.seconds, c.used) for _, c in courses]),
        *_panel(
            HEIGHT,
            "sessions that wait",
            end,
            str(most),
            [(c.seconds, [w / most for w in c.waiting]) for _, c in courses],
        ),
    ]
    legend = [
        f'<text x="{LEFT + 170 * i}" y="{2 * HEIGHT + 16}" fill="{_colour(i)}">{escape(name)}</text>'
        for i, (name, _) in enumerate(courses)
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{2 * HEIGHT + 30}"'
    return "\n".join(
        [
            f'{head} font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            *panels,
            *legend,
            "</svg>\n",
        ]
    )


def _panel(
    top: int, title: str, end: float, highest: str, lines: Sequence[tuple[list[float], list[float]]]
) -> list[str]:
    """Return one panel; values are parts of its height."""
    wide, high = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    bottom = top + HEIGHT - BOTTOM
    drawn = [
        f'<text x="{LEFT}" y="{top + TOP - 12}" font-weight="bold">{escape(title)}</text>',
        f'<rect x="{LEFT}" y="{top + TOP}" width="{wide}" height="{high}" fill="none" stroke="#999"/>',
        f'<text x="{LEFT - 8}" y="{top + TOP + 4}" text-anchor="end">{highest}</text>',
        f'<text x="{LEFT - 8}" y="{bottom + 4}" text-anchor="end">0</text>',
    ]
    drawn.append(f'<path d="M{LEFT} {bottom - high / 2:.1f}h{wide}" stroke="#ddd"/>')
    for tick in _ticks(end):
        x = LEFT + wide * tick / end
        drawn.append(f'<path d="M{x:.1f} {bottom}v-{high}" stroke="#eee"/>')
        drawn.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{_label(tick)}</text>')
    for number, (seconds, parts) in enumerate(lines):
        points, y = [f"{LEFT},{bottom}"], float(bottom)
        for second, part in _thinned(seconds, parts):
            x = LEFT + wide * second / end
            points.append(f"{x:.1f},{y:.1f}")
            y = bottom - high * min(part, 1.0)
            points.append(f"{x:.1f},{y:.1f}")
        drawn.append(f'<polyline fill="none" stroke="{_colour(number)}" points="{" ".join(points)}"/>')
    return drawn


def _ticks(end: float) -> Iterator[int]:
    """Yield the seconds that are written below a panel; the right edge has room for none."""
    step = next((step for step in STEPS if end / step <= MOST_TICKS), STEPS[-1] * ceil(end / STEPS[-1] / MOST_TICKS))
    return (second for second in range(0, ceil(end), step) if second <= end * 0.97)


def _label(second: int) -> str:
    if second == 0:
        return "0"
    unit, name = next((u, n) for u, n in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")) if second >= u)
    return f"{second / unit:g} {name}"


def _thinned(seconds: list[float], parts: list[float]) -> list[tuple[float, float]]:
    step = max(1, len(seconds) // POINTS)
    return [(seconds[i], parts[i]) for i in range(step - 1, len(seconds), step)]


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
