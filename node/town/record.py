"""A run that can be repeated: a scenario with all that happened in it, and a second run that must be the same.

In virtual time everything a town does follows from its scenario: chance is seeded, the hour is the clock's, and trio
is told to take its tasks in order. So a record holds the scenario and each node's events, and `replay` plays it again
and compares event by event: a bug that was seen once is seen again.
"""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final

import trio
import trio.testing

from node.home import write_file
from node.network.groups import raise_single
from node.trouble import refused, usage

from .play import Outcome, Play, open_stage
from .scenario import Scenario, load_scenario, read_scenario
from .town import Neighbour

VERSION: Final = 1
MAX_FILE: Final = 64 << 20
"""Bytes of a record."""

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """What happened: of each node, all its events."""

    scenario: str
    """The text of its file."""
    events: dict[str, list[Event]]
    wrong: list[str]


def record(path: Path) -> Record:
    """Play a scenario file and write down what happens. Raises Trouble."""
    load_scenario(path)  # a clear word for what is wrong with it
    return _run(path.read_text(encoding="utf-8"), str(path))


def _run(text: str, where: str) -> Record:
    scenario = read_scenario(text.encode(), where)
    with _in_order(scenario.seed):
        try:
            outcome, events = trio.run(_play, scenario, clock=trio.testing.MockClock(autojump_threshold=0))
        except BaseExceptionGroup as group:
            raise_single(group)
    return Record(text, events, outcome.wrong)


async def _play(scenario: Scenario) -> tuple[Outcome, dict[str, list[Event]]]:
    async with open_stage(scenario) as stage:
        outcome = await Play(scenario, stage).run()
        return outcome, {name: await _events_of(neighbour) for name, neighbour in stage.actors.items()}


async def _events_of(neighbour: Neighbour) -> list[Event]:
    found: list[Event] = []
    while True:
        last = found[-1]["id"] if found else 0
        batch = await neighbour.store.peek(lambda tx, last=last: tx.events_after(last))  # type: ignore[misc]
        if not batch:
            return found
        found += batch


@contextmanager
def _in_order(seed: int) -> Iterator[None]:
    """Trio takes tasks that are ready in a random order, on purpose. It has a switch for runs that must be repeated,
    without a public name; hypothesis-trio uses the same."""
    import trio._core._run as inside

    chance: random.Random = inside._r
    was, state = inside._ALLOW_DETERMINISTIC_SCHEDULING, chance.getstate()
    inside._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    chance.seed(seed)
    try:
        yield
    finally:
        inside._ALLOW_DETERMINISTIC_SCHEDULING = was  # type: ignore[misc]
        chance.setstate(state)


def write_record(found: Record, path: Path) -> None:
    """One JSON object a line: first what it is, then every event with its node. Raises Trouble."""
    head = {"intentcast": "record", "version": VERSION, "scenario": found.scenario, "wrong": found.wrong}
    lines = [head, *({"node": name, **event} for name, events in found.events.items() for event in events)]
    try:
        write_file(path.absolute(), "".join(json.dumps(line) + "\n" for line in lines).encode())
    except OSError as wrong:
        raise refused("not_written", f"{path}: {wrong.strerror}", "Choose another place.") from None


def read_record(path: Path) -> Record:
    """Raises Trouble for what is no record."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ValueError(f"it is larger than {MAX_FILE >> 20} MiB")
        head, *lines = (json.loads(line) for line in data.splitlines())
        if head.get("intentcast") != "record" or head.get("version") != VERSION:
            raise ValueError(f"it does not begin as a record of version {VERSION}")
        events: dict[str, list[Event]] = {}
        for line in lines:
            events.setdefault(str(line.pop("node")), []).append(line)
        return Record(str(head["scenario"]), events, list(head["wrong"]))
    except OSError as wrong:
        raise usage("record", f"{path} cannot be read: {wrong.strerror}", "Make one: intentcast mesh record") from None
    except (ValueError, KeyError, AttributeError, TypeError) as wrong:
        raise usage("record", f"{path} is no record: {wrong}", "Make one: intentcast mesh record") from None


def replay(before: Record, where: str) -> list[str]:
    """Play it again; gives the first difference of each node, in words. Nothing: the very same. Raises Trouble."""
    after = _run(before.scenario, where)
    different = []
    for name in dict.fromkeys((*before.events, *after.events)):
        pairs = zip_longest(before.events.get(name, ()), after.events.get(name, ()))
        for number, (then, now) in enumerate(pairs, 1):
            if then != now:
                different.append(f"{name}, event {number}: was {_told(then)}, is {_told(now)}")
                break
    return different


def _told(event: Event | None) -> str:
    return "none" if event is None else json.dumps(event)


__all__ = ["Record", "read_record", "record", "replay", "write_record"]
