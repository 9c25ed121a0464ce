"""Nothing is sold twice: cars that come back, slots, strangers without end, crashes, and files that change."""

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.vendor.catalogue import load_catalogue
from node.vendor.watch import reload
from protocol.limits import STOCK_HOLD
from tests.driver import SKIING, Neighbour, Town, open_town, wait_offers, wait_state, wait_until

FLEET = """
name = "Alpine Cars"
contact = "+33 4 00 00 00 00"
categories = ["mobility.**"]
currency = "EUR"
tz = "Europe/Paris"
{top}

[items.duster]
title = "Dacia Duster 4x4"
category = "mobility.car"
action = "rent"
price = "48"
per = "day"
{count}
places = ["iata:LYS"]

[items.duster.properties]
drive = "4x4"
"""

CALENDAR = """
name = "Pia, plumber"
contact = "+33 4 11 11 11 11"
categories = ["home.plumbing"]
currency = "EUR"
tz = "Europe/Paris"

[items.leak]
title = "Mend a leak"
category = "home.plumbing"
action = "repair"
price = "140"
per = "job"
places = "anywhere"

[[items.leak.slots]]
date = "2027-03-22"
from = "08:00"
until = "12:00"
length = "2h"
"""

LEAK: dict[str, Any] = {
    "action": "repair",
    "category": "home.plumbing",
    "title": "The kitchen tap drips",
    "when": {"start": "2027-03-22", "end": "2027-03-23", "tz": "Europe/Paris"},
}


def at(start: str, end: str) -> dict[str, Any]:
    return {**SKIING, "when": {"start": start, "end": end, "tz": "Europe/Paris"}}


async def open_shop(town: Town, folder: Path, text: str, name: str = "Bob") -> Neighbour:
    path = folder / f"{name}.toml"
    path.write_text(text)
    shop = await town.open(name, catalogue=load_catalogue(path))
    for division in shop.node.vendor.divisions:
        await shop.node.gossip.wait_subscriber(division)
    return shop


async def take(person: Neighbour, wish: dict[str, Any], options: tuple[str, ...] = ()) -> str:
    """Ask, take the first offer: what becomes of it, or `none` if nobody offers."""
    intent = (await person.desk.ask({**wish, "max_offers": 1}, 10))["intent"]["id"]
    try:
        (offer,) = (await wait_offers(person, intent, 1, 20))["offers"]
    except trio.TooSlowError:
        return "none"
    await person.desk.accept(offer["id"], "somebody@example.org", None, list(options), 0)
    return await decided(person, offer["id"])


async def decided(person: Neighbour, offer: str) -> str:
    state = ""

    async def over(_node: object) -> bool:
        nonlocal state
        state = (await person.desk.show(offer))["offer"]["state"]
        return state not in ("offered", "accepted")

    await wait_until(person, over, 4000)
    return state


async def test_a_car_is_rented_out_again_when_it_is_back(tmp_path: Path, clock: MockClock) -> None:
    """One car: Alice has it for a week. Carol gets no offer for days within it, and the car for the week after."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, carol = await town.open("Alice"), await town.open("Carol")
        bob = await open_shop(town, tmp_path, FLEET.format(top="", count="fleet = 1"))
        assert await take(alice, at("2027-03-20T10:00", "2027-03-27T10:00")) == "confirmed"
        assert await take(carol, at("2027-03-26T10:00", "2027-03-28T10:00")) == "none"
        assert bob.node.vendor.counters["passed_booked"] == 1
        await bob.crash()
        await bob.start()
        assert await take(carol, at("2027-03-26T10:00", "2027-03-28T10:00")) == "none"
        assert await take(carol, at("2027-03-27T10:00", "2027-03-28T10:00")) == "confirmed"


async def test_two_who_were_offered_the_same_car(tmp_path: Path, clock: MockClock) -> None:
    """Both hold an offer for the one car at the same time. One gets it; the other is told it is sold out."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, carol = await town.open("Alice"), await town.open("Carol")
        await open_shop(town, tmp_path, FLEET.format(top="", count="fleet = 1"))
        offers = []
        for person in (alice, carol):
            intent = (await person.desk.ask(SKIING, 10))["intent"]["id"]
            offers.append((await wait_offers(person, intent, 1))["offers"][0]["id"])
        states = []
        async with trio.open_nursery() as nursery:
            for person, offer in zip((alice, carol), offers, strict=True):
                nursery.start_soon(person.desk.accept, offer, "x@example.org", None, [], 0)
        for person, offer in zip((alice, carol), offers, strict=True):
            states.append(await decided(person, offer))
        assert sorted(states) == ["confirmed", "rejected"]


async def test_a_slot_goes_once_and_another_can_be_chosen(tmp_path: Path, clock: MockClock) -> None:
    """Alice is offered 8 o'clock and takes 10 instead, as an option. Then Carol gets 8, and Dave nothing."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, carol, dave = [await town.open(name) for name in ("Alice", "Carol", "Dave")]
        pia = await open_shop(town, tmp_path, CALENDAR, "Pia")
        intent = (await alice.desk.ask(LEAK, 10))["intent"]["id"]
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        assert offer["when"]["start"] == "2027-03-22T08:00"
        (option,) = offer["options"]
        assert (option["name"], option["title"]) == ("slot_20270322_1000_1200", "Instead: 2027-03-22 10:00 to 12:00")
        await alice.desk.accept(offer["id"], "alice@example.org", None, [option["name"]], 20)
        contract = await wait_state(alice, offer["id"], "confirmed")
        assert contract["state"] == "confirmed"
        intent = (await carol.desk.ask(LEAK, 10))["intent"]["id"]
        (offer,) = (await wait_offers(carol, intent, 1))["offers"]
        assert (offer["when"]["start"], offer.get("options")) == ("2027-03-22T08:00", None)
        await carol.desk.accept(offer["id"], "carol@example.org", None, [], 20)
        await wait_state(carol, offer["id"], "confirmed")
        assert await take(dave, LEAK) == "none"
        assert pia.node.vendor.counters["passed_booked"] == 1


@pytest.mark.parametrize("count", [24, pytest.param(500, marks=pytest.mark.slow)])
async def test_strangers_without_end_lock_no_more_than_the_cap(count: int, tmp_path: Path, clock: MockClock) -> None:
    """Mallory's one node asks under as many fresh keys and accepts all it is offered. Of ten cars she holds five; the
    others are Alice's to have. And what Bob confirms by hand, and never does, is free again after ten minutes."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        mallory, alice = await town.open("Mallory"), await town.open("Alice")
        bob = await open_shop(town, tmp_path, FLEET.format(top='confirm = "by hand"', count="stock = 10"))
        offers: list[str] = []
        for number in range(count):
            intent = (await mallory.desk.ask({**SKIING, "title": f"Wish {number}"}, 10))["intent"]["id"]
            offers.append((await wait_offers(mallory, intent, 1))["offers"][0]["id"])
            await mallory.desk.accept(offers[-1], "mallory@example.org", None, [], 0)
        await wait_until(bob, lambda node: node.vendor.counters["rejected_policy"] == count - 5)
        now = bob.node.clock.now()
        assert bob.node.vendor.stock.ledger.sold("duster", now) == 5
        intent = (await alice.desk.ask({**SKIING, "quantity": 5}, 10))["intent"]["id"]
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        await bob.crash()  # what is held is not forgotten, and lapses all the same
        await bob.start()
        assert bob.node.vendor.stock.ledger.sold("duster", bob.node.clock.now()) == 5
        await trio.sleep(STOCK_HOLD + 2)
        await wait_until(bob, lambda node: node.vendor.stock.ledger.sold("duster", node.clock.now()) == 0)
        await alice.desk.accept(offer["id"], "alice@example.org", None, [], 0)
        await wait_until(bob, lambda node: node.vendor.stock.ledger.sold("duster", node.clock.now()) == 5)
        contract = next(one for one in await bob.desk.offers_made() if one["id"] == offer["id"])["contract"]
        await bob.desk.decide(contract, True, None, "Keys at desk 4", "R-17")
        assert await decided(alice, offer["id"]) == "confirmed"
        assert (await alice.desk.show(contract))["contract"]["reference"] == "R-17"


async def test_many_nodes_of_one_machine_are_one_stranger(tmp_path: Path, clock: MockClock) -> None:
    """In the office nobody has a public subnet, and node keys are free: Mallory runs six nodes on one machine, and each
    accepts a car. Of four she holds two; Alice, at the next desk, gets hers."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        mallory = [await town.open(f"Mallory {number}") for number in range(6)]
        alice = await town.open("Alice")
        bob = await open_shop(town, tmp_path, FLEET.format(top='confirm = "by hand"', count="stock = 4"))
        machines = {one.peer_id: "192.168.1.66" for one in mallory}
        bob.node.vendor.accepts.machine_of = lambda peer: machines.get(peer, "")
        for one in mallory:
            intent = (await one.desk.ask(SKIING, 10))["intent"]["id"]
            (offer,) = (await wait_offers(one, intent, 1))["offers"]
            await one.desk.accept(offer["id"], "mallory@example.org", None, [], 0)
        await wait_until(bob, lambda node: node.vendor.counters["rejected_policy"] == 4)
        assert bob.node.vendor.stock.ledger.sold("duster", bob.node.clock.now()) == 2
        intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        await alice.desk.accept(offer["id"], "alice@example.org", None, [], 0)
        await wait_state(bob, offer["id"], "accepted")
        await wait_until(bob, lambda node: node.vendor.stock.ledger.sold("duster", node.clock.now()) == 3)


async def test_a_vendor_says_no_by_hand(tmp_path: Path, clock: MockClock) -> None:
    """Bob decides himself; he refuses, the car is free at once, and Alice is told why."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        bob = await open_shop(town, tmp_path, FLEET.format(top='confirm = "by hand"', count="stock = 1"))
        intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        await alice.desk.accept(offer["id"], "alice@example.org", None, [], 0)
        waiting = await wait_state(bob, offer["id"], "accepted")
        assert bob.node.vendor.stock.ledger.sold("duster", bob.node.clock.now()) == 1
        await bob.desk.decide(waiting["contract"], False, "policy", "Closed for the season", None)
        assert await decided(alice, offer["id"]) == "rejected"
        assert bob.node.vendor.stock.ledger.sold("duster", bob.node.clock.now()) == 0


async def test_what_lapsed_while_the_shop_was_off_waits_for_nobody(tmp_path: Path, clock: MockClock) -> None:
    """Bob decides himself, is off for five minutes, and Alice has waited no longer than two. When he is back he reads
    that it has lapsed, and not that it waits for him."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        bob = await open_shop(town, tmp_path, FLEET.format(top='confirm = "by hand"', count="stock = 1"))
        intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        await alice.desk.accept(offer["id"], "alice@example.org", None, [], 0, answer_within=120)
        await wait_state(bob, offer["id"], "accepted")
        await bob.crash()
        await trio.sleep(300)
        await bob.start()
        await wait_state(bob, offer["id"], "lapsed", 60)
        types = [event["type"] for event in await bob.store.peek(lambda tx: tx.events_after(0))]
        assert types.count("accept.waits") == 1
        assert bob.node.vendor.stock.ledger.sold("duster", bob.node.clock.now()) == 0


async def test_a_catalogue_is_read_again_while_the_node_runs(tmp_path: Path, clock: MockClock) -> None:
    """Nothing fits Alice's wish. Bob makes a mistake in his file: he is told, and the old one stays. He mends it, and
    the wish that was passed over is answered."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        bob = await open_shop(town, tmp_path, FLEET.format(top="", count="stock = 0"))
        path, node = tmp_path / "Bob.toml", bob.node
        intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        await wait_until(bob, lambda node: node.vendor.counters["passed_stock"] == 1)
        path.write_text(FLEET.format(top="", count="stock = three"))
        await reload(path, node.vendor, node.events)
        assert node.vendor.catalogue_trouble is not None
        assert f"{path}:" in node.vendor.catalogue_trouble
        assert (await bob.desk.status())["catalogue_trouble"] == node.vendor.catalogue_trouble
        assert node.vendor.catalogue is not None
        path.write_text(FLEET.format(top="", count="stock = 3").replace("mobility.**", 'mobility.**", "home.**'))
        await reload(path, node.vendor, node.events)
        assert node.vendor.catalogue_trouble is None
        await wait_offers(alice, intent, 1)
        assert "home" in node.gossip.divisions
        types = [event["type"] for event in await bob.store.peek(lambda tx: tx.events_after(0))]
        assert [one for one in types if one.startswith("catalogue.")] == ["catalogue.broken", "catalogue.loaded"]


async def test_a_shop_that_gives_up_a_trade_listens_to_it_no_longer(tmp_path: Path, clock: MockClock) -> None:
    """Bob sold homes' things and books beside cars. What he has no more he does not carry for others' sake either; but
    home he needs himself: he asked for a plumber."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        text = FLEET.format(top="", count="stock = 1")
        bob = await open_shop(town, tmp_path, text.replace("mobility.**", 'mobility.**", "home.**", "media.**'))
        assert bob.node.gossip.divisions == ("home", "media", "mobility")
        await bob.desk.ask(LEAK, 10)
        (tmp_path / "Bob.toml").write_text(text)
        await reload(tmp_path / "Bob.toml", bob.node.vendor, bob.node.events)
        assert bob.node.gossip.divisions == ("home", "mobility")
        await wait_until(market, lambda node: node.gossip.subscribers("media") == ())
        assert market.node.gossip.subscribers("home") != ()


@pytest.mark.live
async def test_a_file_that_changes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when it is replaced by another of the same length, as editors and shop systems do."""
    from node.vendor import watch

    monkeypatch.setattr(watch, "LOOK_EVERY", 0.05)
    async with open_town() as town:
        path = tmp_path / "catalogue.toml"
        path.write_text(FLEET.format(top="", count="stock = 1"))
        bob = await town.open("Bob", catalogue=load_catalogue(path), catalogue_file=path)
        new = tmp_path / "new.toml"
        new.write_text(FLEET.format(top="", count="stock = 2"))
        new.replace(path)
        await wait_until(bob, lambda node: node.vendor.counters["catalogue_loaded"] == 1)
        assert bob.node.vendor.catalogue is not None
        assert bob.node.vendor.catalogue.items[0].stock == 2
        with path.open("a") as file:
            file.write('[[lists]]\nfile = "more.csv"\ncategory = "mobility.car"\naction = "rent"\n')
            file.write('per = "day"\nplaces = "anywhere"\n')
        await wait_until(bob, lambda node: node.vendor.counters["catalogue_broken"] == 1)
        (tmp_path / "more.csv").write_text("Title;Price\nClio;29\n")  # what was missing comes
        await wait_until(bob, lambda node: node.vendor.counters["catalogue_loaded"] == 2)
        assert len(bob.node.vendor.catalogue.lists[0]) == 1
        (tmp_path / "more.csv").write_text("Title;Price\nClio;29\nTwingo;25\n")
        await wait_until(bob, lambda node: node.vendor.counters["catalogue_loaded"] == 3)
