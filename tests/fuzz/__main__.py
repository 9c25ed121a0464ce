"""Mutants against the protocol, in full: 200,000 of them by default, half gossip and half sealed items.

    scripts/fuzz [--mutants 200000] [--seed 1]
    scripts/fuzz --guided SECONDS

Prints how many reached each stage. Exits 1 if a rule broke, or if a stage was reached by fewer than 1 in 40.
Guided by coverage, for so long in all, exits 1 when a reader raised something, hung, or was tried with
fewer than 1,000 inputs; 0, with a word, without atheris.
"""

import argparse
import sys
import time

from . import guided
from .mutants import FUZZERS, Broken


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Mutants of frames and items, RPCs and letters.")
    parser.add_argument("--mutants", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--guided", type=int, metavar="SECONDS", help="instead: let atheris look, for so long in all")
    options = parser.parse_args()
    return hunt(options.guided) if options.guided else mutate(options.mutants, options.seed)


def mutate(count: int, seed: int) -> int:
    least = count // 40
    fine = True
    for name, make in FUZZERS.items():
        began = time.perf_counter()
        try:
            tally = make(seed).run(count // 2)
        except Broken as broken:
            print(f"{name}: {broken}\n  {broken.__cause__!r}")
            return 1
        took = time.perf_counter() - began
        print(f"{name}: {count // 2} mutants, seed {seed}, {took:.1f} s\n{tally.table()}\n")
        thin = [stage for stage in tally.stages if tally.reached[stage] < least]
        if thin:
            print(f"  fewer than {least} reached: {', '.join(thin)}")
        fine = fine and not thin and tally.second_effects == 0
    print("0 exceptions, nothing believed that was not canonical and signed" if fine else "NOT fine")
    return 0 if fine else 1


def hunt(seconds: int) -> int:
    if not guided.is_possible():
        print("SKIPPED: fuzzing guided by coverage needs atheris, which cannot be had here")
        return 0
    survived = True
    for found in guided.hunt(seconds):
        print(found.line(), flush=True)
        survived = survived and found.survived
    return 0 if survived else 1


if __name__ == "__main__":
    sys.exit(main())
