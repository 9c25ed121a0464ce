"""Threads as this node holds them: the protocol's state, our keys in it, and the way to the other party.

A thread's state is never stored. It is the replay of its stored messages, and of what time ended between them, so
what is on disk and what is believed cannot differ.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

import trio

from protocol.board import Board
from protocol.deal import Accept, Confirm, Problem
from protocol.envelope import digest
from protocol.exchange import Move, Side, State, Talk, Thread
from protocol.intent import Intent
from protocol.keys import BoxKey, SigningKey
from protocol.message import Message
from protocol.offer import Offer
from protocol.terms import Route

from .network.seam import Worth
from .policy import routes_via
from .store import ThreadRow, Tx

MAX_ROUTES = 4
MAX_MAILBOXES = 3


def thread_id(root: bytes, requester: bytes, vendor: bytes) -> bytes:
    return digest(root + requester + vendor)


@dataclass(frozen=True, slots=True)
class End:
    """Our end of the threads of one wish: who we are there, and the box we are written to."""

    me: bytes
    """Our signing key there."""
    box: bytes
    """Our X25519 key there."""
    root: bytes
    side: Side
    keys: tuple[SigningKey, BoxKey] | None
    """The secrets; None once they were deleted: then nothing new can be read or said, only shown."""

    @property
    def is_box(self) -> bool:
        return self.side is Side.REQUESTER

    def secrets(self) -> tuple[SigningKey, BoxKey]:
        assert self.keys is not None, "a thread without keys neither speaks nor hears"
        return self.keys


def make_end(key: SigningKey, box: BoxKey, root: bytes, side: Side) -> End:
    return End(key.public, box.public, root, side, (key, box))


@dataclass(slots=True, eq=False)
class LiveThread:
    id: bytes
    thread: Thread
    end: End
    next_seq: int = 0
    next_n: int = 0
    peer: str | None = None
    """The transport peer last seen for the other party."""
    routes: tuple[str, ...] = ()
    """Addresses the other party named in the newest of its messages that name any."""
    mailboxes: tuple[str, ...] = ()
    """Addresses of the mailboxes that message names: who is away can be written to there."""
    routed_by: int = -1
    """The `seq` of that message."""
    other_box: bytes | None = None
    """The X25519 key the other party was last heard with; at first a wish's own box."""
    heard: int = 0
    heard_bytes: int = 0
    """How many messages of the other party we keep, and their size: bounded by delivery."""
    source: str = ""
    """Where the other party was seen last (policy.source_of); unknown after a restart."""
    lock: trio.Lock = field(default_factory=trio.Lock)
    """One message is decided, stored and answered at a time; time passes for a thread only between them."""

    @property
    def root(self) -> bytes:
        return self.thread.root

    @property
    def side(self) -> Side:
        return self.end.side

    @property
    def other(self) -> bytes:
        """The other party's signing key."""
        return self.thread.vendor if self.side is Side.REQUESTER else self.thread.requester

    def count(self, message: Message) -> None:
        """A message of the other party is kept."""
        self.other_box = key_to_answer(message) or self.other_box
        if message.head.to is not None:
            self.heard += 1
            self.heard_bytes += len(message.frame)

    def peers(self) -> tuple[str, ...]:
        """Transport peers the other party may be: the one last seen first, then those it named."""
        named = (route.rpartition("/p2p/")[2] for route in self.routes)
        return tuple(dict.fromkeys((*((self.peer,) if self.peer is not None else ()), *named)))

    def learn_route(self, message: Message, peer: str | None) -> None:
        """Where an answer to this message can go: the stream it came on, if any, and the ways back it names."""
        if peer is not None:
            self.peer = peer
        named = ways_back(message)
        if named and message.head.seq >= self.routed_by:
            # Those before are where it lived once: whoever moved does not want its visitors sent to the neighbours.
            self.routed_by = message.head.seq
            self.routes = routes_via("direct", named)[:MAX_ROUTES]
            self.mailboxes = routes_via("mailbox", named)[:MAX_MAILBOXES]

    def row(self) -> ThreadRow:
        thread = self.thread
        return ThreadRow(
            self.id,
            thread.root,
            thread.requester,
            thread.vendor,
            self.side.value,
            self.end.box,
            self.next_seq,
            self.next_n,
            self.peer,
            self.routes,
        )

    def why_ended(self, talk: Talk) -> dict[str, str]:
        """Why an offer came to nothing, as far as somebody said it: what became of the `wish`, and a `reason`."""
        said = talk.answer or talk.refusal
        body = said.body if said is not None else None
        found = {name: getattr(body, name, None) for name in ("wish", "reason")}
        if isinstance(body, Problem) and body.code == "lapsed":
            found["reason"] = "late"
        if talk.state is State.VOID and said is None:
            if talk.ended_by in self.thread.talks:
                found["reason"] = "replaced"
            elif talk.ended_by is None and self.side is Side.VENDOR:
                found["reason"] = "expired"
        return {name: word for name, word in found.items() if word is not None}

    def contact_of(self, message_id: bytes) -> str | None:
        """The other party's contact, if its accept or confirm about this offer told one."""
        talk = self.thread.talk_of(message_id)
        if talk is None:
            return None
        told = talk.answer if self.side is Side.REQUESTER else talk.accept
        return told.body.contact if told is not None and isinstance(told.body, Accept | Confirm) else None


class Threads:
    """All threads of this node, by everything they are looked up by. Filled by `load` at start."""

    def __init__(self) -> None:
        self._by_id: dict[bytes, LiveThread] = {}
        self._by_root: dict[bytes, list[LiveThread]] = {}
        self._ends: dict[bytes, End] = {}
        self._awake: dict[Side, dict[bytes, LiveThread]] = {side: {} for side in Side}

    def __iter__(self) -> Iterator[LiveThread]:
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def awake(self, side: Side) -> tuple[LiveThread, ...]:
        """Those of our ends of this side in which something can still happen. Contracts stay for good, and whoever has
        made ten thousand does not look through them at every tick."""
        return tuple(self._awake[side].values())

    def lay_to_rest(self, live: LiveThread) -> None:
        """Out of `awake`, if nothing can be said in it any more and nothing is open."""
        if live.end.keys is None and live.thread.due() is None:
            self._awake[live.side].pop(live.id, None)

    def add_end(self, end: End) -> None:
        if end.keys is not None:
            self._ends[end.box] = end

    def end(self, box: bytes) -> End | None:
        return self._ends.get(box)

    def forget_end(self, end: End) -> None:
        """Its secrets were deleted from the store, and now here. By box, for a root is only somebody's claim."""
        self._ends.pop(end.box, None)
        for live in self.of_root(end.root):
            if live.end.box == end.box:
                live.end = replace(live.end, keys=None)
                self.lay_to_rest(live)

    def get(self, id: bytes) -> LiveThread | None:
        return self._by_id.get(id)

    def of_root(self, root: bytes) -> tuple[LiveThread, ...]:
        return tuple(self._by_root.get(root, ()))

    def of_peer(self, peer: str) -> list[LiveThread]:
        return [live for live in self if peer in live.peers()]

    def worth(self) -> dict[str, Worth]:
        """Of transport peers that were seen in a thread; the ways back that somebody names do not count."""
        found: dict[str, Worth] = {}
        for live in self._by_id.values():
            if live.peer is not None and found.get(live.peer) is not Worth.CONTRACT:
                is_bound = any(talk.state is State.CONFIRMED for talk in live.thread.talks.values())
                found[live.peer] = Worth.CONTRACT if is_bound else Worth.THREAD
        return found

    def add(self, live: LiveThread) -> LiveThread:
        self._by_id[live.id] = self._awake[live.side][live.id] = live
        self._by_root.setdefault(live.root, []).append(live)
        self.lay_to_rest(live)
        return live

    def remove(self, live: LiveThread) -> None:
        """It is over for good, or was passed over; its end may have others."""
        if self._by_id.get(live.id) is live:
            del self._by_id[live.id]
            self._awake[live.side].pop(live.id, None)
            rest = self._by_root[live.root]
            rest.remove(live)
            if not rest:
                del self._by_root[live.root]


def key_to_answer(message: Message) -> bytes | None:
    """The X25519 key an answer to this message is sealed to."""
    return message.body.box if isinstance(message.body, Intent) else message.head.tkey


def ways_back(message: Message) -> tuple[Route, ...]:
    """The ways to its author that a message names."""
    return message.body.reply if isinstance(message.body, Intent | Offer) else ()


def new_thread(root: bytes, requester: bytes, vendor: bytes, end: End) -> LiveThread:
    thread = Thread(root, requester, vendor, end.side)
    return LiveThread(thread_id(root, requester, vendor), thread, end)


def keep_posted(board: Board, live: LiveThread) -> None:
    """Hold a wish on the board as firmly as what a vendor has open with its author: at will for an offer, which costs
    the author nothing, and whatever comes while an accept is decided."""
    states = {talk.state for talk in live.thread.talks.values()}
    if State.ACCEPTED in states:
        board.pin(live.other)
    elif State.OFFERED in states:
        board.pinned.discard(live.other)
        board.spare(live.other)
    else:
        board.release(live.other)


def save(tx: Tx, live: LiveThread) -> None:
    tx.put_thread(live.row())


def keep_expired(tx: Tx, live: LiveThread, moves: Iterable[Move]) -> None:
    """What time alone ended stays ended: after a start, too, and when the clock shows an earlier hour by then."""
    for move in moves:
        if move.after in (State.VOID, State.LAPSED) and live.thread.talks[move.offer].ended_by is None:
            tx.put_expired(move.offer, live.id)
