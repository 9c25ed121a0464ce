"""Bad links: whatever the network does, both sides agree in the end."""

import itertools
import random

import pytest
import trio
from trio.testing import MockClock

from node.app import Node
from node.network.memory import Conditions
from node.trouble import Trouble
from protocol.exchange import State
from tests.driver import SKIING, Killed, Neighbour, Town, car_hire, open_town, wait_until

AGREED = {
    State.CONFIRMED: {State.CONFIRMED},
    State.REJECTED: {State.REJECTED},
    # Of an accept that never arrived the vendor knows nothing.
    State.LAPSED: {State.LAPSED, State.VOID, State.OFFERED, State.DECLINED},
}
"""State of an accepted offer at the person's -> what it may be at the vendor's, once both had the time to talk."""


@pytest.mark.parametrize("first", [0, 10, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(20, 100, 10))])
async def test_they_agree_in_any_weather(first: int, clock: MockClock) -> None:
    """Loss, delays, links that break, a partition of minutes, and a power cut at a random moment; five seeds each: of
    every offer that Alice accepts, she and its vendor believe the same in the end, and she has at most one contract."""
    confirmed = 0
    for seed in range(first, first + 5):
        confirmed += await live_through(seed)
    assert confirmed >= 3, "most deals are made in spite of it all"


async def live_through(seed: int) -> bool:
    chance = random.Random(seed)
    weather = Conditions(
        delay=chance.choice([0.0, 0.05, 0.4]),
        jitter=chance.choice([0.0, 0.3]),
        loss=chance.choice([0.0, 0.1, 0.3]),
        breaks=chance.choice([0.0, 0.02, 0.05]),
    )
    async with open_town(seed, weather) as town:
        assert town.world is not None
        market = await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        vendors = [await town.open(name, catalogue=car_hire(stock=1)) for name in ("Bob", "Carol")]
        asked = await alice.desk.ask({**SKIING, "spread": 20}, 30)
        intent = asked["intent"]["id"]
        town.nursery.start_soon(make_trouble, town, chance, [market, alice, *vendors])
        for _ in range(4):
            await trio.sleep(chance.uniform(10, 60))
            await try_to_buy(alice, intent)
        town.over.set()
        town.world.heal()
        for one, other in itertools.combinations((market, alice, *vendors), 2):
            town.world.set_conditions(one.peer_id, other.peer_id, Conditions())
        for neighbour in (alice, *vendors):
            await wait_until(neighbour, is_quiet, 5000)
        return check_agreement(alice, vendors, intent)


def is_quiet(node: Node) -> bool:
    """Nothing is under way, and nothing waits for an answer."""
    open_talks = (t for live in node.threads for t in live.thread.talks.values() if t.state is State.ACCEPTED)
    return node.delivery.unsettled == 0 and not any(open_talks)


async def try_to_buy(alice: Neighbour, intent: str) -> None:
    try:
        for offer in (await alice.desk.offers_for(intent))["offers"]:
            if offer["state"] == "offered":
                await alice.desk.accept(offer["id"], "alice@example.org", None, [], 0)
    except (Trouble, Killed):
        pass  # decided already, or her power went


async def make_trouble(town: Town, chance: random.Random, people: list[Neighbour]) -> None:
    world = town.world
    assert world is not None
    while not town.over.is_set():
        with trio.move_on_after(chance.uniform(5, 60)):
            await town.over.wait()
        match chance.randrange(3):
            case 0:
                world.partition({chance.choice(people).peer_id}, notice=chance.choice([0, 20]))
                await trio.sleep(chance.uniform(1, 180))
                world.heal()
            case 1:
                unlucky = chance.choice(people[1:])
                await unlucky.crash()
                await trio.sleep(chance.uniform(0, 60))
                await unlucky.start()
            case 2:
                one, other = chance.sample(people, 2)
                world.cut(one.peer_id, other.peer_id)


def check_agreement(alice: Neighbour, vendors: list[Neighbour], intent: str) -> bool:
    contracts = 0
    for live in alice.node.threads.of_root(bytes.fromhex(intent)):
        (vendor,) = (one for one in vendors if one.node.vendor.public == live.thread.vendor)
        theirs = vendor.node.threads.get(live.id)
        assert theirs is not None
        for talk in live.thread.talks.values():
            if talk.accept is None:
                continue
            state = theirs.thread.talks[talk.offer.id].state
            assert state in AGREED[talk.state], f"{talk.state} at Alice's, {state} at {vendor.name}'s"
            contracts += talk.state is State.CONFIRMED
    assert contracts <= 1
    return contracts == 1
