"""Who is away, and what is said again: in virtual time."""

import tempfile
from pathlib import Path
from typing import Any

import trio

from node.delivery import PROTOCOL as DIRECT
from node.delivery.courier import PATIENCE
from node.network.seam import NetworkError
from node.town.samples import ALPINE
from node.vendor.catalogue import Catalogue, load_catalogue
from protocol import categories
from protocol.framing import Deframer, frame_with_length
from protocol.gossip import PROTOCOLS
from protocol.gossip.rpc import decode_rpc, encode_publish
from protocol.limits import MAX_ITEM, MAX_RPC
from tests.adversary.figures import Figure, at_least, at_most, told
from tests.adversary.frames import DIVISION
from tests.adversary.mallory import Mallory, open_mallory
from tests.driver import (
    NET,
    SKIING,
    Neighbour,
    Town,
    car_hire,
    open_town,
    wait_heard,
    wait_offers,
    wait_settled,
    wait_state,
    wait_until,
)
from tests.stories.test_mailboxes import deal_without_meeting, open_post_office

DAY = 24 * 3600

LONGEST_WAIT = 1.5 * PATIENCE
"""Seconds: who is away for a day is tried every half hour, unless a link tells that he is back. A mailbox is
what makes it fast."""


async def never_meet() -> list[Figure]:
    """Alice and Bob are never up at the same time, one mailbox is: from wish to a contract that both hold."""
    async with open_town() as town:
        began = trio.current_time()
        await deal_without_meeting(town, await open_post_office(town))
        return [
            told("F47", "never up at the same time, one mailbox: to a contract", f"{trio.current_time() - began:.0f} s")
        ]


async def away(vendors: int = 5, *, mailbox: bool = False) -> list[Figure]:
    """Ana asks, and shuts her laptop before anybody has answered. Vendors come, answer, and go down and up again; a day
    later she opens it: every offer is there, once."""
    async with open_town() as town:
        await town.open("Market", meeting=True, mailbox=mailbox)
        ana = await town.open("Ana")
        asked = (await ana.desk.ask({**SKIING, "expires": 3 * DAY}, 10))["intent"]["id"]
        await wait_heard(town.neighbours["Market"], asked)
        await ana.stop()
        shops = [await town.open(f"Shop {n}", catalogue=patient_shop(f"{40 + n}.00")) for n in range(vendors)]
        for shop in shops:
            await wait_until(shop, lambda node: node.vendor.counters["offered"] == 1)
        for number, shop in enumerate(shops):
            await trio.sleep(DAY / vendors)
            if number % 2:
                await shop.crash()
                await shop.start()
        began = trio.current_time()
        await ana.start()
        found = await wait_offers(ana, asked, vendors, DAY)
        seconds = trio.current_time() - began
        for shop in shops:
            await wait_settled(shop, 3600)
        events = await ana.store.peek(lambda tx: tx.events_after(0))
        shown = [event["offer"] for event in events if event["type"] == "offer.received"]
        made = [(await shop.desk.offers_made())[0]["id"] for shop in shops]
        where, longest = ("one mailbox", 60) if mailbox else ("no mailbox", LONGEST_WAIT)
        return [
            at_most("S59", f"a day away, {where}: offers that are not there", len(set(made) - set(shown)), 0),
            at_most("S59", "offers shown twice, or by nobody", len(shown) - len(set(made)), 0),
            at_most("S59", "offers in her list beside those", len(found["offers"]) - vendors, 0),
            at_most("S59", "until all are there", seconds, longest, " s"),
        ]


def patient_shop(price: str) -> Catalogue:
    """Its offers stand for longer than a day."""
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(ALPINE.replace('"2h"', '"72h"').format(name="Alpine Cars", price=price, stock=3))
        file.flush()
        return load_catalogue(Path(file.name))


class Ear:
    """Hears all that is sent in a town, frame by frame."""

    def __init__(self, town: Town) -> None:
        self.frames: dict[bytes, None] = {}
        """Of wishes and their ends, as they went over gossip."""
        self.letters: dict[bytes, None] = {}
        """Sealed items and hints."""
        self.repeated = 0
        """How often an honest node has passed on, over gossip, what was recorded."""
        self.recording = True
        self._town = town
        self._deframers: dict[tuple[str, str, str], Deframer] = {}
        assert town.world is not None
        town.world.tap = self._hear

    def _hear(self, sender: str, receiver: str, protocol: str, chunk: bytes) -> None:
        if sender not in {one.peer_id for one in self._town.neighbours.values() if hasattr(one, "node")}:
            return
        is_gossip = protocol in PROTOCOLS
        if not is_gossip and protocol != DIRECT:
            return
        key = (sender, receiver, protocol)
        deframer = self._deframers.setdefault(key, Deframer(MAX_RPC if is_gossip else MAX_ITEM))
        for raw in deframer.feed(chunk):
            if not is_gossip:
                if self.recording:
                    self.letters[raw] = None
                continue
            for message in decode_rpc(raw).messages:
                if self.recording:
                    self.frames[message.data] = None
                elif message.data in self.frames:
                    self.repeated += 1

    def forget_streams(self) -> None:
        """After a break: what comes next begins afresh."""
        self._deframers.clear()


async def replay(deals: int = 120) -> list[Figure]:
    """Everything that was ever said in a market, wishes, offers, contracts and acks, is said again to everybody: after
    three minutes and after five, after a restart, after the end of all of it, and on another network."""
    shown: dict[str, int] = {}
    relayed = 0
    async with open_town() as town:
        ear = Ear(town)
        market = await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        bob = await town.open("Bob", catalogue=car_hire(stock=10_000))
        everybody = [market, alice, bob]
        for number in range(deals):
            await deal(alice, f"Alice, call {number}")
        for one in everybody:
            await wait_settled(one, 600)
        ear.recording = False
        captured = len(ear.frames) + len(ear.letters)
        last = trio.current_time()
        for when, seconds in (("after three minutes", 180), ("after five minutes", 300)):
            await trio.sleep_until(last + seconds)
            shown[when], passed = await say_again(town, ear, everybody, when)
            relayed += passed
        for one in everybody:
            await one.crash()
            await one.start()
        ear.forget_streams()
        shown["after a restart"], passed = await say_again(town, ear, everybody, "after a restart")
        relayed += passed
        await trio.sleep(3 * 3600)
        assert all(len(one.node.board) == 0 for one in everybody), "all of it is over"
        shown["after the end of all"], passed = await say_again(town, ear, everybody, "after the end")
        relayed += passed
        other = [await town.open("Far market", join=(), meeting=True, net="far")]
        other.append(await town.open("Far Bob", join=(other[0],), catalogue=car_hire(), net="far"))
        shown["on another network"], passed = await say_again(town, ear, other, "far", net="far")
        relayed += passed
    return [
        at_least("T9", "frames and letters captured", captured, 8 * deals),
        told("T9", "of them frames of gossip, letters", f"{len(ear.frames)}, {len(ear.letters)}"),
        *[at_most("T9", f"said again {when}: shown", count, 0) for when, count in shown.items()],
        at_most("T9", "passed on", relayed, 0),
    ]


async def deal(alice: Neighbour, contact: str) -> None:
    asked = (await alice.desk.ask({**SKIING, "expires": 3600}, 10))["intent"]["id"]
    (offer,) = (await wait_offers(alice, asked, 1))["offers"]
    await alice.desk.accept(offer["id"], contact, None, [], 0)
    await wait_state(alice, offer["id"], "confirmed")


async def say_again(town: Town, ear: Ear, victims: list[Neighbour], name: str, net: str = NET) -> tuple[int, int]:
    """Events that came of it, and frames that were passed on."""
    before = [await count_events(one) for one in victims]
    passed_before = ear.repeated
    async with open_mallory(town.world, name) as mallory:
        for victim in victims:
            await befriend(mallory, victim)
            for start in range(0, len(ear.frames), 50):
                some = list(ear.frames)[start : start + 50]
                topics = {categories.topic(net, DIVISION), categories.topic(NET, DIVISION)}
                await mallory.say(
                    victim.peer_id, *[encode_publish(topic, one) for one in some for topic in sorted(topics)]
                )
                await trio.sleep(0.5)
            await post_again(mallory, victim, list(ear.letters))
        await trio.sleep(10)
    after = [await count_events(one) for one in victims]
    return sum(after) - sum(before), ear.repeated - passed_before


async def befriend(mallory: Mallory, victim: Neighbour) -> None:
    await mallory.befriend(victim.address)
    await wait_until(victim, lambda node: any(link.peer == mallory.network.peer_id for link in node.network.links()))


async def post_again(mallory: Mallory, victim: Neighbour, letters: list[bytes]) -> None:
    """Every letter, also to whom it was never meant; on a new stream when one is closed on her."""
    while letters:
        stream = await mallory.network.open_stream(victim.peer_id, DIRECT)
        try:
            while letters:
                await stream.send_all(frame_with_length(letters[0]))
                letters.pop(0)
                await trio.sleep(0.03)  # within what one peer may hand over
        except NetworkError:
            continue
        finally:
            await stream.reset()


async def count_events(one: Neighbour) -> int:
    def count(tx: Any) -> int:
        return sum(not event["type"].startswith("clock.") for event in tx.events_after(0, 10**9))

    return await one.store.peek(count)
