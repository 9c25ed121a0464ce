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


async def test_one_changed_byte_costs_one_message(clock: MockClock) -> None:
    """In what Bob confirmed: Alice's node does not believe it, and all else is there. In the signature of her own wish:
    it is not said again, for who hears it would blame her."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        kept = (await alice.desk.ask({**SKIING, "title": "Another"}, 10))["intent"]["id"]
        await alice.desk.accept(offer["id"], "alice@example.org", None, [], 20)
        await wait_state(alice, offer["id"], "confirmed", 60)
        await alice.crash()
        await bob.crash()

        def change(tx: Tx, kind: str, root: str, at: int) -> None:
            (stored,) = [one for one in tx.messages(bytes.fromhex(root)) if one.kind == kind]
            frame = bytearray(stored.frame)
            frame[at] ^= 1
            told = {"frame": bytes(frame), "n": stored.n}
            tx._db.execute(sqlalchemy.text("UPDATE messages SET frame = :frame WHERE n = :n"), told)

        await alice.store.peek(lambda tx: change(tx, "confirm", intent, -1))
        await alice.store.peek(lambda tx: change(tx, "intent", kept, 50))
        await alice.start()
        assert [wish["id"] for wish in await alice.desk.wishes()] == [intent]
        assert (await alice.desk.show(offer["id"]))["offer"]["state"] != "confirmed"
        await bob.start()
        await trio.sleep(60)
        assert bob.node.delivery.unsettled == 0
