"""Ways to trade that the seeds ask for: by words alone, by sealed bids until an hour, with declared fees only, and one
bar code across shops."""

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.drafts import Draft
from node.trouble import Trouble
from node.vendor.catalogue import load_catalogue
from tests.driver import (
    SKIING,
    Neighbour,
    Town,
    by_hand,
    car_hire,
    open_town,
    wait_heard,
    wait_offers,
    wait_state,
    wait_until,
)

SHOP = """
name = "{name}"
contact = "{name}@example.org"
categories = ["media.**"]
currency = "EUR"
[[lists]]
file = "{name}.csv"
category = "media.book"
action = "buy"
per = "piece"
places = {places}
{more}
"""

ISBN = "9780156001311"


async def open_list(
    town: Town, folder: Path, name: str, lines: list[str], places: str = '"anywhere"', more: str = ""
) -> Neighbour:
    """A shop with a price list as its till writes it."""
    (folder / f"{name}.csv").write_text("SKU;Title;Price;Stock;ISBN\n" + "\n".join(lines) + "\n")
    path = folder / f"{name}.toml"
    path.write_text(SHOP.format(name=name, places=places, more=more))
    shop = await town.open(name, catalogue=load_catalogue(path))
    for division in shop.node.vendor.divisions:
        await shop.node.gossip.wait_subscriber(division)
    return shop


def buy(title: str, category: str = "media.book", **more: Any) -> dict[str, Any]:
    return {"action": "buy", "category": category, "title": title, **more}


def totals(found: dict[str, Any]) -> dict[str, int]:
    return {offer["vendor"]["name"]: offer["total"]["minor"] for offer in found["offers"]}


async def test_a_wish_in_a_few_words_finds_its_thing(tmp_path: Path, clock: MockClock) -> None:
    """S14. Alice types words, no properties, in a broad category. The one line among thousands that is called so is
    offered; a shop that has nothing of the kind stays silent, and can read why in one line."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        books = [f"B{number};Handbook of subject {number};9.00;1;" for number in range(2_000)]
        await open_list(town, tmp_path, "Rose", [*books, "X;Umberto Eco: The Name of the Rose;7.50;1;"])
        silent = await open_list(town, tmp_path, "Silent", books)
        intent = (await alice.desk.ask(buy("the name of the rose, umberto eco", "media"), 10))["intent"]["id"]
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        assert offer["lines"][0]["title"] == "Umberto Eco: The Name of the Rose"
        await wait_until(silent, lambda node: node.vendor.counters["passed_words"] == 1)
        (why,) = (await silent.desk.office.unanswered())["intents"]
        assert why["line"] == "nothing in your lists is called like that"


async def bid(vendor: Neighbour, intent: str, price: int) -> str:
    """The id of the offer it makes."""
    made = await vendor.desk.make_offer(intent, by_hand(price, name=vendor.name))
    return str(made["offer"]["id"])


async def wait_sealed(person: Neighbour, intent: str, count: int) -> dict[str, Any]:
    """Until so many vendors' bids have come, which nobody sees yet."""
    found: dict[str, Any] = {}

    async def there(_node: Any) -> bool:
        found.update(await person.desk.offers_for(intent))
        return bool(found["sealed"] == count)

    await wait_until(person, there)
    return found


async def test_sealed_bids_until_an_hour(clock: MockClock) -> None:
    """S16. Vendors bid for Alice's wish until an hour. Nobody sees a bid before, not even Alice; each may go lower. At
    the hour all are opened together. What comes then is refused, however it is dated: Mallory's clock is slow, and her
    second bid is late, so her first one stands; Eve had none, and is turned away at the door."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        bidders = [await town.open(name, divisions=("mobility",)) for name in ("Bob", "Carol", "Dave")]
        mallory, eve = [await town.open(name, divisions=("mobility",), skew=-60) for name in ("Mallory", "Eve")]
        bob, carol, dave = bidders
        hour = market.node.clock.now() + 3600
        intent = (await alice.desk.ask({**SKIING, "props": [], "offers_by": hour}, 10))["intent"]["id"]
        for vendor in (*bidders, mallory, eve):
            await wait_heard(vendor, intent)
        first = [await bid(*one) for one in ((bob, intent, 50_000), (carol, intent, 45_000), (dave, intent, 48_000))]
        await bid(mallory, intent, 60_000)
        found = await wait_sealed(alice, intent, 4)
        assert (found["offers"], found["opens_at"]) == ([], hour)
        (mine,) = await alice.desk.wishes()
        assert (mine["offers"], mine["sealed"]) == (0, 4)
        assert (await alice.desk.show(first[1]))["offer"] == {
            "id": first[1], "intent": intent, "state": "sealed", "opens_at": hour,
        }  # fmt: skip
        with pytest.raises(Trouble, match="sealed until"):
            await alice.desk.accept(first[1], "alice@example.org", None, [], 20)
        with pytest.raises(Trouble, match="sealed until"):
            await alice.desk.decline(first[1], None)
        await bid(bob, intent, 44_000)
        for vendor in bidders:  # what each has, and knows, is its own
            assert {offer["vendor"]["name"] for offer in await vendor.desk.offers_made()} == {vendor.name}
        assert await wait_opened(alice) == hour
        with pytest.raises(Trouble, match="no longer collects"):
            await bid(dave, intent, 10_000)
        late = [(vendor, await bid(vendor, intent, 10_000)) for vendor in (mallory, eve)]
        for vendor, offer in late:
            assert (await wait_state(vendor, offer, "void"))["reason"] == "late"
        assert alice.node.requester.counters["late_offers"] == 2
        for _ in range(2):  # also as rebuilt from what is stored
            offers = (await alice.desk.offers_for(intent))["offers"]
            open_ones = {one["vendor"]["name"]: one["total"]["minor"] for one in offers if one["state"] == "offered"}
            assert open_ones == {"Bob": 44_000, "Carol": 45_000, "Dave": 48_000, "Mallory": 60_000}
            await alice.crash()
            await alice.start()
        best = offers[0]
        assert (best["vendor"]["name"], best["total"]["minor"]) == ("Bob", 44_000)
        await alice.desk.accept(best["id"], "alice@example.org", None, [], 20)
        await wait_state(alice, best["id"], "confirmed")
        for loser, offer in ((carol, first[1]), (dave, first[2])):
            await wait_state(loser, offer, "declined")


async def wait_opened(person: Neighbour) -> int:
    """Until its node has opened the offers to a wish: the hour at which it did."""
    found: list[int] = []

    async def told(_node: Any) -> bool:
        events = await person.store.peek(lambda tx: tx.events_after(0))
        found.extend(event["at"] for event in events if event["type"] == "offers.opened")
        return bool(found)

    await wait_until(person, told, 4000)
    return found[0]


async def test_a_person_who_sleeps_through_the_hour(clock: MockClock) -> None:
    """Alice's laptop is closed when Bob bids, and when the hour comes. The bid was made in time, so it counts; all are
    opened a moment after the laptop is. An offer from a price list binds long enough to be taken then."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        bob = await town.open("Bob", divisions=("mobility",))
        carol = await town.open("Carol", catalogue=car_hire())
        await carol.node.gossip.wait_subscriber("mobility")
        hour = market.node.clock.now() + 6 * 3600
        intent = (await alice.desk.ask({**SKIING, "offers_by": hour}, 10))["intent"]["id"]
        await wait_sealed(alice, intent, 1)
        await wait_heard(bob, intent)
        await alice.crash()
        await bid(bob, intent, 20_000)
        await trio.sleep(6 * 3600 + 600)
        await alice.start()
        assert (await alice.desk.offers_for(intent))["opens_at"] == hour
        await wait_opened(alice)
        found = (await alice.desk.offers_for(intent))["offers"]
        assert {one["vendor"]["name"]: one["state"] for one in found} == {"Bob": "offered", "Alpine Cars": "offered"}


def test_an_hour_behind_the_end_of_a_wish_is_refused() -> None:
    said = {**SKIING, "offers_by": 3_500, "expires": 3_600}
    with pytest.raises(Trouble, match="would end before its offers"):
        Draft(said, None, 0).intent(bytes(32), ())


async def test_fees_are_declared_or_not_owed(tmp_path: Path, clock: MockClock) -> None:
    """S19. Whoever takes a part says so, in the total: a fee beside it cannot be sent, and the contract both hold adds
    up to lines, fees and the options Alice chose, and nothing else."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, carol = await town.open("Alice"), await town.open("Carol", divisions=("media",))
        fee, option = '{ name = "Broker", amount = "1.50" }', '{ name = "gift", title = "Wrapped", amount = "2" }'
        more = f"fees = [{fee}]\noptions = [{option}]"
        await open_list(town, tmp_path, "Bob", [f"A;The Name of the Rose;7.50;3;{ISBN}"], more=more)
        intent = (await alice.desk.ask(buy("The Name of the Rose"), 10))["intent"]["id"]
        (offer,) = (await wait_offers(alice, intent, 1))["offers"]
        assert (offer["total"]["minor"], offer["fees"]) == (900, [{"name": "Broker", "amount": 150}])
        await wait_heard(carol, intent)
        line = {"title": "Book", "count": 1, "unit": "piece", "price": 700, "amount": 700}
        hidden = by_hand(900, props=[], lines=[line], fees=[{"name": "Broker", "amount": 150}])
        with pytest.raises(Trouble, match="add up to 850"):
            await carol.desk.make_offer(intent, hidden)
        contract = (await alice.desk.accept(offer["id"], "alice@example.org", None, ["gift"], 20))["contract"]
        assert contract["total_with_options"] == {"minor": 1100, "currency": "EUR"}
        shown = (await alice.desk.show(contract["id"]))["contract"]
        assert shown["total_with_options"] == contract["total_with_options"]


async def test_one_bar_code_across_shops(tmp_path: Path, clock: MockClock) -> None:
    """S70. Alice scans a book in one shop and asks the market for the very same: three answer, each writes the number
    in its own way, and they stand side by side, the one around the corner too; a fourth has another edition."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        await open_list(town, tmp_path, "Online", [f"A;Name of the Rose;8.00;5;{ISBN}"])
        await open_list(town, tmp_path, "Used", ["B;The Name of the Rose (used);5.00;1;0-15-600131-4"])
        await open_list(town, tmp_path, "Corner", ["C;Il nome della rosa;9.50;1;978-0-15-600131-1"], places='["u05kq"]')
        other = await open_list(town, tmp_path, "Other", ["D;The Name of the Rose;1.00;9;9780553380958"])
        code = {"name": "isbn", "op": "eq", "value": ISBN, "need": "must"}
        near = {"at": {"cells": ["u05kq"]}, "radius": 5}
        intent = (await alice.desk.ask(buy("This book", props=[code], where=near), 10))["intent"]["id"]
        found = await wait_offers(alice, intent, 3)
        assert totals(found) == {"Used": 500, "Online": 800, "Corner": 950}
        assert [offer["vendor"]["name"] for offer in found["offers"]] == ["Used", "Online", "Corner"]
        for offer in found["offers"]:
            assert {fact["name"]: fact["value"] for fact in offer["props"]}["gtin"] == ISBN
            assert offer["meets"] == ["gtin"]
        await wait_until(other, lambda node: node.vendor.counters["passed_must:gtin"] == 1)
