"""Runs contestants one after the other, round by round, and puts their medians side by side.

On one machine absolute rates move by a third within minutes, whatever we do; ratios between neighbours in one
interleaved run are steady. So a round holds one run of everybody, and what is reported is medians and ratios.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from node.mesh.figures import quantile
from tests.interop import modules

from .plan import Plan, plan_for

ROOT = Path(__file__).parents[2]


class Unmeasured(Exception):
    """A contestant could not run. The text says why and what would help."""


@dataclass(frozen=True)
class Contestant:
    name: str
    command: tuple[str, ...]
    signed: bool = False


def python(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *words)


OURS = Contestant("intentcast", python("tests.bench.mesh", "libp2p"))
MEMORY = Contestant("intentcast, memory network", python("tests.bench.mesh", "memory"))
FLOOR = Contestant("floor", python("tests.bench.floor"))
JS = ("node", str(modules.HERE / "mesh.mjs"))
JS_SIGNED = Contestant("js gossipsub, signed", JS, signed=True)
JS_CHECKED = Contestant("js gossipsub, our frames checked", JS)


def install_js() -> None:
    """The npm packages of the js side, once. Raises Unmeasured."""
    try:
        modules.install_modules()
    except (modules.Missing, RuntimeError) as why:
        raise Unmeasured(f"the js side: {why}") from None


@dataclass(frozen=True)
class Score:
    """One contestant at one size, over all rounds. Times in seconds."""

    name: str
    nodes: int
    delivered_per_second: float
    copies_per_delivery: float
    cpu_per_copy: float
    cpu_per_delivery: float
    idle_p50: float
    idle_p99: float
    load_p50: float
    load_p99: float
    bytes_per_node: float
    lost: int


def run_once(contestant: Contestant, plan: Plan) -> Any:
    """Raises Unmeasured."""
    return _run(contestant.name, [*contestant.command, replace(plan, signed=contestant.signed).text()])


def run_json(module: str, *words: str) -> Any:
    """What a measurement of ours, in a process of its own, prints as its last line. Raises Unmeasured."""
    return _run(module, [*python(module), *words])


def _run(name: str, command: list[str]) -> Any:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        raise Unmeasured(f"{name} did not end within five minutes") from None
    if done.returncode:
        raise Unmeasured(f"{name} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def contest(contestants: Sequence[Contestant], nodes: int, rounds: int, *, quick: bool) -> dict[str, Score]:
    plan = plan_for(nodes, quick=quick)
    results: dict[str, list[dict[str, Any]]] = {each.name: [] for each in contestants}
    for number in range(rounds):
        for contestant in contestants:
            print(f"  N = {nodes}, round {number + 1} of {rounds}: {contestant.name}", file=sys.stderr)
            results[contestant.name].append(run_once(contestant, plan))
    return {name: _score(name, nodes, runs) for name, runs in results.items()}


def _score(name: str, nodes: int, runs: list[dict[str, Any]]) -> Score:
    flows = [run["flow"] for run in runs]
    idle = [time for run in runs for time in run["idle"]]
    load = [time for run in runs for time in run["load"]]
    lost = sum(flow["lost"] for flow in flows) + idle.count(None) + load.count(None)
    return Score(
        name=name,
        nodes=nodes,
        delivered_per_second=median(flow["deliveries"] / flow["seconds"] for flow in flows),
        copies_per_delivery=median(flow["copies"] / flow["deliveries"] for flow in flows),
        cpu_per_copy=median(flow["cpu_seconds"] / flow["copies"] for flow in flows),
        cpu_per_delivery=median(flow["cpu_seconds"] / flow["deliveries"] for flow in flows),
        idle_p50=percentile(idle, 50),
        idle_p99=median(percentile(run["idle"], 99) for run in runs),
        load_p50=percentile(load, 50),
        load_p99=median(percentile(run["load"], 99) for run in runs),
        bytes_per_node=median(run["bytes_per_node"] for run in runs),
        lost=lost,
    )


def percentile(times: Sequence[float | None], percent: float) -> float:
    """What never arrived counts as an hour, and so shows."""
    return quantile([3600.0 if time is None else time for time in times], percent / 100)
