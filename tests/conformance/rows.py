"""What is printed: one row for each thing that was looked at, and what came of it."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Row:
    part: str
    """Who was asked: a reader's name, or `live`."""
    name: str
    """What has to be so."""
    section: str
    """The heading of protocol/README.md that asks for it."""
    outcome: Outcome
    why: str = ""
    """What was found instead, or why nothing was looked for. What strangers say is in it as they said it."""


@dataclass(slots=True)
class Report:
    """Rows as they come; `tell` hears of each at once, for people who wait."""

    tell: Callable[[Row], None] = lambda _row: None
    rows: list[Row] = field(default_factory=list)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.tell(row)

    def named(self, outcome: Outcome) -> set[str]:
        return {row.name for row in self.rows if row.outcome is outcome}

    @property
    def is_good(self) -> bool:
        """Nothing failed, and something passed: who is asked nothing conforms to nothing."""
        return not self.named(Outcome.FAILED) and bool(self.named(Outcome.PASSED))

    def as_json(self) -> str:
        """One object: `ok`, how many rows of each outcome, and the rows."""
        counted = Counter(row.outcome for row in self.rows)
        rows = [{name: str(getattr(row, name)) for name in Row.__slots__} for row in self.rows]
        counts = {str(outcome): counted[outcome] for outcome in Outcome}
        return json.dumps({"ok": self.is_good, **counts, "rows": rows}, indent=1)

    def show(self, console: Console) -> None:
        for part in dict.fromkeys(row.part for row in self.rows):
            console.print(_table(part, [row for row in self.rows if row.part == part]))
        counted = Counter(row.outcome for row in self.rows)
        console.print(", ".join(f"{counted[outcome]} {outcome}" for outcome in Outcome))


STYLES = {Outcome.PASSED: "green", Outcome.FAILED: "bold red", Outcome.SKIPPED: "yellow"}


def _table(part: str, rows: Iterable[Row]) -> Table:
    table = Table("", "what", "section", title=Text(part), title_justify="left", box=None, pad_edge=False)
    for row in rows:
        what = Text(row.name)
        if row.why:
            what.append(f"\n  {row.why}", "dim")
        table.add_row(Text(row.outcome, STYLES[row.outcome]), what, Text(row.section))
    return table
