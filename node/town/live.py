"""`intentcast mesh up`: a mesh one can look at and talk to, until Ctrl-C. Nothing of it stays behind."""

import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import trio

from node.cli.output import clean, console, print_json, say
from node.logs import configure_logging
from node.network.groups import raise_single
from node.trouble import Exit, Trouble

from .homes import NET, HomeStage, write_mesh_file
from .play import Actor, Moment, Outcome, Play, Stage
from .processes import NodeProcess, open_folder, troupe
from .remote import ProcessStage
from .scenario import Scenario
from .town import open_real_town, open_town

LOOK_EVERY: Final = 1.0
"""Seconds between two looks at all nodes."""

PRINT_EVERY: Final = 10.0
"""Seconds, at least, between two prints into a pipe: a file that collects them grows by so much and no more."""

COMING_AT_ONCE: Final = 8
"""Nodes that start at the same time: on links with a delay most of it is waiting."""

PROCESSES_AT_ONCE: Final = 2 * (os.cpu_count() or 1)
"""Each imports for a second or two of one core: more at a time would only make all of them late."""


class Kind(StrEnum):
    MEMORY = "memory"
    LIBP2P = "libp2p"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class Wanted:
    scenario: Scenario
    kind: Kind = Kind.MEMORY
    keep: Path | None = None
    as_json: bool = False
    once: bool = False
    """End when the scenario has been played."""


COLUMNS: Final = ("node", "role", "peers", "mesh", "heard", "wishes", "offered", "waiting", "lag")

WORDY: Final = ("node", "role")
"""Columns of words, which begin at the left; numbers end at the right."""


@dataclass(frozen=True, slots=True)
class Row:
    """One node, as its own status says. `lag`: milliseconds after it was first said or heard anywhere, this node had
    the newest wish; None if it has another one."""

    node: str
    role: str
    peers: int = 0
    mesh: int = 0
    """Peers in its gossip meshes, over all divisions it carries."""
    heard: int = 0
    wishes: int = 0
    offered: int = 0
    waiting: int = 0
    """Messages without an acknowledgement."""
    lag: int | None = None
    up: bool = True

    @property
    def cells(self) -> tuple[str, ...]:
        if not self.up:
            return (self.node, self.role, "down", *("",) * (len(COLUMNS) - 3))
        numbers = (self.peers, self.mesh, self.heard, self.wishes, self.offered, self.waiting)
        return (self.node, self.role, *map(str, numbers), "" if self.lag is None else f"{self.lag} ms")

    @property
    def view(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in (*COLUMNS, "up")}


def run(wanted: Wanted) -> int:
    """Until Ctrl-C, or the end of the play with `once`; gives the exit code. Raises Trouble."""
    with open_folder(wanted.keep, "intentcast-mesh-") as folder:
        with open(folder / "mesh.log", "w", encoding="utf-8") as log:
            configure_logging("warning", stream=log)
            try:
                return trio.run(_run, wanted, folder)
            except KeyboardInterrupt:  # a second one, while it was ending
                return Exit.INTERRUPTED
            except BaseExceptionGroup as group:
                raise_single(group)


async def _run(wanted: Wanted, folder: Path) -> int:
    codes: list[int] = []
    began = time.monotonic()
    async with open_stage(wanted, folder) as stage:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_end_with, signals, nursery.cancel_scope, codes)
                codes.append(await _Show(wanted, folder, stage, began).run())
                nursery.cancel_scope.cancel()
        if not wanted.as_json:
            say("Ending ...")
    return codes[0]


async def _end_with(signals: AsyncIterator[int], scope: trio.CancelScope, codes: list[int]) -> None:
    async for number in signals:
        codes.append(Exit.INTERRUPTED if number == signal.SIGINT else Exit.OK)
        # From here on a second one ends the process at once, as people expect.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        scope.cancel()
        return


@asynccontextmanager
async def open_stage(wanted: Wanted, folder: Path) -> AsyncIterator[Stage]:
    """Where a wanted mesh lives; nobody has come yet."""
    scenario = wanted.scenario
    match wanted.kind:
        case Kind.MEMORY:
            weather = scenario.weather.conditions
            async with open_town(scenario.seed, weather, net=NET, start=int(time.time())) as town:
                yield HomeStage(town, folder)
        case Kind.LIBP2P:
            async with open_real_town(net=NET) as town:
                yield HomeStage(town, folder)
        case Kind.PROCESS:
            processes: list[NodeProcess] = []
            with troupe(processes):
                yield ProcessStage(folder, processes)


class _Show:
    """What is seen of a mesh while it lives."""

    def __init__(self, wanted: Wanted, folder: Path, stage: Stage, began: float) -> None:
        self._wanted = wanted
        self._folder = folder
        self._stage = stage
        self._began = began
        self._roles = {name: spec.role for name, spec in wanted.scenario.nodes.items()}
        self._last: list[Row] = []
        self._printed: list[Row] = []
        self._late = 0.0
        """Seconds by which this process came late to a look: how busy it is."""
        self._told: list[Moment] = []

    async def run(self) -> int:
        """Bring everybody in, play what is to be played, and show how they are. Gives the exit code."""
        scenario = self._wanted.scenario
        play = Play(scenario, self._stage, self._tell)
        write_mesh_file(self._folder, self._roles)
        await self._bring_in(play)
        self._say_ready()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            if scenario.steps or scenario.holds:
                outcome = await play.run()
                if scenario.holds:
                    self._tell_outcome(outcome)
                if self._wanted.once:
                    await self._look()
                    if self._prints:
                        self._print_changed()
                    nursery.cancel_scope.cancel()
                    return Exit.FAILURE if outcome.wrong else Exit.OK
            await trio.sleep_forever()
        raise AssertionError("it is cancelled, or has returned")

    async def _bring_in(self, play: Play) -> None:
        coming = sum(not spec.absent for spec in self._wanted.scenario.nodes.values())
        at_once = PROCESSES_AT_ONCE if self._wanted.kind is Kind.PROCESS else COMING_AT_ONCE
        came: list[str] = []
        with console(stderr=True).status("Starting ...") as status:  # nothing where nobody looks

            def told(name: str) -> None:
                came.append(name)
                status.update(f"Starting: {len(came)} of {coming} nodes are there")

            await play.enter_side_by_side(at_once, told)

    def _say_ready(self) -> None:
        seconds = round(time.monotonic() - self._began, 2)
        nodes = [
            {"name": name, "role": self._roles[name], "home": str(self._folder / name), "peer_id": actor.peer_id}
            for name, actor in in_order(self._stage, self._roles)
        ]
        if self._wanted.as_json:
            print_json({"event": "ready", "folder": str(self._folder), "seconds": seconds, "nodes": nodes})
            return
        someone = next((node["name"] for node in nodes if node["role"] == "person"), nodes[0]["name"])
        print(f"{len(nodes)} nodes are ready after {seconds} s, in {self._folder}", flush=True)
        say(f"Talk to each as to any node:  intentcast status --home {self._folder / someone}")
        say(
            f'  intentcast ask "A 4x4" --home {self._folder / someone} -a rent -c mobility.car --where iata:LYS '
            "--from 2027-03-20 --to 2027-03-25 --prop drive=4x4 --yes"
        )
        say(f"Follow a wish through all of them:  intentcast trace WISH --home {self._folder}")
        say("Ctrl-C ends it, and leaves nothing behind." if self._wanted.keep is None else "Ctrl-C ends it.")

    def _tell(self, moment: Moment) -> None:
        if self._wanted.as_json:
            print_json({"event": "step", "at": round(moment.at, 3), "did": moment.words})
        elif sys.stdout.isatty():
            self._told = [*self._told[-9:], moment]
        else:
            print(f"{moment.at:8.1f} s  {clean(moment.words)}", flush=True)

    def _tell_outcome(self, outcome: Outcome) -> None:
        if self._wanted.as_json:
            print_json({"event": "outcome", "story": outcome.story, "wrong": outcome.wrong})
            return
        for line in [f"NOT SO: {wrong}" for wrong in outcome.wrong] or [f"All holds: {outcome.story}"]:
            self._tell(Moment(outcome.seconds, line))

    # -------------------------------------------------------------------------------------------------- looking

    async def _watch(self) -> None:
        if self._wanted.as_json:
            while True:
                await self._look()
                await self._pause()
        if self._prints:
            while True:
                await self._look()
                self._print_changed()
                await trio.sleep(PRINT_EVERY)
        from rich.live import Live

        with Live(console=console(), auto_refresh=False, transient=False) as live:
            while True:
                await self._look()
                live.update(self._table(), refresh=True)
                await self._pause()

    @property
    def _prints(self) -> bool:
        """Into a pipe or a file: text, line below line."""
        return not self._wanted.as_json and not sys.stdout.isatty()

    def _print_changed(self) -> None:
        """The rows that are not as they were printed last: at first all."""
        before = {row.node: row for row in self._printed}
        changed = [row for row in self._last if before.get(row.node) != row]
        if changed:
            self._printed = self._last
            print("\n".join(table_lines(changed)), flush=True)

    async def _pause(self) -> None:
        due = trio.current_time() + LOOK_EVERY
        await trio.sleep_until(due)
        self._late = trio.current_time() - due

    async def _look(self) -> None:
        rows = await rows_of(self._stage, self._roles)
        if rows != self._last:
            self._last = rows
            if self._wanted.as_json:
                print_json({"event": "nodes", "late_ms": round(1000 * self._late), "nodes": [row.view for row in rows]})

    def _table(self) -> Any:
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for name in COLUMNS:
            table.add_column(name, justify="left" if name in WORDY else "right", no_wrap=True)
        around = 5 + len(self._told)  # head, its line, a blank one, the foot, and the cursor's
        shown, left_out = fitting(self._last, max(3, console().height - around))
        for row in shown:
            table.add_row(*map(Text, row.cells))
        more = f"{left_out} more do not fit here   " if left_out else ""
        foot = f"{more}{self._folder}   this process is {round(1000 * self._late)} ms late"
        told = [Text(clean(f"{moment.at:8.1f} s  {moment.words}")) for moment in self._told]
        return Group(table, *told, Text(foot, style="dim"))


def table_lines(rows: list[Row]) -> list[str]:
    """The table as text, its head first."""
    cells = [COLUMNS, *(row.cells for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]

    def placed(column: int, cell: str) -> str:
        return cell.ljust(widths[column]) if COLUMNS[column] in WORDY else cell.rjust(widths[column])

    return ["  ".join(placed(column, cell) for column, cell in enumerate(line)).rstrip() for line in cells]


def fitting(rows: list[Row], most: int) -> tuple[list[Row], int]:
    """Those that fit into so many lines, and how many do not: the last of the people who are up go first."""
    ranked = sorted(range(len(rows)), key=lambda number: (rows[number].role == "person" and rows[number].up, number))
    kept = sorted(ranked[:most])
    return [rows[number] for number in kept], len(rows) - len(kept)


async def rows_of(stage: Stage, roles: dict[str, str]) -> list[Row]:
    """How everybody is, now."""
    statuses: dict[str, dict[str, Any]] = {}
    for name, actor in stage.actors.items():
        if actor.is_up:
            try:
                statuses[name] = await actor.desk.status()
            except Trouble:
                continue  # it ends just now
    latest = [status["latest"] for status in statuses.values() if status.get("latest")]
    first: dict[str, float] = {}
    for one in latest:
        first[one["intent"]] = min(one["at"], first.get(one["intent"], one["at"]))
    newest = max(first, key=lambda intent: first[intent], default=None)
    return [_row(name, roles[name], statuses.get(name), newest, first) for name, _ in in_order(stage, roles)]


def in_order(stage: Stage, roles: dict[str, str]) -> list[tuple[str, Actor]]:
    """Who has come, in the order of the scenario and not of arrival."""
    return [(name, stage.actors[name]) for name in roles if name in stage.actors]


def _row(name: str, role: str, status: dict[str, Any] | None, newest: str | None, first: dict[str, float]) -> Row:
    if status is None:
        return Row(name, role, up=False)
    latest = status.get("latest")
    lag = None
    if latest and latest["intent"] == newest:
        lag = round(1000 * (latest["at"] - first[latest["intent"]]))
    return Row(
        node=name,
        role=role,
        peers=status["peers"],
        mesh=sum(status["counters"]["gossip"]["mesh_sizes"].values()),
        heard=status["heard"],
        wishes=status["wishes"],
        offered=status["counters"]["vendor"].get("offered", 0),
        waiting=status["outbox"],
        lag=lag,
    )


def outcome_view(outcome: Outcome, name: str) -> dict[str, Any]:
    """How a play went, for machines."""
    return {
        "scenario": name,
        "story": outcome.story,
        "holds": not outcome.wrong,
        "wrong": outcome.wrong,
        "seconds": round(outcome.seconds, 3),
        "steps": [{"at": round(moment.at, 3), "did": moment.words} for moment in outcome.done],
    }
