"""What a benchmark measured: rows of repeated values, printed as a table and written as JSON."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from common.files import write_text


@dataclass(frozen=True)
class Row:
    """One measured quantity.

    `values`: one a round, in `unit`. `target`: what the median must reach, at least (`at_least`) or at most; None where
    the row only informs. `note`: what was run, for a reader of the table.
    """

    what: str
    unit: str
    values: Sequence[float]
    target: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def median(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.values)

    @property
    def reached(self) -> bool | None:
        """Whether the median reaches the target; None without one."""
        if self.target is None:
            return None
        return self.median >= self.target if self.at_least else self.median <= self.target


def ratio(what: str, ours: Row, peer: Row, target: float | None = None, note: str = "") -> Row:
    """Ours over the peer's, round by round: the machine's speed drifts, and the two of one round share it."""
    values = [a / b for a, b in zip(ours.values, peer.values, strict=True)]
    return Row(what, "x", values, target, at_least=True, note=note or f"{ours.what} / {peer.what}")


def text(rows: Sequence[Row]) -> str:
    """The table in Markdown: median, least and greatest value, target and whether it is reached."""
    lines = ["| what | median | min to max | target | reached | how |", "|---|---|---|---|---|---|"]
    for row in rows:
        sign = "≥" if row.at_least else "≤"
        target = "" if row.target is None else f"{sign} {row.target:g} {row.unit}"
        reached = {None: "", True: "yes", False: "**no**"}[row.reached]
        spread = f"{number(min(row.values))} to {number(max(row.values))}"
        lines.append(f"| {row.what} | {number(row.median)} {row.unit} | {spread} | {target} | {reached} | {row.note} |")
    return "\n".join(lines)


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def write(path: str | Path, rows: Sequence[Row], facts: dict) -> None:
    """Write `facts` (hardware, versions, command) and the rows, medians included, as JSON."""
    listed = [asdict(row) | {"median": row.median, "reached": row.reached} for row in rows]
    write_text(path, json.dumps(facts | {"rows": listed}, indent=1, ensure_ascii=False) + "\n")
