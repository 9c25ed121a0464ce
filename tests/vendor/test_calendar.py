"""Prices that follow the season and the day of the week; cars that come back; a plumber's calendar."""

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.store import HoldRow
from node.trouble import Trouble
from node.vendor.catalogue import load_catalogue
from node.vendor.ledger import Ledger
from node.vendor.quote import Pass, Quote, quote, slot_of, slot_option
from node.vendor.shelf import Catalogue, Left, Season, all_left
from node.vendor.stock import Stock
from protocol.intent import Intent
from protocol.offer import Line
from protocol.terms import Place, When, Where
from tests.vendor.test_quote import instant

PARIS = "Europe/Paris"
NOW = instant("2027-03-01T12:00")

CARS = """\
name = "Alpine Cars"
contact = "x"
categories = ["mobility.car.**"]
currency = "EUR"
tz = "Europe/Paris"
[items.duster]
title = "Duster"
category = "mobility.car.suv"
action = "rent"
price = "50"
per = "{per}"
places = ["iata:LYS"]
fleet = 2
turnaround = "2h"
[[items.duster.seasons]]
name = "Winter"
from = "12-15"
until = "03-22"
price = "80"
[[items.duster.seasons]]
name = "Weekend"
days = ["sat", "Sunday"]
price = "65"
"""

PLUMBER = """\
name = "Pia"
contact = "x"
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
notice = "3h"
turnaround = "30m"
closed = [{ from = "2027-03-24", until = "2027-03-25" }]
[[items.leak.slots]]
days = ["mon", "tue", "wed", "thu", "fri"]
from = "08:00"
until = "12:00"
length = "2h"
[[items.leak.slots]]
date = "2027-03-27"
from = "22:00"
until = "24:00"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def load(folder: Path, text: str) -> Catalogue:
    (folder / "catalogue.toml").write_text(text)
    return load_catalogue(folder / "catalogue.toml")


def car(start: str, end: str, quantity: int = 1) -> Intent:
    where = Where(Place(code="iata:LYS"))
    return Intent(
        "rent", "mobility.car", "A car", bytes(32), when=When(start, end, PARIS), where=where, quantity=quantity
    )


def leak(start: str, end: str, **more: object) -> Intent:
    return Intent("repair", "home.plumbing", "A leak", bytes(32), when=When(start, end, PARIS), **more)  # type: ignore[arg-type]


def asked(shop: Catalogue, intent: Intent, left: Left = all_left, now: int = NOW) -> Quote | Pass:
    return quote(shop, intent, wish_at=now, now=now, left=left)


def offered(shop: Catalogue, intent: Intent, left: Left = all_left, now: int = NOW) -> Quote:
    found = asked(shop, intent, left, now)
    assert isinstance(found, Quote), found
    return found


class TestSeasons:
    def test_each_day_has_its_price_and_each_price_its_line(self, folder: Path) -> None:
        """Friday 19 to Thursday 25 March: three days of winter, then spring; the weekend within winter is winter."""
        shop = load(folder, CARS.format(per="day"))
        found = offered(shop, car("2027-03-19T10:00", "2027-03-25T10:00")).offer
        assert found.lines == (Line("Duster, Winter", 3, "day", 8000, 24000), Line("Duster", 3, "day", 5000, 15000))
        assert found.total.minor == 39000

    def test_weekends(self, folder: Path) -> None:
        shop = load(folder, CARS.format(per="night").replace("fleet = 2", "fleet = 4"))
        found = offered(shop, car("2027-04-02T15:00", "2027-04-06T10:00", 2)).offer
        assert [(line.title, line.count) for line in found.lines] == [
            ("Duster (2 x 2 nights)", 4),
            ("Duster, Weekend (2 x 2 nights)", 4),
        ]

    def test_hours_over_midnight(self, folder: Path) -> None:
        shop = load(folder, CARS.format(per="hour"))
        found = offered(shop, car("2027-04-02T22:00", "2027-04-03T03:00")).offer
        assert [(line.count, line.price) for line in found.lines] == [(2, 5000), (3, 6500)]

    def test_ten_thousand_years_are_not_priced(self, folder: Path) -> None:
        for per in ("day", "hour"):
            assert asked(load(folder, CARS.format(per=per)), car("2027-04-02", "9999-12-31")) == Pass("maximum")

    def test_over_the_turn_of_the_year(self) -> None:
        winter = Season(1, first=(0, 12, 15), last=(0, 3, 22))
        held = [date(2026, 12, 14), date(2026, 12, 15), date(2027, 1, 1), date(2028, 2, 29), date(2027, 3, 22)]
        assert [winter.holds(day) for day in held] == [False, True, True, True, False]
        once = Season(1, first=(2027, 1, 1), last=(2027, 2, 1))
        assert [once.holds(date(year, 1, 15)) for year in (2026, 2027, 2028)] == [False, True, False]

    @pytest.mark.parametrize(
        ("old", "new", "says"),
        [
            ('from = "12-15"', 'from = "13-15"', "no day of a year"),
            ('from = "12-15"', 'from = "2026-12-15"', "one date has a year"),
            ('from = "12-15"', 'from = "03-22"', "not after from"),
            ('days = ["sat", "Sunday"]', "", "when does this price hold"),
            ('days = ["sat", "Sunday"]', 'days = ["caturday"]', "no day of the week"),
            ('price = "65"', 'price = "65 USD"', "one currency"),
            ("fleet = 2", "fleet = 2\nstock = 2", "cannot be both"),
            ("fleet = 2", "", "only a fleet or slots need it"),
            ('per = "day"', 'per = "piece"', "per piece"),
            ('name = "Winter"', 'name = "A very long winter indeed"', "1 to 16"),
        ],
    )
    def test_what_is_wrong_is_told(self, folder: Path, old: str, new: str, says: str) -> None:
        with pytest.raises(Trouble) as caught:
            load(folder, CARS.format(per="day").replace(old, new))
        assert says in f"{caught.value.message} {caught.value.hint}"


class TestFleet:
    def test_is_counted_by_the_time_it_is_away(self, folder: Path) -> None:
        """Both cars are out over the weekend: before and after it, with two hours between, they are free."""
        shop = load(folder, CARS.format(per="day"))
        stock = Stock()
        stock.catalogue = shop
        for accept in (b"1", b"2"):
            span = instant("2027-04-03T10:00"), instant("2027-04-05T10:00") + 7200
            stock.ledger.put(HoldRow(accept, "duster", 1, 0, True, 0, *span))
        left = stock.left(NOW)
        assert asked(shop, car("2027-04-04T10:00", "2027-04-06T10:00"), left) == Pass("booked")
        assert asked(shop, car("2027-04-05T11:00", "2027-04-06T10:00"), left) == Pass("booked")
        assert asked(shop, car("2027-04-02T10:00", "2027-04-03T09:00"), left) == Pass("booked")
        assert offered(shop, car("2027-04-05T12:00", "2027-04-06T10:00"), left).item == "duster"
        assert offered(shop, car("2027-04-02T10:00", "2027-04-03T08:00"), left).item == "duster"
        assert asked(shop, car("2027-04-10", "2027-04-12", 2), left) == Pass("share")

    @given(
        st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10), st.integers(1, 3)), max_size=12),
        st.integers(0, 30),
        st.integers(1, 10),
    )
    def test_the_busiest_moment_counts(self, holds: list[tuple[int, int, int]], start: int, length: int) -> None:
        """As if every second were looked at."""
        ledger = Ledger()
        for number, (first, long, count) in enumerate(holds):
            ledger.put(HoldRow(bytes([number]), "car", count, 0, True, 0, first, first + long))
        seconds = range(start, start + length)
        each = [sum(count for first, long, count in holds if first <= now < first + long) for now in seconds]
        assert ledger.busy("car", 0, start, start + length) == max(each)


class TestSlots:
    def test_the_first_free_one_is_offered_and_the_next_stand_beside(self, folder: Path) -> None:
        shop = load(folder, PLUMBER)
        found = offered(shop, leak("2027-03-22", "2027-03-27")).offer
        assert found.when == When("2027-03-22T08:00", "2027-03-22T10:00", PARIS)
        titles = [option.title for option in found.options]
        assert titles[:2] == ["Instead: 2027-03-22 10:00 to 12:00", "Instead: 2027-03-23 08:00 to 10:00"]
        assert not any("2027-03-24" in title for title in titles)  # closed
        assert len(titles) == 7
        assert all(option.amount == 0 for option in found.options)

    def test_taken_ones_are_not_and_the_way_between_is_needed(self, folder: Path) -> None:
        """08:00 to 10:00 is taken, and with half an hour on the road 10:00 is too."""
        shop = load(folder, PLUMBER)
        stock = Stock()
        stock.catalogue = shop
        span = instant("2027-03-22T08:00"), instant("2027-03-22T10:00") + 1800
        stock.ledger.put(HoldRow(b"1", "leak", 1, 0, True, 0, *span))
        found = offered(shop, leak("2027-03-22", "2027-03-24"), stock.left(NOW)).offer
        assert found.when == When("2027-03-23T08:00", "2027-03-23T10:00", PARIS)
        assert asked(shop, leak("2027-03-22", "2027-03-23"), stock.left(NOW)) == Pass("booked")

    def test_reasons(self, folder: Path) -> None:
        shop = load(folder, PLUMBER)
        assert asked(shop, leak("2027-03-24", "2027-03-25")) == Pass("time")
        assert asked(shop, leak("2027-03-22T09:00", "2027-03-22T10:30")) == Pass("time")
        now = instant("2027-03-22T06:00")
        assert asked(shop, leak("2027-03-22T08:00", "2027-03-22T10:00"), now=now) == Pass("notice")

    def test_without_a_time_the_next_one(self, folder: Path) -> None:
        found = offered(load(folder, PLUMBER), replace(leak("2027-03-22", "2027-03-24"), when=None)).offer
        assert found.when == When("2027-03-02T08:00", "2027-03-02T10:00", PARIS)

    def test_midnight_and_the_names_of_options(self, folder: Path) -> None:
        found = offered(load(folder, PLUMBER), leak("2027-03-27", "2027-03-29")).offer
        assert found.when == When("2027-03-27T22:00", "2027-03-28T00:00", PARIS)
        assert slot_option(found.when) == "slot_20270327_2200_2400"
        assert slot_of("slot_20270327_2200_2400", PARIS) == found.when
        assert slot_of("snow_chains", PARIS) is None

    @given(st.integers(1, 9999), st.integers(1, 9999), st.integers(0, 14 * 86_400))
    def test_no_wish_is_too_odd(self, first: int, last: int, flex: int) -> None:
        slots = load_once()
        start, end = sorted((f"{first:04}-01-01", f"{last:04}-12-31"))
        intent = Intent("repair", "home.plumbing", "x", bytes(32), when=When(start, end, PARIS, flex))
        assert isinstance(asked(slots, intent), Quote | Pass)

    @pytest.mark.parametrize(
        ("old", "new", "says"),
        [
            ('from = "08:00"', 'from = "25:00"', "no time of day"),
            ('until = "12:00"', 'until = "07:00"', "not after from"),
            ('length = "2h"', 'length = "5h"', "does not fit"),
            ('date = "2027-03-27"', 'date = "2027-03-27"\ndays = ["mon"]', "Write one of them"),
            ("[[items.leak.slots]]\ndays", "[[items.leak.slot]]\ndays", "slot"),
            ('tz = "Europe/Paris"', "", "time zone is missing"),
            ('notice = "3h"', "stock = 3", "counted by themselves"),
        ],
    )
    def test_what_is_wrong_is_told(self, folder: Path, old: str, new: str, says: str) -> None:
        with pytest.raises(Trouble) as caught:
            load(folder, PLUMBER.replace(old, new, 1))
        assert says in f"{caught.value.message} {caught.value.hint}"


_LOADED: list[Catalogue] = []


def load_once() -> Catalogue:
    if not _LOADED:
        import tempfile

        with tempfile.TemporaryDirectory() as name:
            _LOADED.append(load(Path(name), PLUMBER))
    return _LOADED[0]
