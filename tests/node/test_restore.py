"""What a node knew when it stopped, it knows when it starts; a damaged home costs what is damaged and nothing else."""

import pytest
import sqlalchemy
import trio
from trio.testing import MockClock

from node.store import Tx
from tests.driver import SKIING, car_hire, open_town, wait_offers, wait_over, wait_state


async def test_everything_is_there_again(clock: MockClock) -> None:
    """Wishes, offers, tombstones and what waits in the outbox."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        kept = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        gone = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        await wait_offers(alice, kept, 1)
        await wait_offers(alice, gone, 1)
        await alice.desk.withdraw(gone)
        await wait_over(market, gone)
        before = [await node.desk.wishes() for node in (market, alice, bob)]
        boards = [{posting.message.id for posting in node.node.board} for node in (market, alice, bob)]
        offers = await alice.desk.offers_for(kept)
        for node in (market, alice, bob):
            await node.crash()
        for node in (market, alice, bob):
            await node.start()
        assert [await node.desk.wishes() for node in (market, alice, bob)] == before
        assert [{posting.message.id for posting in node.node.board} for node in (market, alice, bob)] == boards
        assert await alice.desk.offers_for(kept) == offers
        await trio.sleep(60)
        assert bob.node.delivery.unsettled == 0


@pytest.mark.parametrize("table", ["postings", "messages", "outbox"])
@pytest.mark.parametrize("damage", ["x''", "x'93c4'", "zeroblob(300)"])
async def test_a_damaged_home_still_starts(table: str, damage: str, clock: MockClock) -> None:
    """Every frame or item of one table is damaged: it is left out, the node starts, lives on, and can ask again."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        await bob.crash()
        await alice.desk.accept(offer["id"], "alice@example.org", None, [], 0)
        await alice.crash()
        column = "item" if table == "outbox" else "frame"

        def spoil(tx: Tx) -> None:
            tx._db.execute(sqlalchemy.text(f"UPDATE {table} SET {column} = {damage}"))

        for node in (alice, bob):
            await node.store.peek(spoil)
            await node.start()
        if table == "postings":  # the board is only a copy of what others say
            await wait_state(alice, offer["id"], "confirmed", 600)
        assert alice.clock is not None
        alice.clock.asleep += 3 * 3600  # offers and accepts run out
        await trio.sleep(60)
        again = (await alice.desk.ask({**SKIING, "title": "Once more"}, 10))["intent"]["id"]
        assert alice.is_up
        assert bob.is_up
        alice.clock.asleep = 0
        assert again != intent
