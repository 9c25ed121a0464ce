"""`scripts/simulate`: whole networks of the real router, attacked and grown; see README.md beside this file.

Says first what it will cost, prints a table, writes CSV and draws plots. Exits 1 when a goal is missed.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from . import growth, report
from .figures import Figures
from .scenarios import SCENARIOS, Plan, missed, run, tell_story, variants

SIBLINGS = 4
"""Sybils for every honest node."""
RATES = {50: 1.0, 250: 1.0, 1_000: 0.5}
"""Messages a second at the usual sizes; so scaled that a run ends in minutes."""
_LINK_BYTES = 1_900
_NODE_BYTES = 12_000
"""What a node and a link of it weigh, for the forecast."""
_TRIED = 20
"""Nodes of the runs by which the speed of this computer is told."""


@dataclass(frozen=True, slots=True)
class _Cost:
    cpu: float
    memory: float


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    plots = not (options.no_plots or options.ci)
    if plots:
        try:
            report.plotter()
        except ImportError as error:
            print(error, file=sys.stderr)
            return 2
    plans = _growth_plans(options) if options.growth else _attack_plans(options)
    jobs = max(1, min(options.jobs or os.cpu_count() or 1, len(plans)))
    _foretell(plans, jobs)
    began = time.monotonic()
    rows: list[Figures] = []
    for row in _run_all(plans, jobs):
        rows.append(row)
        if not options.ci:
            word = f"N = {row.honest}" if options.growth else f"scores {'on' if row.scores else 'off'}"
            print(f"  {row.name}, {word}: {row.cpu:.0f} s of CPU, {row.steps:,} events", file=sys.stderr)
    columns = report.GROWTH_COLUMNS if options.growth else report.ATTACK_COLUMNS
    print("\n" + report.table(rows, columns) + "\n")
    print(f"{sum(row.cpu for row in rows):.0f} s of CPU, {time.monotonic() - began:.0f} s")
    name = "growth" if options.growth else f"attacks-{options.honest}"
    written = report.write_csv(options.out, name, rows)
    if plots:
        written += _draw(options, rows)
    print("written: " + " ".join(str(path) for path in written))
    wrong = growth.missed_growth(rows) if options.growth else _missed(rows)
    for line in wrong:
        print(f"missed: {line}")
    print("every goal is reached" if not wrong else f"{len(wrong)} goals are missed")
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/simulate", description="Attack and grow networks of the real router."
    )
    parser.add_argument("--ci", action="store_true", help="50 + 200 nodes, no plots: what CI runs, 90 s on one core")
    parser.add_argument("--growth", action="store_true", help="ever larger networks, instead of attacks")
    parser.add_argument("--honest", type=int, default=50, help="nodes; four times as many sybils (default 50)")
    parser.add_argument("--sizes", type=_sizes, default=list(growth.SIZES), help="of --growth, as 100,300,1000")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="only this one; may be repeated")
    parser.add_argument("--scores", choices=("on", "off", "both"), default="both")
    parser.add_argument("--rate", type=float, help="messages a second, of all authors together")
    parser.add_argument("--dials", type=int, default=10, help="honest nodes each of them dials (default 10)")
    parser.add_argument("--sybil-links", type=int, default=20, help="honest nodes each sybil dials (default 20)")
    parser.add_argument("--no-flood", action="store_true", help="own messages only to the mesh and two others")
    parser.add_argument("--full-admission", action="store_true", help="sign and judge messages as nodes do")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, help="processes at a time (default: one a core)")
    parser.add_argument("--no-plots", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("build/simulate"), help="where CSV and PNG go")
    return parser


def _sizes(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def _attack_plans(options: argparse.Namespace) -> list[Plan]:
    rate = options.rate or RATES.get(options.honest, 1.0)
    plans: list[Plan] = []
    for scenario in options.scenario or SCENARIOS:
        plan = Plan(
            scenario,
            options.honest,
            SIBLINGS * options.honest,
            rate=rate,
            seed=options.seed,
            dials=options.dials,
            sybil_links=options.sybil_links,
            flood_publish=not options.no_flood,
            full=options.full_admission,
        )
        plans += [one for one in variants(plan) if options.scores == "both" or one.scores == (options.scores == "on")]
    return plans


def _growth_plans(options: argparse.Namespace) -> list[Plan]:
    plans = [growth.plan_of(nodes, options.rate or 1.0, options.seed) for nodes in options.sizes]
    return [replace(plan, full=options.full_admission) for plan in plans]


# ----------------------------------------------------------------------------------------------------------- the cost


def _foretell(plans: Sequence[Plan], jobs: int) -> None:
    """Before anything else: what it will take. The speed of this computer is tried on two small runs."""
    trial = replace(plans[0], scenario="cold-boot", honest=_TRIED, sybils=SIBLINGS * _TRIED, time_scale=0.2)
    idle, busy = run(replace(trial, rate=0.5)), run(replace(trial, rate=3.0))
    per_message = max(1e-7, (busy.cpu - idle.cpu) / (busy.messages - idle.messages) / _TRIED)
    per_second = max(1e-7, (idle.cpu - per_message * _TRIED * idle.messages) / _TRIED / idle.seconds)
    costs = [_cost(plan, per_second, per_message) for plan in plans]
    cpu = sum(cost.cpu for cost in costs)
    longest = max(cost.cpu for cost in costs)
    print(
        f"{len(plans)} runs, {jobs} at a time: about {cpu:.0f} s of CPU, {max(longest, cpu / jobs):.0f} s to wait, "
        f"and at most {max(cost.memory for cost in costs) * jobs / 1e6:.0f} MB",
        flush=True,
    )


def _cost(plan: Plan, per_second: float, per_message: float) -> _Cost:
    story = tell_story(replace(plan, honest=20, sybils=0))  # only for its times
    seconds = story.end + 10
    links = 2 * plan.dials + plan.sybils * plan.sybil_links / plan.honest
    talk = 1.0 + (2.0 if plan.scenario in ("censor-one", "degrade", "covert-flash") else 0.0)
    cpu = plan.honest * (per_second * seconds + talk * per_message * plan.rate * seconds)
    return _Cost(cpu, plan.honest * (_NODE_BYTES + links * _LINK_BYTES) + 6e7)


def _run_all(plans: Sequence[Plan], jobs: int) -> Iterator[Figures]:
    """In the order of the plans, each in a process of its own: so its memory can be told."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        yield from pool.map(run, plans)


# --------------------------------------------------------------------------------------------------------- afterwards


def _draw(options: argparse.Namespace, rows: Sequence[Figures]) -> list[Path]:
    if options.growth:
        return [report.draw_growth(options.out, rows)]
    names = dict.fromkeys(row.name for row in rows)
    return [report.draw_attack(options.out, name, [row for row in rows if row.name == name]) for name in names]


def _missed(rows: Sequence[Figures]) -> list[str]:
    return [f"{row.name}: {line}" for row in rows for line in missed(row)]


if __name__ == "__main__":
    raise SystemExit(main())
