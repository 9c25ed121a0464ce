"""The wish: what a person wants, told to a whole market. Broadcast on gossip, so everything in it is PUBLIC.

`intent` opens a wish, `intent.update` replaces it whole, `intent.close` ends it for ever.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from .limits import DEFAULT_MAX_OFFERS, MAX_MAX_OFFERS, MAX_NOTE, MAX_REPLY_ROUTES, MAX_SPREAD, MAX_TITLE
from .schema import Bin, Choice, Int, Many, Text
from .terms import CATEGORY, DIVISION, Money, Property, Route, When, Where

ACTIONS: Final = ("buy", "rent", "hire", "book", "repair")
CLOSE_REASONS: Final = ("awarded", "elsewhere", "withdrawn", "expired")


@dataclass(frozen=True, slots=True)
class Intent:
    """The public part of a wish. A private limit, names and addresses of the person are not here by design."""

    action: Annotated[str, Choice(ACTIONS)]
    category: Annotated[str, Text(164, CATEGORY)]
    title: Annotated[str, Text(MAX_TITLE)]
    box: Annotated[bytes, Bin(32)]
    """X25519 key to be written to; fresh for this wish."""
    note: Annotated[str | None, Text(MAX_NOTE)] = None
    props: Annotated[tuple[Property, ...], Many(32)] = ()
    quantity: Annotated[int, Int(1, 1_000_000)] = 1
    when: When | None = None
    where: Where | None = None
    limit: Money | None = None
    """The most its author wants to pay in all, only if the author names it publicly."""
    offers_by: Annotated[int | None, Int(0)] = None
    """Instant until which offers are collected, sealed: see "Sealed offers"."""
    spread: Annotated[int, Int(0, MAX_SPREAD)] = 0
    max_offers: Annotated[int, Int(1, MAX_MAX_OFFERS)] = DEFAULT_MAX_OFFERS
    award: Annotated[str, Choice(("one",))] = "one"
    terms: Annotated[tuple[str, ...], Many(8), Text(120)] = ()
    """Names of agreements the person proffers (IEEE 7012 ids, say)."""
    reply: Annotated[tuple[Route, ...], Many(MAX_REPLY_ROUTES)] = ()


@dataclass(frozen=True, slots=True)
class IntentClose:
    """A tombstone: final, whatever its seq and whatever was seen before it."""

    category: Annotated[str, Text(32, DIVISION)]
    """Only the division: whoever relays the end of a wish need not learn more than the topic says."""
    reason: Annotated[str, Choice(CLOSE_REASONS)]
    offers: Annotated[int | None, Int(0, 100_000)] = None
    """How many offers were counted, if the author says it."""


def division_of(category: str) -> str:
    """The bytes before the first dot. Compared literally; the tree plays no part."""
    return category.partition(".")[0]
