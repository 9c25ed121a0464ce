"""What a vendor without code has to offer, in types: a catalogue and its items."""

from dataclasses import dataclass
from typing import Final

from protocol.offer import Vendor
from protocol.terms import Fact, Place, Policy, When

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
