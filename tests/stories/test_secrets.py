"""What must not leave, and what must not stay."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.network.memory_link import MemoryStream
from node.trouble import Trouble
from protocol import letter
from protocol.codec import encode
from protocol.exchange import Side
from tests.driver import (
    SKIING,
    by_hand,
    car_hire,
    let_pass,
    open_town,
    wait_heard,
    wait_offers,
    wait_settled,
    wait_state,
    wait_until,
)

DAY = 24 * 3600


class Tap:
    """Everything that is put on a wire, and everything that is sealed, before it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wire = bytearray()
        self.plain = bytearray()
        send_all, seal = MemoryStream.send_all, letter.seal

        async def tapped_send(stream: MemoryStream, data: bytes) -> None:
            self.wire += data
            await send_all(stream, data)

        def tapped_seal(frame: bytes, *args: Any, **more: Any) -> Any:
            self.plain += frame
            return seal(frame, *args, **more)

        monkeypatch.setattr(MemoryStream, "send_all", tapped_send)
        monkeypatch.setattr(letter, "seal", tapped_seal)


async def test_a_private_limit_stays_private(clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """An offer over Alice's private limit is hidden and counted. The limit is in no byte that leaves, sealed or not,
    and no reason goes with a decline, for a few of them would reveal it."""
    tap = Tap(monkeypatch)
    limit = 31_337_77
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        bob, carol = [await town.open(name, divisions=("mobility",)) for name in ("Bob", "Carol")]
        wish = {**SKIING, "limit_private": {"minor": limit, "currency": "EUR"}}
        preview = await alice.desk.preview(wish)
        assert str(limit) not in str(preview["public"])
        intent = (await alice.desk.ask(wish, 10))["intent"]["id"]
        for vendor, price in ((bob, limit + 1), (carol, limit)):
            await wait_heard(vendor, intent)
            await vendor.desk.make_offer(intent, by_hand(price))
        await wait_offers(alice, intent, 2)
        found = await alice.desk.offers_for(intent)
        assert found["hidden"] == 1
        (shown,) = found["offers"]
        everything = (await alice.desk.offers_for(intent, include_hidden=True))["offers"]
        assert sorted(offer["state"] for offer in everything) == ["offered", "over_limit"]
        (over,) = (offer for offer in everything if offer["state"] == "over_limit")
        with pytest.raises(Trouble) as trouble:
            await alice.desk.decline(over["id"], "price_sensitivity")
        assert trouble.value.code == "reason"
        await alice.desk.decline(over["id"], None)
        # The offers themselves were near it and did leave: look for the limit before them, and for the exact number
        # in what Alice says.
        said = [row.frame for row in await alice.store.peek(lambda tx: tx.messages()) if row.mine]
        assert not any(encode(limit) in frame or str(limit).encode() in frame for frame in said)
        before = bytes(tap.wire)
        new_limit = {"minor": limit + 2, "currency": "EUR"}
        await alice.desk.ask({"update": intent, "title": "Cheaper", "limit_private": new_limit}, 10)
        with pytest.raises(Trouble):
            await alice.desk.accept(shown["id"], "alice@example.org", None, [], 0)  # void by now
        await trio.sleep(5)
        await carol.desk.make_offer(intent, by_hand(limit))
        await wait_offers(alice, intent, 3)
        await alice.desk.withdraw(intent)
        await trio.sleep(60)
        after = bytes(tap.wire[len(before) :])
        assert len(after) > 500
        for secret in (encode(limit + 2), str(limit + 2).encode()):
            assert secret not in after
            assert secret not in tap.plain
        kinds = {row.kind for row in await bob.store.peek(lambda tx: tx.messages())}
        assert "decline" in kinds


async def test_keys_are_deleted_a_day_after_the_end(clock: MockClock) -> None:
    """Both sides delete the keys of a deal a day after it ended, not before; the contract can still be shown. What
    comes then is answered like anything sealed to a key that never was."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        contract = (await alice.desk.accept(offer["id"], "alice@example.org", None, [], 20))["contract"]["id"]
        await wait_settled(bob)
        let_pass(town, DAY - 600)
        await trio.sleep(60)
        assert len(await alice.store.peek(lambda tx: tx.boxes())) == 1
        assert (await alice.store.peek(lambda tx: tx.wishes()))[0].secret is not None
        let_pass(town, 3 * 3600)  # Bob's offer was valid for two hours
        await trio.sleep(60)
        for side in (alice, bob):
            assert await side.store.peek(lambda tx: tx.boxes()) == []
            for live in side.node.threads:
                assert live.end.keys is None
                assert side.node.threads.end(live.end.box) is None
            assert not any(side.node.threads.awake(one) for one in Side)
        assert (await alice.store.peek(lambda tx: tx.wishes()))[0].secret is None
        for side in (alice, bob):
            await side.crash()
            await side.start()
            assert (await side.desk.show(contract))["contract"]["state"] == "confirmed"
        await trio.sleep(60)
        assert (await alice.store.peek(lambda tx: tx.wishes()))[0].secret is None
        assert not any(side.node.threads.awake(one) for side in (alice, bob) for one in Side)


async def test_what_comes_after_the_keys_is_not_repeated_every_few_seconds(clock: MockClock) -> None:
    """Bob's home comes back after Alice has deleted her keys: his offer gets the hint `unknown_key`, and he does not
    try again every few seconds."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        bob = await town.open("Bob", divisions=("mobility",))
        assert town.world is not None
        intent = (await alice.desk.ask({**SKIING, "expires": 7 * DAY}, 10))["intent"]["id"]
        await wait_heard(bob, intent)
        town.world.partition({bob.peer_id})
        made = (await bob.desk.make_offer(intent, by_hand(valid_for=6 * DAY)))["offer"]["id"]
        await alice.desk.withdraw(intent)
        await trio.sleep(60)
        let_pass(town, DAY)
        await trio.sleep(60)
        assert await alice.store.peek(lambda tx: tx.boxes()) == []
        town.world.heal()
        await wait_until(bob, lambda node: node.delivery.counters["hint_unknown_key"] > 0, 900)
        await trio.sleep(1500)
        assert bob.node.delivery.counters["hint_unknown_key"] < 9
        assert bob.node.delivery.stage(bytes.fromhex(made)) is not None


async def test_keys_stay_while_an_accept_is_open(clock: MockClock) -> None:
    """However old a wish is: as long as an accept may be answered, both sides can read the answer."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        bob = await town.open("Bob", divisions=("mobility",))
        intent = (await alice.desk.ask({**SKIING, "expires": 600}, 10))["intent"]["id"]
        await wait_heard(bob, intent)
        made = (await bob.desk.make_offer(intent, by_hand()))["offer"]["id"]
        await wait_offers(alice, intent, 1)
        async with bob.node.vendor._one_at_a_time:
            accept = (await alice.desk.accept(made, "alice@example.org", None, [], 0))["contract"]["id"]
            await wait_state(bob, accept, "accepted")
            await trio.sleep(500)
            assert len(await alice.store.peek(lambda tx: tx.boxes())) == 1
            assert len(await bob.store.peek(lambda tx: tx.boxes())) == 1
        await wait_state(alice, accept, "confirmed")
