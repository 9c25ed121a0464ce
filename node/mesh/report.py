"""Figures as a table for people, CSV for programs, and PNG for both."""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from .figures import Figures, log_hops

_HINT: Final = "plots need matplotlib: pip install 'intentcast[sim]', or --no-plots"


def _plain(number: float | None, digits: int = 0, unit: str = "") -> str:
    if number is None:
        return "-"
    return "never" if math.isinf(number) else f"{number:.{digits}f}{unit}"


def _part(number: float | None) -> str:
    return "-" if number is None else f"{math.floor(number * 10_000) / 100:.2f}"  # never rounded up to 100


_Column = tuple[str, Callable[[Figures], str]]

ATTACK_COLUMNS: Final[tuple[_Column, ...]] = (
    ("scenario", lambda f: f.name),
    ("scores", lambda f: "on" if f.scores else "off"),
    ("in 10 s %", lambda f: _part(f.in_time)),
    ("good %", lambda f: _part(f.good)),
    ("target %", lambda f: _part(f.target)),
    ("in 1 s %", lambda f: _part(f.soon)),
    ("p50 s", lambda f: _plain(f.p50, 2)),
    ("p99 s", lambda f: _plain(f.p99, 2)),
    ("last s", lambda f: _plain(f.slowest, 1)),
    ("recovery s", lambda f: _plain(f.recovery)),
    ("prompt again s", lambda f: _plain(f.prompt_again)),
    ("B/s node", lambda f: _plain(f.bytes_per_second)),
    ("copies", lambda f: _plain(f.copies, 1)),
    ("honest mesh %", lambda f: _plain(100 * f.honest_part)),
    ("kB node", lambda f: _plain(f.memory_per_node / 1000)),
    ("CPU s", lambda f: _plain(f.cpu, 1)),
    ("trace", lambda f: f.trace[:8]),
)

GROWTH_COLUMNS: Final[tuple[_Column, ...]] = (
    ("N", lambda f: str(f.honest)),
    ("in 10 s %", lambda f: _part(f.in_time)),
    ("hops mean", lambda f: _plain(f.hops_mean, 2)),
    ("hops most", lambda f: str(f.hops_most)),
    ("log N / log 5", lambda f: _plain(log_hops(f.honest), 2)),
    ("p50 s", lambda f: _plain(f.p50, 2)),
    ("p99 s", lambda f: _plain(f.p99, 2)),
    ("last s", lambda f: _plain(f.slowest, 1)),
    ("B/s node", lambda f: _plain(f.bytes_per_second)),
    ("copies", lambda f: _plain(f.copies, 2)),
    ("events/s node", lambda f: _plain(f.steps / f.honest / f.seconds, 2)),
    ("CPU ms/s alone", lambda f: _plain(f.cpu_alone, 3)),
    ("in the world", lambda f: _plain(f.cpu_per_node, 3)),
    ("kB node", lambda f: _plain(f.memory_per_node / 1000)),
    ("CPU s", lambda f: _plain(f.cpu, 1)),
    ("trace", lambda f: f.trace[:8]),
)


def table(rows: Sequence[Figures], columns: Sequence[_Column]) -> str:
    """Markdown, with columns that line up."""
    cells = [[name for name, _ in columns], *[[show(row) for _, show in columns] for row in rows]]
    widths = [max(len(line[place]) for line in cells) for place in range(len(columns))]
    lines = [
        "| " + " | ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 1) + ":" for width in widths) + "|")
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------------- CSV


def write_csv(folder: Path, name: str, rows: Sequence[Figures]) -> list[Path]:
    """One file with a line a run, one with a line a run and interval, one with a line a run and look."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = [entry.name for entry in fields(Figures) if entry.name not in ("moments", "samples")]
    whole = _write(folder / f"{name}.csv", plain, [[getattr(row, field) for field in plain] for row in rows])
    return [
        whole,
        *[
            _write(
                folder / f"{name}-{part}.csv",
                ["name", "honest", "scores", *columns],
                [
                    [row.name, row.honest, row.scores, *[getattr(entry, column) for column in columns]]
                    for row in rows
                    for entry in getattr(row, part)
                ],
            )
            for part, columns in (
                ("moments", ("at", "messages", "in_time", "soon", "prompt", "p50", "p99")),
                ("samples", ("at", "mesh", "honest_part", "honest_score", "sybil_score", "bytes_per_second")),
            )
        ],
    ]


def _write(path: Path, head: Sequence[str], lines: Sequence[Sequence[Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(lines)
    return path


# -------------------------------------------------------------------------------------------------------------- plots


def plotter() -> ModuleType:
    """matplotlib, drawing into files only. Raises ImportError with a hint."""
    try:
        import matplotlib
    except ImportError:
        raise ImportError(_HINT) from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    assert isinstance(pyplot, ModuleType)
    return pyplot


def draw_attack(folder: Path, name: str, rows: Sequence[Figures]) -> Path:
    """One picture for a scenario: delivery, latency, bytes, meshes and scores against time; with scores and without."""
    pyplot = plotter()
    folder.mkdir(parents=True, exist_ok=True)
    figure, places = pyplot.subplots(5, 1, figsize=(8, 14), sharex=True, constrained_layout=True)
    for row in rows:
        style = "-" if row.scores else "--"
        word = "scores on" if row.scores else "scores off"
        at = [moment.at for moment in row.moments]
        places[0].plot(
            at, [100 * moment.in_time for moment in row.moments], style, color="C0", label=f"in 10 s, {word}"
        )
        places[0].plot(at, [100 * moment.soon for moment in row.moments], style, color="C1", label=f"in 1 s, {word}")
        places[1].plot(at, [moment.p50 for moment in row.moments], style, color="C0", label=f"p50, {word}")
        places[1].plot(at, [moment.p99 for moment in row.moments], style, color="C1", label=f"p99, {word}")
        at = [sample.at for sample in row.samples]
        places[2].plot(at, [sample.bytes_per_second for sample in row.samples], style, color="C0", label=word)
        places[3].plot(at, [sample.mesh for sample in row.samples], style, color="C0", label=f"peers, {word}")
        honest = [sample.mesh * sample.honest_part for sample in row.samples]
        places[3].plot(at, honest, style, color="C1", label=f"honest peers, {word}")
        if row.scores:
            places[4].plot(at, [sample.honest_score for sample in row.samples], color="C0", label="of honest peers")
            places[4].plot(at, [sample.sybil_score for sample in row.samples], color="C1", label="of sybils")
    titles = ("delivered, %", "latency, s", "sent by a node, B/s", "in a mesh (mean)", "score (mean)")
    for place, title in zip(places, titles, strict=True):
        place.set_ylabel(title)
        place.grid(alpha=0.3)
        if place.get_legend_handles_labels()[0]:
            place.legend(fontsize=8)
    first = rows[0]
    places[0].set_title(f"{name}: {first.honest} honest, {first.sybils} sybils, {first.rate:g} messages/s")
    places[-1].set_xlabel("s")
    return _save(pyplot, figure, folder / f"{name}.png")


def draw_growth(folder: Path, rows: Sequence[Figures]) -> Path:
    pyplot = plotter()
    folder.mkdir(parents=True, exist_ok=True)
    figure, places = pyplot.subplots(2, 2, figsize=(10, 7), constrained_layout=True)
    sizes = [row.honest for row in rows]
    panels: tuple[tuple[str, list[tuple[str, list[float]]]], ...] = (
        (
            "hops",
            [
                ("mean", [row.hops_mean for row in rows]),
                ("most", [row.hops_most for row in rows]),
                ("log N / log 5", [log_hops(row.honest) for row in rows]),
            ],
        ),
        ("latency, s", [("p50", [row.p50 for row in rows]), ("p99", [row.p99 for row in rows])]),
        ("sent by a node, B/s", [("", [row.bytes_per_second for row in rows])]),
        (
            "CPU of a node, ms/s",
            [("alone", [row.cpu_alone for row in rows]), ("in the world", [row.cpu_per_node for row in rows])],
        ),
    )
    for place, (title, lines) in zip(places.flat, panels, strict=True):
        for label, values in lines:
            place.plot(sizes, values, "o-", label=label)
        place.set_xscale("log")
        place.set_ylim(bottom=0)
        place.set_ylabel(title)
        place.set_xlabel("nodes")
        place.grid(alpha=0.3)
        if lines[0][0]:
            place.legend(fontsize=8)
    return _save(pyplot, figure, folder / "growth.png")


def _save(pyplot: Any, figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=100)
    pyplot.close(figure)
    return path
