"""One wish of ours, and what we think of an offer to it."""

from dataclasses import dataclass, field
from typing import Any, Final

import trio

from protocol.exchange import State, Talk, made_late
from protocol.intent import Intent
from protocol.match import Match
from protocol.message import Message
from protocol.offer import Offer
from protocol.terms import Money

from .store import WishRow
from .threads import End, LiveThread

OPEN_STATES: Final = frozenset({"OPEN", "DECIDING"})

ENDS: Final = {"awarded": "AWARDED", "withdrawn": "WITHDRAWN", "expired": "EXPIRED"}
REASONS: Final = {state: reason for reason, state in ENDS.items()}
"""A close's reason -> the wish's state, and back."""


@dataclass(slots=True, eq=False)
class Wish:
    """One wish of ours."""

    end: End
    division: str
    current: Message
    """The newest frame: the wish's revision, or its close."""
    revision: Message
    """The newest frame that is a wish."""
    state: str
    limit: Money | None
    published: bool
    created_at: int
    last_exp: int
    """The greatest exp ever signed under its key: how long its tombstone must live."""
    closed_at: int | None = None
    opened: int | None = None
    """When the offers were opened, if the wish collects them until an hour. None: it does not, or not yet."""
    ranks: dict[bytes, tuple[bytes, tuple[Any, ...]]] = field(default_factory=dict)
    """Thread -> its open offer and that offer's rank, while the pool is full: judging hundreds again for each newcomer
    would be slow."""
    lock: trio.Lock = field(default_factory=trio.Lock)

    @property
    def root(self) -> bytes:
        return self.end.root

    @property
    def intent(self) -> Intent:
        assert isinstance(self.revision.body, Intent)
        return self.revision.body

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_STATES

    @property
    def sealed_until(self) -> int | None:
        """The hour until which offers are collected and nobody sees them, also the person; None: they are open."""
        return self.intent.offers_by if self.is_open and self.opened is None else None

    @property
    def turn(self) -> str:
        """What became of it, as those are told whose offers it makes void."""
        return "updated" if self.is_open else REASONS[self.state]

    def is_current(self, message: Message) -> bool:
        """Is this an offer to what the wish says now?"""
        return message.kind == "offer" and message.ref == self.revision.id and self.is_open

    def is_late(self, message: Message) -> bool:
        """Has this message of a vendor's, an offer or its withdrawal, missed the hour until which offers are
        collected?"""
        return self.opened is not None or made_late(self.revision, message)

    def row(self) -> WishRow:
        return WishRow(
            self.root,
            self.end.me,
            self.division,
            self.state,
            self.end.keys[0].reveal() if self.end.keys is not None else None,
            self.limit.minor if self.limit else None,
            self.limit.currency if self.limit else None,
            self.published,
            self.created_at,
            self.closed_at,
        )


@dataclass(frozen=True, slots=True)
class Judged:
    """An offer with this node's own opinion of it."""

    live: LiveThread
    talk: Talk
    match: Match
    limit: Money | None
    """The person's private limit."""

    @property
    def over_limit(self) -> bool:
        return is_over(self.limit, self.offer.total)

    @property
    def offer(self) -> Offer:
        assert isinstance(self.talk.offer.body, Offer)
        return self.talk.offer.body

    @property
    def state(self) -> str:
        """The talk's state; an open offer that the person does not want to see by default has a word of its own."""
        if self.talk.state is State.OFFERED:
            if self.over_limit:
                return "over_limit"
            if not self.match.answers:
                return "mismatch"
        return self.talk.state.value.lower()

    @property
    def hidden(self) -> bool:
        """Not in the default list: over the private limit, or no answer to the wish; unless the person took it."""
        taken = self.talk.accept is not None
        return not taken and (self.over_limit or not self.match.answers)

    @property
    def comparable(self) -> bool:
        """Is its total in the currency of the limits, the public and the private one?"""
        return self.match.comparable and (self.limit is None or self.limit.currency == self.offer.total.currency)


def is_over(limit: Money | None, total: Money) -> bool:
    """Is a total above a private limit? Where the currencies differ, nobody knows."""
    return limit is not None and total.currency == limit.currency and total.minor > limit.minor


def opened_name(root: bytes) -> str:
    """Under which the store knows when the offers to a wish were opened: as long as it knows the wish, for what came
    after it is judged by it at every start."""
    return f"opened:{root.hex()}"


def write_opened(hour: int, after: int) -> str:
    """`after`: the number of the last message stored before."""
    return f"{hour} {after}"


def read_opened(text: str) -> tuple[int, int]:
    """The hour, and the number of the last message before. Until schema 5 only the hour was kept."""
    hour, _, after = text.partition(" ")
    return int(hour), int(after or 0)
