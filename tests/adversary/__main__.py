"""What attacks come to, figure by figure. Exits 1 when a goal is missed.

    scripts/adversary [--long] [--ci] [T2 T19 ...]

The short form takes two minutes; the long one is that of the table in README.md.
"""

import argparse
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import structlog
import trio
from trio.testing import MockClock

from node.network.places import GRACE_SECONDS

from . import mesh_attacks, node_attacks, process_attacks, transport_attacks, wire_attacks
from .figures import Figure

Attack: TypeAlias = Callable[[], list[Figure]]

PATIENCE = 5
"""In CI, where others use the machine too, goals in seconds only tell of what has become far too slow: by this factor,
and by what a second of the processor takes there. Ratios and counts have none."""


def virtual(attack: Callable[..., Awaitable[list[Figure]]], *args: Any, **more: Any) -> Attack:
    """In time that jumps."""
    return lambda: trio.run(partial(attack, *args, **more), clock=MockClock(autojump_threshold=0))


def real(attack: Callable[..., Awaitable[list[Figure]]], *args: Any, **more: Any) -> Attack:
    """In real time: where what the processor does counts."""
    return lambda: trio.run(partial(attack, *args, **more))


def attacks(long: bool) -> dict[str, list[Attack]]:
    wire, mesh, node = wire_attacks, mesh_attacks, node_attacks
    process, transport = process_attacks, transport_attacks

    def size(short: Any, full: Any) -> Any:
        return full if long else short

    return {
        "T1": [
            lambda: wire.mutants(size(6_000, 120_000), 100_000),
            real(process.mutants, size(10, 200)),
        ],
        "T2": [real(mesh.invalid_flood, size(3, 60), 3), real(process.invalid_flood, size(5, 60))],
        "T3": [virtual(mesh.valid_flood, size(1_000, 10_000))],
        "T5": [virtual(mesh.eclipse, 100, 5)],
        "T7": [
            real(transport.idle_and_slow, 300, 50, 1),
            real(transport.idle_and_slow, 300, 50, 12),
            real(transport.silent_links, 128, 16),
            *size([], [real(transport.silent_links, 128, 128, GRACE_SECONDS + 1)]),
            real(transport.visitors, 600),
        ],
        "T8": [virtual(node.memory, size(1, 4), size(10, 60))],
        "T9": [virtual(node.replay, size(200, 1_000))],
        "T10": [wire.spellings],
        "T11": [wire.realms],
        "T12": [wire.weak_keys],
        "T19": [
            real(node.offer_flood, 500, measure_lag=True),
            *size([], [virtual(node.offer_flood, 500, 500, 500)]),
        ],
        "T34": [virtual(mesh.honest_soak, size(8, 20), size(5, 30))],
        "kit": [virtual(mesh.bad_forwarders)],
    }


def seconds_for_one() -> float:
    """What a second of the processor takes by the clock, at the moment."""
    began, used = time.perf_counter(), time.process_time()
    while time.process_time() - used < 0.1:
        pass
    return max(1.0, (time.perf_counter() - began) / 0.1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/adversary", description="Attack a node, and see what comes of it.")
    parser.add_argument("--long", action="store_true", help="as in the table of README.md")
    parser.add_argument("threats", nargs="*", help="only these, T2 for example")
    parser.add_argument(
        "--ci", action="store_true", help=f"goals in seconds may be missed by a factor of {PATIENCE} or more"
    )
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    began = time.perf_counter()
    missed = 0
    for threat, runs in attacks(options.long).items():
        if options.threats and threat not in options.threats:
            continue
        for run in runs:
            started = time.perf_counter()
            figures = run()
            patience = PATIENCE * seconds_for_one() if options.ci else 1
            for figure in figures:
                print(figure.line(patience), flush=True)
                missed += figure.is_missed(patience)
            print(f"{'':5}{time.perf_counter() - started:.1f} s", flush=True)
    print(f"{missed} goals missed, {time.perf_counter() - began:.0f} s")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
