"""Stock at work: what is left to offer, and who holds what. The book itself is `ledger.py`.

Items of the catalogue are counted, and so is what a vendor's program says it has so many of. Whatever is promised is in
the store before anybody is told, and found there again after a crash.
"""

import json
from dataclasses import dataclass, replace

from protocol.limits import STOCK_HOLD
from protocol.offer import Offer
from protocol.terms import When

from ..store import HoldRow, Tx
from .ledger import Ledger
from .quote import slot_of, taken_span
from .shelf import Catalogue, Counted, Left

TAKER_WINDOW = 3600
"""Seconds for which a deal counts against whoever made it: see `share`."""


@dataclass(frozen=True, slots=True)
class ProgramStock:
    """What a vendor's program says it has so many of."""

    key: str
    many: int
    comes_back: bool = False
    """Is it away only for the time of the offer?"""
    turnaround: int = 0
    per_stranger: int | None = None
    counted_at: int = 0

    @property
    def share(self) -> int:
        return (self.many + 1) // 2 if self.per_stranger is None else self.per_stranger


class Stock:
    def __init__(self) -> None:
        self.ledger = Ledger()
        self.catalogue: Catalogue | None = None

    def load(self, tx: Tx) -> None:
        for row in tx.holds():
            self.ledger.put(row)

    def lapse(self, now: int) -> list[HoldRow]:
        """What is held no longer; it leaves the book."""
        return self.ledger.lapse(now)

    def left(self, now: int, besides: bytes = b"") -> Left:
        """How many of an item can still be promised; `besides` an accept, whose own hold does not stand in its way."""

        def left(item: Counted, span: tuple[int, int] | None) -> int | None:
            if item.many is None:
                return None
            if item.comes_back and span is not None:
                return item.many - self.ledger.busy(item.key, now, *span, besides)
            return item.many - self.ledger.sold(item.key, now, besides, item.counted_at)

        return left

    def find(self, tx: Tx, key: str) -> Counted | None:
        """What an offer was made from, if it is still counted."""
        item = self.catalogue.item(key) if self.catalogue is not None else None
        if item is not None:
            return item
        found = tx.get_meta(f"stock:{key}")
        return None if found is None else ProgramStock(key, **json.loads(found))

    def try_hold(
        self, tx: Tx, accept: bytes, key: str, count: int, when: When | None, takers: set[str], now: int
    ) -> tuple[HoldRow | None, str | None]:
        """Hold stock for an accept, at most ten minutes: the hold, or the reason why not (a reject's).

        `takers`: who accepts, as far as that costs something: the transport peer, and the subnet or the machine it was
        seen in."""
        item = self.find(tx, key)
        span = None
        if item is not None:
            span = taken_span(item, when)
            left = self.left(now, accept)(item, span)
            if left is not None and left < count:
                return None, "sold_out"
            since = now - TAKER_WINDOW
            if item.share is not None and any(
                tx.taken(key, taker, since, besides=accept) + count > item.share for taker in takers
            ):
                return None, "policy"
        row = HoldRow(accept, key, count, now + STOCK_HOLD, False, now, *(span or (None, None)))
        tx.hold(row)
        tx.put_takers(accept, key, count, sorted(takers), now, now - TAKER_WINDOW)
        return row, None

    def keep(self, tx: Tx, row: HoldRow, until: int) -> HoldRow:
        """The deal is made: held for good."""
        kept = replace(row, until=until, confirmed=True)
        tx.hold(kept)
        return kept


def time_of(offer: Offer, options: tuple[str, ...]) -> When | None:
    """The time an accept is about: that of the offer, or of the slot its options choose."""
    if offer.when is None:
        return None
    offered = {option.name for option in offer.options}
    for name in options:
        if name in offered and (slot := slot_of(name, offer.when.tz)) is not None:
            return slot
    return offer.when


def slots_chosen(options: tuple[str, ...]) -> int:
    return sum(slot_of(name, "UTC") is not None for name in options)
