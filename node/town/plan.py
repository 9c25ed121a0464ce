"""From flags to a scenario: so many nodes, so many vendors, who starts from whom, and what goes wrong when."""

import random
from pathlib import Path
from typing import Any, Final

from node.trouble import usage

from .scenario import MAX_NODES, Scenario, read_share, read_span, scenario_of

MARKET: Final = "market"
"""The first node: everybody finds everybody there, and mail can lie there."""

DIVISION: Final = "mobility"
"""What the sample shops sell; all nodes of a planned mesh listen to it, so that a mesh is one."""

STARTS: Final = 3
"""Nodes that one of a random mesh starts from."""


EXAMPLES: Final = {"delay": "80ms", "loss": "5%"}


def plan(
    nodes: int,
    vendors: int,
    topology: str = "star",
    *,
    delay: str | None = None,
    loss: str | None = None,
    partition: str | None = None,
    seed: int = 1,
) -> Scenario:
    """A mesh without a story. `topology`: star, ring, random, or a file of pairs. Raises Trouble."""
    if not 2 <= nodes <= MAX_NODES:
        raise usage("nodes", f"a mesh has 2 to {MAX_NODES} nodes, not {nodes}", "More routers: scripts/simulate.")
    if not 0 <= vendors < nodes:
        raise usage("vendors", f"{vendors} vendors do not fit into {nodes} nodes", "One node is the market.")
    table: dict[str, dict[str, Any]] = {MARKET: {"meeting": True, "mailbox": True}}
    for number in range(1, nodes - vendors):
        table[f"person-{number}"] = {"divisions": [DIVISION]}
    for number in range(1, vendors + 1):
        table[f"vendor-{number}"] = {"sells": {"price": f"{40 + 3 * number}.00"}}
    for name, join in _starts(list(table), topology, seed).items():
        table[name]["join"] = join
    weather = _weather(delay, loss)
    steps = _partition(partition) if partition is not None else []
    story = f"{nodes} nodes, {vendors} of them vendors."
    return scenario_of({"story": story, "seed": seed, "weather": weather, "nodes": table, "steps": steps}, "the flags")


def worse(delay: str | None, loss: str | None, partition: str | None, seed: int | None) -> dict[str, Any]:
    """What these flags say instead of a scenario file, or beside it: tables as in the file. Raises Trouble."""
    meanwhile = _partition(partition) if partition is not None else []
    said: dict[str, Any] = {"weather": _weather(delay, loss), "seed": seed, "meanwhile": meanwhile}
    return {name: value for name, value in said.items() if value not in ({}, [], None)}


def _weather(delay: str | None, loss: str | None) -> dict[str, str]:
    """As a file would say it. Raises Trouble."""
    weather: dict[str, str] = {}
    for flag, said, read in (("delay", delay, read_span), ("loss", loss, read_share)):
        if said is not None:
            try:
                read(said)
            except ValueError as wrong:
                raise usage(flag, f"--{flag}: {wrong}", f"Such as --{flag} {EXAMPLES[flag]}.") from None
            weather[flag] = said
    return weather


def _starts(names: list[str], topology: str, seed: int) -> dict[str, list[str]]:
    """Whom each node starts from. Always some that came before it; nodes find more by themselves."""
    others = range(1, len(names))
    match topology:
        case "star":
            return {names[n]: names[:1] for n in others}
        case "ring":
            found = {names[n]: [names[n - 1]] for n in others}
            if len(names) > 2:
                found[names[-1]].append(names[0])
            return found
        case "random":
            chance = random.Random(f"{seed} topology")
            return {names[n]: chance.sample(names[:n], min(STARTS, n)) for n in others}
    return _pairs(names, Path(topology))


def _pairs(names: list[str], path: Path) -> dict[str, list[str]]:
    """A file with two names a line: the later of them starts from the earlier."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        hint = "Write star, ring, random, or the name of a file with two node names a line."
        raise usage("topology", f"there is no topology {str(path)!r}, and no file that can be read", hint) from None
    found: dict[str, list[str]] = {name: [] for name in names[1:]}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or words[0] == words[1] or not set(words) <= set(names):
            hint = f"Two of: {', '.join(names)}."
            raise usage("topology", f"{path}, line {number}: {line.strip()!r} is no pair of two nodes", hint)
        early, late = sorted(words, key=names.index)
        found[late].append(early)
    lonely = next((name for name, join in found.items() if not join), None)
    if lonely is not None:
        raise usage("topology", f"{path}: {lonely} starts from nobody", f"Add a line: {names[0]} {lonely}")
    return found


def _partition(text: str) -> list[dict[str, Any]]:
    """`a,b|c@30s`, or `a,b|c@30s-90s` to heal it. Raises Trouble."""
    groups, at, when = text.partition("@")
    start, dash, end = when.partition("-")
    if not at or not all(group.strip() for group in groups.split("|")) or not start or (dash and not end):
        hint = "Write person-1,person-2|vendor-1@30s, or ...@30s-90s to heal it. Who is not named is one more group."
        raise usage("partition", f"--partition {text!r} does not say who is parted, and when", hint)
    parts = [[name.strip() for name in group.split(",")] for group in groups.split("|")]
    steps: list[dict[str, Any]] = [{"does": "partition", "groups": parts, "at": start}]
    return [*steps, {"does": "heal", "at": end}] if dash else steps
