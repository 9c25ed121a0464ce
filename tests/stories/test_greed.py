"""Strangers who take what costs them nothing: a vendor's board, its stock, its patience and its processor."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock

from node.delivery import PROTOCOL, stamps
from node.delivery.stamps import find_stamp
from node.network.seam import Stream
from node.vendor import role
from protocol.board import Posting
from protocol.envelope import Hint, HintCode, Item, item_stamp_bits, read_item
from protocol.framing import Deframer, frame_with_length
from protocol.intent import Intent
from protocol.keys import BoxKey, SigningKey
from protocol.limits import MAX_ITEM
from protocol.message import Draft, Message, speak
from protocol.terms import Route, When
from tests.driver import (
    NET,
    SKIING,
    Neighbour,
    Town,
    car_hire,
    open_town,
    seed_of,
    wait_heard,
    wait_offers,
    wait_state,
    wait_until,
)


def free_wish(number: int, at: int, spread: int = 0, reply: tuple[Route, ...] = ()) -> Message:
    """What the car hire answers, from a new key each time: it costs its author nothing."""
    key, box = SigningKey(seed_of(f"author {number}")), BoxKey(seed_of(f"box {number}"))
    when = When("2027-03-20T10:00", "2027-03-25T18:00", "Europe/Paris")
    body = Intent("rent", "mobility.car", f"Wish {number}", box.public, when=when, spread=spread, reply=reply)
    return speak(Draft("intent", body, NET, at, at + 9000, 0, bytes(16)), key)


def publish(market: Neighbour, wish: Message) -> None:
    market.node.gossip.hear("mobility", wish.frame)
    market.node.gossip.publish("mobility", wish.frame)


async def test_wishes_without_end_do_not_make_a_vendor_deaf(clock: MockClock) -> None:
    """Bob's board holds a few dozen wishes, and he answers a hundred: each finds a place, the last one too."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        bob = await town.open("Bob", catalogue=car_hire())
        assert market.clock is not None
        bob.node.board.division_bytes = 20_000
        await market.node.gossip.wait_subscriber("mobility")
        wishes = [free_wish(number, market.clock.now()) for number in range(100)]
        for number, wish in enumerate(wishes):
            publish(market, wish)
            await wait_until(bob, lambda node, n=number: node.vendor.counters["offered"] == n + 1)
        assert bob.node.board.get(wishes[-1].id)
        assert bob.node.board.bytes_of("mobility") <= 20_000


async def test_a_wish_is_let_go_when_its_talks_are_over(clock: MockClock) -> None:
    """Bob offers, Alice declines or her deal is made: nothing holds her wish on his board any more, also not after a
    restart. While her accept is open, nothing pushes it off."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        board = bob.node.board
        posting = board.get(bytes.fromhex(intent))
        assert isinstance(posting, Posting)
        author = posting.message.author
        assert author in board._spared
        pinned: list[bool] = []
        post = bob.node.delivery.post

        async def post_and_look(*parts: object, **more: object) -> object:
            pinned.append(author in board.pinned)
            return await post(*parts, **more)  # type: ignore[arg-type]

        bob.node.delivery.post = post_and_look  # type: ignore[method-assign,assignment]
        await alice.desk.accept(offer["id"], "alice@example.org", None, [], 20)
        await wait_until(bob, lambda _node: author not in board.pinned)
        assert pinned == [True]
        assert author not in board._spared
        await bob.crash()
        await bob.start()
        assert author not in bob.node.board._spared | bob.node.board.pinned


async def test_one_stranger_cannot_empty_the_shop(clock: MockClock) -> None:
    """Mallory's node makes three wishes and accepts three offers: it gets half of the three cars, rounded up, and the
    third is refused. Alice gets the last one; and an hour later Mallory may come again."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        mallory, alice = await town.open("Mallory"), await town.open("Alice")
        bob = await town.open("Bob", catalogue=car_hire(stock=3))
        await bob.node.gossip.wait_subscriber("mobility")
        states = [await buy(mallory) for _ in range(3)]
        assert states == ["confirmed", "confirmed", "rejected"]
        assert bob.node.vendor.counters["rejected_policy"] == 1
        assert await buy(alice) == "confirmed"
    async with open_town() as town:
        await town.open("Market", meeting=True)
        mallory = await town.open("Mallory")
        await town.open("Bob", catalogue=car_hire(stock=3))
        assert [await buy(mallory) for _ in range(2)] == ["confirmed", "confirmed"]
        await trio.sleep(3700)
        assert await buy(mallory) == "confirmed"


async def buy(person: Neighbour) -> str:
    """Ask, take the first offer, and see what becomes of it."""
    intent = (await person.desk.ask({**SKIING, "max_offers": 1}, 10))["intent"]["id"]
    (offer,) = (await wait_offers(person, intent, 1))["offers"]
    await person.desk.accept(offer["id"], "somebody@example.org", None, [], 0)
    for state in ("confirmed", "rejected"):
        try:
            await wait_state(person, offer["id"], state, 30)
        except AssertionError:
            continue
        return state
    return "open"


async def test_no_offer_is_made_that_would_be_refused(clock: MockClock) -> None:
    """Alice wants all three cars: nobody gets as many at once, so Bob says nothing rather than break his word."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire(stock=3))
        intent = (await alice.desk.ask({**SKIING, "quantity": 3}, 10))["intent"]["id"]
        await wait_heard(bob, intent)
        await wait_until(bob, lambda node: node.vendor.counters["passed_share"] == 1)
        (await alice.desk.ask({**SKIING, "quantity": 2}, 10))["intent"]["id"]
        await wait_until(bob, lambda node: node.vendor.counters["offered"] == 1)


async def test_patience_costs_one_task(clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred wishes ask for answers spread over ten minutes: no task more for it, all are answered within that
    time, and those for which there is no room to wait at once."""
    monkeypatch.setattr(role, "MOST_LATER", 60)
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        bob = await town.open("Bob", catalogue=car_hire())
        assert market.clock is not None
        await market.node.gossip.wait_subscriber("mobility")
        before = trio.lowlevel.current_statistics().tasks_living
        for number in range(100):
            publish(market, free_wish(number, market.clock.now(), spread=600))
        await wait_until(bob, lambda node: node.vendor.counters["spread_full"] > 0)
        await wait_until(bob, lambda node: node.vendor.counters["offered"] >= 40)
        answered = bob.node.vendor.counters["offered"]
        assert answered < 60, "some wait"
        # Each answer that cannot be delivered yet has a courier; nothing else may have come to life.
        assert trio.lowlevel.current_statistics().tasks_living - before <= answered + 5
        await wait_until(bob, lambda node: node.vendor.counters["offered"] == 100, 700)


class Dear:
    """Mallory's node: whatever is sent to it, it asks for a stamp first."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.items: list[Item] = []
        self.stamped = trio.Event()

    async def answer(self, stream: Stream) -> None:
        deframer = Deframer(MAX_ITEM)
        while data := await stream.receive_some():
            for encoded in deframer.feed(data):
                item = read_item(encoded)
                assert isinstance(item, Item)
                self.items.append(item)
                if item_stamp_bits(item) >= self.bits:
                    self.stamped.set()
                    continue
                hint = Hint(item.digest, HintCode.NEED_BITS, self.bits)
                await stream.send_all(frame_with_length(hint.encoded()))


@asynccontextmanager
async def offered_to(dear: Dear, town: Town, count: int) -> AsyncIterator[Neighbour]:
    """Bob, who offers so many times to a node that asks for stamps."""
    market = await town.open("Market", meeting=True)
    bob = await town.open("Bob", catalogue=car_hire())
    assert market.clock is not None
    assert town.world is not None
    async with town.world.open_network(seed_of("Mallory")) as network:
        network.serve(PROTOCOL, dear.answer)
        await market.node.gossip.wait_subscriber("mobility")
        reply = (Route("direct", network.addresses[0]),)
        for number in range(count):
            publish(market, free_wish(number, market.clock.now(), reply=reply))
        yield bob


async def test_a_stamp_that_is_asked_for_is_found(clock: MockClock) -> None:
    """It is the same item, but for the stamp."""
    clock.autojump_threshold = 0.01  # stamps are found in a thread, for which virtual time does not wait
    dear = Dear(12)
    async with open_town() as town, offered_to(dear, town, 1):
        with trio.fail_after(60):
            await dear.stamped.wait()
        assert item_stamp_bits(dear.items[-1]) >= 12
        assert {item.digest for item in dear.items} == {dear.items[0].digest}


async def test_stamps_are_mined_one_at_a_time_and_on_a_budget(
    clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mallory asks for the dearest stamp on twenty offers: one is worked on, the others are over her share; and the
    node stops at once when it is told to."""
    clock.autojump_threshold = 0.01
    under_way, most, calls = 0, 0, 0

    def watched(about: bytes, bits: int, start: int) -> bytes | None:
        nonlocal under_way, most, calls
        under_way, calls = under_way + 1, calls + 1
        most = max(most, under_way)
        found = find_stamp(about, 99, start)  # never found, and as dear as any
        under_way -= 1
        return found

    monkeypatch.setattr(stamps, "find_stamp", watched)
    async with open_town() as town, offered_to(Dear(22), town, 20) as bob:
        await wait_until(bob, lambda node: node.delivery.counters["stamps_over_share"] >= 19 and calls >= 3)
        assert len(bob.node.delivery.stamps) == 1
        assert most == 1
        began = time.perf_counter()
        await bob.stop()
        assert time.perf_counter() - began < 1
