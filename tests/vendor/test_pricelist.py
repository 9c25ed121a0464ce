"""Bob's price list comes out of a shop system, long and not all of it right; Alice's wish finds its line."""

import random
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from node.trouble import Trouble
from node.vendor import pricelist
from node.vendor import quote as quoting
from node.vendor.catalogue import load_catalogue
from node.vendor.pricelist import JUDGED, PriceList, words_of
from node.vendor.quote import Quote, _Attempt, _Candidate, _No, _rank, quote
from node.vendor.shelf import Catalogue, all_left
from protocol.intent import Intent
from protocol.terms import Property

TOML = """\
name = "Bob's Books"
contact = "Bob, back room"
categories = ["media.**"]
currency = "EUR"

[[lists]]
file = "{file}"
category = "media.book"
action = "buy"
per = "piece"
places = "anywhere"
{more}
"""

PLAIN = """\
SKU,Title,Price,Stock,ISBN,Condition,Language
A1,The Name of the Rose,7.50,1,978-0-15-600131-1,good,English
A2,Der Name der Rose: Roman,6.00,2,,used,German
A3,"Snow Crash, first edition",120.00,1,0553380958,new,English
"""


def isbn(number: int) -> str:
    head = f"978{number:09d}"
    total = sum(int(digit) * (3 if index % 2 == 0 else 1) for index, digit in enumerate(reversed(head)))
    return head + str(-total % 10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def load(folder: Path, data: bytes | str, more: str = "", file: str = "books.csv") -> Catalogue:
    (folder / file).write_bytes(data.encode() if isinstance(data, str) else data)
    (folder / "catalogue.toml").write_text(TOML.format(file=file, more=more))
    return load_catalogue(folder / "catalogue.toml")


def listed(folder: Path, data: bytes | str, more: str = "") -> PriceList:
    return load(folder, data, more).lists[0]


def lines(found: PriceList) -> list[tuple[str, int, int | None]]:
    return [(item.title, item.minor, item.stock) for item in map(found._item, range(len(found)))]


def wish(title: str, *props: Property, category: str = "media.book", **more: object) -> Intent:
    return Intent("buy", category, title, bytes(32), props=props, **more)  # type: ignore[arg-type]


def asked(shop: Catalogue, intent: Intent) -> str:
    found = quote(shop, intent, wish_at=0, now=10, left=all_left)
    return found.offer.lines[0].title if isinstance(found, Quote) else found.reason


def must(name: str, value: object) -> Property:
    return Property(name, "eq", value, "must")


class TestReading:
    @pytest.mark.parametrize(
        "data",
        [
            PLAIN.encode(),
            b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode(),
            PLAIN.replace(",", ";").replace('"Snow Crash; ', '"Snow Crash, ').replace(".", ",").encode("cp1252"),
            PLAIN.replace(",", "\t").replace('"Snow Crash\t ', '"Snow Crash, ').encode("utf-16"),
        ],
        ids=["comma", "excel-utf8", "semicolon-comma-decimals", "unicode-text-tabs"],
    )
    def test_takes_what_spreadsheets_write(self, folder: Path, data: bytes) -> None:
        found = listed(folder, data)
        assert found.report.bad_lines == 0, found.report.bad
        assert lines(found) == [
            ("The Name of the Rose", 750, 1),
            ("Der Name der Rose: Roman", 600, 2),
            ("Snow Crash, first edition", 12000, 1),
        ]
        item = found.item("books:A1")
        assert item is not None
        assert {(fact.name, fact.value) for fact in item.props} == {
            ("condition", "good"), ("language", "English"), ("gtin", "9780156001311"),
        }  # fmt: skip

    def test_umlauts_of_an_old_windows_are_read(self, folder: Path) -> None:
        found = listed(folder, "Titel;Preis;Bestand\nBücher über Käse;12,50 €;3\n".encode("cp1252"))
        assert lines(found) == [("Bücher über Käse", 1250, 3)]

    def test_shopify_with_variants_and_pictures(self, folder: Path) -> None:
        data = (
            "Handle,Title,Vendor,Option1 Name,Option1 Value,Variant SKU,Variant Inventory Qty,Variant Price,"
            "Variant Barcode,Image Src\n"
            "rose,The Rose,Eco,Cover,Hard,R-H,2,20.00,,https://x/1.jpg\n"
            "rose,,,,Soft,R-S,-1,9.00,,\n"
            "rose,,,,,,,,,https://x/2.jpg\n"
            "snow,Snow,Neal,Title,Default Title,S,1,5.00,,\n"
        )
        found = listed(folder, data)
        assert found.report.bad_lines == 0, found.report.bad
        assert lines(found) == [("The Rose, Hard", 2000, 2), ("The Rose, Soft", 900, 0), ("Snow", 500, 1)]
        assert "Image Src" in found.report.unused

    def test_woocommerce(self, folder: Path) -> None:
        data = (
            '\ufeffID,Type,SKU,"GTIN, UPC, EAN, or ISBN",Name,Published,"In stock?",Stock,"Regular price"\n'
            '11,simple,W1,9780156001311,"The Name, of the Rose",1,1,4,8.90\n'
        )
        found = listed(folder, data)
        assert lines(found) == [("The Name, of the Rose", 890, 4)]
        assert found.item("books:W1") is not None

    def test_a_bad_line_is_told_with_its_number_and_the_rest_is_used(self, folder: Path) -> None:
        data = PLAIN + (
            "A4,,3.00,1,,,\n"
            "A5,No price,,1,,,\n"
            "A6,Two ways,1.200,1,,,\n"
            "A1,Twice,3.00,1,,,\n"
            'A7,"Two\nlines",3.00,1,,,\n'
            "A8,Bad code,3.00,1,9780156001312,,\n"
            "A9,Bad stock,3.00,many,,,\n"
            "A10,Bad colour of cover,3.00,1,,rather nice,\n"
            "A11,Dollars,$3.00,1,,,\n"
            "A12,The last,3.00,1,,,\n"
        )
        report = listed(folder, data).report
        assert (report.lines, report.kept, report.bad_lines) == (13, 5, 8)
        assert [bad.line for bad in report.bad] == [5, 6, 7, 8, 11, 12, 13, 14]
        said = " | ".join(f"{bad.what} {bad.hint}" for bad in report.bad)
        for part in (
            "no title",
            "no price",
            "two ways",
            "'A1' is there already",
            "bar code",
            "'many'",
            "rather nice",
            "$",
        ):
            assert part in said

    @pytest.mark.parametrize("title", ["Book number {}", '"Book number {}"', '"Book ""number"" {}"'])
    def test_a_quotation_mark_left_open_costs_its_line_and_no_other(self, folder: Path, title: str) -> None:
        """Whether the lines below have marks of their own, which would close it, or none up to the file's end."""
        many = [f"B{number},{title.format(number)},3.00,1,,,\n" for number in range(1_000)]
        for at in (0, 500, 1_000):
            data = PLAIN + "".join([*many[:at], 'A4,"Open,3.00,1,,,\n', *many[at:]])
            report = listed(folder, data).report
            assert (report.lines, report.kept, report.bad_lines) == (1_004, 1_003, 1)
            assert [(bad.line, bad.what) for bad in report.bad] == [(5 + at, "a quotation mark is not closed")]

    def test_a_mark_within_a_cell_and_a_long_description_are_read(self, folder: Path) -> None:
        many = "and on\n" * 150
        data = f'SKU,Title,Price,Body\nA1,"The "best" book",3.00,\nA2,Long,3.00,"It goes\n{many}"\nA3,Last,,\n'
        found = listed(folder, data)
        assert lines(found) == [('The best" book"', 300, None), ("Long", 300, None)]
        assert [bad.line for bad in found.report.bad] == [155]

    def test_the_columns_can_be_named(self, folder: Path) -> None:
        data = "Nr|Was|Netto|Kosten|Autor\n1|Momo|5|8.00|Michael Ende\n"
        more = 'columns = { key = "Nr", title = "Was", price = "Kosten" }\nproperty_columns = { author = "Autor" }'
        found = listed(folder, data, more)
        assert lines(found) == [("Momo", 800, None)]
        assert asked(load(folder, data, more), wish("Momo", must("author", "michael ende"))) == "Momo"

    @pytest.mark.parametrize(
        ("data", "more", "says"),
        [
            ("a,b\n1,2\n", "", "no column is called title"),
            ("", "", "empty"),
            (PLAIN, 'columns = { title = "Nix" }', "no column 'Nix'"),
            (PLAIN, 'columns = { tilte = "Title" }', "Did you mean title?"),
            (PLAIN, 'property_columns = { author = "Nix" }', "no column 'nix'"),
            (PLAIN, 'stok = 3', "stok"),
        ],
    )  # fmt: skip
    def test_what_is_wrong_as_a_whole_says_where(self, folder: Path, data: str, more: str, says: str) -> None:
        with pytest.raises(Trouble) as caught:
            load(folder, data, more)
        assert caught.value.message.startswith(f"{folder}/catalogue.toml:")
        assert says in f"{caught.value.message} {caught.value.hint}"

    def test_what_every_line_lacks_is_said_once(self, folder: Path) -> None:
        (folder / "books.csv").write_text(PLAIN)
        text = TOML.format(file="books.csv", more="").replace('per = "piece"\n', "")
        (folder / "catalogue.toml").write_text(text)
        with pytest.raises(Trouble) as caught:
            load_catalogue(folder / "catalogue.toml")
        assert caught.value.message == f"{folder}/catalogue.toml:6: lists[1]: per is missing"
        (folder / "books.csv").write_text(PLAIN.replace("Condition", "Per").replace("good", "piece"))
        assert len(load_catalogue(folder / "catalogue.toml").lists[0]) == 1  # the others call it used and new

    def test_deals_a_shop_system_has_booked_are_not_counted_twice(self, folder: Path) -> None:
        item = listed(folder, PLAIN, 'books_deals = "15m"').item("books:A1")
        assert item is not None
        assert item.counted_at == int((folder / "books.csv").stat().st_mtime) - 900
        assert listed(folder, PLAIN).item("books:A1").counted_at == 0  # type: ignore[union-attr]


class TestFinding:
    def test_by_its_bar_code_however_it_is_written(self, folder: Path) -> None:
        shop = load(folder, PLAIN)
        for code in ("978-0-15-600131-1", "0156001314", 9780156001311):
            assert asked(shop, wish("That book", must("isbn", code))) == "The Name of the Rose"
        assert asked(shop, wish("That book", must("gtin", isbn(5)))) == "must:gtin"

    def test_by_its_words_and_never_something_else_instead(self, folder: Path) -> None:
        shop = load(folder, PLAIN)
        assert asked(shop, wish("A used copy of The Name of the Rose, please")) == "The Name of the Rose"
        assert asked(shop, wish("the names of the ROSE")) == "The Name of the Rose"
        assert asked(shop, wish("Snow crash")) == "Snow Crash, first edition"
        assert asked(shop, wish("War and Peace")) == "words"
        assert asked(shop, wish("roman rose", category="media")) == "Der Name der Rose: Roman"

    def test_whoever_wants_any_book_gets_the_cheapest(self, folder: Path) -> None:
        assert asked(load(folder, PLAIN), wish("A book")) == "Der Name der Rose: Roman"
        assert asked(load(folder, PLAIN), wish("A book", must("language", "english"))) == "The Name of the Rose"

    def test_its_musts(self, folder: Path) -> None:
        shop = load(folder, PLAIN)
        rose = "Name Rose"
        assert asked(shop, wish(rose, must("language", "english"))) == "The Name of the Rose"
        assert asked(shop, wish(rose, must("language", "french"))) == "must:language"
        assert asked(shop, wish(rose, quantity=2, category="media.book")) == "share"

    def test_other_actions_and_categories(self, folder: Path) -> None:
        shop = load(folder, PLAIN)
        assert asked(shop, replace(wish("Rose"), action="rent")) == "action"
        assert asked(shop, wish("Rose", category="media.music")) == "category"

    def test_words(self) -> None:
        assert words_of("The Names of the Rösés, 2nd glass") == {"name", "rose", "2nd", "glass"}


def long_list(path: Path, count: int) -> None:
    chance = random.Random(7)
    words = [f"word{number}" for number in range(5_000)]
    with path.open("w") as file:
        file.write("SKU;Titel;Preis;Bestand;ISBN;Condition\n")
        for number in range(count):
            title = " ".join(words[min(4_999, int(chance.paretovariate(0.7)))] for _ in range(6))
            price = f"{chance.randint(1, 99)},{chance.randint(0, 99):02}"
            file.write(
                f"B{number};{title};{price};{number % 3};{isbn(number)};{chance.choice(['new', 'good', 'used'])}\n"
            )


@pytest.mark.parametrize("count", [5_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_long_list_is_read_and_searched(folder: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line is found by its code and by its own words; and whatever words a wish has, so many entries of the index
    are read for it and no more, the rare words first."""
    long_list(folder / "books.csv", count)
    shop = load(folder, (folder / "books.csv").read_bytes())
    (found,) = shop.lists
    assert (found.report.kept, found.report.bad_lines) == (count, 0)
    chance = random.Random(1)
    for row in chance.sample(range(1, count, 3), 20):
        assert asked(shop, wish("It", must("isbn", isbn(row)))) == found._titles[row]
        near, _ = found.candidates(wish(found._titles[row]), True)
        assert near[0][1] > 0.4
    monkeypatch.setattr(pricelist, "MOST_VISITS", 100)
    common = words_of("word1 word2 word3")
    assert sum(len(found._by_word[word]) for word in common) > 1_000
    assert len(found._by_words(common, {0})) <= 100
    rare = min(range(count), key=lambda row: min(len(found._by_word[word]) for word in words_of(found._titles[row])))
    near, _ = found.candidates(wish(f"word1 word2 {found._titles[rare]}"), True)
    assert found._titles[rare] in [item.title for item, _ in near]
    assert len(near) <= JUDGED


def test_where_a_line_is_just_so_nothing_better_is_missed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is less like the wish is not looked at then; the line that is offered is the one all of them would give."""
    long_list(folder / "books.csv", 2_000)
    shop = load(folder, (folder / "books.csv").read_bytes())
    (found,) = shop.lists
    judged = 0

    class Counting(_Attempt):
        def candidate(self) -> _Candidate:
            nonlocal judged
            judged += 1
            return super().candidate()

    monkeypatch.setattr(quoting, "_Attempt", Counting)
    lines = fewer = 0
    for row in random.Random(3).sample(range(2_000), 40):
        intent = wish(found._titles[row], Property("condition", "eq", "new", "want"))
        near, _ = found.candidates(intent, True)
        all_of_them = []
        for item, likeness in near:
            with suppress(_No):
                one = _Attempt(shop, item, intent, 10, all_left).candidate()
                all_of_them.append(replace(one, likeness=likeness))
        judged = 0
        said = quote(shop, intent, wish_at=0, now=10, left=all_left)
        best = min(all_of_them, key=lambda one: _rank(intent, one), default=None)
        assert isinstance(said, Quote) is (best is not None)
        assert best is None or (isinstance(said, Quote) and said.item == best.quote.item)
        lines, fewer = lines + len(near), fewer + judged
    assert fewer < 0.8 * lines
