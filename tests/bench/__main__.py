"""`scripts/bench`: everything we claim to be fast, measured. See README.md here for how to read it."""

import argparse
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from .contest import (
    FLOOR,
    JS_CHECKED,
    JS_SIGNED,
    MEMORY,
    OURS,
    Score,
    Unmeasured,
    contest,
    install_js,
    percentile,
    run_json,
    run_once,
)
from .goals import Goal, table
from .plan import far_plan, most_hops

FAR = 0.05
"""Seconds a link takes one way in the section `far`."""


def main() -> int:
    sections = {
        "mesh": mesh,
        "floor": floor,
        "admission": admission,
        "far": far,
        "turns": turns,
        "offers": offers,
        "vendors": vendors,
        "lists": lists,
        "footprint": footprint,
        "sync": sync,
        "town": town,
    }
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("sections", nargs="*", help=f"of {', '.join(sections)}; by default all")
    parser.add_argument("--quick", action="store_true", help="N = 20, one round, short phases: a minute, and less sure")
    parser.add_argument("--nodes", type=int, nargs="+", default=None, metavar="N")
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--out", type=Path, help="where to write all figures, as JSON")
    chosen = parser.parse_args()
    unknown = set(chosen.sections) - set(sections)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}")
    goals: list[Goal] = []
    figures: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    unmeasured = 0
    for name in chosen.sections or sections:
        print(f"== {name}", flush=True)
        try:
            figures[name], found = sections[name](chosen)
            goals += found
        except Unmeasured as why:  # the other sections may need nothing that is missing
            unmeasured += 1
            print(f"Not measured: {why}", file=sys.stderr)
        print(flush=True)
    print("== goals")
    for goal in goals:
        print(goal.line())
    if chosen.out:
        figures["goals"] = [asdict(goal) | {"met": goal.met} for goal in goals]
        chosen.out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return 0 if all(goal.met for goal in goals) and not unmeasured else 1


# ------------------------------------------------------------------------------------------------------ sections


def mesh(chosen: argparse.Namespace) -> tuple[Any, list[Goal]]:
    """Real libp2p, against js in both its ways; without Node, ours alone."""
    rivals = [JS_SIGNED, JS_CHECKED]
    try:
        install_js()
    except Unmeasured as why:
        print(f"Without js, ours alone: {why}", file=sys.stderr)
        rivals = []
    goals: list[Goal] = []
    scores: list[Score] = []
    for nodes in chosen.nodes or ([20] if chosen.quick else [10, 20, 50]):
        rounds = chosen.rounds or (1 if chosen.quick else 3)
        found = contest([OURS, *rivals], nodes, rounds, quick=chosen.quick)
        scores += found.values()
        print_scores(list(found.values()))
        ours, *js = found.values()
        goals += _against_js(ours, js)
        goals.append(Goal(f"N = {nodes}: messages lost", ours.lost, 0, False))
        goals.append(Goal(f"N = {nodes}: memory per node, 12 links each", ours.bytes_per_node / 1e6, 1.5, False, " MB"))
    return [asdict(score) for score in scores], goals


def _against_js(ours: Score, js: list[Score]) -> list[Goal]:
    """`js`: both ways, or none where it could not run."""
    for each in js:
        print(
            f"  against {each.name}: {ours.delivered_per_second / each.delivered_per_second:.2f} times the deliveries,"
            f" {ours.cpu_per_copy / each.cpu_per_copy:.2f} of the CPU per copy"
        )
    ratio = ours.delivered_per_second / max(each.delivered_per_second for each in js) if js else None
    goals = [Goal(f"N = {ours.nodes}: deliveries against the faster js", ratio, 2.0, True, "x")]
    for what in ("idle_p50", "idle_p99"):
        times = getattr(ours, what) / min(getattr(each, what) for each in js) if js else None
        goals.append(Goal(f"N = {ours.nodes}: {what.replace('_', ' ')} against js", times, 1.0, False, "x"))
    return goals


def floor(chosen: argparse.Namespace) -> tuple[Any, list[Goal]]:
    """The memory network against the least that gossip costs in Python."""
    found = contest([FLOOR, MEMORY], 20, chosen.rounds or (1 if chosen.quick else 3), quick=chosen.quick)
    print_scores(list(found.values()))
    share = found[MEMORY.name].delivered_per_second / found[FLOOR.name].delivered_per_second
    return [asdict(score) for score in found.values()], [
        Goal("N = 20: deliveries in the memory network against the floor", 100 * share, 60, True, " %")
    ]


def admission(chosen: argparse.Namespace) -> tuple[Any, list[Goal]]:
    """One node, one core: from the bytes of a frame to a believed message, against PyNaCl's bare verification."""
    found = run_json("tests.bench.admission", "1000" if chosen.quick else "4000")
    print(f"  PyNaCl verifies {1 / found['verify_seconds']:.0f} frames a second, we admit", end=" ")
    print(f"{1 / found['admit_seconds']:.0f}: {100 * found['share']:.0f} %")
    return found, [Goal("admission against PyNaCl's verify rate", 100 * found["share"], 60, True, " %")]


def far(chosen: argparse.Namespace) -> tuple[Any, list[Goal]]:
    """Publication to the last node where every link is 50 ms long, each way: real libp2p over a relay that waits."""
    goals: list[Goal] = []
    figures = []
    for nodes in chosen.nodes or ([20] if chosen.quick else [20, 50]):
        plan = far_plan(nodes, FAR, quick=chosen.quick)
        found = run_once(OURS, plan)
        hops = most_hops(nodes, plan.links)
        p50, p99 = (percentile(found["idle"], percent) for percent in (50, 99))
        print(f"  N = {nodes}, {len(found['idle'])} messages: p50 {1e3 * p50:.0f} ms, p99 {1e3 * p99:.0f} ms", end="; ")
        print(f"{hops} hops to the farthest node over all links, {found['mesh_hops']} over the mesh")
        goals.append(
            Goal(f"N = {nodes}, {1e3 * FAR:g} ms a link: p99 against {hops} hops", p99 / hops / FAR, 1.5, False, "x")
        )
        figures.append({"nodes": nodes, "hops": hops, "mesh_hops": found["mesh_hops"], "seconds": found["idle"]})
    return figures, goals


def turns(chosen: argparse.Namespace) -> tuple[Any, list[Goal]]:
    """Round trips, on a wire of 50 ms one way: of an offer between whole nodes, and of bare bytes."""
    bare = run_json("tests.bench.turns")
    print(f"  as many bytes, echoed: by a stranger {bare['first']:.2f} round trips, on a new stream", end=" ")
    print(f"{bare['new_stream']:.2f} (js: 3.1), on the open stream {bare['kept']:.2f}")
    offer = run_json("tests.bench.letters", "2" if chosen.quick else "5")
    print(f"  an offer and its ack: with a stranger {offer['first']:.2f} round trips (js, echoed bytes: 5.9)", end=", ")
    print(f"on the open stream {offer['kept']:.2f}")
    return {"echo": bare, "offer": offer}, [
        Goal("round trips of an offer on the open stream", offer["kept"], 1.2, False),
        Goal("round trips of the first offer to a stranger", offer["first"], 5.9, False),
        Goal("round trips of the first echo by a stranger", bare["first"], 5.9, False),
    ]


def town(_chosen: argparse.Namespace) -> tuple[Any, list[Goal]]:
    """`intentcast mesh up --nodes 20 --vendors 5`: until all are ready and can be spoken to."""
    found = {kind: run_json("tests.bench.town", kind, "20") for kind in ("memory", "libp2p")}
    for kind, one in found.items():
        print(f"  20 nodes on {kind}: ready after {one['seconds']:.1f} s, {one['cpu']:.1f} s of CPU")
    return found, [
        Goal("20 nodes on the memory network ready", found["memory"]["seconds"], 3, False, " s"),
        Goal("20 nodes on libp2p ready", found["libp2p"]["seconds"], 10, False, " s"),
    ]


def offers(chosen: argparse.Namespace) -> tuple[Any, list[Goal]]:
    """Publication to first offer stored, and where the time goes. Printed; no goal."""
    taken = run_json("tests.bench.offers", "10" if chosen.quick else "50")
    times = [sum(stages.values()) for stages in taken]
    medians = {stage: median(stages[stage] for stages in taken) for stage in taken[0]}
    rows = [(stage, f"{1e3 * seconds:.2f} ms") for stage, seconds in medians.items()]
    print(table([*rows, ("all of these", f"{1e3 * sum(medians.values()):.2f} ms")]))
    print(f"  median of {len(times)} wishes: {1e3 * median(times):.1f} ms, the first {1e3 * times[0]:.1f} ms", end=", ")
    print(f"the slowest {1e3 * max(times):.1f} ms")
    return {"seconds": taken}, []


def vendors(chosen: argparse.Namespace) -> tuple[Any, list[Goal]]:
    """Fifty vendors with a thousand lines each, one wish. Printed; the goal is that all of them answer."""
    found = run_json("tests.bench.vendors", "5" if chosen.quick else "20")
    rounds = found["rounds"]
    every = sorted(seconds for times in rounds for seconds in times)
    middle, late = 1e3 * median(every), 1e3 * every[min(len(every) - 1, len(every) * 99 // 100)]
    print(f"  {len(rounds)} wishes, {len(every)} offers: median {middle:.0f} ms, p99 {late:.0f} ms", end=", ")
    print(f"the first {1e3 * median(times[0] for times in rounds):.0f} ms, the last", end=" ")
    print(f"{1e3 * median(times[-1] for times in rounds):.0f} ms (medians)")
    print(f"  one wish, all 52 nodes: {1e3 * found['whole'] / len(rounds):.0f} ms of one core, of it")
    for what, seconds in sorted(found["where"].items(), key=lambda pair: -pair[1]):
        print(f"    {1e3 * seconds / len(rounds):6.1f} ms  {what}")
    rest = found["whole"] - sum(found["where"].values())
    print(f"    {1e3 * rest / len(rounds):6.1f} ms  gossip, streams, trio")
    return found, [Goal("vendors that answer a wish", min(len(times) for times in rounds), 50, at_least=True)]


def lists(_chosen: argparse.Namespace) -> tuple[Any, list[Goal]]:
    """A price list of 100,000 lines: to read, to hold, and to find something in."""
    found = run_json("tests.bench.lists")
    print(f"  {found['lines']} lines: read in {found['read']:.1f} s, {found['megabytes']:.0f} MB; a wish for")
    for what, seconds in found["wishes"].items():
        print(f"    {1e3 * seconds:6.1f} ms  {what}")
    return found, [
        Goal("100,000 lines read", found["read"], 3, False, " s"),
        Goal("100,000 lines held", found["megabytes"], 80, False, " MB"),
        Goal("the dearest wish to 100,000 lines", 1e3 * max(found["wishes"].values()), 50, False, " ms"),
    ]


def footprint(chosen: argparse.Namespace) -> tuple[Any, list[Goal]]:
    """A node's imports, its start, and the memory of whole nodes, stores included, in one process."""
    found = run_json("tests.bench.footprint", "10" if chosen.quick else "30")
    print(f"  imports {found['import_seconds']:.2f} s and {found['import_bytes'] / 1e6:.0f} MB, start", end=" ")
    print(f"{1e3 * found['start_seconds']:.0f} ms, {found['bytes_per_node'] / 1e6:.2f} MB for each further node")
    return found, [Goal("memory per further whole node", found["bytes_per_node"] / 1e6, 1.5, False, " MB")]


def sync(_chosen: argparse.Namespace) -> tuple[Any, list[Goal]]:
    """Catch-up by ranges, beside listing all ids; without the frames, which cost the same in both."""
    found = run_json("tests.bench.sync")
    goals: list[Goal] = []
    for name, words in (("one", "one division"), ("all", "all 26 divisions")):
        rows: list[tuple[str, ...]] = [
            (words, "differing", "bytes", "messages", "CPU ms", "all ids: bytes", "messages", "CPU ms", "bytes 1 /")
        ]
        for pair in found[name]:
            ranges, listing = pair["ranges"], pair["listing"]
            cells: list[str] = []
            for cost in (ranges, listing):
                cost["cpu"] = cost["asker_seconds"] + cost["server_seconds"]
                cells += [f"{cost['bytes']:,}", f"{cost['messages']:,}", f"{1e3 * cost['cpu']:.1f}"]
            times = listing["bytes"] / ranges["bytes"]
            rows.append(("", f"{ranges['differing']:,}", *cells, f"{times:.1f}"))
            if ranges["differing"] == 0:
                goals.append(Goal(f"{words}, equal: messages", ranges["messages"], 2, False))
                goals.append(Goal(f"{words}, equal: bytes", ranges["bytes"], 1_000, False))
            elif ranges["differing"] == 100:
                goals.append(Goal(f"{words}, 100 differ: of the bytes of all ids 1 /", times, 50, True))
                goals.append(Goal(f"{words}, 100 differ: messages", ranges["messages"], 14, False))
                share = ranges["cpu"] / listing["cpu"]
                goals.append(Goal(f"{words}, 100 differ: CPU of both against all ids", share, 0.5, False, "x"))
            elif ranges["differing"] == 10_000:
                goals.append(Goal(f"{words}, 10,000 differ: of the bytes of all ids 1 /", times, 1, True))
        print(table(rows))
    index, nothing = found["index"], found["nothing held"]
    times = nothing["ranges"]["bytes"] / nothing["listing"]["bytes"]
    print(f"  nothing held: {times:.2f} times the bytes of all ids, {nothing['ranges']['messages']} messages")
    print(
        f"  the index, made once: {1e3 * index['seconds']:.0f} ms in {index['pieces']} pieces, p99 of a piece"
        f" {1e3 * index['piece_p99']:.1f} ms, the longest {1e3 * index['piece_longest']:.1f} ms;"
        f" one more id {1e6 * index['one_more']:.0f} us"
    )
    goals.append(Goal("nothing held: bytes against all ids", times, 1.25, False, "x"))
    goals.append(Goal("making the index: p99 of what blocks the loop", 1e3 * index["piece_p99"], 5, False, " ms"))
    return found, goals


def print_scores(scores: list[Score]) -> None:
    rows: list[tuple[str, ...]] = [
        ("", "delivered/s", "copies each", "us/copy", "us/delivery", "idle p50", "p99", "load p50", "p99", "MB/node")
    ]
    for score in scores:
        rows.append(
            (
                f"N = {score.nodes} {score.name}",
                f"{score.delivered_per_second:.0f}",
                f"{score.copies_per_delivery:.1f}",
                f"{score.cpu_per_copy * 1e6:.0f}",
                f"{score.cpu_per_delivery * 1e6:.0f}",
                *(f"{time * 1e3:.1f}" for time in (score.idle_p50, score.idle_p99, score.load_p50, score.load_p99)),
                f"{score.bytes_per_node / 1e6:.2f}",
            )
        )
    print(table(rows), flush=True)


if __name__ == "__main__":
    sys.exit(main())
