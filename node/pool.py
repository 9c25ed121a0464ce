"""Who stays in the offer pool of a wish when more vendors answer than it holds. Pure.

Vendor keys are free, so a thousand of them prove nothing. What costs something is a place in another network, and
having been there before the flood. Nobody pays for a rank: liars name the best prices.

- The source (one subnet, one peer) with most threads gives one up. So nobody is pushed out by a source smaller than
  his own, and however many keys one source has, every other finds a place.
- Of its threads the better half, as the person ranks, is safe: good offers get in at any time. Of the rest the newest
  goes: so half of the places belong to those who came first, whatever others promise later.
"""

from collections import Counter
from collections.abc import Collection
from typing import Any, NamedTuple


class Place(NamedTuple):
    """One vendor's thread in a pool."""

    thread: bytes
    source: str
    """Whom it costs to be another: see policy.source_of."""
    rank: tuple[Any, ...]
    """The person's own, the lowest is the best."""
    came: int
    """The order of arrival."""


def passed_over(places: Collection[Place]) -> Place | None:
    """The one that must go, if one must. None: there is nobody."""
    sizes = Counter(place.source for place in places)
    largest = max(sizes.values(), default=0)
    crowd = sorted((place for place in places if sizes[place.source] == largest), key=lambda one: (one.rank, one.came))
    return max(crowd[len(crowd) // 2 :], key=lambda one: one.came, default=None)
