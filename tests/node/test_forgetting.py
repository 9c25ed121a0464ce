"""What came to nothing is forgotten in time; contracts are not."""

import pytest
import trio
from trio.testing import MockClock

from node.app import STEADY_FOR, SWEEP_EVERY
from tests.driver import (
    SKIING,
    Neighbour,
    car_hire,
    let_pass,
    open_town,
    wait_offers,
    wait_over,
    wait_settled,
    wait_state,
    wait_until,
)

DAY = 24 * 3600
SETTLED = STEADY_FOR + 2 * SWEEP_EVERY
"""Seconds after a jump of the clock until it is trusted."""


async def rows(neighbour: Neighbour) -> tuple[int, int, int]:
    """Threads, messages and wishes in the store."""
    return await neighbour.store.peek(lambda tx: (len(tx.threads()), len(tx.messages()), len(tx.wishes())))


async def test_a_thread_that_came_to_nothing_is_dropped_a_day_later(clock: MockClock) -> None:
    """Bob offers, Alice withdraws. A day after the offer ended Bob's node and its disk know nothing of it any more,
    and it does not answer again."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        await wait_offers(alice, intent, 1)
        await alice.desk.withdraw(intent)
        await wait_over(bob, intent)
        await wait_settled(alice)
        assert len(bob.node.threads) == 1
        let_pass(town, 2 * 3600 + DAY // 2)
        await trio.sleep(SETTLED)
        assert len(bob.node.threads) == 1
        let_pass(town, DAY)
        await wait_until(bob, lambda node: len(node.threads) == 0, 2000)
        assert await rows(bob) == (0, 0, 0)
        assert bob.node.vendor.accepts._rows == bob.node.vendor.accepts._contacts == {}
        assert bob.node.vendor.counters["offered"] == 1
        assert len(alice.node.threads) == 1, "it is on the record of her wish"


async def test_a_wish_without_a_contract_is_dropped_after_a_month(clock: MockClock) -> None:
    """Two of Alice's wishes end, one with a contract. After 31 days the other is gone, with its threads, in memory and
    on disk; the contract is there, and all of it survives a restart."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        lost = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        await wait_offers(alice, lost, 1)
        await alice.desk.withdraw(lost)
        made = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        (offer,) = (await wait_offers(alice, made, 1))["offers"]
        contract = (await alice.desk.accept(offer["id"], "alice@example.org", None, [], 20))["contract"]["id"]
        await wait_state(bob, contract, "confirmed")
        for days in (1, 28):
            let_pass(town, days * DAY)
            await trio.sleep(SETTLED)
            assert len(alice.node.requester.wishes()) == 2
        let_pass(town, 3 * DAY)
        await wait_until(alice, lambda node: len(node.requester.wishes()) == 1, 2000)
        for life in range(2):
            assert [wish.root.hex() for wish in alice.node.requester.wishes()] == [made]
            assert (await alice.desk.show(contract))["contract"]["state"] == "confirmed"
            threads, messages, wishes = await rows(alice)
            assert (threads, wishes) == (1, 1)
            assert messages > 4
            if not life:
                await alice.crash()
                await alice.start()
        await wait_until(bob, lambda node: len(node.threads) == 1, 2000)
        assert (await bob.desk.show(contract))["contract"]["state"] == "confirmed"


async def test_passed_over_and_gone_is_forgotten(clock: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bob hears two wishes he cannot answer. When they have left his board, he remembers why for as many as his list of
    ended wishes shows: here for one, the last."""
    monkeypatch.setattr("node.vendor.role.KEEP_ENDED", 1)
    async with open_town() as town:
        bob = await town.open("Bob", catalogue=car_hire())
        alice = await town.open("Alice")
        wish = {**SKIING, "props": [{"name": "drive", "op": "eq", "value": "fwd", "need": "must"}], "expires": 600}
        revisions = []
        for _ in range(2):
            asked = await alice.desk.ask(wish, 5.0)
            revision = bytes.fromhex(asked["intent"]["revision"])
            await wait_until(bob, lambda node, one=revision: node.vendor.answer_to(one) is not None)  # type: ignore[misc]
            assert bob.node.vendor.answer_to(revision).offer is None
            revisions.append(revision)
        bob.node.vendor.forget_passed()
        for revision in revisions:
            assert bob.node.vendor.answer_to(revision) is not None, "while it hangs on the board it is remembered"
        bob.node.board.sweep(bob.node.clock.now() + 10_000)
        bob.node.vendor.forget_passed()
        assert [bob.node.vendor.answer_to(revision) is None for revision in revisions] == [True, False]
        rows = await bob.store.transact(lambda tx: tx.answered())
        assert {row.revision for row in rows} == set(revisions)
        await bob.store.transact(lambda tx: tx.drop_answered(2**40))
        assert await bob.store.transact(lambda tx: tx.answered()) == []


async def test_what_was_done_on_a_day_is_known_for_four_hundred(clock: MockClock) -> None:
    """As far back as `vendor stats` looks; what is older leaves the store."""
    async with open_town() as town:
        bob = await town.open("Bob", catalogue=car_hire())
        now = bob.node.clock.now()
        for days in (0, 399, 401, 1000):
            await bob.store.peek(lambda tx, days=days: tx.tally(now - days * DAY, f"{days} days ago"))  # type: ignore[misc]
        await trio.sleep(SETTLED)
        assert (await bob.store.peek(lambda tx: tx.tallies(0))).keys() == {"0 days ago", "399 days ago"}
