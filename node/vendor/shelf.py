"""What a vendor without code has to offer, in types: a catalogue and its items."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final, Protocol

from protocol.offer import Vendor
from protocol.terms import Fact, Place, Policy, When

if TYPE_CHECKING:
    from .pricelist import PriceList

TIME_UNITS: Final = ("day", "night", "hour")
UNITS: Final = (*TIME_UNITS, "piece", "job")
"""What a price is per. Days, nights and hours are counted from the time of the wish."""

TIMED_ACTIONS: Final = ("rent", "book", "hire")
"""Wishes whose time is how long somebody has or does something. To repair or buy, it is only when it may happen."""

MIN_VALID: Final = 60
"""Seconds an offer must at least stand: less cannot be read and accepted."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where something is to be had."""

    place: Place
    radius: int | None = None
    """Kilometres around it that are served too."""


@dataclass(frozen=True, slots=True)
class Season:
    """Another price on some days: between two dates, on some weekdays, or both."""

    minor: int
    name: str | None = None
    """What the customer reads behind the title."""
    first: tuple[int, int, int] | None = None
    """Year, month, day; year 0: every year. None: no dates."""
    last: tuple[int, int, int] | None = None
    """The first day it no longer holds."""
    days: frozenset[int] = frozenset(range(7))
    """Of the week, Monday is 0."""

    def holds(self, day: date) -> bool:
        if day.weekday() not in self.days:
            return False
        if self.first is None or self.last is None:
            return True
        at = (day.year if self.first[0] else 0, day.month, day.day)
        if self.first <= self.last:
            return self.first <= at < self.last
        return at >= self.first or at < self.last  # over the turn of the year


@dataclass(frozen=True, slots=True)
class SlotRule:
    """Times of the day at which something is to be had, one after the other."""

    start: int
    """Minutes after midnight, local."""
    end: int
    length: int
    """Minutes; the last one fits before `end`."""
    days: frozenset[int] = frozenset(range(7))
    day: date | None = None
    """On this date alone."""


@dataclass(frozen=True, slots=True)
class Slots:
    """A calendar: what is offered is one of its slots."""

    tz: str
    rules: tuple[SlotRule, ...]
    off: tuple[When, ...] = ()
    """Closed: no slot that touches it."""
    many: int = 1
    """How many customers one slot takes: a van each."""


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
    """How many there are to be sold, once."""
    fleet: int | None = None
    """How many there are at any one time: each comes back at the end of its deal."""
    turnaround: int = 0
    """Seconds between the end of one deal and the start of the next, for one of a fleet or a slot."""
    slots: Slots | None = None
    counted_at: int = 0
    """Deals before this instant are already taken off `stock`."""
    per_stranger: int | None = None
    """How many one stranger may take within an hour; None: see `share`."""
    tz: str | None = None
    """The shop's: for seasons."""
    seasons: tuple[Season, ...] = ()
    """The first that holds gives the price of a day; none: `minor`."""
    note: str | None = None

    @property
    def timed(self) -> bool:
        return self.per in TIME_UNITS

    @property
    def many(self) -> int | None:
        """How many can be promised at a time; None: no end of them."""
        if self.slots is not None:
            return self.slots.many
        return self.stock if self.fleet is None else self.fleet

    @property
    def comes_back(self) -> bool:
        """Is it promised for a time, and free again before and after?"""
        return self.fleet is not None or self.slots is not None

    @property
    def share(self) -> int | None:
        """How many one stranger may take within an hour: a wish costs nothing, and must not empty the shop. None: as
        many as there are."""
        if self.per_stranger is not None:
            return self.per_stranger
        many = self.many
        return None if many is None else (many + 1) // 2

    def price_on(self, day: date) -> tuple[int, str | None]:
        """(minor units, name of the season) of a unit that begins on this day."""
        for season in self.seasons:
            if season.holds(day):
                return season.minor, season.name
        return self.minor, None


class Counted(Protocol):
    """Something there are so many of: an item of the catalogue, or of a program's."""

    @property
    def key(self) -> str: ...
    @property
    def many(self) -> int | None: ...
    @property
    def comes_back(self) -> bool: ...
    @property
    def share(self) -> int | None: ...
    @property
    def turnaround(self) -> int: ...
    @property
    def counted_at(self) -> int: ...


Left = Callable[[Counted, tuple[int, int] | None], int | None]
"""How many of an item can still be promised: for good, or (what comes back) for a span of instants. None: no end."""


def all_left(item: Counted, span: tuple[int, int] | None) -> int | None:
    """As if nothing had ever been sold."""
    return item.many


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
    lists: tuple["PriceList", ...] = ()
    """Long lists out of spreadsheets and shop systems."""
    confirm: str = "at once"
    """An accept of an offer from this catalogue: confirmed at once, or `by hand`."""

    def item(self, key: str) -> Item | None:
        """The item of this key, wherever it stands."""
        for item in self.items:
            if item.key == key:
                return item
        return next((found for one in self.lists if (found := one.item(key)) is not None), None)
