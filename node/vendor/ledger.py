"""What of the stock is promised to whom: the book behind "nothing is sold twice".

The store keeps it (`holds`); this is the same book in memory, because every wish asks it about many items. Who writes
into the store writes here, in the same turn. Pure: the time is an argument.

A hold begins with an accept, lasts at most ten minutes while the deal is decided, and for good once it is confirmed.
What comes back (a car, an hour of a plumber's) is held for its time alone.
"""

import math

from ..store import HoldRow


class Ledger:
    def __init__(self) -> None:
        self._by_item: dict[str, dict[bytes, HoldRow]] = {}
        self._by_accept: dict[bytes, set[str]] = {}

    def put(self, hold: HoldRow) -> None:
        """The newer hold of an accept replaces its older one."""
        self._by_item.setdefault(hold.item, {})[hold.accept] = hold
        self._by_accept.setdefault(hold.accept, set()).add(hold.item)

    def release(self, accept: bytes) -> None:
        for item in self._by_accept.pop(accept, ()):
            holds = self._by_item[item]
            holds.pop(accept, None)
            if not holds:
                del self._by_item[item]

    def sold(self, item: str, now: int, besides: bytes = b"", since: int = 0) -> int:
        """How many are promised to accepts other than `besides`, of what is sold for good. `since`: confirmed deals
        made before then are no longer counted, because whoever counts the stock has taken them off."""
        return sum(
            hold.count
            for hold in self._by_item.get(item, {}).values()
            if hold.accept != besides and _counts(hold, now) and (hold.at >= since or not hold.confirmed)
        )

    def busy(self, item: str, now: int, start: int, end: int, besides: bytes = b"") -> int:
        """The most that are promised at any one moment of a span."""
        changes: list[tuple[int, int]] = []
        for hold in self._by_item.get(item, {}).values():
            if hold.accept == besides or not _counts(hold, now):
                continue
            first = start if hold.start is None else max(start, hold.start)
            last = end if hold.end is None else min(end, hold.end)
            if first < last:
                changes += [(first, hold.count), (last, -hold.count)]
        most = level = 0
        for _, change in sorted(changes):  # at one instant what ends goes first: spans are half-open
            level += change
            most = max(most, level)
        return most

    @property
    def next_lapse(self) -> float:
        """When the next hold lapses that nobody has confirmed."""
        holds = (hold for holds in self._by_item.values() for hold in holds.values() if not hold.confirmed)
        return min((hold.until for hold in holds), default=math.inf)

    def lapse(self, now: int) -> list[HoldRow]:
        """Take out what was never confirmed and has lapsed, and what was for a time that has passed."""
        gone = [
            hold
            for holds in self._by_item.values()
            for hold in holds.values()
            if not _counts(hold, now) or (hold.end is not None and hold.end <= now)
        ]
        for hold in gone:
            self.release(hold.accept)
        return gone


def _counts(hold: HoldRow, now: int) -> bool:
    return hold.confirmed or hold.until > now
