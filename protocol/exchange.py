"""The state of a thread: all messages about one wish between its author and one vendor. The same code on both sides.

Messages go in, in any order and any number of times; moves come out. What moves what is the table's (kinds.toml);
this file adds only what a table cannot say: which of two offers lives, when an accept still stands, when a confirm
comes too late. No clock of its own: `now` is the wall clock of the node that asks.

    NONE -> OFFERED -> ACCEPTED -> CONFIRMED | REJECTED | LAPSED        from OFFERED also: DECLINED | WITHDRAWN | VOID
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from .intent import Intent
from .kinds import KINDS
from .message import Message


class Side(StrEnum):
    REQUESTER = "requester"
    VENDOR = "vendor"


class State(StrEnum):
    NONE = "NONE"
    OFFERED = "OFFERED"
    ACCEPTED = "ACCEPTED"
    CONFIRMED = "CONFIRMED"
    REJECTED = "REJECTED"
    LAPSED = "LAPSED"
    DECLINED = "DECLINED"
    WITHDRAWN = "WITHDRAWN"
    VOID = "VOID"


FINAL: Final = frozenset(State) - {State.NONE, State.OFFERED, State.ACCEPTED}

MAX_EARLY: Final = 8
"""Messages kept because what they answer has not arrived yet; a ninth is dropped and, unacknowledged, comes again."""

MAX_OFFERS: Final = 64
"""Offers of one vendor in one thread; more are refused."""


@dataclass(slots=True)
class Talk:
    """One offer and what became of it."""

    offer: Message
    state: State = State.OFFERED
    accept: Message | None = None
    answer: Message | None = None
    """The confirm or reject."""
    ended_by: bytes | None = None
    """Id of the message that ended it, if a message did."""
    refusal: Message | None = None
    """What the person said against it, whatever had ended it before: a decline, or a problem at the door."""
    superseded: Message | None = None
    """An accept that came when its author knew better, and was not answered yet."""
    withdrawals: set[bytes] = field(default_factory=set)
    """Ids of all its vendor's withdrawals, also of those that came after another end."""


@dataclass(frozen=True, slots=True)
class Move:
    """What happened to an offer."""

    offer: bytes
    before: State
    after: State


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a message did. `owes` is what the thread's owner must now say about it, beside the ack."""

    moves: tuple[Move, ...] = ()
    owes: str | None = None
    """Of the message itself, not of those that waited for it: they were acknowledged when they came.
    problem code to send to its author: `lapsed`, `state`; or `superseded`: a reject with that reason."""
    early: bool = False
    """Kept until what it answers arrives."""
    dropped: bool = False
    """Not kept: too many are early. It must not be acknowledged, then it comes again."""


NOTHING: Final = Outcome()


@dataclass(slots=True)
class Thread:
    root: bytes
    requester: bytes
    vendor: bytes
    side: Side
    talks: dict[bytes, Talk] = field(default_factory=dict)
    acks: dict[bytes, int] = field(default_factory=dict)
    """Message id -> seq of the other party's ack for it."""
    opened: int | None = None
    """At the requester: when the offers to a wish that collects them until an hour were opened."""
    _revision: Message | None = None
    _closed: bool = False
    _ids: set[bytes] = field(default_factory=set)
    _early: list[Message] = field(default_factory=list)

    # ------------------------------------------------------------------------------------------------- messages

    def add(self, message: Message, now: int) -> Outcome:
        """Take a believed message of either party, ours or theirs. The second copy of a message does nothing."""
        if message.id in self._ids:
            return NOTHING
        if message.kind in ("intent", "intent.update", "intent.close"):
            if message.author != self.requester:
                return NOTHING  # whoever claims this wish's root with another key
            self._ids.add(message.id)
            return Outcome(self._revise(message))
        if message.kind != "offer" and not self._knows(message.ref):
            return self._keep(message)
        if message.kind == "offer" and len(self.talks) >= MAX_OFFERS:
            return Outcome(owes="state")
        if message.kind == "offer" and self._is_late(message, now):
            return Outcome(owes="lapsed")
        self._ids.add(message.id)
        outcome = self._apply(message, now)
        replayed = [self.add(early, now) for early in self._take_early(message.id)]
        return Outcome(outcome.moves + tuple(move for other in replayed for move in other.moves), outcome.owes)

    def tick(self, now: int) -> tuple[Move, ...]:
        """What the passing of time alone ends: offers past their exp, accepts nobody answered in time."""
        over = [talk for talk in self.talks.values() if (end := _end_of(talk)) is not None and now >= end]
        return tuple(_expire(talk) for talk in over)

    def expire(self, offer: bytes) -> None:
        """Time had ended this one here, by a clock that may have been another: for those who replay a thread."""
        talk = self.talks.get(offer)
        if talk is not None and _end_of(talk) is not None:
            _expire(talk)

    def due(self) -> int | None:
        """When time alone next ends something, if nothing comes in before. None: never."""
        return min((end for talk in self.talks.values() if (end := _end_of(talk)) is not None), default=None)

    def sender_of(self, message: Message) -> str | None:
        """The role of a message's author in this thread, or None if it is neither party."""
        if message.author == self.vendor:
            return "vendor"
        return "requester" if message.author == self.requester else None

    # -------------------------------------------------------------------------------------------------- reading

    @property
    def live(self) -> Talk | None:
        """The vendor's one live offer: the newest that is still OFFERED or ACCEPTED."""
        alive = [talk for talk in self.talks.values() if talk.state in (State.OFFERED, State.ACCEPTED)]
        return max(alive, key=_rank_of, default=None)

    @property
    def newest(self) -> Talk | None:
        """The talk about the vendor's newest offer, whatever became of it: the older ones it has replaced itself."""
        return max(self.talks.values(), key=lambda talk: _rank(talk.offer), default=None)

    def talk_of(self, message_id: bytes) -> Talk | None:
        """The talk an offer, accept or answer belongs to."""
        for talk in self.talks.values():
            parts = (talk.offer, talk.accept, talk.answer)
            if any(part is not None and part.id == message_id for part in parts):
                return talk
        return None

    @property
    def is_over(self) -> bool:
        """True when nothing in this thread can move any more."""
        return self._closed and all(talk.state in FINAL for talk in self.talks.values())

    # -------------------------------------------------------------------------------------------------- applying

    def _apply(self, message: Message, now: int) -> Outcome:
        match message.kind:
            case "offer":
                return Outcome(self._offer(message))
            case "accept":
                return self._accept(message)
            case "confirm" | "reject":
                return self._answer(message, now)
            case "ack":
                self.acks[message.ref] = min(message.head.seq, self.acks.get(message.ref, message.head.seq))
                return NOTHING
            case "problem":
                return self._problem(message)
        talk = self.talk_of(message.ref)
        if talk is None or message.ref != talk.offer.id:
            return Outcome(owes="state")
        if message.kind == "offer.withdraw":
            talk.withdrawals.add(message.id)
        else:
            talk.refusal = talk.refusal or message
        return Outcome(self._follow_table(talk, message))

    def _follow_table(self, talk: Talk, message: Message) -> tuple[Move, ...]:
        after = KINDS[message.kind].moves.get(talk.state.value)
        if after is None:
            return ()  # stored and acknowledged, without effect
        talk.ended_by = message.id
        return (_move(talk, State(after)),)

    def _offer(self, message: Message) -> tuple[Move, ...]:
        talk = Talk(message, State.NONE)
        self.talks[message.id] = talk
        moves = list(self._follow_table(talk, message))
        talk.ended_by = None
        if self._is_stale(message):
            moves.append(_move(talk, State.VOID))
        # One live offer per vendor: the highest seq, then the lowest id, whatever became of it. The others are void; an
        # accept under way still stands for them.
        rivals = [other for other in self.talks.values() if other.state is State.OFFERED]
        newest = max(self.talks.values(), key=_rank_of)
        for other in rivals:
            if other is not newest:
                other.ended_by = newest.offer.id
                moves.append(_move(other, State.VOID))
        return tuple(moves)

    def _is_stale(self, offer: Message) -> bool:
        """Only the requester voids offers for an older revision or a closed wish: a vendor is bound by its word."""
        if self.side is Side.VENDOR:
            return False
        return self._closed or (self._revision is not None and offer.ref != self._revision.id)

    def _is_late(self, offer: Message, now: int) -> bool:
        """Made or heard too late for a wish that collects offers until an hour: it replaces nothing. Only for the
        requester: a vendor is bound by its word."""
        revision = self._revision
        if self.side is Side.VENDOR or revision is None or offer.ref != revision.id:
            return False
        return made_late(revision, offer) or (self.opened is not None and now >= self.opened)

    def _accept(self, message: Message) -> Outcome:
        talk = self.talks.get(message.ref)
        if talk is None or talk.accept is not None or message.head.exp > talk.offer.head.exp:
            return Outcome(owes="state")
        if self.side is Side.VENDOR and talk.state in (State.WITHDRAWN, State.VOID):
            if not self._still_stands(talk, message):
                talk.superseded = message
                return Outcome(owes="superseded")
            # The person had not acknowledged the change when accepting: for this accept it did not happen.
            moves: tuple[Move, ...] = (_move(talk, State.ACCEPTED),)
        else:
            moves = self._follow_table(talk, message)
        if not moves:
            return Outcome(owes="state")
        talk.accept, talk.ended_by = message, None
        return Outcome(moves)

    def _still_stands(self, talk: Talk, accept: Message) -> bool:
        """An accept stands iff its author signed no ack, with a lower seq, for a withdrawal or a newer offer."""
        if talk.ended_by is None:
            return False  # expired
        newer = {other.offer.id for other in self.talks.values() if _rank_of(other) > _rank_of(talk)}
        return all(self.acks.get(end, accept.head.seq) >= accept.head.seq for end in newer | talk.withdrawals)

    def _answer(self, message: Message, now: int) -> Outcome:
        for other in self.talks.values():
            if other.superseded is not None and other.superseded.id == message.ref:
                other.superseded = None
        talk = self.talk_of(message.ref)
        if talk is None or talk.accept is None or talk.accept.id != message.ref or talk.answer is not None:
            return Outcome(owes="state")
        if talk.state is State.LAPSED or now >= talk.accept.head.exp:
            late: tuple[Move, ...] = (_move(talk, State.LAPSED),) if talk.state is State.ACCEPTED else ()
            return Outcome(late, owes="lapsed" if self.side is Side.REQUESTER else None)
        moves = self._follow_table(talk, message)
        talk.answer = message
        return Outcome(moves)

    def _problem(self, message: Message) -> Outcome:
        talk = self.talk_of(message.ref)
        if talk is None or self.side is not Side.VENDOR:
            return NOTHING
        if message.ref == talk.offer.id:
            # It was turned away: what the person never kept binds nobody, unless the person accepts it after all.
            talk.refusal = talk.refusal or message
            if talk.state is not State.OFFERED:
                return NOTHING
            talk.ended_by = message.id
            return Outcome((_move(talk, State.VOID),))
        # The other party stored our confirm too late: on its side there is no contract, so there is none here.
        if (
            talk.answer is not None
            and talk.answer.id == message.ref
            and getattr(message.body, "code", None) == "lapsed"
            and talk.state is State.CONFIRMED
            and message.ref not in self.acks
        ):
            return Outcome((_move(talk, State.LAPSED),))
        return NOTHING

    def _revise(self, message: Message) -> tuple[Move, ...]:
        if message.kind == "intent.close":
            self._closed = True
        elif self._revision is None or _rank(message) > _rank(self._revision):
            self._revision = message
        else:
            return ()
        if self.side is Side.VENDOR:
            return ()
        moves: list[Move] = []
        for talk in self.talks.values():
            if talk.state is State.OFFERED and self._is_stale(talk.offer):
                moves.extend(self._follow_table(talk, message))
        return tuple(moves)

    # ------------------------------------------------------------------------------------------------------ early

    def _knows(self, message_id: bytes) -> bool:
        return message_id in self._ids

    def _keep(self, message: Message) -> Outcome:
        if all(early.id != message.id for early in self._early):
            if len(self._early) >= MAX_EARLY:
                return Outcome(dropped=True)
            self._early.append(message)
        return Outcome(early=True)

    def _take_early(self, ref: bytes) -> list[Message]:
        ready = [message for message in self._early if message.ref == ref]
        self._early = [message for message in self._early if message.ref != ref]
        return ready


def made_late(revision: Message, offer: Message) -> bool:
    """Was the offer made at the hour until which this revision of a wish collects them, or later?"""
    assert isinstance(revision.body, Intent)
    hour = revision.body.offers_by
    return hour is not None and offer.head.at >= hour


def _rank(message: Message) -> tuple[int, int]:
    """Of two offers, or two revisions, the higher one counts."""
    return message.head.seq, -int.from_bytes(message.id, "big")


def _rank_of(talk: Talk) -> tuple[int, int]:
    return _rank(talk.offer)


def _end_of(talk: Talk) -> int | None:
    """When time alone ends it. None: never."""
    if talk.state is State.OFFERED:
        return talk.offer.head.exp
    return talk.accept.head.exp if talk.state is State.ACCEPTED and talk.accept is not None else None


def _expire(talk: Talk) -> Move:
    return _move(talk, State.VOID if talk.state is State.OFFERED else State.LAPSED)


def _move(talk: Talk, after: State) -> Move:
    before, talk.state = talk.state, after
    return Move(talk.offer.id, before, after)
