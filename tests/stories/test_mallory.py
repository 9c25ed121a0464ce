"""Mallory: what others send us on purpose."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from node.delivery import ANSWERED_AT_ONCE, MAX_BAD_ITEMS, MAX_HEARD, PROTOCOL, Line
from node.network.seam import Network, Stream, StreamError
from protocol.envelope import Item, seal
from protocol.framing import Deframer, frame_with_length
from protocol.keys import BoxKey, SigningKey
from protocol.letter import write_letter
from protocol.limits import MAX_ITEM
from protocol.message import Draft, Message, speak
from protocol.offer import Line as PriceLine
from protocol.offer import Offer, Vendor
from protocol.terms import Money
from tests.driver import (
    NET,
    SKIING,
    Neighbour,
    Town,
    car_hire,
    open_town,
    seed_of,
    wait_offers,
    wait_settled,
    wait_state,
    wait_until,
)

CHEAP = Offer(Vendor("Mallory"), "mobility.car", (PriceLine("Car", 1, "stay", 100, 100),), Money(100, "EUR"))


class Mallory:
    """Speaks the protocol by hand, with keys and a transport peer of her own."""

    def __init__(self, network: Network, victim: Neighbour) -> None:
        self.network = network
        self.victim = victim
        self.key, self.box = SigningKey(seed_of("Mallory signs")), BoxKey(seed_of("Mallory reads"))
        self.n = 0

    async def open(self) -> Stream:
        await self.network.dial(self.victim.address)
        return await self.network.open_stream(self.victim.peer_id, PROTOCOL)

    def letter(self, wish: Message, body: Any = CHEAP, kind: str = "offer", **changed: Any) -> tuple[Message, Item]:
        self.n += 1
        fields: dict[str, Any] = {
            "at": wish.head.at,
            "exp": wish.head.at + 7200,
            "seq": self.n,
            "ref": wish.id,
            "root": wish.root,
            "to": wish.author,
            **changed,
        }
        draft = Draft(kind, body, NET, salt=random.Random(self.n).randbytes(16), **fields)
        nonce = random.Random(-self.n).randbytes(24)
        return write_letter(draft, self.key, self.box, wish.body.box, own_is_box=False, n=self.n, nonce=nonce)  # type: ignore[union-attr]


@asynccontextmanager
async def open_mallory(town: Town, victim: Neighbour) -> AsyncIterator[Mallory]:
    assert town.world is not None
    async with town.world.open_network(b"m" * 32) as network:
        yield Mallory(network, victim)


async def say(stream: Stream, *items: Item | bytes) -> None:
    for item in items:
        await stream.send_all(frame_with_length(item.encoded() if isinstance(item, Item) else item))


async def hear(stream: Stream, count: int) -> list[bytes]:
    deframer, heard = Deframer(MAX_ITEM), []
    with trio.fail_after(30):
        while len(heard) < count:
            heard += deframer.feed(await stream.receive_some())
    return heard


async def with_wish(town: Town) -> tuple[Neighbour, Message]:
    await town.open("Market", meeting=True)
    alice = await town.open("Alice")
    asked = await alice.desk.ask(SKIING, 10)
    wish = alice.node.requester.wish(bytes.fromhex(asked["intent"]["id"]))
    assert wish is not None
    return alice, wish.revision


async def test_everything_comes_often_and_out_of_order(clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every item is sent three times, mixed with older ones: each has one effect, and the deal is made."""
    chance = random.Random(7)
    send = Line.send

    async def chatter(line: Line, data: bytes) -> None:
        said = history.setdefault(line, [])
        said.append(data)
        mixed = [data, data, data, *chance.sample(said, min(3, len(said)))]
        chance.shuffle(mixed)
        for one in mixed:
            await send(line, one)

    history: dict[Line, list[bytes]] = {}
    monkeypatch.setattr(Line, "send", chatter)
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire(stock=1))
        intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        contract = (await alice.desk.accept(offer["id"], "alice@example.org", None, [], 20))["contract"]["id"]
        await wait_state(bob, contract, "confirmed")
        for side in (alice, bob):
            await wait_settled(side)
            kinds = [row.kind for row in await side.store.peek(lambda tx: tx.messages())]
            assert all(kinds.count(kind) == 1 for kind in ("offer", "accept", "confirm"))
            assert side.node.delivery.counters["duplicates"] > 0
            events = [e["type"] for e in await side.store.peek(lambda tx: tx.events_after(0))]
            assert events.count("contract.confirmed") == 1


async def test_a_peer_has_a_few_direct_streams_and_no_more(clock: MockClock) -> None:
    """Mallory opens one after the other and begins on each an item that she never ends: the fifth is refused. When one
    of hers is over, the next is answered as ever."""
    async with open_town() as town:
        alice, wish = await with_wish(town)
        async with open_mallory(town, alice) as mallory:
            begun = [await mallory.open() for _ in range(ANSWERED_AT_ONCE)]
            for stream in begun:
                await stream.send_all(frame_with_length(bytes(MAX_ITEM))[:-1])
            with pytest.raises(StreamError):
                await hear(await mallory.open(), 1)
            assert alice.node.delivery.counters["too_many_streams"] == 1
            await begun[0].reset()
            await trio.testing.wait_all_tasks_blocked()
            stream = await mallory.open()
            await say(stream, mallory.letter(wish)[1])
            assert len(await hear(stream, 1)) == 1


async def test_a_duplicate_gets_the_very_same_ack(clock: MockClock) -> None:
    """Whoever sends an item again gets the stored bytes, also from another peer and after a restart, and it is
    counted."""
    async with open_town() as town:
        alice, wish = await with_wish(town)
        async with open_mallory(town, alice) as mallory:
            message, item = mallory.letter(wish)
            stream = await mallory.open()
            await say(stream, item, item)
            first, second = await hear(stream, 2)
            assert first == second
            await alice.crash()
            await alice.start()
            stream = await mallory.open()
            await say(stream, item)
            assert await hear(stream, 1) == [first]
            assert len((await alice.desk.offers_for(wish.id.hex(), include_hidden=True))["offers"]) == 1
            assert message.id in alice.node.threads.of_root(wish.root)[0].thread.talks


async def test_lies_have_no_effect(clock: MockClock) -> None:
    """Another's frame sealed again, an offer to another person, one that expired, one from the future, one sealed to
    nobody's key, garbage: each is counted under its name, none has an effect, and honest offers still come."""
    async with open_town() as town:
        alice, wish = await with_wish(town)
        bob = await town.open("Bob", catalogue=car_hire())
        await wait_offers(alice, wish.id.hex(), 1)
        (frame,) = (row.frame for row in await bob.store.peek(lambda tx: tx.messages()) if row.kind == "offer")
        async with open_mallory(town, alice) as mallory:
            stream = await mallory.open()
            _, fine = mallory.letter(wish)
            resealed = seal(
                frame,
                mallory.box,
                wish.body.box,
                own_is_box=False,
                n=1,
                exp=fine.exp,
                nonce=b"n" * 24,  # type: ignore[union-attr]
            )
            _, misdirected = mallory.letter(wish, to=b"x" * 32)
            _, elsewhere = mallory.letter(wish, root=b"x" * 32)
            _, over = mallory.letter(wish, at=wish.head.at - 100, exp=wish.head.at - 50)
            _, future = mallory.letter(wish, at=wish.head.at + 9000, exp=wish.head.at + 9999)
            stranger = Item(b"k" * 32, fine.tkey, 1, fine.exp, fine.nonce, fine.ciphertext, fine.stamp)
            changed = Item(fine.to_box, fine.tkey, 2, fine.exp, fine.nonce, fine.ciphertext, fine.stamp)
            await say(stream, resealed, misdirected, elsewhere, over, future, stranger, changed, b"\x00garbage")
            counters = alice.node.delivery.counters
            expected = {"tkey": 1, "to": 1, "root": 1, "expired": 1, "early": 1, "unknown_key": 1, "sealed": 1}
            await wait_until(alice, lambda _node: {name: counters[name] for name in expected} == expected)
            assert sum(counters[name] for name in ("not_msgpack", "item")) == 1
            assert len(alice.node.threads) == 1
            await say(stream, fine)
            await wait_offers(alice, wish.id.hex(), 2)


async def test_sixteen_bad_items_end_the_stream(clock: MockClock) -> None:
    """After that many the stream is reset, and Alice's node lives on."""
    async with open_town() as town:
        alice, _wish = await with_wish(town)
        async with open_mallory(town, alice) as mallory:
            stream = await mallory.open()
            await say(stream, *[b"\xc0"] * MAX_BAD_ITEMS)
            with pytest.raises(StreamError):
                await hear(stream, 1)
            assert alice.is_up


async def test_a_flood_is_bounded(clock: MockClock) -> None:
    """Mallory sends thousands of offers. What she may make Alice keep in a thread is bounded, the rest is counted, and
    Bob is heard all the same."""
    async with open_town() as town:
        alice, wish = await with_wish(town)
        async with open_mallory(town, alice) as mallory, trio.open_nursery() as nursery:
            stream = await mallory.open()

            async def flood() -> None:
                for _ in range(30):
                    await say(stream, *[mallory.letter(wish)[1] for _ in range(40)])
                    await trio.sleep(1)

            async def listen() -> None:
                while await stream.receive_some():
                    pass

            nursery.start_soon(listen)
            await flood()
            (live,) = alice.node.threads.of_root(wish.root)
            assert live.heard == MAX_HEARD
            assert len(live.thread.talks) == 64
            counters = alice.node.delivery.counters
            assert counters["thread_full"] + counters["over_share"] == 1200 - MAX_HEARD
            await town.open("Bob", catalogue=car_hire())
            await wait_until(alice, lambda node: len(node.threads.of_root(wish.root)) == 2)
            nursery.cancel_scope.cancel()


async def test_a_peer_that_does_not_read_stops_nobody(clock: MockClock) -> None:
    """Mallory offers and never reads her acks. Alice's wish can still be withdrawn, and her stream is reset in time."""
    async with open_town() as town:
        alice, wish = await with_wish(town)
        async with open_mallory(town, alice) as mallory:
            stream = await mallory.open()
            _, item = mallory.letter(wish)
            ended = trio.Event()

            async def flood() -> None:
                try:
                    while True:
                        await say(stream, *[item] * 100)
                        await trio.sleep(0.5)
                except StreamError:
                    ended.set()

            town.nursery.start_soon(flood)
            await trio.sleep(20)
            with trio.fail_after(2):
                await alice.desk.withdraw(wish.id.hex())
            with trio.fail_after(120):
                await ended.wait()
            assert (await alice.desk.show(wish.id.hex()))["intent"]["state"] == "withdrawn"


async def test_a_peer_that_hangs_up_at_once_makes_nobody_spin(clock: MockClock) -> None:
    """Mallory's wish is answered by Bob, and she drops every stream he opens: he tries ever less often."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        bob = await town.open("Bob", catalogue=car_hire())
        market = town.neighbours["Market"]
        dropped: list[float] = []

        async def drop(stream: Stream) -> None:
            dropped.append(trio.current_time())
            await stream.reset()

        async with open_mallory(town, bob) as mallory:
            mallory.network.serve(PROTOCOL, drop)
            alice = await town.open("Alice")
            intent = (await alice.desk.ask(SKIING, 10))["intent"]
            body = alice.node.requester.wishes()[0].intent
            await alice.desk.withdraw(intent["id"])
            reply = type(body.reply[0])("direct", mallory.network.addresses[0])
            hers = speak(
                Draft(
                    "intent",
                    type(body)(**{**{n: getattr(body, n) for n in body.__dataclass_fields__}, "reply": (reply,)}),
                    NET,
                    intent["at"],
                    intent["at"] + 86_400,
                    0,
                    bytes(16),
                ),
                mallory.key,
            )
            assert market.node.gossip.hear("mobility", hers.frame).accepted
            market.node.gossip.forward("mobility", hers.frame)
            await wait_until(bob, lambda _node: bool(dropped))
            began = dropped[0]
            await trio.sleep(1200)
            # Every 5 s at first, and from 20 s on when a quarter of the time so far has passed: 5 + ln(1200 / 20) /
            # ln(1.25) = 23 rounds, 3 of them in the second ten minutes. One is two streams where the link was gone: its
            # coming back wakes whoever waits for it.
            assert 10 < len(dropped) <= 2 * 23
            assert sum(when > began + 600 for when in dropped) <= 2 * 4
            assert bob.is_up


async def test_a_wish_that_cannot_be_answered_harms_no_vendor(clock: MockClock) -> None:
    """A box of zeros, to which nothing can be sealed, and a claim to another's wish: Bob's node passes over the one and
    keeps the other apart."""
    async with open_town() as town:
        alice, wish = await with_wish(town)
        bob = await town.open("Bob", catalogue=car_hire())
        await wait_offers(alice, wish.id.hex(), 1)
        body = wish.body
        fields = {name: getattr(body, name) for name in body.__dataclass_fields__}
        key = SigningKey(b"m" * 32)
        at = wish.head.at
        zeros = speak(Draft("intent", type(body)(**{**fields, "box": bytes(32)}), NET, at, at + 900, 0, bytes(16)), key)  # type: ignore[arg-type]
        claim = speak(
            Draft("intent.update", body, NET, at, at + 900, 1, bytes(16), ref=wish.id, root=wish.root),
            SigningKey(b"n" * 32),
        )
        for frame in (zeros.frame, claim.frame):
            town.neighbours["Market"].node.gossip.hear("mobility", frame)
            town.neighbours["Market"].node.gossip.forward("mobility", frame)
        await wait_until(bob, lambda node: node.vendor.counters["passed_unspeakable"] == 1)
        await wait_until(bob, lambda node: len(node.threads.of_root(wish.root)) == 2)
        assert bob.is_up
        mine = next(live for live in bob.node.threads if live.thread.requester == wish.author)
        assert bob.clock is not None
        bob.clock.asleep += (
            25 * 3600
        )  # the claim's keys are deleted a day after its end, Alice's an hour and more later
        await trio.sleep(60)
        assert [row[0] for row in await bob.store.peek(lambda tx: tx.boxes())] == [mine.end.box]
