"""Power cuts: a deal is made exactly once, whenever the power goes."""

from collections.abc import Awaitable, Callable
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
    car_hire,
    open_town,
    wait_offers,
    wait_state,
    wait_until,
)

Step = Callable[[], Awaitable[Any]]


async def deal(town: Town) -> tuple[Neighbour, Neighbour, dict[str, Any]]:
    """Alice, Bob and a contract. People try again what failed because their program died."""
    alice, bob = town.neighbours["Alice"], town.neighbours["Bob"]
    intent = await insist(alice, lambda: ask_once(alice))
    found = await insist(alice, lambda: wait_offers(alice, intent, 1, 3000))
    offer = found["offers"][0]["id"]
    await insist(alice, lambda: accept_once(alice, offer))
    view = await insist(alice, lambda: wait_state(alice, offer, "confirmed", 3000))
    return alice, bob, view


async def insist(person: Neighbour, step: Step) -> Any:
    while True:
        lives = person.lives
        try:
            return await step()
        except (Killed, Trouble):  # not found: what was shown before it was durable comes again
            await wait_until(person, lambda _node, lives=lives: person.lives > lives)
            await trio.sleep(5)


async def ask_once(alice: Neighbour) -> str:
    wishes = await alice.desk.wishes()
    if not wishes:
        asked = await alice.desk.ask(SKIING, 5)
        wishes = [asked["intent"]]
    return str(wishes[0]["id"])


async def accept_once(alice: Neighbour, offer: str) -> None:
    view = (await alice.desk.show(offer))["offer"]
    if view["state"] == "offered":
        await alice.desk.accept(offer, "alice@example.org", None, [], 0)


async def open_market(town: Town, victim: str) -> Neighbour:
    """A market of three; counting of the victim's transactions begins when everybody is there. Bob has one car."""
    await town.open("Market", meeting=True)
    await town.open("Alice")
    await town.open("Bob", catalogue=car_hire(stock=1))
    found = town.neighbours[victim]
    found.store.count = 0
    town.nursery.start_soon(keep_running, found)
    return found


async def keep_running(neighbour: Neighbour) -> None:
    """What a machine does with a service that died."""
    while True:
        await neighbour.wait_gone()
        await trio.sleep(1)
        await neighbour.start()


async def check_one_deal(alice: Neighbour, bob: Neighbour, contract: dict[str, Any]) -> None:
    """Both hold the same one contract, the wish is closed, nothing is left to send and the one car is sold once."""
    contract_id = contract["contract"]
    for side in (alice, bob):
        await wait_state(side, contract_id, "confirmed", 3000)
        await wait_until(side, lambda node: node.delivery.unsettled == 0, 3000)
    await wait_state(alice, contract["intent"], "awarded")
    # The market hears the end, so by then Alice's home holds it.
    for side in (bob, alice.town.neighbours["Market"]):
        await wait_until(side, lambda node: not any(posting.is_open for posting in node.board), 3000)
    (wish,) = await alice.desk.wishes()
    assert wish["state"] == "awarded"
    assert wish["offers"] == 1
    (made,) = await bob.desk.offers_made()
    assert made["state"] == "confirmed"
    assert made["contract"] == contract_id
    rows = await bob.store.peek(lambda tx: tx.messages())
    kinds = [row.kind for row in rows if row.mine]
    assert kinds.count("offer") == 1
    assert kinds.count("confirm") == 1
    assert "reject" not in kinds
    rows = await alice.store.peek(lambda tx: tx.messages())
    kinds = [row.kind for row in rows if row.mine]
    assert [kinds.count(kind) for kind in ("intent", "accept", "intent.close")] == [1, 1, 1]
    assert await bob.store.peek(lambda tx: [row.count for row in tx.holds()]) == [1]


@pytest.mark.parametrize("victim", ["Alice", "Bob"])
@pytest.mark.parametrize("moment", [pytest.param("before", marks=pytest.mark.slow), "after"])
async def test_the_power_goes_at_every_transaction(victim: str, moment: str, clock: MockClock) -> None:
    """Whichever of its transactions Alice's or Bob's machine dies at, just before or just after it is durable: it is
    started again, and there is exactly one contract, which both hold."""
    number, died = 0, True
    while died:
        number += 1
        async with open_town() as town:
            unlucky = await open_market(town, victim)
            setattr(unlucky.store, f"die_{moment}", number)
            alice, bob, contract = await deal(town)
            await check_one_deal(alice, bob, contract)
            died = unlucky.lives > 1
    assert number > 10, "there are more steps than that in a deal"
