"""Words that wishes and offers share: money, times, places, properties, ways back."""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from .limits import MAX_ADDRESS_CHARS, MAX_LABEL, MAX_NOTE
from .schema import Choice, Int, Invalid, Many, Text

CATEGORY = r"[a-z0-9-]{1,32}(\.[a-z0-9-]{1,32}){0,4}"
"""A dotted path, broad to narrow, at most five segments. Whether a leaf is in the tree is nobody's verdict."""

DIVISION = r"[a-z0-9-]{1,32}"

LOCAL_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(T([01][0-9]|2[0-3]):[0-5][0-9])?"
"""Wall-clock time as people say it, without zone: the zone stands beside it. ASCII digits, and no 24:00: both are read
differently from one language, and one version of it, to the next."""

MAX_MINOR = 10**15
"""Minor units; above any price on Earth in any currency, and far from int64 even when 256 of them are added."""


@dataclass(frozen=True, slots=True)
class Money:
    """An exact amount: whole minor units (cents) of an ISO 4217 currency. Never a float."""

    minor: Annotated[int, Int(0, MAX_MINOR)]
    currency: Annotated[str, Text(3, r"[A-Z]{3}", 3)]


@dataclass(frozen=True, slots=True)
class When:
    """A span of local time, half-open: `end` is the first moment after it. A date alone means its midnight."""

    start: Annotated[str, Text(16, LOCAL_TIME)]
    end: Annotated[str, Text(16, LOCAL_TIME)]
    tz: Annotated[str, Text(64, r"[A-Za-z0-9_+/-]+")]
    flex: Annotated[int | None, Int(0, 14 * 24 * 3600)] = None
    """Seconds either end may move."""

    def check(self) -> None:
        start, end = local_time(self.start), local_time(self.end)
        if start is None or end is None:
            raise Invalid("start or end is not a date of the calendar")
        if end <= start:
            raise Invalid("ends before it starts")


@dataclass(frozen=True, slots=True)
class Place:
    """A place as coarse as its author wants: a public code (`iata:LYS`, `country:FR`), geohash cells, a label."""

    code: Annotated[str | None, Text(40, r"[a-z0-9-]{1,20}:[A-Za-z0-9._-]{1,19}")] = None
    cells: Annotated[tuple[str, ...], Many(16), Text(8, r"[0-9b-hjkmnp-z]{1,8}")] = ()
    label: Annotated[str | None, Text(MAX_LABEL)] = None

    def check(self) -> None:
        if self.code is None and not self.cells:
            raise Invalid("a place needs a code or cells")


@dataclass(frozen=True, slots=True)
class Where:
    at: Place
    to: Place | None = None
    """Where it ends, if elsewhere: another return station, the address moved to."""
    radius: Annotated[int | None, Int(0, 20_000)] = None
    """Kilometres around `at` that are fine too."""


PropertyValue = int | str | bool


@dataclass(frozen=True, slots=True)
class _Scalar:
    """A number, a short text or a truth value."""

    def check(self, value: object) -> str | None:
        if type(value) in (int, bool) or (type(value) is str and 1 <= len(value) <= MAX_LABEL):
            return None
        return f"a whole number, true, false or a text of 1 to {MAX_LABEL} characters was expected"


@dataclass(frozen=True, slots=True)
class _ScalarOrList:
    """What a wish may compare with: one value, or a list of 1 to 16."""

    def check(self, value: object) -> str | None:
        if isinstance(value, list | tuple):
            if not 1 <= len(value) <= 16:
                return "1 to 16 alternatives are allowed"
            return next(filter(None, (_Scalar().check(item) for item in value)), None)
        return _Scalar().check(value)


PROPERTY_NAME = r"[a-z0-9_]{1,32}"
UNIT = r"[A-Za-z0-9%/_.-]{1,16}"


@dataclass(frozen=True, slots=True)
class Property:
    """One thing the wish says about the thing: `drive eq awd, must`."""

    name: Annotated[str, Text(32, PROPERTY_NAME)]
    op: Annotated[str, Choice(("eq", "in", "min", "max", "range"))]
    value: Annotated[Any, _ScalarOrList()]
    """eq: one value; in: a list of alternatives; min, max: a number; range: [low, high], both included."""
    need: Annotated[str, Choice(("must", "want", "avoid"))]
    unit: Annotated[str | None, Text(16, UNIT)] = None
    weight: Annotated[int | None, Int(0, 100)] = None
    """How much a `want` counts in the person's own ranking."""

    def check(self) -> None:
        listed = isinstance(self.value, tuple)
        if self.op == "eq" and listed:
            raise Invalid(f"{self.name}: eq takes one value")
        if self.op == "in" and not listed:
            raise Invalid(f"{self.name}: in takes a list")
        if self.op in ("min", "max") and type(self.value) is not int:
            raise Invalid(f"{self.name}: {self.op} takes a whole number")
        if self.op == "range":
            numbers = listed and len(self.value) == 2 and all(type(item) is int for item in self.value)
            if not numbers or self.value[0] > self.value[1]:
                raise Invalid(f"{self.name}: range takes [low, high], both whole numbers")


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing an offer says about what it offers: `drive: awd`."""

    name: Annotated[str, Text(32, PROPERTY_NAME)]
    value: Annotated[Any, _Scalar()]
    unit: Annotated[str | None, Text(16, UNIT)] = None


@dataclass(frozen=True, slots=True)
class Route:
    """A way back to its author. `/p2p/<peer id>` alone: only over a link that is there already."""

    via: Annotated[str, Choice(("direct", "relay", "mailbox"))]
    addr: Annotated[str, Text(MAX_ADDRESS_CHARS, r"(/[A-Za-z0-9:._/-]+)?/p2p/[A-Za-z0-9]{32,64}")]


@dataclass(frozen=True, slots=True)
class Policy:
    """A rule that comes with an offer, in words: fuel, deposit, liability."""

    name: Annotated[str, Text(MAX_LABEL)]
    note: Annotated[str, Text(MAX_NOTE)]


_ISO = re.compile(LOCAL_TIME)


def local_time(text: str) -> datetime | None:
    """The naive datetime of a wall-clock text, or None if there is no such day or hour."""
    if not _ISO.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
