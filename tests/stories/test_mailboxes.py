"""Mailboxes: both ends of a deal may be away at different times, and nobody in between learns or loses anything."""

import secrets
from itertools import count

import pytest
import trio
from trio.testing import MockClock

from node.conversation import Conversation
from node.mailbox import PROTOCOL
from node.mailbox import host as host_module
from protocol.envelope import seal
from protocol.keys import BoxKey
from protocol.limits import STAMP_BITS
from protocol.mailbox import stamp_base, stamp_bits
from tests.driver import (
    NET,
    SKIING,
    Neighbour,
    Town,
    by_hand,
    car_hire,
    open_real_town,
    open_town,
    wait_heard,
    wait_offers,
    wait_state,
    wait_until,
)

DAY = 24 * 3600

PRICE = 3
"""Bits of the stamps on junk: those of honest letters show none where there is room."""


async def open_post_office(town: Town, *others: str) -> Neighbour:
    """A meeting node that holds for those who start from it, and further mailboxes."""
    market = await town.open("Market", meeting=True, mailbox=True)
    for name in others:
        await town.open(name, mailbox=True)
    return market


def addresses(town: Town, *names: str) -> tuple[str, ...]:
    return tuple(town.neighbours[name].address for name in names)


async def wait_stage(neighbour: Neighbour, kind: str, stage: str, seconds: float = 120.0) -> None:
    """Until the newest message of this kind that a neighbour said has come so far."""

    async def reached(_node: object) -> bool:
        for live in neighbour.node.threads:
            for step in reversed(await neighbour.node.delivery.history(live)):
                if step["kind"] == kind:
                    return bool(step["state"] == stage)
        return False

    await wait_until(neighbour, reached, seconds)


async def ask_and_leave(alice: Neighbour, market: Neighbour) -> str:
    intent: str = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
    await wait_heard(market, intent)
    await alice.stop()
    return intent


async def deal_without_meeting(town: Town, market: Neighbour) -> None:
    """Alice and Bob, one after the other, from wish to acknowledged contract."""
    alice = await town.open("Alice")
    told = (await alice.desk.preview(SKIING))["public"]["mailboxes"]
    assert told == {"named_if_they_hold_for_it": [market.address]}
    intent = await ask_and_leave(alice, market)

    bob = await town.open("Bob", catalogue=car_hire())
    await wait_heard(bob, intent)
    await wait_stage(bob, "offer", "STORED")
    await bob.stop()

    await alice.start()
    offer = (await wait_offers(alice, intent, 1, 120))["offers"][0]["id"]
    contract = (await alice.desk.accept(offer, "alice@example.org", None, [], 0))["contract"]["id"]
    await wait_stage(alice, "accept", "STORED")
    await alice.stop()

    await bob.start()
    await wait_state(bob, contract, "confirmed", 120)
    await wait_stage(bob, "offer", "ACKED")
    await wait_stage(bob, "confirm", "STORED")
    await bob.stop()

    await alice.start()
    await wait_state(alice, contract, "confirmed", 120)
    await wait_stage(alice, "accept", "ACKED")
    await wait_until(alice, lambda node: node.delivery.unsettled == 0, 120)
    await alice.stop()

    await bob.start()
    await wait_stage(bob, "confirm", "ACKED")
    assert (await bob.desk.show(contract))["contract"]["acknowledged"]


async def test_a_deal_between_two_who_never_meet(clock: MockClock) -> None:
    """Alice asks and closes her laptop, Bob answers and closes his, and so on: the market holds what they say."""
    async with open_town() as town:
        await deal_without_meeting(town, await open_post_office(town))


async def test_so_it_is_where_speaking_has_its_price(clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wishes, grants and the letters of strangers show stamps, and who left something too cheaply pays and stays."""
    monkeypatch.setitem(STAMP_BITS, NET, 6)
    clock.autojump_threshold = 0.01  # stamps are found in a thread, for which virtual time does not wait
    async with open_town() as town:
        market = await open_post_office(town)
        await deal_without_meeting(town, market)
        assert market.node.desk._host is not None
        assert market.node.desk._host.counters["no_bits"] > 0


async def test_so_it_is_over_libp2p() -> None:
    async with open_real_town() as town:
        await deal_without_meeting(town, await open_post_office(town))


async def push_junk(mallory: Neighbour, market: Neighbour, receiver: bytes) -> None:
    """Outbid whatever lies in somebody's mailbox, until more has come than it holds."""
    own, other = BoxKey(b"mallory".ljust(32)), BoxKey(b"anybody".ljust(32))
    exp = mallory.node.clock.now() + DAY
    visit = Conversation(await mallory.node.network.open_stream(market.peer_id, PROTOCOL))
    answers = []
    for _ in range(host_module.MAX_ITEMS + 1):
        junk = seal(bytes(200), own, other.public, own_is_box=False, n=0, exp=exp, nonce=secrets.token_bytes(24))
        base = stamp_base(market.peer_id, receiver, junk.digest)
        stamps = (number.to_bytes(8, "big") for number in count())
        stamp = next(stamp for stamp in stamps if stamp_bits(base, stamp) == PRICE)
        answers.append(await visit.ask("put", receiver, junk.encoded(), stamp))
    assert answers[0] == ["stored"]
    assert answers[-1] == ["no", "bits", PRICE + 1], "it is full, and what lies there is worth as much or more"
    await visit.stream.close()


async def test_what_is_awaited_is_not_pushed_out(clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alice accepts and shuts her lid ten seconds later; Bob leaves his confirm, and goes a while later. Mallory
    outbids whatever lies in her mailbox, and then in his: yet she gets his confirm, and he her ack."""
    monkeypatch.setattr(host_module, "MAX_ITEMS", 30)
    async with open_town() as town:
        market = await open_post_office(town)
        mallory = await town.open("Mallory")
        alice = await town.open("Alice")
        intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        wish = alice.node.requester.wish(bytes.fromhex(intent))
        assert wish is not None
        bob = await town.open("Bob", catalogue=car_hire())
        offer = (await wait_offers(alice, intent, 1, 120))["offers"][0]["id"]
        await wait_stage(bob, "offer", "ACKED")
        await bob.stop()

        contract = (await alice.desk.accept(offer, "alice@example.org", None, [], 0))["contract"]["id"]
        await trio.sleep(10)
        await wait_stage(alice, "accept", "STORED", 1)
        await alice.stop()

        await bob.start()
        await wait_stage(bob, "confirm", "STORED")
        await trio.sleep(600)
        await bob.stop()
        await push_junk(mallory, market, wish.end.me)

        await alice.start()
        await wait_state(alice, contract, "confirmed", 120)
        await wait_until(alice, lambda node: node.delivery.unsettled == 0, 120)
        await alice.stop()
        await push_junk(mallory, market, bob.node.vendor.public)

        await bob.start()
        await wait_stage(bob, "confirm", "ACKED")


async def test_a_mailbox_hears_at_once_who_may_accept(clock: MockClock) -> None:
    """Bob already waits for mail when he makes another offer: it is not the next letter that has him say from whom."""
    async with open_town() as town:
        market = await open_post_office(town)
        alice, bob = await town.open("Alice"), await town.open("Bob", divisions=("mobility",))

        async def knows(channels: int) -> bool:
            inbox = await market.store.peek(lambda tx: tx.mail.inbox(bob.node.vendor.public))
            return inbox is not None and len(inbox.known) == 32 * channels

        for number in range(1, 4):
            intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
            await wait_heard(bob, intent)
            await bob.desk.make_offer(intent, by_hand())
            await wait_until(bob, lambda _node, number=number: knows(number), 10)  # type: ignore[misc]


async def test_a_person_away_for_a_day_finds_all_offers(clock: MockClock) -> None:
    """Five vendors answer while Alice sleeps. When she is back all offers are there, and none twice."""
    async with open_town() as town:
        market = await open_post_office(town)
        alice = await town.open("Alice")
        intent = await ask_and_leave(alice, market)
        vendors = [await town.open(f"Vendor {n}", divisions=("mobility",)) for n in range(5)]
        for number, vendor in enumerate(vendors):
            await wait_heard(vendor, intent)
            await vendor.desk.make_offer(intent, by_hand(40_000 + number, valid_for=3 * DAY))
            await wait_stage(vendor, "offer", "STORED")
        clock.jump(DAY)
        await alice.start()
        found = await wait_offers(alice, intent, 5, 120)
        assert sorted(one["total"]["minor"] for one in found["offers"]) == [40_000, 40_001, 40_002, 40_003, 40_004]
        for vendor in vendors:
            await wait_stage(vendor, "offer", "ACKED")
        assert alice.node.delivery.counters["received_offer"] == 5


async def test_one_honest_mailbox_is_enough(clock: MockClock) -> None:
    """Alice names three. One vanishes, one says it has everything and has nothing: the third brings the offer."""
    async with open_town() as town:
        market = await open_post_office(town, "Gone", "Liar", "Honest")
        alice = await town.open("Alice", mailboxes=addresses(town, "Gone", "Liar", "Honest"))
        intent = await ask_and_leave(alice, market)
        await town.neighbours["Gone"].stop()

        bob = await town.open("Bob", divisions=("mobility",))
        await wait_heard(bob, intent)
        await bob.desk.make_offer(intent, by_hand())
        await wait_stage(bob, "offer", "STORED")
        await wait_until(bob, lambda node: node.delivery.counters["mailbox_stored"] == 2)
        await town.neighbours["Liar"].store.peek(lambda tx: tx.mail.drop_expired(2**40))  # and says nothing of it
        await bob.stop()

        await alice.start()
        found = await wait_offers(alice, intent, 1, 120)
        assert len(found["offers"]) == 1


async def test_a_mailbox_that_was_killed_has_what_it_said_it_stored(clock: MockClock) -> None:
    async with open_town() as town:
        market = await open_post_office(town)
        alice = await town.open("Alice")
        intent = await ask_and_leave(alice, market)
        bob = await town.open("Bob", catalogue=car_hire())
        await wait_stage(bob, "offer", "STORED")
        await bob.stop()
        await market.crash()
        await market.start()
        await alice.start()
        await wait_offers(alice, intent, 1, 120)


async def test_who_left_something_learns_that_it_was_fetched(clock: MockClock) -> None:
    """Bob's offer is fetched, but nobody holds Alice's answer for him: he reads FETCHED, and no more than that."""
    async with open_town() as town:
        market = await open_post_office(town)
        alice = await town.open("Alice")
        intent = await ask_and_leave(alice, market)
        bob = await town.open("Bob", divisions=("mobility",), mailboxes=addresses(town, "Alice"))
        await wait_heard(bob, intent)
        made = (await bob.desk.make_offer(intent, by_hand()))["offer"]["id"]
        await wait_stage(bob, "offer", "STORED")
        assert town.world is not None
        town.world.partition({bob.peer_id})
        await alice.start()
        await wait_offers(alice, intent, 1, 120)
        town.world.partition({alice.peer_id})
        await wait_stage(bob, "offer", "FETCHED", 4000)
        told = await bob.store.peek(lambda tx: tx.events_after(0))
        stages = [event["state"] for event in told if event["type"] == "delivery" and event["message"] == made]
        assert stages[0] == "QUEUED"
        assert stages[-1] == "FETCHED"
        assert "STORED" in stages
        town.world.heal()
        await wait_stage(bob, "offer", "ACKED", 4000)


async def test_a_home_that_names_no_mailbox_is_told_nothing_new(clock: MockClock) -> None:
    """Nodes that hold for nobody say so, and wishes name none."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        view = (await alice.desk.ask(SKIING, 10))["intent"]
        assert [route["via"] for route in view["reply"]] == ["direct"]


async def test_an_accept_can_wait_for_tomorrow(clock: MockClock) -> None:
    """Bob's shop is closed until the morning. Alice gives him a day, instead of the usual hour."""
    async with open_town() as town:
        await open_post_office(town)
        alice = await town.open("Alice")
        bob = await town.open("Bob", divisions=("mobility",))
        intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        await wait_heard(bob, intent)
        offer = (await bob.desk.make_offer(intent, by_hand(valid_for=3 * DAY)))["offer"]["id"]
        await wait_offers(alice, intent, 1)
        await bob.stop()
        made = await alice.desk.accept(offer, "alice@example.org", None, [], 0, answer_within=DAY)
        await wait_stage(alice, "accept", "STORED")
        await trio.sleep(2 * 3600)
        await bob.start()
        await wait_state(alice, made["contract"]["id"], "confirmed", 600)
