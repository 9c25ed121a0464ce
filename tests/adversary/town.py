"""A town of honest nodes that all carry one division, and a book of who heard what and when."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio

from node.network.memory import Conditions, MemoryWorld
from protocol.board import Heard
from tests.driver import Neighbour, Town, open_town, wait_until

from .frames import DIVISION, Forger


@dataclass
class HonestTown:
    town: Town
    nodes: list[Neighbour]
    forger: Forger
    said: dict[bytes, tuple[str, float]] = field(default_factory=dict)
    """Honest wish -> its author's node, and when."""
    heard: dict[bytes, dict[str, float]] = field(default_factory=dict)
    """Wish -> node -> seconds it took."""
    news: trio.Event = field(default_factory=trio.Event)
    """Set, and replaced, when something of this was heard."""

    @property
    def world(self) -> MemoryWorld:
        assert self.town.world is not None
        return self.town.world

    def listen(self, neighbour: Neighbour) -> None:
        gossip = neighbour.node.gossip
        roles = gossip._on_heard

        async def on_heard(batch: list[Heard]) -> None:
            for one in batch:
                if one.message is not None and one.message.id in self.said:
                    at = self.said[one.message.id][1]
                    self.heard.setdefault(one.message.id, {})[neighbour.name] = trio.current_time() - at
            self.news.set()
            self.news = trio.Event()
            await roles(batch)

        gossip._on_heard = on_heard

    def speak(self, number: int, life: int = 3600) -> bytes:
        """An honest wish, from a node in turn."""
        neighbour = self.nodes[number % len(self.nodes)]
        assert neighbour.clock is not None
        self.forger.now = neighbour.clock.now()
        message = self.forger.good(neighbour.node.board.bits, life)
        self.said[message.id] = (neighbour.name, trio.current_time())
        gossip = neighbour.node.gossip
        assert gossip.hear(DIVISION, message.frame).accepted
        gossip.publish(DIVISION, message.frame)
        return message.id

    async def talk(self, per_second: float, seconds: float) -> list[bytes]:
        """Everybody in turn; then ten seconds for the last to arrive."""
        said = []
        for number in range(int(per_second * seconds)):
            said.append(self.speak(number))
            await trio.sleep(1 / per_second)
        with trio.move_on_after(10):
            while self.part(said) < 1:
                await self.news.wait()
        return said

    def part(self, said: list[bytes], names: list[str] | None = None) -> float:
        """Of all deliveries that were to happen, those that did."""
        wanted = arrived = 0
        for wish in said:
            listeners = [n.name for n in self.nodes if n.name != self.said[wish][0] and n.name in (names or [n.name])]
            wanted += len(listeners)
            arrived += sum(name in self.heard.get(wish, {}) for name in listeners)
        return arrived / wanted if wanted else 1.0

    def delays(self, said: list[bytes]) -> list[float]:
        return [seconds for wish in said for seconds in self.heard.get(wish, {}).values()]


@asynccontextmanager
async def open_honest_town(
    count: int, seed: int = 1, conditions: Conditions | None = None, skews: tuple[int, ...] = (0,), **settings: Any
) -> AsyncIterator[HonestTown]:
    """Nodes linked in a ring and across, each subscribed to all others it is linked with."""
    async with open_town(seed, conditions or Conditions(delay=0.02)) as town:
        nodes: list[Neighbour] = []
        for number in range(count):
            join = tuple(nodes[max(0, number - 1) :][:1] + nodes[: max(0, number - 1)][number % 3 :: 3][:2])
            skew = skews[number % len(skews)]
            nodes.append(await town.open(f"Honest {number}", join=join, divisions=(DIVISION,), skew=skew, **settings))
        honest = HonestTown(town, nodes, Forger(f"honest {seed}", nodes[0].node.clock.now()))
        for neighbour in nodes:
            honest.listen(neighbour)
            await wait_until(
                neighbour, lambda node: len(node.gossip.subscribers(DIVISION)) == len(node.network.links())
            )
        await trio.sleep(3)  # meshes settle in three heartbeats
        yield honest
