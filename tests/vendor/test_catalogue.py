"""A vendor writes a catalogue by hand, slips, and is told the line and how to mend it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.money import BadMoney, exponent, format_money, money_of, parse_money
from node.trouble import Exit, Trouble
from node.vendor.catalogue import load_catalogue, template
from node.vendor.lines import key_lines, line_of
from node.vendor.shelf import Cancelling, Catalogue, Discount, ItemFee, ItemOption, Spot
from protocol.categories import matches_pattern, tree
from protocol.terms import MAX_MINOR, Fact, Money, Place, Policy, When

SHOP = """\
name = "Bob's Alpine Cars"
contact = "Bob, desk 4"
categories = ["mobility.car.**"]
currency = "EUR"
tz = "Europe/Paris"

[items.duster]
title = "Dacia Duster"    # "quoted # in = a comment"
category = "mobility.car.suv"
action = "rent"
price = "48.00"
per = "day"
places = ["iata:LYS", { lat = 45.76, lon = 4.84, radius = 20, label = "Lyon" }]
minimum = 2
maximum = 28
stock = 3
notice = "1h 30m"
available = [
    { from = 2026-11-15, until = "2027-04-30T18:00" },  # the season
    { from = "2027-06-01", until = 2027-09-01T00:00:00 },
]
discounts = [{ from = 7, percent = 10 }, { from = 14, percent = 12.5 }]
cancellation = { free_until = "48h", fee = "50 %" }
note = '''
Desk open
until midnight.'''

[items.duster.properties]
drive = "4x4"
seats = 5
winter_tyres = true
excess = "900 EUR"
fuel = ["petrol", "Diesel"]

[[items.duster.fees]]
name = "Airport"
amount = 15

[[items.duster.fees]]
name = "One way"
amount = "120.50 eur"
per = "piece"
only = "return_elsewhere"

[[items.duster.options]]
name = "ski_rack"
title = "Ski rack"
amount = 5.5
per = "day"

[policies]
Fuel = "Full to full."
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "catalogue.toml"


def load(file: Path, text: str) -> Catalogue:
    file.write_text(text, encoding="utf-8")
    return load_catalogue(file)


def told(file: Path, text: str) -> tuple[str, str]:
    """(what is said without the file's path, the hint)"""
    with pytest.raises(Trouble) as caught:
        load(file, text)
    assert (caught.value.code, caught.value.exit_code) == ("catalogue", Exit.REFUSED)
    assert caught.value.message.startswith(f"{file}:")
    return caught.value.message.removeprefix(f"{file}:"), caught.value.hint


def line_with(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


class TestReading:
    def test_takes_everything_a_shop_says(self, file: Path) -> None:
        shop = load(file, SHOP)
        assert (shop.vendor.name, shop.contact, shop.categories) == (
            "Bob's Alpine Cars",
            "Bob, desk 4",
            ("mobility.car.**",),
        )
        assert (shop.valid_for, shop.answer_within, shop.policies) == (7200, None, (Policy("Fuel", "Full to full."),))
        (car,) = shop.items
        assert (car.key, car.title, car.category, car.actions) == (
            "duster",
            "Dacia Duster",
            "mobility.car.suv",
            ("rent",),
        )
        assert (car.minor, car.currency, car.per, car.minimum, car.maximum, car.stock, car.notice) == (
            (4800, "EUR", "day", 2, 28, 3, 5400)
        )
        assert car.props == (
            Fact("drive", "awd"),
            Fact("seats", 5),
            Fact("winter_tyres", True),
            Fact("excess", 900, "EUR"),
        )
        assert car.choices == ((Fact("fuel", "petrol"), Fact("fuel", "diesel")),)
        assert car.spots == (Spot(Place("iata:LYS")), Spot(Place(None, ("u05kq",), "Lyon"), 20))
        assert car.periods == (
            When("2026-11-15", "2027-04-30T18:00", "Europe/Paris"),
            When("2027-06-01", "2027-09-01T00:00", "Europe/Paris"),
        )
        assert car.discounts == (Discount(14, 125), Discount(7, 100))
        assert car.fees == (ItemFee("Airport", 1500, "once"), ItemFee("One way", 12050, "piece", True))
        assert car.options == (ItemOption("ski_rack", "Ski rack", 550, "day"),)
        assert car.cancelling == Cancelling(48 * 3600, per_mille=500)
        assert car.note == "Desk open\nuntil midnight."

    def test_a_windows_file_with_a_mark_in_front_is_fine(self, file: Path) -> None:
        file.write_bytes(b"\xef\xbb\xbf" + SHOP.replace("\n", "\r\n").encode())
        assert load_catalogue(file) == load(file, SHOP)

    def test_an_everyday_word_is_a_category_too(self, file: Path) -> None:
        shop = load(file, SHOP.replace('"mobility.car.**"', '"mobility.car.**", "plumber"'))
        assert shop.categories == ("mobility.car.**", "home.plumbing")

    def test_money_without_decimals_and_with_three(self, file: Path) -> None:
        plain = SHOP.replace('"120.50 eur"', "120").replace("5.5", "5")
        assert load(file, plain.replace('"EUR"', '"JPY"').replace("48.00", "4800")).items[0].minor == 4800
        assert load(file, plain.replace('"EUR"', '"KWD"')).items[0].minor == 48000

    def test_no_file(self, file: Path) -> None:
        with pytest.raises(Trouble) as caught:
            load_catalogue(file)
        assert caught.value.exit_code == Exit.NOT_FOUND
        assert "vendor init" in caught.value.hint


SLIPS = [
    # what stands there, what Bob writes instead, what he is told, what helps
    ('per = "day"', 'per = "dya"', "items.duster.per: 'dya' is not allowed, but day, night, hour, piece, job", "day?"),
    ('per = "day"', 'peer = "day"', "items.duster.peer: there is no setting 'peer'", "Did you mean per?"),
    ('per = "day"', 'per = "day', "this is no TOML", "quotes"),
    ('drive = "4x4"', 'drive = "4x5"', "items.duster.properties.drive: '4x5' is not allowed, but one of awd", ""),
    ('drive = "4x4"', 'dirve = "4x4"', "there is no property 'dirve' in mobility.car.suv", "Did you mean drive?"),
    ('drive = "4x4"', 'wheel_drive = "4x4"\ndrive = "awd"', "drive is said twice", "away"),
    ('drive = "4x4"', "drive = ['awd', {}]", "{} is no value", "text in quotes"),
    ("seats = 5", "seats = -5", "seats: '-5' is not allowed, but a whole number", ""),
    ("seats = 5", "seats = 4.5", "seats: '4.5' is not allowed", ""),
    ('"mobility.car.suv"', '"mobility.car.svu"', "no category 'mobility.car.svu'", "mobility.car.suv"),
    ('"mobility.car.suv"', '"lodging.hotel"', "lodging.hotel is in none of the categories", '"lodging.**"'),
    ('["mobility.car.**"]', '["mobilty.car.**"]', "categories[1]: there is no category 'mobilty", "mobility"),
    ('["mobility.car.**"]', '["mobility.**.flying"]', "there is no category", "mobility"),
    ('["mobility.car.**"]', "[]", "categories: the list is empty", "mobility.car.**"),
    ('["mobility.car.**"]', '["mobility.c*r"]', "a segment is a-z", ""),
    ('action = "rent"', 'action = "rend"', "'rend' is not allowed, but buy, rent, hire", "Did you mean rent?"),
    ('price = "48.00"', 'price = "-48.00"', "items.duster.price: '-48.00' is negative", "0 or more"),
    ('price = "48.00"', "price = -48", "-48 EUR is negative", "0 or more"),
    ('price = "48.00"', "price = 48.001", "EUR has 2 decimals", "Round it"),
    ('price = "48.00"', 'price = "1.200"', "can be read in two ways", "1200 EUR"),
    ('price = "48.00"', 'price = "48 EUX"', "'EUX' is no currency we know", "EUR"),
    ('price = "48.00"', "price = true", "True is no price", "48.00 EUR"),
    ('price = "48.00"', "price = nan", "is no amount of money", "42.50"),
    ('price = "48.00"', "price = 1e300", "is no amount of money", "42.50"),
    ('price = "48.00"', "", "items.duster: price is missing", "Add a line: price ="),
    ("amount = 15", 'amount = "15 CHF"', "items.duster.fees[1].amount: CHF, but the price is in EUR", "one currency"),
    ('per = "piece"', 'per = "night"', "items.duster.fees[2].per: 'night' is not allowed", "once"),
    ('only = "return_elsewhere"', 'only = "x"', "items.duster.fees[2].only", "return_elsewhere"),
    ('name = "ski_rack"', 'name = "Ski rack"', "'Ski rack' is not 1 to 32 of a-z", "title"),
    ("minimum = 2", "minimum = 0", "0 is not between 1 and", ""),
    ("maximum = 28", "maximum = 1", "items.duster.maximum: 1 is not between 2 and", ""),
    ("stock = 3", 'stock = "3"', "'3' is no whole number", "stock ="),
    ('notice = "1h 30m"', 'notice = "soon"', "'soon' is no length of time", "0h"),
    ('"2027-04-30T18:00"', '"2026-11-01"', "available[1].until: 2026-11-01 is not after 2026-11-15", "first moment"),
    ('"2027-04-30T18:00"', '"30 April"', "'30 April' is no day of the calendar", "2027-03-20"),
    ("percent = 12.5", "percent = 120", "items.duster.discounts[2].percent: 120 is no percentage", "10"),
    ("from = 14", "from = 7", "items.duster.discounts[2].from: there is another discount from 7", ""),
    (', fee = "50 %"', "", "items.duster.cancellation: fee is missing", "50 %"),
    ('"iata:LYS"', '"Lyon airport"', "items.duster.places[1]: 'Lyon airport' is no place", "iata:LYS"),
    ("lat = 45.76", "lat = 145.76", "items.duster.places[2].lat: '145.76' is not between -90 and 90", ""),
    ("radius = 20", "radios = 20", "items.duster.places[2].radios: there is no setting", "Did you mean radius?"),
    ('tz = "Europe/Paris"', 'tz = "Europe/Pari"', "there is no time zone", "Europe/Paris"),
    ('title = "Dacia Duster"', 'title = "Dacia \\u202e"', "items.duster.title: a control character", "anew"),
    ('title = "Dacia Duster"', f'title = "{"x" * 161}"', "161 characters, 1 to 160 are allowed", ""),
    ("[policies]", "[polices]", "polices: there is no setting 'polices'", "Did you mean policies?"),
    ('Fuel = "Full to full."', "Fuel = 3", "policies.Fuel: 3 is no text", "quotes"),
]


class TestSlips:
    @pytest.mark.parametrize(("right", "wrong", "says", "helps"), SLIPS)
    def test_say_the_line_what_is_wrong_and_how_to_mend_it(
        self, file: Path, right: str, wrong: str, says: str, helps: str
    ) -> None:
        message, hint = told(file, SHOP.replace(right, wrong, 1))
        line, _, what = message.partition(": ")
        assert says in what
        assert helps in hint
        if "is missing" in says:
            return  # of something that is not there, the line of what it belongs to
        assert int(line) == line_with(SHOP, right) or "twice" in says

    def test_in_line_12_are_told_at_line_12(self, file: Path) -> None:
        slip = SHOP.replace('per = "day"', 'per = "dya"')
        assert line_with(slip, "dya") == 12
        assert told(file, slip) == (
            "12: items.duster.per: 'dya' is not allowed, but day, night, hour, piece, job",
            "Did you mean day?",
        )

    def test_in_the_syntax_of_line_12_are_told_at_line_12(self, file: Path) -> None:
        assert told(file, SHOP.replace('per = "day"', "per = = 3"))[0].startswith("12: this is no TOML: ")

    def test_a_price_without_a_currency(self, file: Path) -> None:
        message, hint = told(file, SHOP.replace('currency = "EUR"\n', ""))
        assert message == "10: items.duster.price: '48.00' has no currency"
        assert hint == "Write for example 48.00 EUR."
        message, hint = told(file, SHOP.replace('currency = "EUR"\n', "").replace('"48.00"', "48.00"))
        assert message == "10: items.duster.price: 48.00 has no currency"
        assert 'currency = "EUR" at the top' in hint

    def test_a_wish_that_does_not_say_how_long(self, file: Path) -> None:
        message, hint = told(file, SHOP.replace('"rent"', '["rent", "repair"]'))
        assert message == "12: items.duster.per: a wish to repair does not say how many days it takes"
        assert "job" in hint

    def test_a_season_without_a_time_zone(self, file: Path) -> None:
        message, hint = told(file, SHOP.replace('tz = "Europe/Paris"\n', ""))
        assert message == "18: items.duster.available[1]: the time zone is missing"
        assert "tz =" in hint

    def test_a_text_that_never_ends(self, file: Path) -> None:
        text = SHOP + 'x = """\nnever\n'
        assert told(file, text)[0].startswith(f"{len(text.splitlines())}: this is no TOML")

    def test_letters_that_are_none(self, file: Path) -> None:
        file.write_bytes(SHOP.replace('Duster"', 'D\u00fcster"').encode("latin-1"))
        with pytest.raises(Trouble) as caught:
            load_catalogue(file)
        assert caught.value.message == f"{file}:8: a character that is not UTF-8"

    def test_no_items_and_too_many(self, file: Path) -> None:
        assert "there is nothing to offer" in told(file, SHOP[: SHOP.index("[items")])[0]
        many = "".join(f"[items.a{number}]\n" for number in range(501))
        assert "501 items, at most 500" in told(file, SHOP[: SHOP.index("[items")] + many)[0]

    def test_one_name_with_two_meanings(self, file: Path) -> None:
        """To rent, mileage is what a day includes; to buy, what the car has driven."""
        both = SHOP.replace('"rent"', '["rent", "buy"]').replace('per = "day"', 'per = "piece"', 1)
        both = both.replace("seats = 5", "mileage = 90000").replace('per = "day"', 'per = "piece"')
        message, hint = told(file, both)
        assert "mileage means one thing to rent and another to buy" in message
        assert "two items" in hint

    @given(st.text(max_size=60), st.integers(0, len(SHOP)), st.integers(0, 40))
    def test_of_any_kind_are_told_with_a_line(self, typed: str, at: int, gone: int) -> None:
        """Whatever Bob's cat types into the file: it is read, or told; never an error of ours."""
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as folder:
            file = Path(folder) / "catalogue.toml"
            file.write_bytes((SHOP[:at] + typed + SHOP[at + gone :]).encode("utf-8", "replace"))
            try:
                load_catalogue(file)
            except Trouble as trouble:
                line = trouble.message.removeprefix(f"{file}:").partition(":")[0]
                assert 1 <= int(line) <= len(file.read_bytes().decode().split("\n"))


class TestLines:
    def test_are_found_past_everything_that_looks_like_something_else(self) -> None:
        text = '''\
# [not.a.table]
a = "x = 1 # ] }"
b = """
[nor.this]
c = 1 \\"""
"""
"d e".'f.g' = { h = [1, 2], i = '#' }
list = [ # [
  [1, "]"],
  { j = 1,
    k = 2 },
]
[[t]]
x = 1
[t.sub]
y = 2
[[t]]
x = \'\'\'
[[t]]\'\'\'
[t.sub]
y = 1979-05-27 07:32:00 # z = 3
z = """"quoted"""" # five quotes
'''
        text = text.replace("j = 1,\n    k", "j = 1, k").replace("  { j", "\n  { j")
        lines = key_lines(text)
        found = {
            ("a",): 2,
            ("b",): 3,
            ("d e", "f.g", "h", 1): 7,
            ("d e", "f.g", "i"): 7,
            ("list", 0, 1): 9,
            ("list", 1, "k"): 11,
            ("t", 0, "x"): 14,
            ("t", 0, "sub", "y"): 16,
            ("t", 1): 17,
            ("t", 1, "x"): 18,
            ("t", 1, "sub", "y"): 21,
            ("t", 1, "sub", "z"): 22,
        }
        assert {path: lines.get(path) for path in found} == found
        assert ("nor", "this") not in lines
        assert ("c",) not in lines

    def test_of_what_is_not_there_are_those_around_it(self) -> None:
        lines = key_lines("x = 1\n[a.b]\nc = [{ d = 1 }]\n")
        assert line_of(lines, ("a", "b", "nothing")) == 2
        assert line_of(lines, ("a", "b", "c", 0, "e")) == 3
        assert line_of(lines, ("nowhere",)) == 1


class TestTemplate:
    @pytest.mark.parametrize("slug", ["mobility.car", "home", "lodging", "electronics", "furniture", "pets", "finance"])
    def test_is_read_without_a_change(self, file: Path, slug: str) -> None:
        text = template([f"{slug}.**"], 'Bob "the wheel" Müller \\ Söhne', "")
        shop = load(file, text)
        assert shop.vendor.name == 'Bob "the wheel" Müller \\ Söhne'
        assert "write here how to reach you" in shop.contact
        assert shop.items
        assert all(matches_pattern(f"{slug}.**", item.category) for item in shop.items)
        assert sum(line.startswith("#") for line in text.splitlines()) > 10

    def test_is_read_for_every_category_there_is(self, file: Path) -> None:
        for slug in list(tree())[::9]:
            assert load(file, template([slug], "Bob", "+33")).items[0].category.startswith(slug)

    def test_has_examples_for_what_is_asked_only(self, file: Path) -> None:
        assert [item.key for item in load(file, template(["mobility.car.suv"], "Bob", "x")).items] == ["duster"]
        both = load(file, template(["plumber", "lodging.**", "pets.**"], "Bob", "x"))
        assert [item.category.partition(".")[0] for item in both.items] == ["home", "lodging", "pets"]
        assert both.categories == ("home.plumbing.**", "lodging.**", "pets.**")

    @pytest.mark.parametrize(
        ("categories", "code", "helps"),
        [
            (["mobilty.car.**"], "unknown_category", "mobility"),
            (["plumbr"], "unknown_category", "home.plumbing"),
            (["mobility.c*r"], "bad_pattern", "mobility.car.**"),
            ([], "no_category", "--category"),
        ],
    )
    def test_of_what_nobody_knows_is_none(self, categories: list[str], code: str, helps: str) -> None:
        with pytest.raises(Trouble) as caught:
            template(categories, "Bob", "x")
        assert caught.value.code == code
        assert helps in caught.value.hint

    @pytest.mark.parametrize("name", ["", " ", "x" * 81, "Bob\u202e"])
    def test_takes_no_name_that_cannot_be_sent(self, name: str) -> None:
        with pytest.raises(Trouble) as caught:
            template(["pets"], name, "x")
        assert caught.value.code == "bad_name"


class TestMoney:
    @pytest.mark.parametrize(
        ("text", "minor", "currency"),
        [
            ("240 EUR", 24000, "EUR"),
            ("240", 24000, "CHF"),
            ("€ 240.5", 24050, "EUR"),
            ("1.200,50 eur", 120050, "EUR"),
            ("1,200.50 USD", 120050, "USD"),
            ("12'000 CHF", 1200000, "CHF"),
            ("1 234 567 JPY", 1234567, "JPY"),
            ("4.250 KWD", None, None),
            ("4.2500 KWD", 4250, "KWD"),
            ("42.00 JPY", 42, "JPY"),
            ("1.000.000 EUR", 100000000, "EUR"),
            ("42.505 EUR", None, None),
            ("42.5050 EUR", None, None),
            ("$5", None, None),
            ("-5 EUR", None, None),
            ("EUR -5", None, None),
            ("1 2 EUR", None, None),
            ("1,2,3 EUR", None, None),
            ("EUR", None, None),
            ("", None, None),
            (f"{'9' * 40} EUR", None, None),
            ("५ EUR", None, None),
        ],
    )
    def test_is_read_exactly_or_not_at_all(self, text: str, minor: int | None, currency: str | None) -> None:
        if minor is None or currency is None:
            with pytest.raises(BadMoney):
                parse_money(text, "CHF")
        else:
            assert parse_money(text, "CHF") == Money(minor, currency)

    @given(st.integers(0, MAX_MINOR), st.sampled_from(("EUR", "JPY", "CHF")))
    def test_is_read_as_it_was_written(self, minor: int, currency: str) -> None:
        money = Money(minor, currency)
        assert parse_money(format_money(money)) == money

    @given(st.decimals(0, 10**9, places=2))
    def test_numbers_are_taken_exactly(self, number: object) -> None:
        from decimal import Decimal

        assert isinstance(number, Decimal)
        assert money_of(number, "EUR") == Money(int(number * 100), "EUR")

    def test_exponents(self) -> None:
        assert [exponent(code) for code in ("EUR", "JPY", "KWD")] == [2, 0, 3]
