"""Goals, and the table that says which were met."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Goal:
    what: str
    value: float | None
    """None: it could not be measured."""
    limit: float
    at_least: bool
    unit: str = ""

    @property
    def met(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def line(self) -> str:
        sign = ">=" if self.at_least else "<="
        goal = f"(goal {sign} {self.limit:g}{self.unit})"
        if self.value is None:
            return f"-       {self.what}: not measured {goal}"
        return f"{'met' if self.met else 'MISSED':6}  {self.what}: {self.value:.3g}{self.unit} {goal}"


def table(rows: list[tuple[str, ...]]) -> str:
    """Aligned columns; the first is text, the others numbers."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
