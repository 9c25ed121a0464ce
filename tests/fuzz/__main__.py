"""Mutants against the protocol, in full: 200,000 of them by default, half gossip and half sealed items.

    scripts/fuzz [--mutants 200000] [--seed 1]

Prints how many reached each stage. Exits 1 if a rule broke, or if a stage was reached by fewer than 1 in 40.
"""

import argparse
import sys
import time

from tests.fuzz.mutants import FUZZERS, Broken


def main() -> int:
    parser = argparse.ArgumentParser(description="Structure-aware mutants of frames and items.")
    parser.add_argument("--mutants", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()

    least = options.mutants // 40
    fine = True
    for name, make in FUZZERS.items():
        began = time.perf_counter()
        try:
            tally = make(options.seed).run(options.mutants // 2)
        except Broken as broken:
            print(f"{name}: {broken}\n  {broken.__cause__!r}")
            return 1
        took = time.perf_counter() - began
        print(f"{name}: {options.mutants // 2} mutants, seed {options.seed}, {took:.1f} s\n{tally.table()}\n")
        thin = [stage for stage in tally.stages if tally.reached[stage] < least]
        if thin:
            print(f"  fewer than {least} reached: {', '.join(thin)}")
        fine = fine and not thin and tally.second_effects == 0
    print("0 exceptions, nothing believed that was not canonical and signed" if fine else "NOT fine")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
