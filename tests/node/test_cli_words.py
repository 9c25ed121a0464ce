"""How people's words become exact things: money, times, places, properties; and what is refused, with what help."""

import re
import time
from typing import Any

import pytest

from node.cli.money import parse_money, show_money
from node.cli.output import clean, field_lines
from node.cli.places import parse_place, parse_where
from node.cli.properties import parse_fact, parse_property
from node.cli.spans import parse_duration, parse_instant, parse_when, show_duration, show_instant, system_zone
from node.cli.wishes import message_name, none_yet
from node.trouble import Exit, Trouble


@pytest.mark.parametrize(
    ("text", "minor", "currency"),
    [
        ("240 EUR", 24_000, "EUR"),
        ("240EUR", 24_000, "EUR"),
        ("EUR 240.50", 24_050, "EUR"),
        ("240.5 eur", 24_050, "EUR"),
        ("12,50 EUR", 1_250, "EUR"),
        ("1.200,50 EUR", 120_050, "EUR"),
        ("1,200.50 EUR", 120_050, "EUR"),
        ("1 200,50 EUR", 120_050, "EUR"),
        ("1'200.50 CHF", 120_050, "CHF"),
        ("1.200.000 EUR", 120_000_000, "EUR"),
        ("1 200 EUR", 120_000, "EUR"),
        ("12€", 1_200, "EUR"),
        ("£ 12", 1_200, "GBP"),
        ("500 JPY", 500, "JPY"),
        ("500.00 JPY", 500, "JPY"),
        ("1.2500 KWD", 1_250, "KWD"),
        ("0 EUR", 0, "EUR"),
    ],
)
def test_prices_are_read_exactly(text: str, minor: int, currency: str) -> None:
    """In minor units of their currency, however the digits are grouped; and they print as they were meant."""
    money = parse_money(text, "--total")
    assert money == {"minor": minor, "currency": currency}
    again = show_money(money)
    if not re.fullmatch(r"\d{1,3}\.\d{3} \w+", again):  # our own KWD prices have three decimals: two readings
        assert parse_money(again, "--total") == money


@pytest.mark.parametrize(
    ("text", "says", "helps"),
    [
        ("400", "has no currency", "400 EUR"),
        ("1.200 EUR", "two ways", "1200 EUR, or 1.2 EUR"),
        ("1,200 EUR", "two ways", "1200 EUR, or 1.2 EUR"),
        ("12.345 EUR", "two ways", "12345 EUR"),
        ("1.250 KWD", "two ways", "1250 KWD, or 1.2500 KWD"),
        ("$12", "several currencies", "USD"),
        ("12 kr", "several currencies", "SEK"),
        ("12 EURO", "no currency we know", "EUR"),
        ("12 potatoes", "no currency we know", "ISO 4217"),
        ("240.505 EUR", "two ways", "240505 EUR"),
        ("1240.505 EUR", "has 2 decimals", "1240 EUR"),
        ("500.5 JPY", "has no decimals", "500 JPY"),
        ("-5 EUR", "is negative", "0 or more"),
        ("5 5 EUR", "not clear", "1200.50"),
        ("1,200,50 EUR", "not clear", "1200.50"),
        ("1.200,50,30 EUR", "not clear", "1200.50"),
        ("1e5 EUR", "is no amount of money", ""),
        ("٣ EUR", "is no amount of money", ""),
        ("99999999999999 EUR", "more money than there is", ""),
        ("EUR", "is no amount of money", ""),
        ("", "is no amount of money", ""),
    ],
)
def test_prices_that_are_not_clear_are_refused(text: str, says: str, helps: str) -> None:
    """A price read wrongly is worse than one asked again: the flag, the reason and a way to write it."""
    with pytest.raises(Trouble) as caught:
        parse_money(text, "--max-price")
    assert caught.value.message.startswith("--max-price: ")
    assert says in caught.value.message
    assert helps in caught.value.hint
    assert caught.value.exit_code == Exit.USAGE


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("90", 90), ("30m", 1800), ("30 min", 1800), ("1d12h", 129_600), ("1w", 604_800)]
)
def test_durations(text: str, seconds: int) -> None:
    """As people write them; a bare number is seconds."""
    assert parse_duration(text, "--wait") == seconds


@pytest.mark.parametrize("text", ["", "soon", "2 weeks", "-5s", "1.5h", "5x", "h"])
def test_durations_that_are_none(text: str) -> None:
    """Named with their flag."""
    with pytest.raises(Trouble, match=r"--wait: .* is no duration"):
        parse_duration(text, "--wait")


def test_durations_are_shown_by_their_two_largest_units() -> None:
    """So that `up since` is read at a glance."""
    assert [show_duration(seconds) for seconds in (0, 59, 3_661, 90_061)] == ["0s", "59s", "1h 1m", "1d 1h"]


def test_instants_are_moments_or_durations_from_now() -> None:
    """A moment is local to the zone."""
    assert parse_instant("2026-12-01T10:00", "Europe/Paris", "--offers-by") == 1_796_115_600
    before = int(time.time())
    assert before + 7_200 <= parse_instant("2h", "UTC", "--offers-by") <= int(time.time()) + 7_200
    for wrong in ("soon", "2026-12-41T10:00"):
        with pytest.raises(Trouble, match="--offers-by"):
            parse_instant(wrong, "UTC", "--offers-by")


def test_spans_are_local_and_half_open() -> None:
    """Start, end, zone and how much they may move."""
    assert parse_when("2026-02-14T10:00", "2026-02-21 18:30", "Europe/Paris", "6h") == {
        "start": "2026-02-14T10:00",
        "end": "2026-02-21T18:30",
        "tz": "Europe/Paris",
        "flex": 21_600,
    }
    found = parse_when("2026-02-14", "2026-02-15", None, None)
    assert found is not None
    assert found["tz"] == system_zone()
    assert parse_when(None, None, "Europe/Paris", None) is None


@pytest.mark.parametrize(
    ("start", "end", "tz", "flex", "says", "helps"),
    [
        ("2026-02-21", "2026-02-14", None, None, "does not come after", ""),
        ("2026-02-14", "2026-02-14", None, None, "does not come after", "--to 2026-02-15"),
        ("2026-02-14T10:00", "2026-02-14T10:00", None, None, "does not come after", "Change"),
        ("2026-02-30", "2026-03-02", None, None, "--from: '2026-02-30' is no date", ""),
        ("2026-02-14", "tomorrow", None, None, "--to: 'tomorrow' is no date", ""),
        ("2026-02-14T25:00", "2026-02-15", None, None, "--from", ""),
        ("2026-02-14", None, None, None, "--from needs --to", ""),
        (None, "2026-02-14", None, None, "--to needs --from", ""),
        (None, None, None, "1d", "--flex needs", ""),
        ("2026-02-14", "2026-02-15", "Mars/Olympus", None, "no time zone 'Mars/Olympus'", "Europe/Paris"),
        ("2026-02-14", "2026-02-15", "../etc/passwd", None, "no time zone", ""),
    ],
)
def test_spans_that_are_none(
    start: str | None, end: str | None, tz: str | None, flex: str | None, says: str, helps: str
) -> None:
    """Dates that end before they start, that the calendar lacks, or that stand alone."""
    with pytest.raises(Trouble) as caught:
        parse_when(start, end, tz, flex)
    assert says in caught.value.message
    assert helps in caught.value.hint


@pytest.mark.parametrize(
    ("text", "place", "radius"),
    [
        ("iata:LYS", {"code": "iata:LYS"}, None),
        ("IATA:LYS", {"code": "iata:LYS"}, None),
        ("country:FR", {"code": "country:FR"}, None),
        ("geo:45.72,5.08", {"cells": ["u05s5"]}, None),
        ("geo:45.72, 5.08, 30km", {"cells": ["u05s5"]}, 30),
        ("cell:u05k,U05H", {"cells": ["u05k", "u05h"]}, None),
        ("Lyon airport (iata:LYS)", {"code": "iata:LYS", "label": "Lyon airport"}, None),
        ("Lyon airport iata:LYS", {"code": "iata:LYS", "label": "Lyon airport"}, None),
        ("iata:LYS Lyon airport", {"code": "iata:LYS", "label": "Lyon airport"}, None),
        ("my street (geo:45.72,5.08,2)", {"cells": ["u05s5"], "label": "my street"}, 2),
    ],
)
def test_places_are_codes_or_coarse_cells(text: str, place: dict[str, Any], radius: int | None) -> None:
    """A point never leaves as a point: it becomes a cell about 5 km across."""
    assert parse_place(text, "--where") == (place, radius)


@pytest.mark.parametrize("text", ["Lyon", "", "geo:95,5", "geo:45.72", "cell:ail", "cell:", "iata:", "geo:45,5,99999"])
def test_places_that_are_none(text: str) -> None:
    """The hint lists the forms there are."""
    with pytest.raises(Trouble) as caught:
        parse_place(text, "--where")
    assert caught.value.exit_code == Exit.USAGE
    assert caught.value.hint


def test_where_says_it_all_together() -> None:
    """--radius wins over the one in geo:, and neither stands without --where."""
    assert parse_where("geo:45.72,5.08,30", "iata:GVA", "10 km") == {
        "at": {"cells": ["u05s5"]},
        "to": {"code": "iata:GVA"},
        "radius": 10,
    }
    assert parse_where(None, None, None) is None
    with pytest.raises(Trouble, match="--return-to needs --where"):
        parse_where(None, "iata:GVA", None)
    with pytest.raises(Trouble, match="--radius needs --where"):
        parse_where(None, None, "3")


@pytest.mark.parametrize(
    ("text", "need", "found"),
    [
        ("drive=awd", "must", {"name": "drive", "op": "eq", "value": "awd"}),
        ("Child-Seat = 1", "want", {"name": "child_seat", "op": "eq", "value": "1"}),
        ("seats>=5", "must", {"name": "seats", "op": "min", "value": "5"}),
        ("mileage ≤ 80000 km", "avoid", {"name": "mileage", "op": "max", "value": "80000", "unit": "km"}),
        ("doors=3..5", "must", {"name": "doors", "op": "range", "value": ["3", "5"]}),
        ("fuel=diesel | petrol", "must", {"name": "fuel", "op": "in", "value": ["diesel", "petrol"]}),
        ("gps=yes *80", "want", {"name": "gps", "op": "eq", "value": "yes", "weight": 80}),
        ("note=a=b", "must", {"name": "note", "op": "eq", "value": "a=b"}),
    ],
)
def test_properties(text: str, need: str, found: dict[str, Any]) -> None:
    """Values stay as typed: the node knows the category, and with it what they mean."""
    assert parse_property(text, need, "--prop") == {**found, "need": need}


@pytest.mark.parametrize(
    ("text", "says", "helps"),
    [
        ("awd", "a name and a value", "drive=awd"),
        ("=awd", "a name and a value", ""),
        ("price<=300", "no property", "--max-price"),
        ("seats>5", "> is not known", ">="),
        ("seats:5", ": is not known", "seats=5"),
        ("seats>=many", "takes a number", ""),
        ("doors=5..3", "5 is more than 3", "3..5"),
        ("fuel=|diesel", "between |", ""),
        ("gps=yes *80", "a weight", "--want"),
        ("x" * 33 + "=1", "32 characters", ""),
    ],
)
def test_properties_that_are_none(text: str, says: str, helps: str) -> None:
    """What is wrong, and the form that is right."""
    with pytest.raises(Trouble) as caught:
        parse_property(text, "must", "--prop")
    assert says in caught.value.message
    assert helps in caught.value.hint


def test_an_offer_says_what_is() -> None:
    """Facts have no comparisons."""
    assert parse_fact("drive=awd", "--prop") == {"name": "drive", "value": "awd"}
    with pytest.raises(Trouble, match="an offer says what is"):
        parse_fact("seats>=5", "--prop")


def test_hostile_text_cannot_move_the_terminal() -> None:
    """Escapes, bells, carriage returns and direction marks are shown as what they are: nothing."""
    assert clean("a\x1b[2Jb\rc\u202ed\u200be\nf") == "a�[2Jb�c�d�e\nf"
    assert field_lines({"title": "x\x1b[31m", "total": {"minor": 5, "currency": "EUR"}}) == [
        "title: x�[31m",
        "total: 0.05 EUR",
    ]


def test_why_there_is_no_offer_to_look_at() -> None:
    hour = 1_800_000_000
    assert none_yet({"offers": []}) == "No offer yet."
    for sealed, says in ((0, "No offers"), (1, "1 offer"), (7, "7 offers")):
        assert none_yet({"sealed": sealed, "opens_at": hour}) == f"{says} so far, sealed until {show_instant(hour)}."


def test_what_was_said_to_whom_is_one_line_each() -> None:
    """In the view of a wish; in that of an offer everybody knows to whom. A vendor's name is text, on one line."""
    step = {"kind": "decline", "message": "8c01d7e2aa55" * 5, "words": "arrived"}
    assert message_name(step) == "decline 8c01d7e2aa55"
    to_bob = {**step, "vendor": "Bob\nand\tSons", "offer": "51e011229a71" * 5}
    assert message_name(to_bob) == "decline 8c01d7e2aa55 to Bob and Sons, about offer 51e011229a71"
