"""What people are told at the desk, where it could mislead them."""

import stat
from pathlib import Path

import pytest
import trio

from node.store import open_store_nowait
from node.trouble import Exit, Trouble
from protocol.exchange import Side
from tests.driver import NET, SKIING, by_hand, open_town, wait_offers, wait_until

EUR = {"currency": "EUR"}


async def test_an_offer_over_the_limit_stays_hidden(clock: object) -> None:
    """Counted and out of the default list while it is open, and after the wish was awarded to another."""
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        carol = await town.open("Carol", divisions=("mobility",))
        alice = await town.open("Alice")
        asked = await alice.desk.ask({**SKIING, "limit_private": {"minor": 40_000, **EUR}}, 5.0)
        intent = asked["intent"]["id"]
        for vendor, price in ((bob, 39_000), (carol, 88_800)):
            await wait_until(vendor, lambda node: len(node.board) == 1)
            await vendor.desk.make_offer(intent, by_hand(price))
        await wait_offers(alice, intent, 2)
        found = await alice.desk.offers_for(intent)
        assert (len(found["offers"]), found["hidden"]) == (1, 1)
        accepted = await alice.desk.accept(found["offers"][0]["id"], "alice@example.org", None, [], 20.0)
        assert accepted["contract"]["state"] == "confirmed"
        found = await alice.desk.offers_for(intent)
        assert (len(found["offers"]), found["hidden"]) == (1, 1)


async def test_another_currency_is_not_comparable(clock: object) -> None:
    """Four hundred dollars at most says nothing about an offer in euros, and the desk does not pretend."""
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        alice = await town.open("Alice")
        asked = await alice.desk.ask({**SKIING, "limit_private": {"minor": 40_000, "currency": "USD"}}, 5.0)
        await wait_until(bob, lambda node: len(node.board) == 1)
        await bob.desk.make_offer(asked["intent"]["id"], by_hand(39_000))
        (offer,) = (await wait_offers(alice, asked["intent"]["id"], 1))["offers"]
        assert offer["comparable"] is False
        assert offer["state"] == "offered"


async def test_a_revision_keeps_what_is_not_said(clock: object) -> None:
    """Also its life: a wish for thirty days is not cut to seven by a new note."""
    async with open_town() as town:
        await town.open("Bob", divisions=("mobility",))
        alice = await town.open("Alice")
        first = (await alice.desk.ask({**SKIING, "expires": 30 * 86_400}, 5.0))["intent"]
        second = (await alice.desk.ask({"update": first["id"], "note": "Or a day later."}, 5.0))["intent"]
        assert second["exp"] == first["exp"]
        assert second["title"] == first["title"]
        assert second["id"] == first["id"] != second["revision"]


@pytest.mark.parametrize("title", ["a\tb", "two\nlines", "right\u202eleft"])
async def test_what_cannot_be_said_is_told_before(clock: object, title: str) -> None:
    """In the preview already, and with a way to mend it."""
    async with open_town() as town:
        alice = await town.open("Alice")
        with pytest.raises(Trouble) as told:
            await alice.desk.preview({**SKIING, "title": title})
        assert told.value.exit_code is Exit.USAGE
        assert told.value.hint


async def test_one_letter_has_one_spelling(clock: object) -> None:
    """Texts leave in NFC, however the keyboard composed them."""
    async with open_town() as town:
        alice = await town.open("Alice")
        preview = await alice.desk.preview({**SKIING, "title": "Cafe\u0301"})
        assert preview["public"]["title"] == "Caf\u00e9"


async def test_a_claimed_root_does_not_redirect_an_offer(clock: object) -> None:
    """Mallory revises a wish she never made. Bob's offer for that id goes nowhere before he says whose he means."""
    async with open_town() as town:
        bob = await town.open("Bob", divisions=("mobility",))
        alice = await town.open("Alice")
        mallory = await town.open("Mallory")
        intent = (await alice.desk.ask(dict(SKIING), 5.0))["intent"]["id"]
        hers = (await mallory.desk.ask(dict(SKIING), 5.0))["intent"]["id"]
        wish = next(wish for wish in mallory.node.requester.wishes() if wish.root.hex() == hers)
        forged = await mallory.node.requester._say(
            wish.end.secrets()[0],
            "intent.update",
            wish.intent,
            mallory.clock.now() if mallory.clock else 0,
            wish.last_exp,
            seq=1,
            ref=bytes.fromhex(intent),
            root=bytes.fromhex(intent),
        )
        mallory.node.gossip.hear("mobility", forged.frame)
        mallory.node.gossip.publish("mobility", forged.frame)
        await wait_until(bob, lambda node: node.board.get(forged.id) is not None)
        await wait_until(bob, lambda node: node.board.get(bytes.fromhex(intent)) is not None)
        with pytest.raises(Trouble) as told:
            await bob.desk.make_offer(intent, by_hand(100))
        assert told.value.code == "ambiguous"
        assert not [live for live in bob.node.threads if live.side is Side.VENDOR]


async def test_a_home_stays_in_its_network(clock: object) -> None:
    """Wishes, threads and board mean nothing elsewhere; and one wrong start must not empty them."""
    async with open_town() as town:
        alice = await town.open("Alice")
        await alice.desk.ask(dict(SKIING), 0.0)
        await alice.stop()
        await alice.store.transact(lambda tx: tx.put_meta("net", "elsewhere"))
        with pytest.RaisesGroup(Trouble, flatten_subgroups=True, allow_unwrapped=True) as told:
            async with trio.open_nursery() as nursery:
                await nursery.start(alice._live)
        text = str(told.value.exceptions[0] if isinstance(told.value, BaseExceptionGroup) else told.value)
        assert "elsewhere" in text
        assert NET in text
        await alice.store.transact(lambda tx: tx.put_meta("net", NET))
        await alice.start()
        assert [wish["state"] for wish in await alice.desk.wishes()] == ["open"]
        assert len(alice.node.board) == 1


def test_the_store_is_private(tmp_path: Path) -> None:
    """Keys, contacts and the private limit lie in it: nobody else reads it, nor its companions."""
    store = open_store_nowait(tmp_path / "node.db")
    try:
        store.transact_nowait(lambda tx: tx.put_meta("a", "b"))
        files = list(tmp_path.iterdir())
        assert len(files) == 3
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        store.close()
