"""Wrong clocks: what people lose by them (time at most), and what they read about them."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.catchup import EVERY
from node.clock import SURE_AFTER
from node.delivery.courier import PATIENCE
from protocol.errors import Fault, Reason, Refused
from protocol.exchange import State
from tests.driver import (
    SKIING,
    Neighbour,
    Town,
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
CONTACT = "alice@example.org"


async def open_neighbours(town: Town, count: int = 2) -> None:
    """A market and a few others, whose clocks are right."""
    await town.open("Market", meeting=True)
    for number in range(count):
        await town.open(f"Neighbour {number}", divisions=("mobility",))


async def wait_compared(neighbour: Neighbour) -> dict[str, Any]:
    """Until a node has asked enough others for the hour."""
    await wait_until(neighbour, lambda _node: "ahead" in neighbour.desk._clock_view(), 120)
    return dict((await neighbour.desk.status())["clock"])


async def events_of(neighbour: Neighbour, kind: str) -> list[dict[str, Any]]:
    return [event for event in await neighbour.store.peek(lambda tx: tx.events_after(0)) if event["type"] == kind]


async def check_nobody_is_shunned(town: Town) -> None:
    """Whoever has another hour is ignored for a while, and no more: nothing was rejected, nobody hung up on."""
    for neighbour in town.neighbours.values():
        counters = (await neighbour.desk.status())["counters"]
        assert not counters["board"].keys() & {one.value for one in Reason if Refused(one).fault is Fault.REJECT}
        assert not [name for name in counters["driver"] if name.startswith("misbehaved")]
        assert not counters["catchup"].keys() & {"rejected", "hung_up"}
        everybody = len(town.neighbours) - 1
        await wait_until(neighbour, lambda node, all=everybody: len(node.network.links()) == all, 600)


async def test_a_wrong_clock_is_noticed_within_a_minute(clock: MockClock) -> None:
    """Alice's clock is 110 s slow, Bob's is right. She reads it in `status` and hears it once as an event, and once
    more when it is right again; a neighbour who lies about the hour changes nothing."""
    async with open_town() as town:
        await open_neighbours(town, 3)
        await town.open("Mallory", divisions=("mobility",), skew=9 * DAY)
        alice, bob = await town.open("Alice", skew=-110), await town.open("Bob")
        seen = await wait_compared(alice)
        assert seen["ahead"] == pytest.approx(-110, abs=2)
        assert "110 s behind" in seen["advice"] or "109 s behind" in seen["advice"]
        await wait_until(alice, lambda _node: _has(alice, "clock.wrong"), 60)
        assert abs((await wait_compared(bob))["ahead"]) <= 2
        assert "advice" not in await wait_compared(bob)
        assert alice.clock is not None
        alice.clock.skew = 0
        await wait_until(alice, lambda _node: _has(alice, "clock.right"), 60)
        assert [len(await events_of(alice, f"clock.{word}")) for word in ("wrong", "right", "jumped")] == [1, 1, 0]
        assert await events_of(bob, "clock.wrong") == []


async def _has(neighbour: Neighbour, kind: str) -> bool:
    return bool(await events_of(neighbour, kind))


@pytest.mark.parametrize(
    ("alices", "bobs", "late"),
    [(110, 0, 0), (600, 0, EVERY), pytest.param(-600, 0, EVERY, marks=pytest.mark.slow)],
)
async def test_two_clocks_apart_still_make_a_deal(alices: int, bobs: int, late: float, clock: MockClock) -> None:
    """110 s apart nobody notices anything. Ten minutes apart the deal is made too, but late: what is said waits until
    the other's clock is there, and who is wrong reads by how much."""
    async with open_town() as town:
        await open_neighbours(town)
        alice = await town.open("Alice", skew=alices)
        bob = await town.open("Bob", skew=bobs, catalogue=car_hire())
        for side, skew in ((alice, alices), (bob, bobs)):
            seen = await wait_compared(side)
            assert seen["ahead"] == pytest.approx(skew, abs=2)
            assert ("advice" in seen) == (abs(skew) > 60)
        began = trio.current_time()
        asked = await alice.desk.ask({**SKIING, "expires": DAY}, 10)
        assert ("warning" in asked) == (alices != 0)
        intent = asked["intent"]["id"]
        (offer,) = (await wait_offers(alice, intent, 1, 4 * EVERY))["offers"]
        await alice.desk.accept(offer["id"], CONTACT, None, [], 0)
        contract = (await wait_state(alice, offer["id"], "confirmed", 3 * EVERY))["contract"]
        await wait_state(bob, contract, "confirmed", 10)
        await check_nobody_is_shunned(town)
        assert trio.current_time() - began <= 60 + 4 * late
        if late:
            assert trio.current_time() - began > 60, "so it was not for nothing that they read of it"


@pytest.mark.parametrize(
    ("who", "jump"),
    [
        ("Alice", DAY),
        ("Bob", -DAY),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in [("Alice", -DAY), ("Bob", DAY), ("Market", DAY)]),
        pytest.param("Market", -DAY, marks=pytest.mark.slow),
    ],
)
async def test_a_day_forward_or_back_and_right_again(who: str, jump: int, clock: MockClock) -> None:
    """Somebody's clock is a day wrong for five minutes, amid everything: a wish of two hours, one withdrawn, an offer
    that waits for its receiver, an accept that waits for its confirm and holds the last car. When it is right again
    all of that is as it was: nothing ended, nothing came back, no key is gone and nobody is shunned."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire(stock=1))
        carol = await town.open("Carol", divisions=("mobility",))
        assert town.world is not None
        open_wish = await ask(alice)
        (first,) = (await wait_offers(alice, open_wish, 1))["offers"]
        gone = await ask(alice)
        await wait_heard(carol, gone)
        await alice.desk.withdraw(gone)
        for side in (market, bob, carol):
            await wait_over(side, gone)
        await wait_settled(alice)
        async with bob.node.vendor._one_at_a_time:  # Bob is busy: the accept arrives, the confirm has to wait
            contract = (await alice.desk.accept(first["id"], CONTACT, None, [], 0))["contract"]["id"]
            await wait_state(bob, contract, "accepted")
            town.world.partition({carol.peer_id})
            made = (await carol.desk.make_offer(open_wish, by_hand(valid_for=3600)))["offer"]["id"]
            unlucky = town.neighbours[who]
            keys = await unlucky.store.peek(lambda tx: tx.boxes())
            board = {posting.message.id for posting in unlucky.node.board}
            links = {link.peer for link in unlucky.node.network.links()}
            assert unlucky.clock is not None
            unlucky.clock.skew = jump
            await trio.sleep(300)
            assert "advice" in unlucky.desk._clock_view()
            unlucky.clock.skew = 0
            await trio.sleep(60)
            assert (await alice.desk.show(open_wish))["intent"]["state"] == "deciding"
            assert (await alice.desk.show(contract))["contract"]["state"] == "accepted"
            assert (await carol.desk.show(made))["offer"]["state"] == "offered"
            assert await unlucky.store.peek(lambda tx: tx.boxes()) == keys
            assert {posting.message.id for posting in unlucky.node.board} == board
            assert {link.peer for link in unlucky.node.network.links()} == links
        await wait_state(alice, contract, "confirmed", 60)
        await wait_state(bob, contract, "confirmed", 60)
        town.world.heal()
        assert (await wait_state(carol, made, "void", 900))["wish"] == "awarded"
        for side in (alice, bob, carol):
            await wait_settled(side, 900)
        assert await bob.store.peek(lambda tx: [row.count for row in tx.holds()]) == [1]
        await check_nobody_is_shunned(town)
        late = await town.open("Late")
        await late.crash()
        await late.start(divisions=("mobility",))
        await wait_over(late, gone, 60)


async def ask(alice: Neighbour) -> str:
    return str((await alice.desk.ask({**SKIING, "expires": 7200}, 10))["intent"]["id"])


async def test_a_clock_set_right_long_after_the_start(clock: MockClock) -> None:
    """Alice's machine woke up a day in the past and found the hour a minute later. One neighbour is enough to believe
    it at once: her wish is heard by all, and she hears theirs."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        bob = await town.open("Bob", catalogue=car_hire())
        alice = await town.open("Alice", skew=-DAY)
        await wait_until(alice, lambda node: alice.desk._clock_view()["sources"] >= 1, 120)
        assert alice.clock is not None
        alice.clock.skew = 0
        assert alice.node.clock.now() == alice.clock.now()
        intent = await ask(alice)
        await wait_offers(alice, intent, 1, 60)
        assert market.is_up
        assert bob.is_up


async def test_asked_at_a_wrong_hour(clock: MockClock) -> None:
    """Alice asks while her clock is eight minutes fast, and is restarted when it is right: her wish is believed by
    nobody until its hour has come, not even by herself; then it is, and Bob answers."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice", skew=480), await town.open("Bob", catalogue=car_hire())
        intent = (await alice.desk.ask({**SKIING, "expires": DAY}, 10))["intent"]["id"]
        await alice.crash()
        assert alice.clock is not None
        alice.clock.skew = 0
        await alice.start()
        await trio.sleep(60)
        assert len(bob.node.board) == len(alice.node.board) == 0
        (offer,) = (await wait_offers(alice, intent, 1, 900))["offers"]
        await alice.desk.accept(offer["id"], CONTACT, None, [], 20)
        (live,) = alice.node.threads.of_root(bytes.fromhex(intent))
        assert [talk.state for talk in live.thread.talks.values()] == [State.CONFIRMED]


async def test_a_clock_set_back_a_little_shows_nothing_twice(clock: MockClock) -> None:
    """Bob's clock is 100 s ahead, so a wish ends early for him. It is set right, and he hears of the wish again, for a
    minute more: it hangs on his board as before, and he is not told a second time. (scripts/chaos --seed 1004)"""
    async with open_town() as town:
        await open_neighbours(town, 1)
        alice = await town.open("Alice")
        bob = await town.open("Bob", divisions=("mobility",), skew=100)
        await trio.sleep(700)  # nothing is swept in the first ten minutes
        intent = (await alice.desk.ask({**SKIING, "expires": 300}, 10))["intent"]["id"]
        await wait_heard(bob, intent)
        await trio.sleep(235)
        assert [(wish["id"], wish["state"]) for wish in await bob.desk.heard()] == [(intent, "expired")]
        await bob.stop()
        assert bob.clock is not None
        bob.clock.skew = 0
        await bob.start()
        await wait_heard(bob, intent)
        assert [(wish["id"], wish["state"]) for wish in await bob.desk.heard()] == [(intent, "open")]
        assert len(await events_of(bob, "wish.heard")) == 1


async def test_a_start_a_year_ahead_ends_nothing(clock: MockClock) -> None:
    """Alice has a wish open, an accept on its way to Bob, who is away, and an offer of Carol's waits at her mailbox.
    Her machine starts a year ahead, and once more, and four neighbours have another hour. While they say so nothing of
    hers ends, for longer than she would wait for a word. When her clock is right all goes on where it was."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True, mailbox=True)
        for number in range(3):
            await town.open(f"Neighbour {number}", divisions=("mobility",))
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        accepted = await ask_for_a_day(alice)
        (offer,) = (await wait_offers(alice, accepted, 1))["offers"]
        await bob.stop()
        accept = await alice.desk.accept(offer["id"], CONTACT, None, [], 0, answer_within=12 * 3600)
        contract = accept["contract"]["id"]
        still_open = await ask_for_a_day(alice)
        await wait_heard(market, still_open)
        await alice.stop()
        carol = await town.open("Carol", divisions=("mobility",))
        await wait_heard(carol, still_open)
        made = (await carol.desk.make_offer(still_open, by_hand(valid_for=12 * 3600)))["offer"]["id"]
        await wait_until(carol, lambda _node: has_stage(carol, made, "STORED"), 120)
        await carol.stop()
        assert alice.clock is not None
        alice.clock.skew = 365 * DAY
        for seconds in (1.2 * SURE_AFTER, 300):
            await alice.start()
            await wait_compared(alice)
            await trio.sleep(seconds)
            assert (await alice.desk.status())["clock"]["certain"] is False
            states = {wish["id"]: wish["state"] for wish in await alice.desk.wishes()}
            assert states == {accepted: "deciding", still_open: "open"}
            assert (await alice.desk.show(contract))["contract"]["state"] == "accepted"
            assert alice.node.delivery.unsettled == 1
            assert len(await alice.store.peek(lambda tx: tx.boxes())) == 2
            await alice.stop()
        await alice.start()
        alice.clock.skew = 0
        await wait_until(alice, lambda node: node.clock.is_certain, 60)
        await wait_offers(alice, still_open, 1, 900)
        await bob.start()
        await wait_state(alice, contract, "confirmed", 1800)
        await wait_state(bob, contract, "confirmed", 60)
        assert (await alice.desk.show(still_open))["intent"]["state"] == "open"


async def test_what_ended_while_nobody_was_there_ends_in_time(clock: MockClock) -> None:
    """Alice's laptop lay in a drawer for a month, and comes back to no network at all: nobody can say what hour it is,
    and it may be true. What ended meanwhile is ended an hour later, and her accept is given up."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        accepted = await ask_for_a_day(alice)
        (offer,) = (await wait_offers(alice, accepted, 1))["offers"]
        await bob.stop()
        contract = (await alice.desk.accept(offer["id"], CONTACT, None, [], 0))["contract"]["id"]
        await alice.stop()
        await town.neighbours["Market"].stop()
        await trio.sleep(30 * DAY)
        await alice.start()
        await trio.sleep(0.9 * SURE_AFTER)
        assert (await alice.desk.show(accepted))["intent"]["state"] == "deciding"
        await wait_state(alice, contract, "lapsed", 0.2 * SURE_AFTER)
        await wait_until(alice, lambda _node: _is_in_state(alice, accepted, "expired"), 120)
        await wait_until(alice, lambda node: node.delivery.unsettled == 0, PATIENCE)


async def ask_for_a_day(alice: Neighbour) -> str:
    return str((await alice.desk.ask({**SKIING, "expires": DAY}, 10))["intent"]["id"])


async def has_stage(neighbour: Neighbour, message: str, stage: str) -> bool:
    """Has this message of a neighbour's come exactly so far?"""
    history = [step for live in neighbour.node.threads for step in await neighbour.node.delivery.history(live)]
    return any(step["message"] == message and step["state"] == stage for step in history)


async def _is_in_state(alice: Neighbour, intent: str, state: str) -> bool:
    return bool((await alice.desk.show(intent))["intent"]["state"] == state)


async def test_a_shop_that_starts_a_year_ahead_keeps_its_word(clock: MockClock) -> None:
    """Bob has an offer open, and his machine starts a year ahead. His neighbours have another hour: the offer stands,
    its keys are there, and when his clock is right Alice accepts it and has the car."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        for number in range(3):
            await town.open(f"Neighbour {number}", divisions=("mobility",))
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        intent = await ask_for_a_day(alice)
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        await wait_settled(bob)
        await bob.stop()
        assert bob.clock is not None
        bob.clock.skew = 365 * DAY
        await bob.start()
        await wait_compared(bob)
        await trio.sleep(1.2 * SURE_AFTER)
        assert (await bob.desk.show(offer["id"]))["offer"]["state"] == "offered"
        assert len(await bob.store.peek(lambda tx: tx.boxes())) == 1
        bob.clock.skew = 0
        await wait_until(bob, lambda node: node.clock.is_certain, 60)
        await alice.desk.accept(offer["id"], CONTACT, None, [], 0)
        await wait_state(alice, offer["id"], "confirmed", 600)


@pytest.mark.parametrize("starts_again", [False, True])
async def test_what_lapsed_by_a_fast_clock_does_not_come_back(starts_again: bool, clock: MockClock) -> None:
    """Alice's clock is 100 s fast, and Bob is away: her accept lapses, and she is told. Her clock is set right, and it
    is a minute before that hour again; Bob comes, and confirms. No: it has lapsed, on both sides, and after a start."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice", skew=100), await town.open("Bob", catalogue=car_hire())
        intent = await ask_for_a_day(alice)
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        await wait_settled(bob)
        await bob.crash()
        await alice.desk.accept(offer["id"], CONTACT, None, [], 0, answer_within=300)
        await wait_state(alice, offer["id"], "lapsed", 310)
        assert alice.clock is not None
        alice.clock.skew = 0
        if starts_again:
            await alice.crash()
            await alice.start()
        await bob.start()
        await wait_state(bob, offer["id"], "lapsed", 60)
        for _ in range(2):
            assert (await alice.desk.show(offer["id"]))["offer"]["state"] == "lapsed"
            states = [event["state"] for event in await events_of(alice, "offer.state")]
            assert states == ["accepted", "lapsed"]
            await alice.crash()
            await alice.start()


async def test_what_expires_while_its_people_sleep_is_told_when_they_wake(clock: MockClock) -> None:
    """Both are off while an offer runs out. Each reads of it once at the next start, and not again."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        intent = await ask_for_a_day(alice)
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        await wait_settled(bob)
        for _ in range(2):
            for one in (alice, bob):
                await one.stop()
            await trio.sleep(1.1 * DAY)
            for one in (alice, bob):
                await one.start()
            for one in (alice, bob):
                await wait_state(one, offer["id"], "void", 1.2 * SURE_AFTER)
                assert [event["state"] for event in await events_of(one, "offer.state")] == ["void"]


async def test_a_wish_that_is_too_early_after_a_start_is_not_told_again_when_its_hour_comes(clock: MockClock) -> None:
    """Alice's clock is 190 s fast, and Bob's 100: he reads of her wish. His machine starts again with the right hour,
    at which it is too early. A minute later it hangs on his board again, and is nothing new."""
    async with open_town() as town:
        alice = await town.open("Alice", skew=190)
        bob = await town.open("Bob", join=(alice,), divisions=("mobility",), skew=100)
        intent = await ask_for_a_day(alice)
        await wait_heard(bob, intent)
        await bob.crash()
        assert bob.clock is not None
        bob.clock.skew = 0
        await bob.start()
        assert bob.node.board.get(bytes.fromhex(intent)) is None
        await wait_until(bob, lambda node: node.board.get(bytes.fromhex(intent)) is not None, 3 * EVERY)
        assert len(await events_of(bob, "wish.heard")) == 1
