"""Fit a straight line to input.csv by least squares and write what was found to result.json."""

import csv
import json
import platform
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


def read_points(path: Path) -> list[tuple[float, float]]:
    with path.open(newline="", encoding="utf-8") as opened:
        return [(float(row["x"]), float(row["y"])) for row in csv.DictReader(opened)]


def fit(points: list[tuple[float, float]]) -> dict[str, float]:
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
    return {
        "rows": count,
        "mean": round(mean_y, 6),
        "slope": round(slope, 6),
        "intercept": round(mean_y - slope * mean_x, 6),
    }


def main() -> None:
    found = fit(read_points(FOLDER / "input.csv"))
    print(f"{found['rows']} rows, mean of y {found['mean']}: y = {found['slope']} x + {found['intercept']}")
    result = found | {"python": platform.python_version(), "computed_on": platform.node()}
    (FOLDER / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
