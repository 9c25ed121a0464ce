"""What a vendor without code has to offer: the typed form of `catalogue.toml`, and reading it.

Reading is all or nothing: one error, with its line and how to mend it, and nothing of the file is used.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from node.trouble import Exit, Trouble, not_found, refused
from protocol.categories import matches_pattern
from protocol.limits import MAX_CONTACT, MAX_LABEL, MAX_LIFE, MAX_NOTE
from protocol.offer import Line, Vendor
from protocol.span import is_zone
from protocol.terms import Fact, Place, Policy, When

from .lines import Path as KeyPath
from .lines import key_lines, line_of
from .section import Section, Wrong, dotted

TIME_UNITS: Final = ("day", "night", "hour")
UNITS: Final = (*TIME_UNITS, "piece", "job")
"""What a price is per. Days, nights and hours are counted from the time of the wish."""

TIMED_ACTIONS: Final = ("rent", "book", "hire")
"""Wishes whose time is how long somebody has or does something. To repair or buy, it is only when it may happen."""

MAX_FILE: Final = 1024 * 1024
"""Bytes of a catalogue: 500 items with long notes are half of it."""

MAX_ITEMS: Final = 500
"""Judging one item takes about 0.1 ms, and every wish in the division is held against all of them."""

MAX_PLACES: Final = 16
MIN_VALID: Final = 60
"""Seconds an offer must at least stand: less cannot be read and accepted."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where something is to be had."""

    place: Place
    radius: int | None = None
    """Kilometres around it that are served too."""


@dataclass(frozen=True, slots=True)
class Discount:
    at_least: int
    """Of the item's unit, from which on it holds."""
    per_mille: int


@dataclass(frozen=True, slots=True)
class ItemFee:
    name: str
    minor: int
    per: str
    """once, piece, or the item's own unit of time."""
    return_elsewhere: bool = False
    """Only owed when it comes back to another place."""


@dataclass(frozen=True, slots=True)
class ItemOption:
    name: str
    title: str
    minor: int
    per: str


@dataclass(frozen=True, slots=True)
class Cancelling:
    free_until: int | None
    """Seconds before the start; None: never free."""
    minor: int = 0
    """The fee after that, until the start."""
    per_mille: int = 0
    """The fee as a part of the total, if it is one."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing on the shelf. Amounts are minor units of `currency`."""

    key: str
    """The name of its table: stable, for stock and counters; never sent."""
    title: str
    category: str
    actions: tuple[str, ...]
    currency: str
    minor: int
    per: str
    props: tuple[Fact, ...] = ()
    choices: tuple[tuple[Fact, ...], ...] = ()
    """Properties to be had in several ways, each as the facts it can be: the wish chooses."""
    spots: tuple[Spot, ...] = ()
    """None: anywhere."""
    return_elsewhere: bool = False
    """May come back to another of the spots."""
    periods: tuple[When, ...] = ()
    """When it is to be had; none: always."""
    notice: int = 0
    """Seconds between now and the start that are needed."""
    minimum: int = 1
    maximum: int | None = None
    """Of the unit: days, nights, hours, pieces."""
    discounts: tuple[Discount, ...] = ()
    """Longest first."""
    fees: tuple[ItemFee, ...] = ()
    options: tuple[ItemOption, ...] = ()
    cancelling: Cancelling | None = None
    stock: int | None = None
    note: str | None = None

    @property
    def timed(self) -> bool:
        return self.per in TIME_UNITS


@dataclass(frozen=True, slots=True)
class Catalogue:
    vendor: Vendor
    contact: str
    categories: tuple[str, ...]
    """Patterns of the wishes to answer."""
    items: tuple[Item, ...]
    valid_for: int
    """Seconds an offer stands."""
    answer_within: int | None = None
    """Seconds after which a wish is too old to be answered; None: never."""
    policies: tuple[Policy, ...] = ()


def load_catalogue(path: Path) -> Catalogue:
    """Read a catalogue. Raises Trouble (code `catalogue`) that names file and line, what is wrong and how to mend it."""
    from .items import read_item  # items are made of what is declared above

    source = _source(path)
    try:
        values = tomllib.loads(source, parse_float=Decimal)
    except tomllib.TOMLDecodeError as bad:
        raise _syntax(path, source, str(bad)) from None
    try:
        return _catalogue(Section(values), read_item)
    except Wrong as wrong:
        line = line_of(key_lines(source), wrong.path)
        where = dotted(wrong.path)
        raise _trouble(path, line, f"{where}: {wrong.what}" if where else wrong.what, wrong.hint) from None
