"""Reading one item of a catalogue: what it is, where and when it is to be had, and what it costs."""

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from protocol.categories import UnknownCategory, resolve
from protocol.intent import ACTIONS
from protocol.limits import MAX_LABEL, MAX_LIFE, MAX_NOTE, MAX_TITLE
from protocol.place import BASE32, cell_at
from protocol.properties import PropertyError, UnknownProperty, normalise_property, property_def
from protocol.span import span
from protocol.terms import PROPERTY_NAME, Fact, Place, PropertyValue, When, local_time

from .lines import Path
from .patterns import suggest
from .section import Section, Wrong, nearest, shown
from .shelf import (
    TIME_UNITS,
    TIMED_ACTIONS,
    UNITS,
    Cancelling,
    Discount,
    Item,
    ItemFee,
    ItemOption,
    Season,
    SlotRule,
    Slots,
    Spot,
)

MAX_ITEM_TITLE: Final = MAX_TITLE - 40
"""Characters: the line of an offer adds how often."""

MAX_PLACES: Final = 16
MAX_PERIODS: Final = 64
MAX_COUNT: Final = 1_000_000
MAX_SEASONS: Final = 32
MAX_SEASON_NAME: Final = 16
"""Characters: it stands behind the title, in what MAX_ITEM_TITLE leaves free."""

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
CELL_LENGTH: Final = 5
"""Characters of the cell a latitude and longitude become: about 5 km, as coarse as wishes are."""

_CODE: Final = re.compile(r"([a-z0-9-]{1,20}):([A-Za-z0-9._-]{1,19})")
_CELL: Final = re.compile(rf"[{BASE32}]{{1,8}}")
_UNITS_OF_FEES: Final = ("once", "piece")


ITEM_FIELDS: Final = (
    "title", "category", "action", "properties", "places", "return_elsewhere", "available", "notice",
    "price", "per", "minimum", "maximum", "discounts", "fees", "options", "cancellation", "stock", "note",
    "seasons", "fleet", "turnaround", "slots", "closed", "per_stranger",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shop:
    """What the top of the file says for all items."""

    currency: str | None
    tz: str | None


def read_item(row: Section, key: str, shop: Shop) -> Item:
    """Raises Wrong."""
    row.knows(*ITEM_FIELDS)
    title = row.text("title", MAX_ITEM_TITLE, "Dacia Duster 4x4")
    category = _category(row)
    per = row.word("per", UNITS, "day")
    actions = _actions(row, per)
    price = row.money("price", shop.currency)
    props, choices = _properties(row.table("properties"), category, actions)
    extras = _Extras(price.currency, per)
    minimum = row.whole("minimum", 1, MAX_COUNT, 1)
    if per == "job" and ("minimum" in row or "maximum" in row):
        raise row.wrong("minimum" if "minimum" in row else "maximum", "a job is not counted", "Take the line away.")
    slots = _slots(row, shop.tz)
    _counts_once(row, per, actions, slots)
    return Item(
        key=key,
        title=title,
        category=category,
        actions=actions,
        currency=price.currency,
        minor=price.minor,
        per=per,
        props=props,
        choices=choices,
        spots=_spots(row),
        return_elsewhere=row.flag("return_elsewhere"),
        periods=_periods(row, shop.tz),
        notice=row.duration("notice", 0, MAX_LIFE, "0h") if "notice" in row else 0,
        minimum=minimum,
        maximum=row.whole("maximum", minimum, MAX_COUNT, minimum) if "maximum" in row else None,
        discounts=_discounts(row, per),
        fees=tuple(extras.fee(fee) for fee in row.sections("fees", 32)),
        options=extras.options(row.sections("options", 32)),
        cancelling=extras.cancelling(row.table("cancellation")) if "cancellation" in row else None,
        stock=row.whole("stock", 0, MAX_COUNT, 0) if "stock" in row else None,
        fleet=row.whole("fleet", 0, MAX_COUNT, 0) if "fleet" in row else None,
        turnaround=row.duration("turnaround", 0, MAX_LIFE, "2h") if "turnaround" in row else 0,
        slots=slots,
        per_stranger=row.whole("per_stranger", 1, MAX_COUNT, 1) if "per_stranger" in row else None,
        tz=shop.tz,
        seasons=tuple(extras.season(part) for part in row.sections("seasons", MAX_SEASONS)),
        note=row.text("note", MAX_NOTE, "Desk open until midnight.", prose=True) if "note" in row else None,
    )


# ------------------------------------------------------------------------------------------------------ what it is


def _category(row: Section) -> str:
    text = row.text("category", 164, "mobility.car.suv")
    try:
        return resolve(text)
    except UnknownCategory as bad:
        raise row.wrong("category", f"there is no category {text!r}", suggest(bad)) from None


def _actions(row: Section, per: str) -> tuple[str, ...]:
    found = []
    for path, action in row.listed("action", '"rent"'):
        if not isinstance(action, str) or action not in ACTIONS:
            raise Wrong(path, f"{shown(action)} is not allowed, but {', '.join(ACTIONS)}", nearest(action, ACTIONS))
        if per in TIME_UNITS and action not in TIMED_ACTIONS:
            raise row.wrong(
                "per",
                f"a wish to {action} does not say how many {per}s it takes",
                'Write per = "piece" or per = "job", with the price of the whole.',
            )
        found.append(action)
    return tuple(dict.fromkeys(found))


def _properties(
    table: Section, category: str, actions: tuple[str, ...]
) -> tuple[tuple[Fact, ...], tuple[tuple[Fact, ...], ...]]:
    """What it is for certain, and what it can be as the wish likes."""
    if len(table.values) > 64:
        raise Wrong(table.path, f"{len(table.values)} properties, at most 64 are allowed")
    certain: dict[str, Fact] = {}
    choices: dict[str, tuple[Fact, ...]] = {}
    for name in table.values:
        facts = tuple(
            read_fact(path, category, actions, name, value) for path, value in table.listed(name, "a value or several")
        )
        known = facts[0].name
        if known in certain or known in choices:
            raise table.wrong(name, f"{known} is said twice", "Take one of the lines away.")
        if len(facts) > 16:
            raise table.wrong(name, f"{len(facts)} alternatives, at most 16 are allowed")
        if len(facts) == 1:
            certain[known] = facts[0]
        else:
            choices[known] = tuple(dict.fromkeys(facts))
    return tuple(certain.values()), tuple(choices.values())


def read_fact(path: Path, category: str, actions: tuple[str, ...], name: str, value: Any) -> Fact:
    if isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, int | Decimal):
        value = str(value)
    if not isinstance(value, str):
        raise Wrong(path, f"{shown(value)} is no value", "Write a number, true, false or a text in quotes.")
    read: dict[tuple[str, PropertyValue], str] = {}
    for action in actions:
        try:
            read.setdefault(normalise_property(category, action, name, value), action)
        except UnknownProperty as bad:
            raise Wrong(
                path, f"there is no property {name!r} in {category}", f"Did you mean {bad.suggestion}?"
            ) from None
        except PropertyError as bad:
            raise Wrong(path, re.sub(r"^[a-z0-9_]+: ", "", str(bad))) from None  # the path names it already
    if len(read) > 1:
        raise Wrong(
            path,
            f"{name} means one thing to {actions[0]} and another to {list(read.values())[1]}",
            "Make two items, one for each action.",
        )
    ((known, typed),) = read
    found = property_def(category, actions[0], known)
    unit = found.unit if found is not None and found.type == "int" else None
    fact = Fact(known, typed, unit)
    if not re.fullmatch(PROPERTY_NAME, known):
        raise Wrong(path, f"{name!r} is no name of a property", "A name is 1 to 32 of a-z, 0-9 and _.")
    return fact


# ------------------------------------------------------------------------------------------------- where and when


def _spots(row: Section) -> tuple[Spot, ...]:
    example = '["iata:LYS"], or "anywhere"'
    if row.need("places", example) in ("anywhere", ["anywhere"]):
        return ()
    listed = row.listed("places", example)
    if len(listed) > MAX_PLACES:
        raise row.wrong("places", f"{len(listed)} places, at most {MAX_PLACES} are allowed", "Use a larger radius.")
    return tuple(
        _described_spot(Section(one, path)) if isinstance(one, dict) else Spot(_place(path, one))
        for path, one in listed
    )


def _place(path: Path, text: object, label: str | None = None) -> Place:
    if isinstance(text, str) and (code := _CODE.fullmatch(text.strip())):
        return Place(code=f"{code[1]}:{code[2]}", label=label)
    if isinstance(text, str) and _CELL.fullmatch(text.strip()):
        return Place(cells=(text.strip(),), label=label)
    raise Wrong(
        path,
        f"{shown(text)} is no place",
        'Write a code ("iata:LYS", "country:FR"), a point with a radius ({ lat = 45.76, lon = 4.84, radius = 30 }), '
        'a geohash cell ("u05kq"), or places = "anywhere".',
    )


def _described_spot(row: Section) -> Spot:
    row.knows("code", "cells", "lat", "lon", "radius", "label")
    label = row.text("label", MAX_LABEL, "Lyon") if "label" in row else None
    radius = row.whole("radius", 0, 20_000, 0) if "radius" in row else None
    ways = [name for name in ("code", "cells", "lat") if name in row]
    if len(ways) != 1:
        raise Wrong(row.path, "a place is a code, cells, or lat and lon", "Write one of them.")
    if ways == ["lat"]:
        return Spot(Place(cells=(_cell(row),), label=label), radius)
    if ways == ["code"]:
        return Spot(_place((*row.path, "code"), row.values["code"], label), radius)
    places = [_place(path, cell) for path, cell in row.listed("cells", '["u05kq"]')]
    cells = tuple(cell for place in places for cell in place.cells)
    if len(cells) < len(places) or len(cells) > 16:
        raise row.wrong("cells", "1 to 16 geohash cells were expected")
    return Spot(Place(cells=cells, label=label), radius)


def _cell(row: Section) -> str:
    return cell_at(_degrees(row, "lat", 90), _degrees(row, "lon", 180), CELL_LENGTH)


def _degrees(row: Section, name: str, most: int) -> float:
    value = row.need(name, "45.76")
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not -most <= float(value) <= most:
        raise row.wrong(name, f"{shown(value)} is not between -{most} and {most}", f"Write {name} = 45.76")
    return float(value)


def _periods(row: Section, tz: str | None, name: str = "available") -> tuple[When, ...]:
    periods = []
    for part in row.sections(name, MAX_PERIODS):
        part.knows("from", "until")
        start, end = part.moment("from"), part.moment("until")
        if tz is None:
            raise Wrong(part.path, "the time zone is missing", 'Write tz = "Europe/Paris" at the top of the file.')
        first, last = local_time(start), local_time(end)
        period = When(start, end, tz)
        if first is None or last is None or last <= first or span(period) is None:
            raise part.wrong("until", f"{end} is not after {start}", "until is the first moment it is gone again.")
        periods.append(period)
    return tuple(periods)


def _counts_once(row: Section, per: str, actions: tuple[str, ...], slots: Slots | None) -> None:
    """Raises Wrong for two ways to count at once, or one that does not fit."""
    if "fleet" in row and "stock" in row:
        raise row.wrong(
            "stock", "stock is sold for good, a fleet comes back: it cannot be both", "Take one of the lines away."
        )
    if slots is not None and "stock" in row:
        raise row.wrong("stock", "slots are counted by themselves", "Write fleet = 2 if one slot takes two customers.")
    if "fleet" in row and slots is None and per not in TIME_UNITS:
        raise row.wrong(
            "fleet", f"how long one is away is not known where the price is per {per}", 'Write per = "day", or slots.'
        )
    if "turnaround" in row and "fleet" not in row and slots is None:
        raise row.wrong("turnaround", "only a fleet or slots need it", "Take the line away, or write fleet = 1.")
    if "closed" in row and slots is None:
        raise row.wrong("closed", "only a calendar of slots is closed", "Add slots, or use available.")
    if slots is not None and "available" in row:
        raise row.wrong("available", "slots say when it is to be had", "Use closed for the days off.")
    if slots is not None and "buy" in actions:
        raise row.wrong("slots", "what is bought has no slots", 'Write action = "book", "hire" or "repair".')


def _slots(row: Section, tz: str | None) -> Slots | None:
    parts = row.sections("slots", MAX_PERIODS)
    if not parts:
        return None
    if tz is None:
        raise Wrong(parts[0].path, "the time zone is missing", 'Write tz = "Europe/Paris" at the top of the file.')
    many = row.whole("fleet", 1, MAX_COUNT, 1)
    return Slots(tz, tuple(_slot_rule(part) for part in parts), _periods(row, tz, "closed"), many)


def _slot_rule(part: Section) -> SlotRule:
    part.knows("days", "date", "from", "until", "length")
    if "date" in part and "days" in part:
        raise part.wrong("date", "a date and days of the week", "Write one of them.")
    start, end = _clock(part, "from"), _clock(part, "until")
    if end <= start:
        raise part.wrong("until", "it is not after from", 'Write from = "08:00", until = "17:00".')
    length = end - start
    if "length" in part:
        length = part.duration("length", 5 * 60, 24 * 3600, "1h") // 60
        if length > end - start:
            raise part.wrong("length", "it does not fit between from and until")
    day = _day(part, "date") if "date" in part else None
    return SlotRule(start, end, length, _weekdays(part) if "days" in part else frozenset(range(7)), day)


def _clock(part: Section, name: str) -> int:
    """Minutes after midnight of `08:30`; 24:00 is the end of the day."""
    value = part.need(name, '"08:00"')
    text = value.isoformat(timespec="minutes") if hasattr(value, "isoformat") and hasattr(value, "hour") else value
    found = re.fullmatch(r"([01]?[0-9]|2[0-4]):([0-5][0-9])", text.strip()) if isinstance(text, str) else None
    minutes = int(found[1]) * 60 + int(found[2]) if found else -1
    if not 0 <= minutes <= 24 * 60:
        raise part.wrong(name, f"{shown(value)} is no time of day", f'Write {name} = "08:00", up to "24:00".')
    return minutes


def _day(part: Section, name: str) -> date:
    text = part.moment(name)
    found = local_time(text)
    assert found is not None
    return found.date()


def _weekdays(part: Section) -> frozenset[int]:
    found = set()
    for path, value in part.listed("days", '["sat", "sun"]'):
        word = value.strip().lower()[:3] if isinstance(value, str) else ""
        if word not in WEEKDAYS:
            raise Wrong(path, f"{shown(value)} is no day of the week", f"Known are {', '.join(WEEKDAYS)}.")
        found.add(WEEKDAYS.index(word))
    return frozenset(found)


# -------------------------------------------------------------------------------------------------- what it costs


def _discounts(row: Section, per: str) -> tuple[Discount, ...]:
    found: dict[int, Discount] = {}
    for part in row.sections("discounts", 16):
        part.knows("from", "percent")
        part.need("from", "7")
        if per == "job":
            raise Wrong(part.path, "a job is not counted, so nothing can be taken off for more of it")
        at_least = part.whole("from", 1, MAX_COUNT, 1)
        if at_least in found:
            raise part.wrong("from", f"there is another discount from {at_least}", "Take one away.")
        found[at_least] = Discount(at_least, part.per_mille("percent"))
    return tuple(found[at_least] for at_least in sorted(found, reverse=True))


def _month_day(row: Section, name: str) -> tuple[int, int, int]:
    """(year, month, day) of `2026-12-15`; of `12-15`, which is every year, the year is 0."""
    value = row.need(name, '"12-15"')
    if isinstance(value, str) and (found := re.fullmatch(r"([0-9]{2})-([0-9]{2})", value.strip())):
        try:
            date(2000, int(found[1]), int(found[2]))  # a leap year: 02-29 is a day
        except ValueError:
            raise row.wrong(name, f"{shown(value)} is no day of a year", 'Write "12-15": month, then day.') from None
        return 0, int(found[1]), int(found[2])
    day = _day(row, name)
    return day.year, day.month, day.day


@dataclass(frozen=True, slots=True)
class _Extras:
    """What comes on top of an item's price, all in its currency."""

    currency: str
    per: str

    def season(self, row: Section) -> Season:
        row.knows("name", "from", "until", "days", "price")
        first = last = None
        if "from" in row or "until" in row:
            first, last = _month_day(row, "from"), _month_day(row, "until")
            if bool(first[0]) != bool(last[0]):
                raise row.wrong("until", "one date has a year and the other has none", "Write both alike.")
            if first == last or (first[0] and last < first):
                raise row.wrong("until", "it is not after from", "until is the first day it no longer holds.")
        elif "days" not in row:
            raise Wrong(row.path, "when does this price hold?", 'Add from and until, or days = ["sat", "sun"].')
        return Season(
            minor=self._amount(row, "price"),
            name=row.text("name", MAX_SEASON_NAME, "Winter") if "name" in row else None,
            first=first,
            last=last,
            days=_weekdays(row) if "days" in row else frozenset(range(7)),
        )

    def fee(self, row: Section) -> ItemFee:
        row.knows("name", "amount", "per", "only")
        elsewhere = "only" in row and row.word("only", ("return_elsewhere",), "return_elsewhere") != ""
        name = row.text("name", MAX_LABEL, "Airport fee")
        return ItemFee(name, self._amount(row, "amount"), self._per(row), elsewhere)

    def options(self, rows: list[Section]) -> tuple[ItemOption, ...]:
        found: dict[str, ItemOption] = {}
        for row in rows:
            row.knows("name", "title", "amount", "per")
            name = row.text("name", 32, "ski_rack")
            if not re.fullmatch(PROPERTY_NAME, name):
                raise row.wrong("name", f"{name!r} is not 1 to 32 of a-z, 0-9 and _", "Its title may be any text.")
            if name in found:
                raise row.wrong("name", f"there is another option {name}", "Give it a name of its own.")
            found[name] = ItemOption(
                name, row.text("title", MAX_TITLE, "Ski rack"), self._amount(row, "amount"), self._per(row)
            )
        return tuple(found.values())

    def cancelling(self, row: Section) -> Cancelling:
        row.knows("free_until", "fee")
        free = row.duration("free_until", 0, 365 * 86_400, "48h") if "free_until" in row else None
        fee = row.need("fee", '"50 %"')
        if isinstance(fee, str) and fee.strip().endswith("%"):
            return Cancelling(free, per_mille=0 if fee.strip(" %") == "0" else row.per_mille("fee"))
        return Cancelling(free, minor=self._amount(row, "fee"))

    def _amount(self, row: Section, name: str) -> int:
        money = row.money(name, self.currency)
        if money.currency != self.currency:
            raise row.wrong(
                name, f"{money.currency}, but the price is in {self.currency}", "An offer has one currency."
            )
        return money.minor

    def _per(self, row: Section) -> str:
        if "per" not in row:
            return "once"
        units = (*_UNITS_OF_FEES, self.per) if self.per in TIME_UNITS else _UNITS_OF_FEES
        return row.word("per", units, "once")
