"""Wishes and the market: who hears what, and when."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.clock import DOUBT_FOR
from node.trouble import Trouble
from tests.driver import (
    SKIING,
    Neighbour,
    by_hand,
    car_hire,
    open_town,
    wait_heard,
    wait_offers,
    wait_over,
    wait_settled,
    wait_state,
    wait_until,
)

DAY = 24 * 3600


async def ask(alice: Neighbour, **more: Any) -> str:
    return str((await alice.desk.ask({**SKIING, **more}, 10))["intent"]["id"])


def has_nothing_open(neighbour: Neighbour) -> bool:
    return not any(posting.is_open for posting in neighbour.node.board)


async def test_a_vendor_that_comes_later_hears_of_it(clock: MockClock) -> None:
    """Bob starts half a minute after the wish was asked; catch-up tells him, and he offers."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        intent = await ask(alice)
        await trio.sleep(30)
        bob = await town.open("Bob", catalogue=car_hire())
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        assert offer["vendor"]["name"] == "Alpine Cars"
        assert (await bob.desk.heard())[0]["answered"]


async def test_a_wish_asked_alone_waits_for_company(clock: MockClock) -> None:
    """Nobody is there to hear Alice: she is told so, and her wish goes out when the first peer comes."""
    async with open_town() as town:
        alice = await town.open("Alice")
        asked = await alice.desk.ask(SKIING, 5)
        assert asked["reached"] == 0
        await trio.sleep(3600)
        bob = await town.open("Bob", join=(alice,), catalogue=car_hire())
        await wait_offers(alice, asked["intent"]["id"], 1)
        await wait_heard(bob, asked["intent"]["id"])
        assert all(wish.published for wish in alice.node.requester.wishes())


async def test_a_withdrawn_wish_is_over_for_everybody(clock: MockClock) -> None:
    """Carol, who comes after the end, hears the tombstone and never the wish; Bob cannot offer any more; the one offer
    made is declined."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", divisions=("mobility",))
        intent = await ask(alice)
        await wait_heard(bob, intent)
        made = (await bob.desk.make_offer(intent, by_hand()))["offer"]["id"]
        await wait_offers(alice, intent, 1)
        await alice.desk.withdraw(intent)
        await wait_over(bob, intent)
        await wait_state(bob, made, "declined")
        with pytest.raises(Trouble):
            await bob.desk.make_offer(intent, by_hand())
        carol = await town.open("Carol", catalogue=car_hire())
        await wait_over(carol, intent)
        await trio.sleep(60)
        assert carol.node.vendor.counters == {}
        assert len((await alice.desk.offers_for(intent, include_hidden=True))["offers"]) == 1
        with pytest.raises(Trouble):
            await alice.desk.withdraw(intent)


async def test_a_tombstone_heard_first_keeps_its_wish_out(clock: MockClock) -> None:
    """Dave was cut off when the wish came and when it ended. Whatever order its frames reach him in, it is over."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        alice, dave = await town.open("Alice"), await town.open("Dave", catalogue=car_hire())
        assert town.world is not None
        town.world.partition({dave.peer_id})
        intent = await ask(alice)
        wish = alice.node.requester.wishes()[0]
        first = wish.current.frame
        await alice.desk.withdraw(intent)
        await wait_over(market, intent)
        heard = dave.node.gossip.hear("mobility", wish.current.frame)
        assert heard.accepted
        late = dave.node.gossip.hear("mobility", first)
        assert late.reason is not None
        assert late.reason.value == "superseded"
        town.world.heal()
        await trio.sleep(60)
        assert has_nothing_open(dave)
        assert dave.node.vendor.counters == {}


async def test_an_update_voids_offers_and_is_answered_once(clock: MockClock) -> None:
    """Alice changes her mind: Bob's first offer is void, his shop answers the new text, once, also after a restart."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        intent = await ask(alice)
        (first,) = (await wait_offers(alice, intent, 1))["offers"]
        await alice.desk.ask({"update": intent, "title": "The same, but red"}, 10)
        found = await wait_offers(alice, intent, 2)
        states = {offer["id"]: offer["state"] for offer in found["offers"]}
        assert states.pop(first["id"]) == "void"
        assert list(states.values()) == ["offered"]
        await wait_settled(bob)
        for _ in range(2):
            await bob.crash()
            await bob.start()
            await trio.sleep(30)
        await trio.sleep(700)  # a whole round of catch-up
        assert len((await alice.desk.offers_for(intent, include_hidden=True))["offers"]) == 2
        kinds = [row.kind for row in await bob.store.peek(lambda tx: tx.messages()) if row.mine]
        assert kinds.count("offer") == 2
        with pytest.raises(Trouble):
            await alice.desk.accept(first["id"], "alice@example.org", None, [], 0)
        (second,) = states
        done = await alice.desk.accept(second, "alice@example.org", None, [], 20)
        assert done["contract"]["state"] == "confirmed"


async def test_a_wish_expires(clock: MockClock) -> None:
    """After its time a wish ends by itself, and nobody has it any more."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        bob = await town.open("Bob", divisions=("mobility",))
        intent = await ask(alice, expires=600)
        await wait_heard(bob, intent)
        await wait_state(alice, intent, "expired", 700)
        await trio.sleep(600)
        for node in (market, bob, alice):
            assert len(node.node.board) == 0
            assert await node.store.peek(lambda tx: tx.posting_lives()) == []


@pytest.mark.parametrize(("hers", "his"), [(60, -60), (-60, 60), (120, 0), (120, -120), (-120, 120)])
async def test_clocks_that_disagree(hers: int, his: int, clock: MockClock) -> None:
    """Two minutes wrong, each its own way: the deal is made. When both add up to more than the rules allow, it takes
    until the next round of catch-up."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice = await town.open("Alice", skew=hers)
        bob = await town.open("Bob", skew=his, catalogue=car_hire())
        intent = await ask(alice)
        (offer,) = (await wait_offers(alice, intent, 1, 1500))["offers"]
        await alice.desk.accept(offer["id"], "alice@example.org", None, [], 0)
        contract = (await wait_state(alice, offer["id"], "confirmed", 900))["contract"]
        await wait_state(bob, contract, "confirmed", 900)
        for side in (alice, bob):
            await wait_settled(side, 900)


@pytest.mark.parametrize("jump", [30 * DAY, -400 * DAY])
async def test_a_clock_that_jumps(jump: int, clock: MockClock) -> None:
    """The market's clock is set wrong and right again within minutes: it forgets neither wishes nor tombstones. While
    it is wrong, nothing it does ends the node, nor the nodes around it."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        kept, gone = await ask(alice), await ask(alice)
        await alice.desk.withdraw(gone)
        await wait_over(market, gone)
        await wait_heard(market, kept)
        assert market.clock is not None
        market.clock.skew = jump
        await trio.sleep(300)
        market.clock.skew = 0
        await trio.sleep(60)
        await wait_heard(market, kept)
        await wait_over(market, gone)
        bob = await town.open("Bob", catalogue=car_hire())
        await wait_offers(alice, kept, 1)
        await wait_over(bob, gone)


@pytest.mark.parametrize("jump", [2 * DAY, -400 * DAY])
async def test_a_persons_clock_jumps_in_a_deal(jump: int, clock: MockClock) -> None:
    """Alice's clock jumps between the offer and her accept, and stays wrong. She can accept all the same; and when her
    node follows the clock at last, the contract is one, on both sides."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        intent = await ask(alice)
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        assert alice.clock is not None
        alice.clock.skew = jump
        await trio.sleep(5)
        contract = (await alice.desk.accept(offer["id"], "alice@example.org", None, [], 60))["contract"]
        assert contract["state"] == "confirmed"
        await wait_until(alice, lambda node: node.clock.jump is None, 2 * DOUBT_FOR)
        assert abs(alice.node.clock.now() - bob.node.clock.now() - jump) <= 1
        alice.clock.skew = 0
        await trio.sleep(60)
        for side in (alice, bob):
            assert (await side.desk.show(contract["id"]))["contract"]["state"] == "confirmed"
        assert (await alice.desk.show(intent))["intent"]["state"] == "awarded"


async def test_everybody_hears_everything(clock: MockClock) -> None:
    """Ten nodes, a hundred wishes of three divisions: each node hears exactly those of the divisions it carries, and
    each once."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        carried = [("mobility",), ("lodging",), ("home",), ("mobility", "home"), ("lodging", "mobility")]
        for number in range(9):
            await town.open(f"Node {number}", divisions=carried[number % len(carried)])
        kinds = [("mobility.car", "rent"), ("lodging", "book"), ("home", "hire")]
        asked: dict[str, set[str]] = {category.partition(".")[0]: set() for category, _ in kinds}
        people = list(town.neighbours.values())
        for number in range(100):
            category, action = kinds[number % 3]
            wish = {"action": action, "category": category, "title": f"Wish {number}"}
            made = await people[number % 10].desk.ask(wish, 10)
            assert made["reached"] > 0
            asked[category.partition(".")[0]].add(made["intent"]["id"])
        for node in people:
            expected = set().union(*(asked[d] for d in node.node.gossip.divisions if d in asked))
            await wait_until(
                node, lambda n, ids=expected: {p.message.root.hex() for p in n.board if p.is_open} == ids, 60
            )
            heard = await node.store.peek(lambda tx: [e for e in tx.events_after(0) if e["type"] == "wish.heard"])
            own = {wish.root.hex() for wish in node.node.requester.wishes()}
            assert sorted(event["intent"] for event in heard) == sorted(expected - own)
