"""What nodes go through, and what they must still know afterwards. Exits 1 when a goal is missed.

scripts/crash      [--kills 200] [--seed 1]
scripts/chaos      [--seeds 500] [--first 1] [--jobs 2] [--hours 24] [--minutes 20] [--times 4]
    scripts/chaos      --seed N: that day, twice
scripts/partition  [--size 5] [--seconds 600]
scripts/absence    [--deals 125]
"""

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import structlog
import trio
from trio.testing import MockClock

from tests.adversary.figures import Figure

if TYPE_CHECKING:
    from .chaos import Day

PATIENCE = 4
"""What a goal in seconds may be missed by with --ci, where the machine does other things as well."""

DAYS_PER_PROCESS = 20
"""What a process has used up of memory is given back with its end."""

TELL_EVERY = 25
"""Days of chaos between two words of how far it is."""

PATIENT = argparse.ArgumentParser(add_help=False)
PATIENT.add_argument("--ci", action="store_true", help=f"goals in time may be missed {PATIENCE} times")


def show(figures: list[Figure], patience: float) -> int:
    for figure in figures:
        print(figure.line(patience), flush=True)
    missed = sum(figure.is_missed(patience) for figure in figures)
    print("every goal is reached" if not missed else f"{missed} goals missed")
    return 1 if missed else 0


def crash(words: list[str]) -> int:
    from .crash import crash as run

    parser = argparse.ArgumentParser(prog="scripts/crash", description="kill -9 under load.", parents=[PATIENT])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument(
        "--seed", type=int, default=1, help="whom, and when; the processes themselves are not repeatable"
    )
    options = parser.parse_args(words)
    print(f"{options.kills} kills: about {options.kills * 3.5 / 60:.0f} minutes on two idle cores, 300 MiB", flush=True)
    return show(run(options.kills, options.seed), PATIENCE if options.ci else 1)


def partition(words: list[str]) -> int:
    from .partition import Impossible
    from .partition import partition as run

    parser = argparse.ArgumentParser(
        prog="scripts/partition", description="Two halves that lose each other.", parents=[PATIENT]
    )
    parser.add_argument("--size", type=int, default=5, help="nodes in each half")
    parser.add_argument("--seconds", type=float, default=600.0, help="for which they are apart")
    options = parser.parse_args(words)
    nodes = 2 * options.size
    print(
        f"{nodes} processes, {nodes * 90} MiB, about {(options.seconds + nodes * 3 + 60) / 60:.0f} minutes", flush=True
    )
    try:
        return show(run(options.size, options.seconds), PATIENCE if options.ci else 1)
    except Impossible as why:
        print(f"SKIPPED: {why}")
        return 0


def absence(words: list[str]) -> int:
    from .absence import away, never_meet, replay

    parser = argparse.ArgumentParser(prog="scripts/absence", description="Who is away, and what is said again.")
    parser.add_argument("--deals", type=int, default=125, help="each leaves eight frames and letters to be said again")
    options = parser.parse_args(words)
    print(f"a day of six nodes, and {options.deals} deals said again five times: about a minute", flush=True)
    clock = partial(MockClock, autojump_threshold=0)
    figures = trio.run(away, clock=clock()) + trio.run(partial(away, mailbox=True), clock=clock())
    figures += trio.run(never_meet, clock=clock())
    return show(figures + trio.run(replay, options.deals, clock=clock()), 1)


def chaos(words: list[str]) -> int:
    from .chaos import Plan, live_quietly

    parser = argparse.ArgumentParser(prog="scripts/chaos", description="A day without luck, from one seed.")
    parser.add_argument("--seeds", type=int, default=500, help="how many days")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="only this one, twice: it must be the same day")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--hours", type=float, default=24.0, help="of each day")
    parser.add_argument("--minutes", type=float, default=20.0, help="of bad luck in it")
    parser.add_argument("--times", type=int, default=4, help="in so many pieces")
    options = parser.parse_args(words)
    seeds = (
        [options.seed, options.seed]
        if options.seed is not None
        else range(options.first, options.first + options.seeds)
    )
    plans = [Plan(seed, options.hours, options.minutes, options.times) for seed in seeds]
    minutes = len(plans) * (1.5 + 0.45 * options.hours + 0.6 * options.minutes) / options.jobs / 60
    print(f"{len(plans)} days, {options.jobs} at a time: about {minutes:.0f} minutes", flush=True)
    began, days, counts = time.monotonic(), [], Counter[str]()
    # Not concurrent.futures: until Python 3.15 its pool hangs when a process has done its part (cpython issue 115634).
    with multiprocessing.get_context("spawn").Pool(options.jobs, maxtasksperchild=DAYS_PER_PROCESS) as pool:
        for day in pool.imap(live_quietly, plans):
            days.append(day)
            counts.update(day.counts)
            if day.broken:
                print(f"seed {day.seed} broke a rule; again: scripts/chaos --seed {day.seed}")
                print("".join(f"    {line}\n" for line in day.broken[:10]), flush=True)
            elif options.seed is not None:
                print(f"seed {day.seed}: {day.trace}", flush=True)
            if len(days) % TELL_EVERY == 0 and len(days) < len(plans):
                print(f"  {len(days)} days, {time.monotonic() - began:.0f} s", flush=True)
    return _sum_up(days, counts, time.monotonic() - began, options.seed is not None)


def _sum_up(days: "list[Day]", counts: "Counter[str]", seconds: float, same: bool) -> int:
    broken = [day.seed for day in days if day.broken]
    for name in (
        "transactions",
        "acknowledged",
        "asked",
        "accepted",
        "contract.confirmed",
        "restarts",
        "part",
        "cut_link",
    ):
        print(f"  {name:20} {counts[name]:>10}")
    print(f"{len(days)} days in {seconds:.0f} s; broken: {broken or 'none'}")
    if same and len({day.trace for day in days}) > 1:
        print("the same seed gave two different days")
        return 1
    return 1 if broken else 0


def main(words: list[str]) -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    programs: dict[str, Callable[[list[str]], int]] = {
        "crash": crash,
        "chaos": chaos,
        "partition": partition,
        "absence": absence,
    }
    return programs[words[0]](words[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
