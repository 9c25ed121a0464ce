"""From a wish to a contract, and what can come between."""

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.export import export_evidence
from node.store import open_store
from node.trouble import Trouble
from protocol.evidence import verify
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
)

CONTACT = "alice@example.org"


async def open_market(town: Town, *vendors: str, **settings: Any) -> list[Neighbour]:
    """A market, Alice, and these vendors, who answer by hand."""
    await town.open("Market", meeting=True)
    people = [await town.open("Alice")]
    for name in vendors:
        people.append(await town.open(name, divisions=("mobility",), **settings))
    return people


async def ask(alice: Neighbour, **more: Any) -> str:
    asked = await alice.desk.ask({**SKIING, **more}, 10)
    return str(asked["intent"]["id"])


async def offer(vendor: Neighbour, intent: str, price: int = 41_200, **more: Any) -> str:
    await wait_heard(vendor, intent)
    made = await vendor.desk.make_offer(intent, by_hand(price, **more))
    return str(made["offer"]["id"])


async def test_alice_gets_her_car(clock: MockClock) -> None:
    """Alice asks, Bob's shop answers by itself, she accepts, he confirms: both hold one contract, with the same id and
    each other's contact."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire())
        intent = await ask(alice)
        (found,) = (await wait_offers(alice, intent, 1))["offers"]
        assert found["total"] == {"minor": 28_800, "currency": "EUR"}
        contract = (await alice.desk.accept(found["id"], CONTACT, None, [], 20))["contract"]
        assert contract["state"] == "confirmed"
        assert contract["vendor_contact"] == "+33 4 00 00 00 00"
        theirs = await wait_state(bob, contract["id"], "confirmed")
        await wait_settled(bob)
        theirs = (await bob.desk.show(contract["id"]))["contract"]
        assert theirs["id"] == contract["id"]
        assert theirs["requester_contact"] == CONTACT
        assert theirs["acknowledged"]
        assert (await alice.desk.show(intent))["intent"]["state"] == "awarded"
        await wait_over(bob, intent)


async def test_both_can_prove_their_contract(tmp_path: Path) -> None:
    """The contract can be taken out of either home as evidence with the same id, while the node runs and after."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        homes = {}
        for name in ("Alice", "Bob"):
            homes[name] = tmp_path / name
            homes[name].mkdir()
        alice = await town.open("Alice", path=homes["Alice"] / "node.db")
        bob = await town.open("Bob", path=homes["Bob"] / "node.db", catalogue=car_hire())
        intent = await ask(alice)
        (found,) = (await wait_offers(alice, intent, 1))["offers"]
        contract = (await alice.desk.accept(found["id"], CONTACT, None, [], 20))["contract"]["id"]
        await wait_state(bob, contract, "confirmed")
        for home in homes.values():
            assert_proves(home, contract, found["id"], intent)
        await alice.stop()
        await bob.stop()
    for home in homes.values():
        assert_proves(home, contract, found["id"], intent)


def assert_proves(home: Path, contract: str, offer_id: str, intent: str) -> None:
    data, said = export_evidence(home, contract)
    evidence = verify(data)
    assert said["kind"] == evidence.kind == "contract"
    assert evidence.id.hex() == said["id"] == contract
    assert verify(export_evidence(home, offer_id)[0]).id.hex() == offer_id
    assert verify(export_evidence(home, intent)[0]).id.hex() == intent


@pytest.mark.parametrize("down", [("Bob",), ("Alice",), ("Alice", "Bob")], ids="-".join)
async def test_the_power_goes_between_offer_and_accept(down: tuple[str, ...], clock: MockClock) -> None:
    """Whoever goes down after the offer and comes back at another address: the deal is made all the same."""
    async with open_town() as town:
        alice, bob = await open_market(town, "Bob")
        intent = await ask(alice)
        made = await offer(bob, intent)
        await wait_offers(alice, intent, 1)
        await move(town, down)
        await alice.desk.accept(made, CONTACT, None, [], 0)
        contract = (await wait_state(alice, made, "confirmed", 600))["contract"]
        await wait_state(bob, contract, "confirmed", 600)
        await wait_settled(bob, 600)


@pytest.mark.parametrize("down", [("Bob",), ("Alice",), ("Alice", "Bob")], ids="-".join)
async def test_the_power_goes_between_accept_and_confirm(down: tuple[str, ...], clock: MockClock) -> None:
    """The accept is stored at Alice's and on its way when the power goes; both come back elsewhere and agree."""
    async with open_town() as town:
        alice, bob = await open_market(town, "Bob")
        intent = await ask(alice)
        made = await offer(bob, intent)
        await wait_offers(alice, intent, 1)
        town.world.partition({alice.peer_id}, {bob.peer_id})  # type: ignore[union-attr]
        await alice.desk.accept(made, CONTACT, None, [], 0)
        town.world.heal()  # type: ignore[union-attr]
        await move(town, down)
        contract = (await wait_state(alice, made, "confirmed", 600))["contract"]
        await wait_state(bob, contract, "confirmed", 600)


async def move(town: Town, names: tuple[str, ...]) -> None:
    for name in names:
        await town.neighbours[name].crash()
    for number, name in enumerate(names):
        await town.neighbours[name].start(address=f"/ip4/10.9.9.{number + 1}/tcp/4001")


async def test_one_wish_makes_one_contract(clock: MockClock) -> None:
    """Alice presses two buttons at once: exactly one accept leaves. The other offer cannot be accepted while the first
    is open, nor after it was confirmed."""
    async with open_town() as town:
        alice, bob, carol = await open_market(town, "Bob", "Carol")
        intent = await ask(alice)
        offers = [await offer(bob, intent), await offer(carol, intent, 39_000)]
        await wait_offers(alice, intent, 2)
        refused: list[str] = []

        async def accept(offer_id: str) -> None:
            try:
                await alice.desk.accept(offer_id, CONTACT, None, [], 0)
            except Trouble as trouble:
                refused.append(trouble.code)

        async with trio.open_nursery() as nursery:
            for offer_id in offers:
                nursery.start_soon(accept, offer_id)
        assert refused == ["accepted"]
        stored = await alice.store.peek(lambda tx: [row for row in tx.messages() if row.kind == "accept"])
        assert len(stored) == 1
        states = {one: (await alice.desk.show(one))["offer"]["state"] for one in offers}
        (other,) = (one for one in offers if states[one] == "offered")
        (taken,) = (one for one in offers if one != other)
        await wait_state(alice, taken, "confirmed")
        with pytest.raises(Trouble) as trouble:
            await alice.desk.accept(other, CONTACT, None, [], 0)
        assert trouble.value.code == "state"


async def test_a_silent_vendor_lapses_and_another_is_chosen(clock: MockClock) -> None:
    """Bob is gone when Alice accepts. While her accept is open she cannot take Carol's offer; after its deadline she
    can, and Bob, back too late, has no contract."""
    async with open_town() as town:
        alice, bob, carol = await open_market(town, "Bob", "Carol")
        intent = await ask(alice)
        first, second = await offer(bob, intent), await offer(carol, intent)
        await wait_offers(alice, intent, 2)
        await bob.crash()
        await alice.desk.accept(first, CONTACT, None, [], 0)
        with pytest.raises(Trouble) as trouble:
            await alice.desk.accept(second, CONTACT, None, [], 0)
        assert trouble.value.code == "accepted"
        await wait_state(alice, first, "lapsed", 3700)
        assert (await alice.desk.show(intent))["intent"]["state"] == "open"
        contract = (await alice.desk.accept(second, CONTACT, None, [], 20))["contract"]
        assert contract["state"] == "confirmed"
        await bob.start()
        await wait_over(bob, intent, 60)
        await wait_settled(bob, 60)
        (made,) = await bob.desk.offers_made()
        assert "contract" not in made


async def test_a_late_confirm_is_no_contract(clock: MockClock) -> None:
    """Bob confirms in time by his clock, but his confirm reaches Alice after the deadline: she answers that the accept
    has lapsed, and Bob sees it too and has his car back."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", catalogue=car_hire(stock=1))
        assert town.world is not None
        intent = await ask(alice)
        (found,) = (await wait_offers(alice, intent, 1))["offers"]
        async with bob.node.vendor._one_at_a_time:  # Bob is busy: the accept arrives, the confirm has to wait
            accept = (await alice.desk.accept(found["id"], CONTACT, None, [], 0))["contract"]["id"]
            await wait_state(bob, accept, "accepted")
            town.world.partition({alice.peer_id}, {bob.peer_id, town.neighbours["Market"].peer_id})
        await wait_state(bob, accept, "confirmed", 600)
        assert not (await bob.desk.show(accept))["contract"]["acknowledged"]
        await wait_state(alice, accept, "lapsed", 3700)
        town.world.heal()
        await wait_state(bob, accept, "lapsed", 900)
        await wait_settled(bob)
        assert await bob.store.peek(lambda tx: tx.holds()) == []
        assert (await alice.desk.show(intent))["intent"]["state"] == "open"
        # It stays so after a restart: both replay what they stored.
        for side in (alice, bob):
            await side.crash()
            await side.start()
            assert (await side.desk.show(accept))["contract"]["state"] == "lapsed"


async def test_losers_are_told_and_the_winner_is_not(clock: MockClock) -> None:
    """When Alice has her contract, everybody else who offered gets a decline without a reason."""
    async with open_town() as town:
        alice, bob, carol, dave = await open_market(town, "Bob", "Carol", "Dave")
        intent = await ask(alice)
        offers = [await offer(vendor, intent, 40_000) for vendor in (bob, carol, dave)]
        await wait_offers(alice, intent, 3)
        await alice.desk.accept(offers[1], CONTACT, None, [], 20)
        await wait_state(bob, offers[0], "declined")
        await wait_state(dave, offers[2], "declined")
        await wait_settled(alice)
        assert (await carol.desk.show(offers[1]))["offer"]["state"] == "confirmed"
        kinds = [row.kind for row in await carol.store.peek(lambda tx: tx.messages())]
        assert "decline" not in kinds


async def test_sold_out_frees_the_wish(clock: MockClock) -> None:
    """Bob's one car goes to Alice. Dora, who has an offer for it too, is told that it is sold out, and her wish is
    open again."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        bob = await town.open("Bob", catalogue=car_hire(stock=1))
        alice, dora = await town.open("Alice"), await town.open("Dora")
        wishes = [await ask(alice), await ask(dora)]
        offers = [
            (await wait_offers(who, w, 1))["offers"][0]["id"] for who, w in zip((alice, dora), wishes, strict=True)
        ]
        first = (await alice.desk.accept(offers[0], CONTACT, None, [], 20))["contract"]
        second = (await dora.desk.accept(offers[1], CONTACT, None, [], 20))["contract"]
        assert (first["state"], second["state"], second["reason"]) == ("confirmed", "rejected", "sold_out")
        assert (await dora.desk.show(wishes[1]))["intent"]["state"] == "open"
        assert (await bob.desk.show(offers[1]))["offer"]["state"] == "rejected"


async def test_an_offer_withdrawn_before_it_was_accepted(clock: MockClock) -> None:
    """Alice has acknowledged the withdrawal: there is nothing left to accept."""
    async with open_town() as town:
        alice, bob = await open_market(town, "Bob")
        intent = await ask(alice)
        made = await offer(bob, intent)
        await wait_offers(alice, intent, 1)
        await bob.desk.withdraw(made)
        await wait_settled(bob)
        with pytest.raises(Trouble) as trouble:
            await alice.desk.accept(made, CONTACT, None, [], 0)
        assert trouble.value.code == "state"
        assert (await bob.desk.show(made))["offer"]["state"] == "withdrawn"


async def test_an_offer_withdrawn_but_not_yet_heard_still_stands(clock: MockClock) -> None:
    """Bob takes his offer back while Alice is out of reach; she accepts without knowing. What Bob signed binds him:
    her accept stands, and he confirms."""
    async with open_town() as town:
        alice, bob = await open_market(town, "Bob")
        assert town.world is not None
        intent = await ask(alice)
        made = await offer(bob, intent)
        await wait_offers(alice, intent, 1)
        town.world.partition({alice.peer_id}, {bob.peer_id, town.neighbours["Market"].peer_id})
        await bob.desk.withdraw(made)
        await alice.desk.accept(made, CONTACT, None, [], 0)
        assert (await bob.desk.show(made))["offer"]["state"] == "withdrawn"
        town.world.heal()
        contract = (await wait_state(alice, made, "confirmed", 900))["contract"]
        await wait_state(bob, contract, "confirmed", 900)
        for side in (alice, bob):
            await wait_settled(side, 900)
            assert side.node.threads.of_root(bytes.fromhex(intent))[0].thread.talks[bytes.fromhex(made)].state is (
                State.CONFIRMED
            )


async def test_people_are_told_why_not(clock: MockClock) -> None:
    """A contact that could not be said later is refused when the offer is made; nobody offers to himself; an unknown
    option is named."""
    async with open_town() as town:
        alice, bob = await open_market(town, "Bob")
        intent = await ask(alice)
        await wait_heard(bob, intent)
        with pytest.raises(Trouble) as trouble:
            await bob.desk.make_offer(intent, by_hand(contact="x" * 501))
        assert trouble.value.code == "contact"
        with pytest.raises(Trouble) as trouble:
            await alice.desk.make_offer(intent, by_hand())
        assert trouble.value.code == "own"
        made = await offer(bob, intent)
        await wait_offers(alice, intent, 1)
        with pytest.raises(Trouble) as trouble:
            await alice.desk.accept(made, CONTACT, None, ["helicopter"], 0)
        assert trouble.value.code == "option"
        assert (await alice.desk.show(made))["offer"]["state"] == "offered"
        with pytest.raises(Trouble) as trouble:
            await alice.desk.accept(made, "bell\x07", None, [], 0)
        assert trouble.value.code == "accept"
        assert (await alice.desk.show(intent))["intent"]["state"] == "open"


async def test_a_store_in_use_can_be_read(tmp_path: Path) -> None:
    """Opening a home's store a second time, to read it, harms nobody."""
    async with open_store(tmp_path / "node.db") as one, open_store(tmp_path / "node.db") as two:
        await one.transact(lambda tx: tx.put_meta("who", "one"))
        assert await two.transact(lambda tx: tx.get_meta("who")) == "one"
