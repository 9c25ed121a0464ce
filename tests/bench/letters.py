"""How many round trips an offer costs until its vendor has the ack, with 50 ms one way between vendor and person: whole
nodes over libp2p, their stores on disk. `python -m tests.bench.letters [persons]`: JSON.

Bob and each Alice meet at a market near by. Her address leads over the slow wire, so that his first offer dials her
there (TCP, Noise, the muxer, the stream, the letter, the ack); the later ones find the stream open. By the clock:
our own work on both sides, signatures and stores, is in it.
"""

import json
import logging
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from statistics import median
from unittest.mock import patch

import structlog
import trio

from node import garbage
from node.config import free_port
from node.delivery.lines import Line
from node.network.libp2p import open_libp2p_network
from node.network.seam import Network
from tests.driver import SKIING, Neighbour, Town, car_hire, open_real_town, seed_of, wait_until

from .slow_wire import SlowWire

DELAY = 0.05
LATER = 5
"""Offers on the open stream, for each person."""


async def measure(persons: int) -> dict[str, float]:
    """Round trips: of the first offer to a stranger, of one on the open stream; medians."""
    first, kept = [], []
    with tempfile.TemporaryDirectory(prefix="ic-bench-") as folder:
        async with open_real_town() as town:
            market = await town.open("Market", divisions=("mobility",), path=Path(folder, "market.db"))
            bob = await town.open("Bob", catalogue=car_hire(stock=1000), path=Path(folder, "bob.db"))
            letters = Letters(bob)
            await wait_until(bob, lambda node: "mobility" in node.gossip.topics_of(market.peer_id))
            garbage.settle()
            for number in range(persons):
                async with far_away(town, f"Alice {number}"):
                    alice = await town.open(f"Alice {number}", path=Path(folder, f"alice {number}.db"))
                await wait_until(alice, lambda node: "mobility" in node.gossip.topics_of(market.peer_id))
                with letters.timed():
                    first.append(await letters.until_ack(alice, is_stranger=True))
                    kept += [await letters.until_ack(alice, is_stranger=False) for _ in range(LATER)]
    return {"first": median(first) / (2 * DELAY), "kept": median(kept) / (2 * DELAY)}


class Letters:
    """What Bob says to Alice, and when her ack is there."""

    def __init__(self, bob: Neighbour) -> None:
        self._network = bob.node.network
        self._to = ""
        self._began: float | None = None
        self._said = False
        self._ended = 0.0
        self._acked = trio.Event()
        self._bob = bob

    @contextmanager
    def timed(self) -> Iterator[None]:
        network, lines = self._network, self._bob.node.delivery._lines
        dial, say, take = network.dial, Line.send, lines._take

        async def dial_timed(address: str) -> str:
            if address.endswith(self._to):
                self._begin()
            return await dial(address)

        async def say_timed(line: Line, data: bytes) -> None:
            if line.stream.peer == self._to:
                self._begin()
                self._said = True
            await say(line, data)

        async def take_timed(encoded: bytes, line: Line) -> None:
            if line.stream.peer == self._to and self._said and not self._acked.is_set():
                self._ended = trio.current_time()
                self._acked.set()
            await take(encoded, line)

        with (
            patch.object(network, "dial", dial_timed),
            patch.object(Line, "send", say_timed),
            patch.object(lines, "_take", take_timed),
        ):
            yield

    def _begin(self) -> None:
        if self._began is None:
            self._began = trio.current_time()

    async def until_ack(self, alice: Neighbour, *, is_stranger: bool) -> float:
        """Alice asks; seconds from Bob's first step towards her until he has the ack. Raises AssertionError if they
        are strangers, or are not, against what was expected."""
        self._to, self._began, self._said, self._acked = alice.peer_id, None, False, trio.Event()
        assert any(link.peer == alice.peer_id for link in self._network.links()) is not is_stranger
        with trio.fail_after(30):
            await alice.desk.ask(SKIING, 10)
            await self._acked.wait()
        assert self._began is not None
        return self._ended - self._began


@asynccontextmanager
async def far_away(town: Town, name: str) -> AsyncIterator[None]:
    """Who is opened with this name in here is dialled over a slow wire."""
    near = town.open_network

    @asynccontextmanager
    async def open_network(who: str, address: str | None) -> AsyncIterator[Network]:
        if who != name:
            async with near(who, address) as network:
                yield network
            return
        port = free_port()
        async with trio.open_nursery() as nursery:
            far = f"/ip4/127.0.0.1/tcp/{await nursery.start(SlowWire(port, DELAY).run)}"
            listen = [f"/ip4/127.0.0.1/tcp/{port}"]
            async with open_libp2p_network(seed=seed_of(who), listen=listen, announce=[far]) as network:
                yield network
            nursery.cancel_scope.cancel()

    town.open_network = open_network
    yield
    town.open_network = near


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    print(json.dumps(trio.run(measure, int(sys.argv[1]) if len(sys.argv) > 1 else 5)))
