"""How wishes end, or change: everybody who answered learns it by a letter, with a reason if the person agrees."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.trouble import Trouble
from tests.driver import (
    SKIING,
    Killed,
    Neighbour,
    Town,
    by_hand,
    open_real_town,
    open_town,
    wait_heard,
    wait_offers,
    wait_over,
    wait_settled,
    wait_state,
    wait_until,
)

CONTACT = "alice@example.org"


async def open_market(town: Town, *vendors: str) -> list[Neighbour]:
    """A market, Alice, and these vendors, who answer by hand."""
    await town.open("Market", meeting=True)
    people = [await town.open("Alice")]
    for name in vendors:
        people.append(await town.open(name, divisions=("mobility",)))
    return people


async def ask(alice: Neighbour, **more: Any) -> str:
    return str((await alice.desk.ask({**SKIING, **more}, 10))["intent"]["id"])


async def offer(vendor: Neighbour, intent: str, **more: Any) -> str:
    await wait_heard(vendor, intent)
    return str((await vendor.desk.make_offer(intent, by_hand(**more)))["offer"]["id"])


async def told(vendor: Neighbour, offer_id: str) -> list[dict[str, Any]]:
    """The events that told a vendor how an offer of its ended."""
    events = await vendor.store.peek(lambda tx: tx.events_after(0))
    found = [event for event in events if event["type"] == "offer.state" and event["offer"] == offer_id]
    return [{name: event[name] for name in ("state", "wish", "reason") if name in event} for event in found]


async def test_a_changed_wish_is_told_to_those_who_answered_the_old_text(clock: MockClock) -> None:
    """Alice changes her mind. Bob's offer is void, and a letter says why; he offers anew. Carol, who had not heard of
    the change, is told at the door that she answers an old text; nothing of her offer is kept, and her next one, for
    the new text, is welcome."""
    async with open_town() as town:
        alice, bob, carol = await open_market(town, "Bob", "Carol")
        assert town.world is not None
        intent = await ask(alice)
        first = await offer(bob, intent)
        await wait_heard(carol, intent)
        await wait_offers(alice, intent, 1)
        town.world.partition({carol.peer_id})
        late = await offer(carol, intent)
        await alice.desk.ask({"update": intent, "title": "The same, but red"}, 10)
        assert (await wait_state(bob, first, "declined"))["wish"] == "updated"
        assert await told(bob, first) == [{"state": "declined", "wish": "updated"}]
        rows = await alice.store.peek(lambda tx: len(tx.messages()))
        town.world.heal()
        assert (await wait_state(carol, late, "void", 900))["wish"] == "updated"
        assert await told(carol, late) == [{"state": "void", "wish": "updated"}]
        await wait_settled(carol)
        assert await alice.store.peek(lambda tx: len(tx.messages())) == rows
        assert alice.node.requester.counters["too_late"] == 1
        await wait_until(carol, lambda node: any(p.message.head.seq for p in node.board))
        for vendor in (bob, carol):
            assert (await vendor.desk.show(intent))["intent"]["title"] == "The same, but red"
            again = await offer(vendor, intent, price=39_000)
            await wait_state(alice, again, "offered")
        done = await alice.desk.accept(again, CONTACT, None, [], 20)
        assert done["contract"]["state"] == "confirmed"


@pytest.mark.parametrize(
    ("how", "reason"),
    [("awarded", "price_sensitivity"), ("awarded", None), ("withdrawn", "timing_deferred"), ("expired", None)],
)
async def test_everybody_who_answered_learns_how_it_ended(how: str, reason: str | None, clock: MockClock) -> None:
    """The wish ends; Bob's offer with it. He reads what became of the wish, and why, if Alice said so; in the list of
    his offers, in his events, and after a restart. Carol, too late, is told at the door."""
    async with open_town() as town:
        alice, bob, carol, dave = await open_market(town, "Bob", "Carol", "Dave")
        assert town.world is not None
        intent = await ask(alice, expires=300)
        lost, won = await offer(bob, intent, valid_for=1800), await offer(dave, intent, valid_for=1800)
        await wait_offers(alice, intent, 2)
        await wait_heard(carol, intent)
        town.world.partition({carol.peer_id})
        late = await offer(carol, intent, valid_for=1800)
        if how == "awarded":
            await alice.desk.accept(won, CONTACT, None, [], 20, tell_others=reason)
        elif how == "withdrawn":
            await alice.desk.withdraw(intent, reason)
        expected = {"wish": how} | ({"reason": reason} if reason else {})
        if how == "expired":  # an offer lives no longer than the wish it answers: nothing is left to decline
            await wait_state(alice, intent, "expired", 400)
            await wait_state(bob, lost, "void", 60)
            assert await told(bob, lost) == [{"state": "void", "reason": "expired"}]
            return
        await wait_state(bob, lost, "declined")
        assert await told(bob, lost) == [{"state": "declined", **expected}]
        await wait_settled(alice)
        await bob.crash()
        await bob.start()
        (made,) = await bob.desk.offers_made()
        assert {name: made[name] for name in expected} == expected
        events = [
            event for event in await bob.store.peek(lambda tx: tx.events_after(0)) if event["type"] == "wish.ended"
        ]
        assert [event["reason"] for event in events] == [how]
        rows = await alice.store.peek(lambda tx: (len(tx.messages()), len(tx.threads())))
        town.world.heal()
        seen = await wait_state(carol, late, "void", 900)
        assert (seen["wish"], seen.get("reason")) == (how, None), "why is nobody's business who was not there"
        assert len(await told(carol, late)) == 1
        assert await alice.store.peek(lambda tx: (len(tx.messages()), len(tx.threads()))) == rows
        assert await alice.store.peek(lambda tx: tx.get_meta(f"reason:{intent}")) is None


async def test_a_private_limit_is_not_given_away_by_reasons(clock: MockClock) -> None:
    """A few reasons would reveal it: none leaves with the end of a wish that has one. An unknown word is refused, and
    a reason that was meant for an accept that came to nothing is not told when she withdraws."""
    async with open_town() as town:
        alice, bob, carol = await open_market(town, "Bob", "Carol")
        secret = await ask(alice, limit_private={"minor": 40_000, "currency": "EUR"})
        open_one = await ask(alice)
        hidden = await offer(bob, secret)
        first, second = await offer(bob, open_one, valid_for=300), await offer(carol, open_one)
        await wait_offers(alice, open_one, 2)
        await wait_offers(alice, secret, 1)
        for attempt in (
            lambda: alice.desk.withdraw(secret, "price_sensitivity"),
            lambda: alice.desk.accept(hidden, CONTACT, None, [], 0, tell_others="price_sensitivity"),
            lambda: alice.desk.withdraw(open_one, "too ugly"),
            lambda: bob.desk.withdraw(first, "comparison"),
        ):
            with pytest.raises(Trouble) as trouble:
                await attempt()
            assert trouble.value.code == "reason"
        await bob.crash()
        await alice.desk.accept(first, CONTACT, None, [], 0, tell_others="comparison")
        await wait_state(alice, first, "lapsed", 400)
        await alice.desk.withdraw(open_one)
        assert "reason" not in await wait_state(carol, second, "declined")
        await alice.desk.withdraw(secret)
        await bob.start()
        assert (await wait_state(bob, hidden, "declined", 600))["wish"] == "withdrawn"


@pytest.mark.parametrize("how", ["updated", pytest.param("withdrawn", marks=pytest.mark.slow)])
async def test_the_power_goes_while_they_are_told(how: str, clock: MockClock) -> None:
    """Alice's machine dies at each transaction of her change of mind, or of her farewell, in turn: after the next start
    both vendors are told, once each, and the market has the newest word."""
    number, died = 0, True
    while died:
        number += 1
        async with open_town() as town:
            alice = await town.open("Alice")
            vendors = [await town.open(name, divisions=("mobility",)) for name in ("Bob", "Carol")]
            intent = await ask(alice)
            made = [await offer(vendor, intent) for vendor in vendors]
            await wait_offers(alice, intent, 2)
            for vendor in vendors:
                await wait_settled(vendor)
            alice.store.die_after = alice.store.count + number
            town.nursery.start_soon(start_again, alice)
            await insist(alice, how, intent)
            await trio.sleep(5)
            died = alice.lives > 1
            for vendor, offer_id in zip(vendors, made, strict=True):
                assert (await wait_state(vendor, offer_id, "declined", 600))["wish"] == how
                assert len(await told(vendor, offer_id)) == 1
                if how == "withdrawn":
                    await wait_over(vendor, intent, 600)
            await wait_settled(alice, 600)
            sent = [row for row in await alice.store.peek(lambda tx: tx.messages()) if row.kind == "decline"]
            assert len(sent) == 2
    assert number > 3, "there are more steps than that"


async def start_again(alice: Neighbour) -> None:
    """What a machine does with a service that died."""
    while True:
        await alice.wait_gone()
        await trio.sleep(1)
        await alice.start()


async def insist(alice: Neighbour, how: str, intent: str) -> None:
    try:
        if how == "updated":
            await alice.desk.ask({"update": intent, "title": "The same, but red"}, 10)
        else:
            await alice.desk.withdraw(intent)
    except (Killed, Trouble):
        await wait_until(alice, lambda _node: alice.lives > 1)
        seen = (await alice.desk.show(intent))["intent"]
        if how == "updated" and "red" not in seen["title"]:
            await alice.desk.ask({"update": intent, "title": "The same, but red"}, 10)
        elif how == "withdrawn" and seen["state"] == "open":
            await alice.desk.withdraw(intent)


async def test_one_look_at_a_wish_tells_who_was_reached(clock: MockClock) -> None:
    """Alice withdraws and says why, while Carol is away and nothing is held for her. The wish itself shows whom the
    letter reached and whom not yet, and about which offer."""
    async with open_town() as town:
        alice, bob, carol = await open_market(town, "Bob", "Carol")
        intent = await ask(alice)
        offers = {name: await offer(vendor, intent) for name, vendor in (("Bob", bob), ("Carol", carol))}
        await wait_offers(alice, intent, 2)
        assert (await alice.desk.show(intent))["messages"] == []
        await carol.stop()
        await alice.desk.withdraw(intent, "timing_deferred")
        await wait_state(bob, offers["Bob"], "declined")
        await wait_until(alice, lambda node: node.delivery.unsettled == 1)
        told = {step["offer"]: step for step in (await alice.desk.show(intent))["messages"]}
        assert set(told) == set(offers.values())
        assert {step["kind"] for step in told.values()} == {"decline"}
        reached, away = told[offers["Bob"]], told[offers["Carol"]]
        assert (reached["state"], reached["words"]) == ("ACKED", "arrived")
        assert away["state"] in ("QUEUED", "CONNECTING")
        (same,) = (await alice.desk.show(offers["Bob"]))["messages"]
        assert reached == {**same, "offer": offers["Bob"], "vendor": reached["vendor"]}
        await carol.start()
        await wait_settled(alice)
        assert {step["state"] for step in (await alice.desk.show(intent))["messages"]} == {"ACKED"}


@pytest.mark.live
async def test_on_the_real_network_too() -> None:
    """Over libp2p: Bob is told of the change by a letter, offers anew, and is told of the end with its reason."""
    async with open_real_town() as town:
        alice, bob = await open_market(town, "Bob")
        intent = await ask(alice)
        first = await offer(bob, intent)
        await wait_offers(alice, intent, 1)
        await alice.desk.ask({"update": intent, "title": "The same, but red"}, 10)
        assert (await wait_state(bob, first, "declined"))["wish"] == "updated"
        await wait_until(bob, lambda node: any(p.message.head.seq for p in node.board))
        second = await offer(bob, intent, price=39_000)
        await wait_offers(alice, intent, 2)
        await alice.desk.withdraw(intent, "timing_deferred")
        seen = await wait_state(bob, second, "declined")
        assert (seen["wish"], seen["reason"]) == ("withdrawn", "timing_deferred")
