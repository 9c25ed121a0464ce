"""Ways to trade that the seeds ask for: by words alone, by sealed bids until an hour, with declared fees only, and one
bar code across shops."""

from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from node.trouble import Trouble
from node.vendor.catalogue import load_catalogue
from tests.driver import SKIING, Neighbour, Town, by_hand, open_town, wait_heard, wait_offers, wait_state, wait_until

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


async def test_sealed_bids_until_an_hour(clock: MockClock) -> None:
    """S16. Three vendors bid for Alice's wish until four o'clock. Nobody sees another's bid; each may go lower, and its
    newer bid replaces the older; after the hour no bid is made; the lowest is accepted, the others are told no."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        bidders = [await town.open(name, divisions=("mobility",)) for name in ("Bob", "Carol", "Dave")]
        hour = market.node.clock.now() + 3600
        intent = (await alice.desk.ask({**SKIING, "props": [], "offers_by": hour}, 10))["intent"]["id"]
        for bidder in bidders:
            await wait_heard(bidder, intent)
        made = {}
        for bidder, price in zip(bidders, (50_000, 45_000, 48_000), strict=True):
            made[bidder.name] = await bidder.desk.make_offer(intent, by_hand(price, name=bidder.name))
        assert totals(await wait_offers(alice, intent, 3)) == {"Bob": 50_000, "Carol": 45_000, "Dave": 48_000}
        await bidders[0].desk.make_offer(intent, by_hand(44_000, name="Bob"))

        async def lowered(_node: Any) -> bool:
            offers = (await alice.desk.offers_for(intent))["offers"]
            return {"Bob": 44_000, "Carol": 45_000, "Dave": 48_000} == {
                offer["vendor"]["name"]: offer["total"]["minor"] for offer in offers if offer["state"] == "offered"
            }

        await wait_until(alice, lowered)
        for bidder in bidders:  # sealed: what each has, and knows, is its own
            assert {offer["vendor"]["name"] for offer in await bidder.desk.offers_made()} == {bidder.name}
        await trio.sleep(3600)
        with pytest.raises(Trouble, match="no longer collects"):
            await bidders[2].desk.make_offer(intent, by_hand(10_000, name="Dave"))
        best = (await alice.desk.offers_for(intent))["offers"][0]
        assert (best["vendor"]["name"], best["total"]["minor"]) == ("Bob", 44_000)
        await alice.desk.accept(best["id"], "alice@example.org", None, [], 20)
        await wait_state(alice, best["id"], "confirmed")
        for loser in bidders[1:]:
            await wait_state(loser, made[loser.name]["offer"]["id"], "declined")


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
