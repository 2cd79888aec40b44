"""Writes docs/guides/agreement.md: in what Caravan's answers differ from the recorded ones, and why."""

from pathlib import Path

from tests.conformance.agreement import Entry, Justified
from tests.conformance.records import Exchange, read_pairs, read_wire

from caravan_deploy.layout import REPOSITORY

DATA = REPOSITORY / "tests" / "data" / "api-25.5.2"
GUIDE = REPOSITORY / "docs" / "guides" / "agreement.md"
BEGINNING = """# Agreement with the real manager

`tests/conformance` sends recorded requests of Backend.AI 25.5.2's clients to a whole stack, signed anew and with the
stack's own names and IDs, and compares the answers: status, problem type, and the keys of the JSON at every depth.
Values are not compared; null and what is empty agree with anything. What differs on purpose, and what Caravan does not
answer yet, stands below with its reason; a difference that does not, or one that stands here and is none, fails the
test. This page is made from `tests/data/api-25.5.2/*.toml` by `.venv/bin/python -m tests.conformance.guide`.
"""


def page(data: Path = DATA) -> str:
    """Return the whole page."""
    return "\n".join([BEGINNING, *(_part(file) for file in sorted(data.glob("*.toml")))])


def _part(file: Path) -> str:
    justified, exchanges = Justified.read(file), _exchanges(file)
    later = [exchange for exchange in exchanges if justified.is_not_yet(exchange.name)]
    lines = [
        f"## `{file.stem}`: {len(exchanges)} recorded exchanges, {len(exchanges) - len(later)} compared",
        "",
        "| differs on purpose | in | why |",
        "|-|-|-|",
        *(_row(entry, exchanges, "<br>".join(entry.lines)) for entry in justified.differences),
        "",
        "| not answered yet | what it is |",
        "|-|-|",
        *(_row(entry, exchanges) for entry in justified.not_yet),
        "",
    ]
    return "\n".join(lines)


def _row(entry: Entry, exchanges: list[Exchange], *more: str) -> str:
    named = [f"`{exchange.name}`" for exchange in exchanges if entry.names(exchange.name)]
    return f"| {' | '.join(['<br>'.join(named), *more, entry.reason])} |"


def _exchanges(file: Path) -> list[Exchange]:
    folder = file.with_suffix("")
    return read_pairs(folder) if folder.is_dir() else read_wire(file.with_suffix(".jsonl"))


if __name__ == "__main__":
    GUIDE.write_text(page(), encoding="utf-8")
