"""Figures against bars: each bench notes its figures, and the run ends with one line for each bar."""

from collections.abc import Callable

import pytest

Note = Callable[[str], None]
_LINES = pytest.StashKey[list[str]]()


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Note:
    """Note a line for the end of the run."""
    lines = request.config.stash.setdefault(_LINES, [])
    return lines.append


@pytest.fixture
def bar(note: Note) -> Callable[..., None]:
    """Note whether a figure holds its bar: ``bar(name, figure, most, unit)``."""

    def hold(name: str, figure: float, most: float, unit: str) -> None:
        verdict = "holds" if figure <= most else "falls short"
        note(f"bar: {name} = {figure:.2f} {unit} (goal at most {most:g} {unit}) {verdict}")

    return hold


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the lines at the end."""
    for line in config.stash.get(_LINES, []):
        terminalreporter.write_line(line)
