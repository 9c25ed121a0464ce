"""A town for other people's tests: short words for what they do most. Everything else: `visitor.desk`."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from node.desk import Desk
from node.network.memory import Conditions, MemoryWorld
from node.vendor.kit import PLAIN_IN_PLACE, Vendor
from protocol.categories import DIVISIONS

from .samples import SKIING, car_hire_text, catalogue_of
from .scenario import read_share, read_span
from .town import Neighbour, Town, let_pass, open_town, wait_heard, wait_offers, wait_state

View = dict[str, Any]


class Visitor:
    """One node, over all its lives."""

    def __init__(self, neighbour: Neighbour) -> None:
        self.neighbour = neighbour

    @property
    def name(self) -> str:
        return self.neighbour.name

    @property
    def desk(self) -> Desk:
        """Everything people can ask of a node."""
        return self.neighbour.desk

    async def ask(self, **said: Any) -> str:
        """Broadcast the sample wish, with what is said instead; gives its id."""
        asked = await self.desk.ask({**SKIING, **said}, 30)
        return str(asked["intent"]["id"])

    async def wait_heard(self, wish: str, seconds: float = 30.0) -> None:
        """Until this node has heard a wish."""
        await wait_heard(self.neighbour, wish, seconds)

    async def wait_offers(self, wish: str, count: int, seconds: float = 30.0) -> list[View]:
        """Until so many offers are here, the best first, those over the private limit too."""
        found = await wait_offers(self.neighbour, wish, count, seconds)
        return list(found["offers"])

    async def accept(self, offer: View, wait: float = 30.0) -> View:
        """Accept an offer, and wait for its vendor's answer; the contract says what it is."""
        contact = f"{self.name}@example.org"
        return dict((await self.desk.accept(offer["id"], contact, None, [], wait))["contract"])

    async def wait_state(self, id_text: str, state: str, seconds: float = 30.0) -> View:
        """Until a wish, offer or contract of this node has this state."""
        return await wait_state(self.neighbour, id_text, state, seconds)

    async def stop(self) -> None:
        await self.neighbour.stop()

    async def crash(self) -> None:
        """As kill -9."""
        await self.neighbour.crash()

    async def start(self, **changed: Any) -> None:
        """Again, with the store it had."""
        await self.neighbour.start(**changed)


class Mesh:
    """A town, and what can happen to it."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self._people = 0

    async def __call__(self, count: int) -> list[Visitor]:
        """So many more nodes, which carry every division."""
        self._people += count
        numbers = range(self._people - count + 1, self._people + 1)
        return [await self.person(f"node-{number}", divisions=DIVISIONS) for number in numbers]

    async def person(self, name: str, **settings: Any) -> Visitor:
        return Visitor(await self.town.open(name, **settings))

    async def vendor(self, shop: Vendor | str | None = None, name: str | None = None, **settings: Any) -> Visitor:
        """A node that sells; see the fixture `vendor`."""
        if name is None:
            name = shop.name if isinstance(shop, Vendor) else f"shop-{len(self.town.neighbours)}"
        if not isinstance(shop, Vendor):
            text = car_hire_text(name=name) if shop is None else shop
            return await self.person(name, catalogue=catalogue_of(text), **settings)
        visitor = await self.person(name, **settings)
        await self.town.nursery.start(_work, shop, visitor)
        return visitor

    # Faults.

    def partition(self, *groups: Iterable[Visitor]) -> None:
        """From now on only nodes of one group reach each other; those in no group are one more."""
        self._world.partition(*([one.neighbour.peer_id for one in group] for group in groups))

    def heal(self) -> None:
        self._world.heal()

    def weather(self, delay: str = "0s", jitter: str = "0s", loss: str = "0%", breaks: str = "0%") -> None:
        """How all links are from now on."""
        spans, shares = map(read_span, (delay, jitter)), map(read_share, (loss, breaks))
        conditions = Conditions(*spans, *shares)
        peers = [neighbour.peer_id for neighbour in self.town.neighbours.values()]
        for one in peers:
            for other in peers:
                if one < other:
                    self._world.set_conditions(one, other, conditions)

    def sleep(self, seconds: int) -> None:
        """Every machine sleeps: the hour moves on, and nobody does anything."""
        let_pass(self.town, seconds)

    @property
    def _world(self) -> MemoryWorld:
        assert self.town.world is not None, "it was opened in memory"
        return self.town.world


async def _work(shop: Vendor, visitor: Visitor, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    """A vendor's program at its node, without a socket between: also when the node comes back."""
    PLAIN_IN_PLACE.set(True)
    said = {
        "name": shop.name,
        "contact": shop.contact,
        "categories": list(shop.categories),
        "decides": shop.asks_for_accepts,
        "concurrency": shop.concurrency,
    }
    neighbour = visitor.neighbour
    while True:
        jobs = await visitor.desk.program(said)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_until_gone, neighbour, nursery.cancel_scope)
            async for job in jobs:
                if job["type"] in ("wish", "accept"):
                    nursery.start_soon(_do, shop, visitor, job)
                else:
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
            nursery.cancel_scope.cancel()
        await neighbour.wait_back()


async def _do(shop: Vendor, visitor: Visitor, job: Mapping[str, Any]) -> None:
    said = await shop.do(job, visitor.neighbour.node.clock.now())
    if visitor.neighbour.is_up:
        await visitor.desk.answer_job(job["job"], said)


async def _until_gone(neighbour: Neighbour, scope: trio.CancelScope) -> None:
    await neighbour.wait_gone()
    scope.cancel()


@asynccontextmanager
async def open_mesh(seed: int = 1) -> AsyncIterator[Mesh]:
    """A meeting point that holds mail, and room for more."""
    async with open_town(seed) as town:
        await town.open("market", meeting=True, mailbox=True)
        yield Mesh(town)
