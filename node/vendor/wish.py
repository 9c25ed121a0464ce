"""A wish as a vendor's program sees it: read-only, typed, with the questions a vendor asks of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from protocol.categories import is_below
from protocol.intent import Intent
from protocol.place import near
from protocol.properties import canonical_name
from protocol.span import span
from protocol.terms import Money, Place, Property, PropertyValue, When, Where, local_time

from .compose import intent_of
from .counting import count_of
from .pricelist import words_of


@dataclass(frozen=True, slots=True)
class Wish:
    """Somebody's wish. Who it is stays unknown until they accept."""

    id: str
    """Names the wish for good, through all its revisions."""
    revision: str
    at: int
    """When it was said, seconds UTC."""
    exp: int
    """When it ends."""
    intent: Intent
    """All of it, in the protocol's own types."""

    @classmethod
    def read(cls, view: Mapping[str, Any]) -> "Wish":
        """From what the API shows. Raises Trouble."""
        text = {name: str(view.get(name, "")) for name in ("id", "revision")}
        return cls(text["id"], text["revision"], int(view.get("at", 0)), int(view.get("exp", 2**53)), intent_of(view))

    @property
    def action(self) -> str:
        return self.intent.action

    @property
    def category(self) -> str:
        return self.intent.category

    @property
    def title(self) -> str:
        return self.intent.title

    @property
    def note(self) -> str | None:
        return self.intent.note

    @property
    def quantity(self) -> int:
        return self.intent.quantity

    @property
    def limit(self) -> Money | None:
        """The most they want to pay, if they say it in public."""
        return self.intent.limit

    @property
    def where(self) -> Where | None:
        return self.intent.where

    @property
    def when(self) -> When | None:
        return self.intent.when

    @property
    def offers_by(self) -> int | None:
        """Offers are collected until then (seconds UTC); None: as they come."""
        return self.intent.offers_by

    @property
    def words(self) -> frozenset[str]:
        """Of title and note, without case, accents, plural and small words."""
        return words_of(f"{self.title} {self.note or ''}")

    @staticmethod
    def words_in(text: str) -> frozenset[str]:
        """The same of a text of yours, to compare."""
        return words_of(text)

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """Start and end, with their time zone; None if the wish names no time."""
        if self.when is None or span(self.when) is None:
            return None
        zone = ZoneInfo(self.when.tz)
        start, end = local_time(self.when.start), local_time(self.when.end)
        assert start is not None
        assert end is not None
        return start.replace(tzinfo=zone), end.replace(tzinfo=zone)

    def count(self, per: str) -> int:
        """How many `day`s, `night`s or `hour`s it takes, begun ones counted; 0 if it names no time."""
        return count_of(per, self.when) if self.when is not None and span(self.when) is not None else 0

    def prop(self, name: str) -> Property | None:
        """What it says about a property, under this or another of its names."""
        wanted = canonical_name(self.category, self.action, name)
        for prop in self.intent.props:
            if canonical_name(self.category, self.action, prop.name) == wanted:
                return prop
        return None

    def wants(self, name: str) -> PropertyValue | tuple[PropertyValue, ...] | None:
        """The value it names for a property, if it names one; None too for what it wants to avoid."""
        found = self.prop(name)
        return None if found is None or found.need == "avoid" else found.value

    def is_near(self, place: str | Place, radius: int | None = None) -> bool:
        """Does its place meet this one (`iata:LYS`, a geohash cell), within so many kilometres of both?"""
        if self.where is None:
            return False
        spot = place_of(place) if isinstance(place, str) else place
        both = None if radius is None and self.where.radius is None else (radius or 0) + (self.where.radius or 0)
        return near(self.where.at, spot, both)

    def is_in(self, category: str) -> bool:
        return is_below(self.category, category)


def place_of(text: str) -> Place:
    return Place(code=text) if ":" in text else Place(cells=(text,))
