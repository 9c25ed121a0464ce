"""From a wish's publication to its first offer, stored, and where the time goes: three whole nodes over libp2p on this
machine, their stores on its disk, one of them a vendor. `python -m tests.bench.offers [wishes]`: one line of JSON.

Alice knows only the market's node. Her first wish makes Bob dial her; the later ones find their stream open.
"""

import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import structlog
import trio
import trio.testing

from node import garbage
from node.delivery.lines import Line
from tests.driver import SKIING, Neighbour, car_hire, open_real_town, wait_until

STAGES = (
    "the wish made, signed and saved",
    "on its way to the vendor",
    "judged and saved there",
    "an answer chosen",
    "the offer signed, sealed and saved",
    "on its way to the person",
    "opened, judged and saved",
)
"""Each ends where the next begins; the last with the event that tells the person."""


class Course:
    """The moments at which a wish and its offer pass from one stage into the next: the first of each kind."""

    def __init__(self) -> None:
        self.moments: dict[str, float] = {}

    def passes(self, stage: str) -> None:
        self.moments.setdefault(stage, time.perf_counter())

    def through(self, owner: Any, name: str, stage: str) -> None:
        """A stage begins when this function of this object is called."""
        plain: Callable[..., Any] = getattr(owner, name)

        def passing(*arguments: Any, **more: Any) -> Any:
            self.passes(stage)
            return plain(*arguments, **more)

        setattr(owner, name, passing)

    def taken(self, end: float) -> dict[str, float]:
        """Seconds in each stage. Raises KeyError for one that was left out, ValueError for one out of turn."""
        moments = [*(self.moments[stage] for stage in STAGES), end]
        if moments != sorted(moments):
            raise ValueError(f"stages out of turn: {moments}")
        return {stage: moments[number + 1] - moments[number] for number, stage in enumerate(STAGES)}


@contextmanager
def follow(alice: Neighbour, bob: Neighbour) -> Iterator[Course]:
    """Where the stages of all wishes of Alice that Bob answers begin; the first begins when she asks."""
    course = Course()
    course.through(alice.node.gossip, "publish", STAGES[1])
    course.through(bob.node.gossip, "hear", STAGES[2])
    course.through(bob.node.vendor, "heard", STAGES[3])
    course.through(bob.node.delivery, "post", STAGES[4])
    course.through(alice.node.delivery._lines, "_take", STAGES[6])
    say = Line.send

    async def send(line: Line, data: bytes) -> None:
        if line.stream.peer == alice.peer_id:
            course.passes(STAGES[5])
        await say(line, data)

    with patch.object(Line, "send", send):  # lines have slots, and come and go
        yield course


async def measure(wishes: int) -> list[dict[str, float]]:
    """Seconds in each stage, in the order of the wishes."""
    taken = []
    with tempfile.TemporaryDirectory(prefix="ic-bench-") as folder:
        async with open_real_town() as town:
            home = partial(Path, folder)
            market = await town.open("Market", meeting=True, path=home("market.db"))
            bob = await town.open("Bob", catalogue=car_hire(stock=1000), path=home("bob.db"))
            alice = await town.open("Alice", path=home("alice.db"))
            for person in (bob, alice):
                await wait_until(person, lambda node: "mobility" in node.gossip.topics_of(market.peer_id))
            garbage.settle()
            with follow(alice, bob) as course:
                for _ in range(wishes):
                    course.moments.clear()
                    taken.append(course.taken(await first_offer(alice, course)))
    return taken


async def first_offer(alice: Neighbour, course: Course) -> float:
    """Ask; the moment at which the first offer is stored and told."""
    stored = trio.Event()
    end = 0.0

    async def watch(task_status: trio.TaskStatus[None]) -> None:
        nonlocal end
        task_status.started()
        async with aclosing(alice.desk.events(-1)) as events:
            async for event in events:
                if event["type"] == "offer.received":
                    end = time.perf_counter()
                    stored.set()
                    return

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(watch)
            await trio.testing.wait_all_tasks_blocked(0.01)  # the watcher has asked what the last event was
            course.passes(STAGES[0])
            await alice.desk.ask(SKIING, 10)
            await stored.wait()
    return end


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(json.dumps(trio.run(measure, int(sys.argv[1]) if len(sys.argv) > 1 else 50)))
