"""A day in a small market that has no luck: real nodes over the memory network, in virtual time, from one seed.

Four bad times of five minutes, somewhere in twenty-four hours: in each, people ask, offer, accept and change their
minds, while nodes are killed at any of their transactions, links break, networks part, everything is late, clocks
jump, and an eavesdropper says again what she heard. A witness (witness.py) looks after every transaction. After each
bad time the weather clears, and in the end everybody must believe the same.
"""

import itertools
import logging
import random
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import structlog
import trio
from trio._core import _run as scheduler
from trio.testing import MockClock

from node.network.memory import Conditions
from node.network.seam import NetworkError
from node.trouble import Trouble
from protocol.exchange import State
from tests.adversary.mallory import Mallory, open_mallory
from tests.driver import SKIING, Killed, Neighbour, Town, by_hand, car_hire, open_town, wait_until

from .witness import WatchedStore, Witness

HOUR = 3600.0
CALM = 1800.0
"""Seconds of good weather after each bad time, before everybody must agree: an accept may wait an hour for its answer,
but a link that failed is tried again after five minutes."""

LOOK_EVERY = 10.0
"""Seconds between two looks at what no transaction tells."""


@dataclass(frozen=True)
class Plan:
    seed: int
    hours: float = 24.0
    bad_minutes: float = 20.0
    bad_times: int = 4


@dataclass
class Day:
    """What came of it."""

    seed: int
    trace: str = ""
    broken: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)


def live(plan: Plan) -> Day:
    """The same plan is the same day, to the byte: tasks run in an order drawn from the seed as well."""
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]
    scheduler._r.seed(plan.seed)
    day = Day(plan.seed)
    try:
        trio.run(_live, plan, day, clock=MockClock(autojump_threshold=0))
    except BaseException as wrong:
        if isinstance(wrong, KeyboardInterrupt):
            raise
        day.broken.append("".join(traceback.format_exception(wrong)))
    return day


def live_quietly(plan: Plan) -> Day:
    """In a process of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    return live(plan)


async def _live(plan: Plan, day: Day) -> None:
    chance = random.Random(plan.seed)
    async with open_town(plan.seed) as town:
        witness = Witness(town)
        market = await open_watched(town, witness, "Market", meeting=True, mailbox=True)
        alice = await open_watched(town, witness, "Alice")
        ana = await open_watched(town, witness, "Ana", skew=chance.choice([0, 0, 90, -90]))
        bob = await open_watched(town, witness, "Bob", catalogue=car_hire(stock=4))
        carol = await open_watched(town, witness, "Carol", catalogue=car_hire("44.00", stock=4))
        misfortune = Misfortune(town, witness, chance, [market, alice, ana, bob, carol])
        people = [Person(misfortune, one, random.Random(f"{plan.seed} {one.name}")) for one in (alice, ana)]
        shops = [Shop(misfortune, one, random.Random(f"{plan.seed} {one.name}")) for one in (bob, carol)]
        for one in misfortune.everybody:
            town.nursery.start_soon(misfortune.keep_running, one)
        starts = sorted(
            chance.uniform(0, max(0.0, plan.hours * HOUR - plan.bad_times * 2 * CALM)) for _ in range(plan.bad_times)
        )
        began = trio.current_time()
        async with open_mallory(town.world, "mallory") as mallory:
            for number, start in enumerate(starts):
                await trio.sleep_until(max(trio.current_time(), began + start + number * 2 * CALM))
                await misfortune.strike(60 * plan.bad_minutes / plan.bad_times, people, shops, mallory)
                await trio.sleep(CALM)
                witness.look()
                await misfortune.check_calm(people, shops)
                if witness.broken:
                    break
        if not witness.broken:
            await trio.sleep_until(began + plan.hours * HOUR)
            await misfortune.check_calm(people, shops)
            witness.check_secrets()
        day.trace, day.broken = witness.trace, witness.broken
        day.counts = dict(witness.counts) | dict(misfortune.counts)


async def open_watched(town: Town, witness: Witness, name: str, **settings: Any) -> Neighbour:
    def watch(neighbour: Neighbour) -> None:
        store = WatchedStore(neighbour.store)
        store.witness, store.owner = witness, neighbour
        neighbour.store = store

    return await town.open(name, before_start=watch, **settings)


class Misfortune:
    """What happens to everybody."""

    def __init__(self, town: Town, witness: Witness, chance: random.Random, everybody: list[Neighbour]) -> None:
        self.town = town
        self.witness = witness
        self.chance = chance
        self.everybody = everybody
        self.counts: Counter[str] = Counter()
        self._right = {one.name: one.clock.skew for one in everybody if one.clock is not None}

    @property
    def world(self) -> Any:
        return self.town.world

    async def strike(self, seconds: float, people: list["Person"], shops: list["Shop"], mallory: Mallory) -> None:
        """A bad time, and then good weather: everybody is up, every clock right, every link as fast as it can be."""
        self._set_weather()
        async with trio.open_nursery() as nursery:
            for one in (*people, *shops):
                nursery.start_soon(one.live)
            nursery.start_soon(self._happen)
            nursery.start_soon(self._look)
            nursery.start_soon(self._say_again, mallory)
            await trio.sleep(seconds)
            nursery.cancel_scope.cancel()
        self.world.heal()
        self._clear_weather()
        for one in self.everybody:
            one.store.die_before = one.store.die_after = 0
            one.clock.skew = self._right[one.name]
            await wait_until(one, lambda _node, one=one: one.is_up, 300)

    async def _look(self) -> None:
        while True:
            await trio.sleep(LOOK_EVERY)
            self.witness.look()

    async def keep_running(self, one: Neighbour) -> None:
        """What a machine does with a service that died."""
        chance = random.Random(f"{self.world._seed} {one.name} starts again")
        while True:
            await one.wait_gone()
            await trio.sleep(chance.choice([0.1, 1, 5, 60]) * chance.uniform(0.5, 1))
            self.counts["restarts"] += 1
            one.clock.skew = self._right[
                one.name
            ]  # what a start at a wrong hour costs is told in stories/test_clocks.py
            await one.start()

    def _set_weather(self) -> None:
        chance = self.chance
        for one, other in itertools.combinations(self.everybody, 2):
            weather = Conditions(
                delay=chance.choice([0.0, 0.05, 0.4, 2.0]),
                jitter=chance.choice([0.0, 0.3, 1.0]),
                loss=chance.choice([0.0, 0.1, 0.3]),
                breaks=chance.choice([0.0, 0.0, 0.01, 0.05]),
                bandwidth=chance.choice([None, None, 20_000.0]),
            )
            self.world.set_conditions(one.peer_id, other.peer_id, weather)

    def _clear_weather(self) -> None:
        for one, other in itertools.combinations(self.everybody, 2):
            self.world.set_conditions(one.peer_id, other.peer_id, Conditions())

    async def _happen(self) -> None:
        chance = self.chance
        while True:
            await trio.sleep(chance.expovariate(1 / 8))
            what = chance.choices(
                [self._part, self._crash, self._cut_power, self._cut_link, self._move_clock, self._set_weather],
                [2, 2, 4, 2, 2, 1],
            )[0]
            self.counts[what.__name__.strip("_")] += 1
            done = what()
            if done is not None:
                await done

    async def _part(self) -> None:
        """Some cannot reach the others: at once, or as when a cable is pulled and nobody notices."""
        chance = self.chance
        some = chance.sample([one.peer_id for one in self.everybody], chance.randint(1, 2))
        self.world.partition(set(some), notice=chance.choice([0, 20]))
        await trio.sleep(chance.uniform(1, 90))
        self.world.heal()

    async def _crash(self) -> None:
        unlucky = self.chance.choice(self.everybody)
        if unlucky.is_up:
            await unlucky.crash()

    def _cut_power(self) -> None:
        """At one of its next transactions, just before it is durable, or just after."""
        unlucky = self.chance.choice(self.everybody)
        moment = unlucky.store.count + self.chance.randint(1, 6)
        if self.chance.random() < 0.5:
            unlucky.store.die_before = moment
        else:
            unlucky.store.die_after = moment

    def _cut_link(self) -> None:
        one, other = self.chance.sample(self.everybody, 2)
        self.world.cut(one.peer_id, other.peer_id)

    def _move_clock(self) -> None:
        """Within what is tolerated, by an hour, by a day; or it is set right."""
        unlucky = self.chance.choice(self.everybody)
        jump = self.chance.choice([0, 0, 0, 100, -100, HOUR, -HOUR, 24 * HOUR, -24 * HOUR])
        unlucky.clock.skew = self._right[unlucky.name] + int(jump)

    async def _say_again(self, mallory: Mallory) -> None:
        """An eavesdropper is in the mesh, and repeats old frames to anybody: late, out of order, many times."""
        while True:
            await trio.sleep(self.chance.uniform(5, 30))
            victim = self.chance.choice(self.everybody)
            try:
                if victim.peer_id not in mallory.streams:
                    await mallory.befriend(victim.address)
                old = list(mallory.heard.values())
                await mallory.publish(victim.peer_id, *self.chance.sample(old, min(len(old), 10)))
            except NetworkError:
                mallory.streams.pop(victim.peer_id, None)

    # ------------------------------------------------------------------------------------------------- in the end

    async def check_calm(self, people: list["Person"], shops: list["Shop"]) -> None:
        self.witness.check_calm()
        for person in people:
            await person.check(shops)
        for one in self.everybody:
            for other in self.everybody:
                self._check_board(one, other)

    def _check_board(self, one: Neighbour, other: Neighbour) -> None:
        """What is over at its author's is over everywhere; what is open there is known to all who carry it."""
        for wish in one.node.requester.wishes():
            known = other.node.board.of_author(wish.end.me, wish.division)
            now = other.clock.now()
            if known is not None and known.is_open and not wish.is_open and now < known.message.head.exp:
                self.witness.accuse(f"{other.name} still has {one.name}'s wish {wish.root.hex()[:8]}, which is over")
            is_due = wish.is_open and wish.current.head.at <= now < wish.current.head.exp  # at the other's hour as well
            if is_due and wish.division in other.node.gossip.divisions:
                if known is None or known.message.id != wish.current.id:
                    self.witness.accuse(f"{other.name} does not know {one.name}'s wish {wish.root.hex()[:8]}")


@dataclass
class Actor:
    """Somebody who uses a node, and tries again later when it is gone."""

    misfortune: Misfortune
    home: Neighbour
    chance: random.Random

    async def live(self) -> None:
        while True:
            await trio.sleep(self.chance.expovariate(1 / 12))
            if self.home.is_up:
                await self.alive(self.act)

    async def alive(self, step: Callable[[], Awaitable[None]]) -> None:
        """A step that ends with the node."""

        async def watch() -> None:
            await self.home.wait_gone()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            try:
                await step()
            except Killed:
                pass
            except Trouble as trouble:
                self.misfortune.counts[f"told_{trouble.code}"] += 1
            nursery.cancel_scope.cancel()

    async def act(self) -> None:
        raise NotImplementedError


@dataclass
class Person(Actor):
    asked: list[str] = field(default_factory=list)
    accepted: dict[str, str] = field(default_factory=dict)
    """Offer -> contract."""

    async def act(self) -> None:
        desk, chance = self.home.desk, self.chance
        wishes = [wish for wish in await desk.wishes() if wish["state"] == "open"]
        if len(wishes) < 2 or chance.random() < 0.1:
            expires = chance.choice([300, 900, 6 * 3600, 20 * 3600])
            limit = {"minor": 7_777_777_777, "currency": "EUR"}
            wish = {**SKIING, "expires": expires, "spread": chance.choice([0, 0, 20]), "limit_private": limit}
            found = (await desk.ask(wish, chance.choice([0, 5])))["intent"]
            self.asked.append(found["id"])
            self.misfortune.witness.promised[bytes.fromhex(found["id"])] = self.home.name
            self.misfortune.counts["asked"] += 1
            return
        wish = chance.choice(wishes)
        if chance.random() < 0.15:
            await desk.withdraw(wish["id"])
            self.misfortune.counts["withdrawn"] += 1
            return
        if chance.random() < 0.15:
            revised = (await desk.ask({"update": wish["id"], "title": f"A car, version {chance.random()}"}, 0))[
                "intent"
            ]
            self.misfortune.witness.promised[bytes.fromhex(revised["revision"])] = self.home.name
            self.misfortune.counts["revised"] += 1
            return
        offers = (await desk.offers_for(wish["id"]))["offers"]
        ids = [offer["id"] for offer in offers]
        if len(set(ids)) != len(ids):
            self.misfortune.witness.accuse(f"{self.home.name} sees an offer twice")
        offers = [offer for offer in offers if offer["state"] == "offered"]
        if not offers:
            return
        offer = chance.choice(offers)
        if chance.random() < 0.2:
            await desk.decline(offer["id"], None)
            self.misfortune.counts["declined"] += 1
            return
        contact = f"secret of {self.home.name} {chance.randbytes(8).hex()}"
        shop = next(one for one in self.misfortune.everybody if self._is_of(one, offer))
        self.misfortune.witness.secrets[contact.encode()] = {self.home.name, shop.name}
        contract = (await desk.accept(offer["id"], contact, None, [], chance.choice([0, 10])))["contract"]
        self.accepted[offer["id"]] = contract["id"]
        self.misfortune.witness.promised[bytes.fromhex(contract["id"])] = self.home.name
        self.misfortune.counts["accepted"] += 1

    @staticmethod
    def _is_of(one: Neighbour, offer: dict[str, Any]) -> bool:
        from protocol.keys import did

        return bool(did(one.node.vendor.public) == offer["vendor"]["key"])

    async def check(self, shops: list["Shop"]) -> None:
        """Every vendor that has what an open wish asks for has answered it, and the offers are here."""
        accuse = self.misfortune.witness.accuse
        shown = {wish["id"] for wish in await self.home.desk.wishes()}
        for one in self.asked:
            if one not in shown:
                accuse(f"{self.home.name} was told that {one[:8]} is asked, and it is not in the list")
        for wish in self.home.node.requester.wishes():
            if not wish.is_open or wish.current.head.at > self.home.clock.now():
                continue
            for shop in shops:
                row = shop.home.node.vendor.answer_to(wish.revision.id)
                if row is None:
                    accuse(f"{shop.home.name} has not looked at {self.home.name}'s wish {wish.root.hex()[:8]}")
                elif row.offer is not None:
                    live = next(
                        (x for x in self.home.node.threads.of_root(wish.root) if row.offer in x.thread.talks), None
                    )
                    theirs = shop.home.node.threads
                    is_open = any(
                        talk.state is State.OFFERED
                        for x in theirs
                        for id, talk in x.thread.talks.items()
                        if id == row.offer
                    )
                    if live is None and is_open:
                        accuse(f"{self.home.name} has not got {shop.home.name}'s offer {row.offer.hex()[:8]}")


@dataclass
class Shop(Actor):
    async def act(self) -> None:
        desk, chance = self.home.desk, self.chance
        made = [offer for offer in await desk.offers_made() if offer["state"] == "offered"]
        heard = [wish for wish in await desk.heard() if wish["state"] == "open"]
        if made and chance.random() < 0.1:
            await desk.withdraw(chance.choice(made)["id"])
            self.misfortune.counts["taken_back"] += 1
        elif heard and chance.random() < 0.2:
            note = f"secret of {self.home.name} {chance.randbytes(8).hex()}"
            wish = chance.choice(heard)
            people = {one.name for one in self.misfortune.everybody if self._asked(one, wish["id"])}
            self.misfortune.witness.secrets[note.encode()] = {self.home.name, *people}
            offer = by_hand(chance.randint(20_000, 40_000), note=note, valid_for=chance.choice([600, 7200]))
            found = (await desk.make_offer(wish["id"], offer))["offer"]
            self.misfortune.witness.promised[bytes.fromhex(found["id"])] = self.home.name
            self.misfortune.counts["offered_by_hand"] += 1

    @staticmethod
    def _asked(one: Neighbour, intent: str) -> bool:
        return any(wish.root.hex() == intent for wish in one.node.requester.wishes())
