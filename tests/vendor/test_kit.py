"""A vendor writes a program: tried at the desk without a node, then at work beside one, through good days and bad."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trio
from trio.testing import MockClock

from node.api import serve_api
from node.trouble import Trouble
from node.vendor import Context, Decline, Vendor, Wish, kit
from node.vendor.examples import book_shop, car_rental, plumber
from node.vendor.kit import load_program
from protocol.offer import Offer, Option
from protocol.terms import Money
from tests.driver import (
    SKIING,
    Neighbour,
    Town,
    car_hire,
    open_town,
    wait_heard,
    wait_offers,
    wait_state,
    wait_until,
)

NOW = int(datetime(2027, 3, 1, 12, tzinfo=ZoneInfo("Europe/Paris")).timestamp())
CAR: Mapping[str, Any] = {"action": "rent", "category": "mobility.car", "title": "A car"}


def shop_of(handler: Any, **rule: Any) -> Vendor:
    shop = Vendor("Bob", categories=["mobility.**"])
    shop.on_intent(**rule)(handler)
    return shop


class TestAtTheDesk:
    """No node, no network."""

    def test_an_offer_is_what_would_be_sent(self) -> None:
        def quote(wish: Wish, ctx: Context) -> Any:
            return ctx.offer(
                lines=[("Duster", 2, "day", "48.00 EUR"), ("Early bird", 1, "offer", "-6 EUR")],
                fees={"Airport": "15 EUR"},
                options=[("rack", "Ski rack", 500)],
            )

        found = shop_of(quote).test(CAR, NOW)
        assert isinstance(found, Offer)
        assert (found.total, found.options) == (Money(10_500, "EUR"), (Option("rack", "Ski rack", 500),))

    @pytest.mark.parametrize(
        ("rule", "wish", "fits"),
        [
            ({"action": "rent"}, CAR, True),
            ({"action": ("buy", "hire")}, CAR, False),
            ({"category": "mobility.car.**"}, CAR, True),
            ({"category": "mobility.bike.**"}, CAR, False),
            ({"category": "mobility.car.suv"}, CAR, True),
            ({"place": "iata:LYS"}, CAR, False),
            ({"place": "iata:LYS"}, {**CAR, "where": {"at": {"code": "iata:LYS"}}}, True),
            ({"place": "u05kq", "radius": 20}, {**CAR, "where": {"at": {"cells": ["u05kr"]}}}, True),
            ({"at_least": "50 EUR"}, {**CAR, "limit_public": {"minor": 4000, "currency": "EUR"}}, False),
            ({"at_least": "50 EUR"}, {**CAR, "limit_public": {"minor": 5000, "currency": "EUR"}}, True),
            ({"words": "ski rack"}, CAR, False),
            ({"words": "Ski Racks"}, {**CAR, "title": "A car with a rack for skis"}, True),
        ],
    )
    def test_rules(self, rule: dict[str, Any], wish: dict[str, Any], fits: bool) -> None:
        answer = shop_of(lambda wish, ctx: ctx.offer(total="10 EUR"), **rule).test(wish, NOW)
        assert isinstance(answer, Offer) is fits

    def test_the_first_that_answers_goes(self) -> None:
        shop = Vendor("Bob", categories=["mobility.**"])
        shop.on_intent(words="tank")(lambda wish, ctx: ctx.offer(total="1 EUR"))
        shop.on_intent()(lambda wish, ctx: None)
        shop.on_intent()(lambda wish, ctx: ctx.decline("capacity"))
        shop.on_intent()(lambda wish, ctx: ctx.offer(total="2 EUR"))
        assert shop.test(CAR, NOW) == Decline("capacity")
        assert shop.test({"action": "buy", "category": "media.book", "title": "x"}, NOW) is None

    def test_what_the_node_does_not_send_is_not_answered(self) -> None:
        """A rule answers who wants any car; `categories` are what the node sends, and nothing broader."""
        shop = Vendor("Bob", categories=["mobility.car.suv"])
        shop.on_intent()(lambda wish, ctx: ctx.offer(total="1 EUR"))
        assert shop.test(CAR, NOW) is None
        assert isinstance(shop.test({**CAR, "category": "mobility.car.suv"}, NOW), Offer)

    @pytest.mark.parametrize(
        ("more", "says"),
        [
            ({"where": "iata:LYS"}, "where: "),
            ({"from": "2027-02-12"}, "unknown field 'from'"),
            ({"titel": "A car"}, "did you mean 'title'?"),
            ({"where": {"code": "iata:LYS"}}, "where: unknown field 'code'"),
        ],
    )
    def test_a_slip_in_the_wish_is_told(self, more: dict[str, Any], says: str) -> None:
        with pytest.raises(Trouble) as caught:
            shop_of(lambda wish, ctx: None).test({**CAR, **more}, NOW)
        assert says in caught.value.message

    def test_a_handler_has_no_longer_than_at_work(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def hang(wish: Wish, ctx: Context) -> Any:
            await trio.sleep_forever()

        monkeypatch.setattr(kit, "SECONDS", 0.05)
        with pytest.raises(Trouble, match="a handler took over"):
            shop_of(hang).test(CAR, NOW)

    def test_a_wish_cannot_be_changed(self) -> None:
        def spoil(wish: Wish, ctx: Context) -> Any:
            wish.intent.title = "mine"  # type: ignore[misc]

        with pytest.raises(AttributeError):
            shop_of(spoil).test(CAR, NOW)

    @pytest.mark.parametrize(
        ("answer", "says"),
        [
            (lambda ctx: ctx.offer(), "needs a total or lines"),
            (lambda ctx: ctx.offer(total=5), "in which currency"),
            (lambda ctx: ctx.offer(total="5 EUR", fees={"x": "6 EUR"}), "fees are more than the total"),
            (lambda ctx: ctx.offer(total="5 EUR", lines=[("a", 1, "job", "4 EUR")]), "add up to 400"),
            (lambda ctx: ctx.offer(total="5 EUR", fees={"x": "1 USD"}), "one offer"),
            (lambda ctx: ctx.offer(total="1.200 EUR"), "two ways"),
            (lambda ctx: ctx.offer(total="5 EUR", valid_for="soon"), "no length of time"),
            (lambda ctx: ctx.offer(total="5 EUR", stock="car"), "how many of car"),
            (lambda ctx: ctx.decline("mood"), "no reason 'mood'"),
            (lambda ctx: ctx.reject("mood"), "no reason 'mood'"),
        ],
    )
    def test_slips_are_told(self, answer: Any, says: str) -> None:
        with pytest.raises(Trouble) as caught:
            shop_of(lambda wish, ctx: answer(ctx)).test(CAR, NOW)
        assert says in f"{caught.value.message} {caught.value.hint}"

    def test_what_is_no_answer_is_told(self) -> None:
        with pytest.raises(TypeError, match="returned str, not Quote or Decline"):
            shop_of(lambda wish, ctx: "yes").test(CAR, NOW)
        with pytest.raises(Trouble):
            Vendor("Bob", categories=["mobility.crs.**"])

    def test_a_must_that_is_not_said_is_not_met(self) -> None:
        wish = {**CAR, "props": [{"name": "drive", "op": "eq", "value": "4x4", "need": "must"}]}
        with pytest.raises(Trouble, match="drive: must be awd"):
            shop_of(lambda wish, ctx: ctx.offer(total="5 EUR")).test(wish, NOW)


class TestExamples:
    def test_the_car_rental_knows_seasons(self) -> None:
        found = car_rental.shop.test(SKIING, NOW)
        assert isinstance(found, Offer)
        assert [(line.count, line.price) for line in found.lines] == [(4, 7200), (2, 8640)]
        assert (found.total, found.meets) == (Money(4 * 7200 + 2 * 8640 + 1500, "EUR"), ("drive", "winter_tyres"))
        summer = {**SKIING, "when": {"start": "2027-07-05", "end": "2027-07-07", "tz": "Europe/Paris"}}
        found = car_rental.shop.test(summer, NOW)
        assert isinstance(found, Offer)
        assert found.total == Money(2 * 4800 + 1500, "EUR")
        assert car_rental.shop.test({**SKIING, "where": {"at": {"code": "iata:CDG"}}}, NOW) is None
        fwd = [{"name": "drive", "op": "eq", "value": "rwd", "need": "must"}]
        assert car_rental.shop.test({**SKIING, "props": fwd}, NOW) == Decline("product_fit")

    def test_the_plumber_has_a_calendar(self, monkeypatch: pytest.MonkeyPatch) -> None:
        zone = ZoneInfo("Europe/Paris")
        monkeypatch.setattr(
            plumber, "taken", [(datetime(2027, 3, 22, 8, tzinfo=zone), datetime(2027, 3, 22, 10, tzinfo=zone))]
        )
        wish = {
            "action": "repair",
            "category": "home.plumbing",
            "title": "The tap drips",
            "where": {"at": {"cells": ["u05kq"]}},
            "when": {"start": "2027-03-20", "end": "2027-03-23", "tz": "Europe/Paris"},
        }
        found = plumber.shop.test(wish, NOW)
        assert isinstance(found, Offer)
        assert found.when is not None
        assert (found.when.start, found.when.end) == ("2027-03-22T11:00", "2027-03-22T13:00")
        weekend = {**wish, "when": {"start": "2027-03-20", "end": "2027-03-22", "tz": "Europe/Paris"}}
        assert plumber.shop.test(weekend, NOW) == Decline("capacity", "nothing free in that time")

    def test_the_book_shop_finds_by_isbn_and_title(self) -> None:
        wish = {"action": "buy", "category": "media.book", "title": "A novel"}
        isbn = {"name": "isbn", "op": "eq", "value": "0-15-600131-4", "need": "must"}
        found = book_shop.shop.test({**wish, "props": [isbn]}, NOW)
        assert isinstance(found, Offer)
        assert found.lines[0].title == "Umberto Eco: The Name of the Rose"
        found = book_shop.shop.test({**wish, "title": "Snow Crash, any edition"}, NOW)
        assert isinstance(found, Offer)
        assert found.total == Money(900 + 320, "EUR")
        assert book_shop.shop.test(wish, NOW) is None


# ------------------------------------------------------------------------------------------------------ at work


@asynccontextmanager
async def node_with_door(town: Town, home: Path, name: str = "Bob") -> AsyncIterator[Neighbour]:
    """A vendor's node with its local API, as `up` serves it."""
    home.mkdir(exist_ok=True)  # noqa: ASYNC240  # one directory of a test
    neighbour = await town.open(name)
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_api, neighbour.desk, home / "node.sock")
        (home / "running.json").write_text(json.dumps({"socket": str(home / "node.sock")}))
        yield neighbour
        nursery.cancel_scope.cancel()


async def wait_program(bob: Neighbour, name: str, **wanted: int) -> dict[str, Any]:
    """Until a program is here, and has counted so much."""
    found: dict[str, Any] = {}

    def there(node: Any) -> bool:
        nonlocal found
        found = next((one for one in node.vendor.programs.views() if one["name"] == name), {})
        counts = found.get("counts", {})
        return found.get("state") in ("here", "resting") and all(counts.get(k, 0) >= v for k, v in wanted.items())

    await wait_until(bob, there)
    return found


@pytest.mark.live
async def test_a_program_answers_and_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pia's program offers Alice a time; Alice accepts, the program confirms with a word of its own, and the node holds
    the time: Carol, who comes later, is offered the next."""
    monkeypatch.setattr(plumber, "taken", [])
    monkeypatch.setattr(plumber.shop, "home", tmp_path / "bob")
    wish = {
        "action": "repair",
        "category": "home.plumbing",
        "title": "The tap drips",
        "where": {"at": {"cells": ["u05kq"]}},
        "when": {"start": "2037-03-23", "end": "2037-03-24", "tz": "Europe/Paris"},
    }
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, carol = await town.open("Alice"), await town.open("Carol")
        async with node_with_door(town, tmp_path / "bob") as bob, trio.open_nursery() as nursery:
            nursery.start_soon(plumber.shop.serve)
            await wait_program(bob, "Pia Plumber")
            await bob.node.gossip.wait_subscriber("home")
            intent = (await alice.desk.ask(wish, 10))["intent"]["id"]
            (offer,) = (await wait_offers(alice, intent, 1))["offers"]
            assert offer["when"]["start"] == "2037-03-23T08:00"
            await alice.desk.accept(offer["id"], "alice@example.org", "Ring twice", ["disposal"], 10)
            await wait_state(alice, offer["id"], "confirmed")
            (made,) = await bob.desk.offers_made()
            contract = (await alice.desk.show(made["contract"]))["contract"]
            assert (contract["reference"], contract["vendor_contact"]) == ("visit 1", "Pia, +33 6 11 22 33 44")
            assert len(plumber.taken) == 1
            intent = (await carol.desk.ask(wish, 10))["intent"]["id"]
            (offer,) = (await wait_offers(carol, intent, 1))["offers"]
            assert offer["when"]["start"] == "2037-03-23T11:00"
            counts = (await wait_program(bob, "Pia Plumber", offer=0, confirm=1))["counts"]
            assert (counts["offered"], counts["confirm"]) == (2, 1)
            nursery.cancel_scope.cancel()


WILD = """
import os, sys, time
import trio
from node.vendor import Vendor

shop = Vendor("Wild", categories=["mobility.**"], contact="Bob", home=sys.argv[1])
behaves = os.path.exists(sys.argv[1] + "/behaves")

@shop.on_intent()
async def quote(wish, ctx):
    word = wish.title.split()[0]
    if behaves or word == "good":
        return ctx.offer(total="10 EUR")
    if word == "raises":
        raise RuntimeError("oh no")
    if word == "hangs":
        await trio.sleep(60)
    if word == "spins":
        while True:
            pass
    if word == "dies":
        os._exit(9)
    if word == "lies":
        return "yes"
    return None

shop.run()
"""


def start_wild(home: Path, script: Path) -> subprocess.Popen[bytes]:
    with open(home / "wild.log", "ab") as log:
        return subprocess.Popen([sys.executable, str(script), str(home)], stdout=log, stderr=log)


@pytest.mark.live
async def test_a_wild_program_costs_the_node_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its handler raises, returns nonsense, hangs and spins. Each is counted, other wishes are answered,
    and when a mended program is back, all that was not answered is offered to it again."""
    from node.vendor import programs

    monkeypatch.setattr(programs, "JOB_SECONDS", 0.5)
    monkeypatch.setattr(programs, "SLACK", 0.5)
    script, home = tmp_path / "wild.py", tmp_path / "bob"
    script.write_text(WILD)
    started: list[subprocess.Popen[bytes]] = []

    async def ask_for(word: str, counted: str) -> str:
        """Ask a wish, and wait for what it does to the program."""
        before = counts()[counted]
        intent = (await alice.desk.ask({**CAR, "title": f"{word} wish"}, 10))["intent"]["id"]
        await wait_until(bob, lambda _node: counts()[counted] > before, 60)
        return str(intent)

    def counts() -> Counter[str]:
        return Counter(next((one["counts"] for one in bob.node.vendor.programs.views()), {}))

    try:
        async with open_town() as town:
            await town.open("Market", meeting=True)
            alice = await town.open("Alice")
            async with node_with_door(town, home) as bob:
                started.append(start_wild(home, script))
                await wait_program(bob, "Wild")
                await bob.node.gossip.wait_subscriber("mobility")
                asked = [await ask_for("raises", "raised"), await ask_for("lies", "raised")]
                asked += [await ask_for("hangs", "timeout")]
                await wait_offers(alice, await ask_for("good", "offered"), 1)
                asked += [await ask_for("spins", "timeout")]
                asked += [await ask_for("good but stuck behind it", "timeout")]
                started[-1].kill()
                started[-1].wait(10)
                await wait_until(bob, lambda node: node.vendor.programs.views()[0]["state"] == "away")
                assert "timeout" in (await bob.desk.status())["programs"][0]["last_error"]
                (home / "behaves").touch()
                started.append(start_wild(home, script))
                for intent in asked:
                    await wait_offers(alice, intent, 1)
    finally:
        for process in started:
            process.kill()
            process.wait(10)


@pytest.mark.live
async def test_a_program_that_died_is_asked_again_when_it_is_back(tmp_path: Path) -> None:
    """The process ends in the middle of Alice's wish, and another wish comes while nobody is there. The node counts it,
    waits, and the next life of the program answers both."""
    script, home = tmp_path / "wild.py", tmp_path / "bob"
    script.write_text(WILD)
    started: list[subprocess.Popen[bytes]] = []
    try:
        async with open_town() as town:
            await town.open("Market", meeting=True)
            alice = await town.open("Alice")
            async with node_with_door(town, home) as bob:
                started.append(start_wild(home, script))
                await wait_program(bob, "Wild")
                await bob.node.gossip.wait_subscriber("mobility")
                deadly = (await alice.desk.ask({**CAR, "title": "dies of it"}, 10))["intent"]["id"]
                assert await trio.to_thread.run_sync(started[0].wait, 30) == 9
                await wait_until(bob, lambda node: node.vendor.programs.views()[0]["state"] == "away")
                (view,) = (await bob.desk.office.stats(1))["programs"]
                assert view["counts"] == {"died": 1}
                assert view["last_error"] == "died on a wish: it went away before it answered"
                second = (await alice.desk.ask({**CAR, "title": "good, but nobody is there"}, 10))["intent"]["id"]
                await wait_heard(bob, second)
                (home / "behaves").touch()
                started.append(start_wild(home, script))
                for intent in (deadly, second):
                    await wait_offers(alice, intent, 1)
                assert {one["state"] for one in (await bob.desk.status())["programs"]} == {"here"}
    finally:
        for process in started:
            process.kill()
            process.wait(10)


@pytest.mark.live
async def test_a_program_outlives_its_node(tmp_path: Path) -> None:
    """The node ends in the middle of a stream and is started again: the program waits, comes back and answers. A second
    program of its name is told that there is one, and ends."""
    home = tmp_path / "bob"
    home.mkdir()
    shop, twin = (Vendor("Bob", categories=["mobility.**"], home=home) for _ in range(2))
    shop.on_intent()(lambda wish, ctx: ctx.offer(total="10 EUR"))
    (home / "running.json").write_text(json.dumps({"socket": str(home / "node.sock")}))
    async with open_town() as town, trio.open_nursery() as nursery:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob")
        nursery.start_soon(shop.serve)
        for _ in range(2):
            async with trio.open_nursery() as node:
                await node.start(serve_api, bob.desk, home / "node.sock")
                await wait_program(bob, "Bob")
                with pytest.raises(Trouble, match="connected already"):
                    await twin.serve()
                await bob.node.gossip.wait_subscriber("mobility")
                intent = (await alice.desk.ask(CAR, 10))["intent"]["id"]
                await wait_offers(alice, intent, 1)
                node.cancel_scope.cancel()
            await wait_until(bob, lambda node: node.vendor.programs.views()[0]["state"] == "away")
        nursery.cancel_scope.cancel()


@pytest.mark.slow
def test_mypy_is_strict_about_an_example_as_a_stranger_has_it(tmp_path: Path) -> None:
    """The package says that it is typed, and its words hold: a shop of one's own passes `mypy --strict`, and a slip in
    it does not."""
    shop = tmp_path / "my_shop.py"
    shop.write_text(Path(car_rental.__file__).read_text())
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--config-file", "/dev/null", str(shop)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    shop.write_text(shop.read_text().replace('wish.count("day")', "wish.count(24)"))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert 'has incompatible type "int"; expected "str"' in done.stdout


async def test_a_wish_that_brings_a_program_down_is_left_alone(clock: MockClock) -> None:
    """Mallory's wish kills the program whenever it is asked. It is asked alone, so Alice's wish is not taken along; and
    after the third time it is passed over, and counted."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, mallory = await town.open("Alice"), await town.open("Mallory")
        bob = await town.open("Bob", divisions=("mobility",))
        said = {"name": "Shop", "contact": "Bob", "categories": ["mobility.car"]}
        await bob.node.gossip.wait_subscriber("mobility")
        evil = (await mallory.desk.ask({**CAR, "title": "poison"}, 10))["intent"]["id"]
        answered = 0
        for life in range(3):
            if life == 1:
                await alice.desk.ask(CAR, 10)
            jobs = await bob.desk.program(said)
            async for job in jobs:
                if job["type"] == "wish" and job["wish"]["title"] == "poison":
                    break
                if job["type"] == "wish":
                    total = {"minor": 1000, "currency": "EUR"}
                    offer = {"total": total, "valid_for": 3600}
                    await bob.desk.answer_job(job["job"], {"outcome": "offer", "offer": offer})
                    answered += 1
            await jobs.aclose()
        assert answered <= 1
        await wait_until(bob, lambda node: node.vendor.counters["passed_program:gave_up"] == 1)
        heard = {view["id"]: view for view in await bob.desk.heard()}
        assert heard[evil]["why"] == "program:gave_up"
        jobs = await bob.desk.program(said)
        titles = []
        with trio.move_on_after(60):
            async for job in jobs:
                titles += [job["wish"]["title"]] if job["type"] == "wish" else []
                if job["type"] == "wish":
                    await bob.desk.answer_job(job["job"], {"outcome": "decline", "code": "capacity"})
        assert "poison" not in titles
        assert answered + len(titles) == 1


async def test_why_nobody_answered_is_what_happened(clock: MockClock) -> None:
    """Bob's catalogue has nothing for Alice's wish; his program may have, and goes away. She gives up."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        bob = await town.open("Bob", catalogue=car_hire())
        await bob.node.gossip.wait_subscriber("mobility")
        jobs = await bob.desk.program({"name": "Shop", "contact": "Bob", "categories": ["mobility.**"]})
        assert (await anext(jobs))["type"] == "hello"

        async def line() -> str:
            (wish,) = (await bob.desk.office.unanswered())["intents"]
            return str(wish["line"])

        unmet = {**SKIING, "props": [{"name": "seats", "op": "min", "value": 9, "need": "must"}]}
        intent = (await alice.desk.ask(unmet, 10))["intent"]["id"]
        job = await anext(jobs)
        assert await line() == "it waits for your program Shop, which is being asked"
        await jobs.aclose()
        revision = bytes.fromhex(job["wish"]["revision"])
        await wait_until(bob, lambda node: node.vendor.catalogue_passed(revision) is not None)
        catalogue = "; your catalogue: it insists on seats, which you do not state so"
        assert await line() == f"it waits for your program Shop, which is away{catalogue}"
        await alice.desk.withdraw(intent)
        await wait_until(bob, lambda node: node.board.get(revision) is None)
        bob.node.vendor.forget_passed()
        assert await line() == f"it ended before anything here decided about it{catalogue}"
        stats = await bob.desk.office.stats(1)
        assert (stats["heard"], stats["matched"], stats["passed_because"]) == (1, 0, {"unanswered": 1})
        intent = (await alice.desk.ask({**unmet, "expires": 300}, 10))["intent"]["id"]
        await wait_heard(bob, intent)
        await wait_until(bob, lambda node: not any(one.message.root.hex() == intent for one in node.board), 2_000)
        stats = await bob.desk.office.stats(2)
        assert (stats["heard"], stats["passed_because"]) == (2, {"unanswered": 2})


async def test_a_wish_a_program_failed_over_says_so(clock: MockClock) -> None:
    """Nobody else answers here: it stays open until the program is back."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice, bob = await town.open("Alice"), await town.open("Bob", divisions=("mobility",))
        await bob.node.gossip.wait_subscriber("mobility")
        jobs = await bob.desk.program({"name": "Shop", "contact": "Bob", "categories": ["mobility.**"]})
        assert (await anext(jobs))["type"] == "hello"
        await alice.desk.ask(SKIING, 10)
        job = await anext(jobs)
        await bob.desk.answer_job(job["job"], {"outcome": "raised", "error": "KeyError: 'skis'"})
        (wish,) = (await bob.desk.office.unanswered())["intents"]
        assert wish["line"] == "it waits for your program Shop, which failed over it"
        await jobs.aclose()


async def test_a_program_that_does_not_answer_rests(clock: MockClock) -> None:
    """Three wishes without an answer: it is left alone for a while, and then asked again; the catalogue goes on."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        alice = await town.open("Alice")
        bob = await town.open("Bob", catalogue=car_hire())
        await bob.node.gossip.wait_subscriber("mobility")
        got: list[str] = []

        async def be_silent() -> None:
            async for job in await bob.desk.program({"name": "S", "contact": "B", "categories": ["mobility.**"]}):
                got.append(job["type"])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_silent)
            await wait_until(bob, lambda _node: got == ["hello"])
            intents = [(await alice.desk.ask(SKIING, 10))["intent"]["id"] for _ in range(3)]
            for intent in intents:  # by the catalogue, once the program had its time
                await wait_offers(alice, intent, 1, 60)
            assert bob.node.vendor.programs.views()[0]["counts"] == {"timeout": 3, "rested": 1}
            assert bob.node.vendor.programs.views()[0]["state"] == "resting"
            intent = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
            await wait_offers(alice, intent, 1, 5)
            assert len(got) == 4
            await trio.sleep(30)
            await alice.desk.ask(SKIING, 10)
            await wait_until(bob, lambda _node: len(got) == 5)
            nursery.cancel_scope.cancel()


@pytest.mark.live
async def test_what_a_program_cannot_do(tmp_path: Path) -> None:
    """A second one of the same name is not let in; an answer to no job is refused; a program that is gone is waited for
    until it is forgotten, and its division is listened to all the while."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        bob = await town.open("Bob")
        said = {"name": "Shop", "contact": "x", "categories": ["mobility.car"]}
        jobs = await bob.desk.program(said)
        assert (await anext(jobs))["type"] == "hello"
        with pytest.raises(Trouble, match="connected already"):
            await anext(await bob.desk.program(said))
        with pytest.raises(Trouble, match="job is over"):
            await bob.desk.answer_job("0" * 16, {"outcome": "nothing"})
        with pytest.raises(Trouble, match="no category"):
            await bob.desk.program({**said, "categories": ["mobility.crs"]})
        await jobs.aclose()
        assert "mobility" in bob.node.vendor.divisions
        alice = await town.open("Alice")
        await bob.node.gossip.wait_subscriber("mobility")
        jobs = await bob.desk.program(said)
        await alice.desk.ask(CAR, 10)
        async for job in jobs:
            if job["type"] == "wish":
                with pytest.raises(Trouble, match="no reason 'mood'"):
                    await bob.desk.answer_job(job["job"], {"outcome": "decline", "code": "mood"})
                break
        await jobs.aclose()
        await bob.crash()
        await bob.start()
        assert "mobility" in bob.node.gossip.divisions
        assert (await bob.desk.status())["programs"][0]["state"] == "away"
        assert (await bob.desk.forget_program("Shop"))["programs"] == []


def test_a_program_is_found_by_its_file(tmp_path: Path) -> None:
    file = tmp_path / "my.py"
    file.write_text("from node.vendor import Vendor\nother = Vendor('X', categories=['plumber'])\n")
    assert load_program(f"{file}:other").name == "X"
    for text, says in ((str(file), "no Vendor called shop"), (f"{tmp_path}/none.py", "no program")):
        with pytest.raises(Trouble, match=says):
            load_program(text)
