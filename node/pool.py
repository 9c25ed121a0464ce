"""Who stays in the offer pool of a wish when more vendors answer than it holds.

Vendor keys are free, so a thousand of them prove nothing. What costs something is a place in another network, and
having been there before the flood. Nobody pays for a rank: liars name the best prices.

- The source (one subnet, one peer) with most threads gives one up. So nobody is pushed out by a source smaller than
  his own, and however many keys one source has, every other finds a place.
- Of its threads the better half, as the person ranks, is safe: good offers get in at any time. Of the rest the newest
  goes: so half of the places belong to those who came first, whatever others promise later.
"""

from collections import Counter
from collections.abc import Collection
from typing import Any, Final, NamedTuple

from protocol.exchange import Side
from protocol.match import match, rank_key
from protocol.message import Message
from protocol.offer import Offer

from .delivery import Delivery
from .store import Room, Store
from .threads import LiveThread, Threads, thread_id
from .wish import Wish, is_over

POOL: Final = 10
"""Times `max_offers`: vendors a wish lets in. For each one more, one is passed over."""

NO_OFFER: Final = (1,)
"""The rank of a vendor with no open offer: behind all that have one, whose ranks begin with 0."""


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
    """The one that must go, if one must. None: there is nobody. Pure."""
    sizes = Counter(place.source for place in places)
    largest = max(sizes.values(), default=0)
    crowd = sorted((place for place in places if sizes[place.source] == largest), key=lambda one: (one.rank, one.came))
    return max(crowd[len(crowd) // 2 :], key=lambda one: one.came, default=None)


class Pool:
    """The vendors that answered our wishes."""

    def __init__(self, threads: Threads, delivery: Delivery, store: Store, counters: Counter[str]) -> None:
        self._threads = threads
        self._delivery = delivery
        self._store = store
        self._counters = counters
        self.known: set[bytes] = set()
        """Vendors with whom there was a contract: never passed over."""
        self.passed_over: list[bytes] = []
        """Threads that left their pool, to be dropped from the store."""

    def lets_in(self, wish: Wish, message: Message, source: str) -> bool:
        """Is there a place for whoever says this, or can one be made?"""
        pool = self._threads.of_root(wish.root)
        # On a disk that fills, as many as asked for and no more.
        places = (POOL if self._store.room is Room.ENOUGH else 1) * wish.intent.max_offers
        return len(pool) < places or self._make_room(wish, pool, message, source)

    async def drop_passed_over(self) -> None:
        if self.passed_over:
            dropped, self.passed_over = self.passed_over, []
            await self._store.transact(lambda tx: tx.drop_threads(dropped))

    def _make_room(self, wish: Wish, pool: tuple[LiveThread, ...], message: Message, source: str) -> bool:
        """Pass over a vendor, so that another may come; False if the other is the one to be passed over. Nothing is
        said: whoever writes again is a newcomer again, and hears of the wish's end like everybody."""
        new = thread_id(wish.root, wish.end.me, message.author)
        if new in self.passed_over:
            return False  # what is stored of it is not dropped yet
        loose = {live.id: (live, came) for came, live in enumerate(pool) if self._may_be_passed_over(live)}
        places = [Place(id, _source_of(live), _rank(wish, live), came) for id, (live, came) in loose.items()]
        if message.author not in self.known:
            rank = _rank_of(wish, message) if wish.is_current(message) else NO_OFFER
            places.append(Place(new, source, rank, len(pool)))
        out = passed_over(places)
        if out is None or out.thread == new:
            self._counters["turned_away"] += 1
            return False
        self._counters["passed_over"] += 1
        self._threads.remove(loose[out.thread][0])
        wish.ranks.pop(out.thread, None)
        self.passed_over.append(out.thread)
        return True

    def _may_be_passed_over(self, live: LiveThread) -> bool:
        return (
            live.side is Side.REQUESTER
            and live.other not in self.known
            and not live.lock.locked()
            and self._delivery.is_idle(live.id)
            and all(talk.accept is None for talk in live.thread.talks.values())
        )


def _source_of(live: LiveThread) -> str:
    return live.source or live.peer or ""


def _rank(wish: Wish, live: LiveThread) -> tuple[Any, ...]:
    talk = live.thread.live
    if talk is None:
        return NO_OFFER
    known = wish.ranks.get(live.id)
    if known is None or known[0] != talk.offer.id:
        known = wish.ranks[live.id] = (talk.offer.id, _rank_of(wish, talk.offer))
    return known[1]


def _rank_of(wish: Wish, message: Message) -> tuple[Any, ...]:
    offer = message.body
    assert isinstance(offer, Offer)
    return (0, is_over(wish.limit, offer.total), *rank_key(wish.intent, match(wish.intent, offer), offer.total))
