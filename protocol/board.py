"""The board: which wishes are open, as far as this node has heard; and the verdict on every gossip frame.

One register per (author key, division): a close beats everything, whatever its seq; then the highest seq; then the
lowest id. A close is final. A posting leaves the board when it expires, a close 120 s later.

Pure: the clock and the network's name are handed in, and nothing is remembered before it verified.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from .envelope import Realm, read_frame, verify, zero_bits
from .errors import Fault, Reason, Refused
from .intent import Intent, IntentClose, division_of
from .limits import MAX_GOSSIP_FRAME, MAX_SKEW, STAMP_BITS
from .message import Message, believe_body, check_time, read_head
from .reconcile import IdTree

OURS = ""
"""`via` of frames this node wrote itself."""

DIVISION_BYTES = 8 * 1024 * 1024
"""What one division may take of the board by default: some 4,000 wishes."""

_OVERHEAD = 1_500
"""Bytes a posting costs beside its frame, roughly: objects and indexes."""


@dataclass(frozen=True, slots=True)
class Posting:
    """What the board holds of one wish: its newest revision or its tombstone."""

    message: Message
    via: str
    """The peer that handed it over first."""
    held: bool
    """False for a tombstone of a wish that never hung here."""

    @property
    def size(self) -> int:
        return len(self.message.frame) + _OVERHEAD

    @property
    def is_open(self) -> bool:
        return self.message.kind != "intent.close"

    def is_over(self, now: int) -> bool:
        head = self.message.head
        return now > head.exp + MAX_SKEW if head.kind == "intent.close" else now >= head.exp


@dataclass(frozen=True, slots=True)
class Heard:
    """The verdict on one gossip frame."""

    message: Message | None
    """Believed and new; None if not accepted."""
    replaced: Message | None = None
    """What it took the place of."""
    reason: Reason | None = None
    """Why it was not accepted."""
    via: str = ""
    """Who handed it over."""

    @property
    def accepted(self) -> bool:
        return self.message is not None

    @property
    def rejected(self) -> bool:
        return self.reason is not None and Refused(self.reason).fault is Fault.REJECT

    @property
    def remember(self) -> bool:
        """May the very same bytes be answered from memory next time? Not if the verdict could differ by then."""
        return self.accepted or self.rejected or self.reason in (Reason.SEEN, Reason.SUPERSEDED)


Register = tuple[bytes, str]


@dataclass(slots=True)
class Board:
    net: str
    bits: int = -1
    """Zero bits asked of a stamp; by default what the network's name says."""
    division_bytes: int = DIVISION_BYTES
    pinned: set[bytes] = field(default_factory=set)
    """Authors (keys) whose postings are never evicted: our own wishes, and those whose accept we hold."""
    counters: Counter[str] = field(default_factory=Counter)
    """accepted, and every reason for which something was not; evicted."""
    _postings: dict[Register, Posting] = field(default_factory=dict)
    _by_id: dict[bytes, Register] = field(default_factory=dict)
    _bytes: Counter[str] = field(default_factory=Counter)
    _shelves: dict[str, "_Shelf"] = field(default_factory=dict)
    _trees: dict[str, IdTree] = field(default_factory=dict)
    _spared: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.bits < 0:
            self.bits = STAMP_BITS.get(self.net, 0)

    # ------------------------------------------------------------------------------------------------- verdicts

    def hear(self, data: bytes, division: str, via: str, now: int) -> Heard:
        """Judge a frame that came on the channel of `division`, and hang it up if it is new. Never raises Refused."""
        try:
            message = self._judge(data, division)
            check_time(message.head, now)
            replaced = self._place(message, division, via)
        except Refused as refused:
            self.counters[refused.reason.value] += 1
            return Heard(None, reason=refused.reason, via=via)
        self.counters["accepted"] += 1
        self._make_room(division)
        return Heard(message, replaced, via=via)

    def restore(self, data: bytes, division: str, via: str, *, held: bool, now: int) -> bool:
        """Hang up what a store kept. False if it is not believed any more: expired, or damaged. Ends are hung whatever
        the hour: at a start with a wrong clock, what is withdrawn must stay so, and `sweep` takes them down in time."""
        try:
            message = self._judge(data, division)
            if message.kind != "intent.close":
                check_time(message.head, now)
            self._place(message, division, via)
        except Refused:
            return False
        register = (message.author, division)
        self._postings[register] = Posting(message, via, held)
        return True

    def _judge(self, data: bytes, division: str) -> Message:
        """All but the hour and the register."""
        # Cheapest first; everything up to the signature is judged from the bytes alone.
        if len(data) > MAX_GOSSIP_FRAME:
            raise Refused(Reason.SIZE, f"{len(data)} bytes on gossip")
        unverified = read_frame(data, MAX_GOSSIP_FRAME)
        fields = unverified.peek_unverified()
        if fields.get("net") != self.net:
            raise Refused(Reason.NET, "of another network")
        body = fields.get("body")
        category = body.get("category") if isinstance(body, dict) else None
        if not isinstance(category, str) or division_of(category) != division:
            raise Refused(Reason.DIVISION, "does not belong on this channel")
        head, kind = read_head(fields, Realm.GOSSIP)
        if self.bits and zero_bits(unverified.id) < self.bits:
            raise Refused(Reason.STAMP, f"fewer than {self.bits} zero bits")
        envelope = verify(unverified, Realm.GOSSIP, self.net, fields)
        return believe_body(envelope, head, kind)

    def _place(self, message: Message, division: str, via: str) -> Message | None:
        register = (message.author, division)
        present = self._postings.get(register)
        if present is not None:
            if present.message.id == message.id:
                raise Refused(Reason.SEEN)
            if not _beats(message, present.message):
                raise Refused(Reason.SUPERSEDED)
            self._remove(register)
        held = message.kind != "intent.close" or (present is not None and present.held)
        posting = self._postings[register] = Posting(message, via, held)
        self._by_id[message.id] = register
        self._bytes[division] += posting.size
        shelf = self._shelves.get(division)
        if shelf is None:
            shelf = self._shelves[division] = _Shelf()
            self._trees[division] = IdTree()
        shelf.add(register, posting, message.author in self._spared)
        self._trees[division].add(message.id)
        return present.message if present is not None else None

    # --------------------------------------------------------------------------------------------------- reading

    def __len__(self) -> int:
        return len(self._postings)

    def __iter__(self) -> Iterator[Posting]:
        return iter(tuple(self._postings.values()))

    def get(self, frame_id: bytes) -> Posting | None:
        """The posting whose current frame has this id."""
        register = self._by_id.get(frame_id)
        return self._postings[register] if register is not None else None

    def of_author(self, author: bytes, division: str) -> Posting | None:
        return self._postings.get((author, division))

    def bytes_of(self, division: str) -> int:
        return self._bytes[division]

    def tree_of(self, division: str) -> IdTree:
        """The ids of what hangs there, wishes and closes. To be read only."""
        tree = self._trees.get(division)
        return tree if tree is not None else IdTree()

    def has_room_for(self, division: str, via: str) -> bool:
        """False while the division is full and the next to go was brought by the same link: whatever else that link
        brings would only push out its own."""
        if self._bytes[division] + MAX_GOSSIP_FRAME + _OVERHEAD <= self.division_bytes:
            return True
        victim = self._victim(division)
        return victim is not None and self._postings[victim].via != via

    # ----------------------------------------------------------------------------------------------------- bounds

    def spare(self, author: bytes) -> None:
        """Evict this author's postings only while all that are spared take more than half of their division, the
        oldest first: an offer of ours is open, which costs its receiver nothing and must not make us deaf."""
        self._spared.add(author)
        for register, posting in self._of(author):
            self._shelves[register[1]].spare(register, posting)

    def pin(self, author: bytes) -> None:
        """Never evict this author's postings: its accept of an offer of ours is open."""
        self.release(author)
        self.pinned.add(author)

    def release(self, author: bytes) -> None:
        """Nothing is open with this author: its postings are like all others, as new as they are now."""
        self.pinned.discard(author)
        self._spared.discard(author)
        for register, posting in self._of(author):
            self._shelves[register[1]].release(register, posting)

    def _of(self, author: bytes) -> list[tuple[Register, Posting]]:
        registers = [(author, division) for division in self._shelves]
        return [(register, self._postings[register]) for register in registers if register in self._postings]

    def sweep(self, now: int) -> list[Message]:
        """Take down what is over, and return it."""
        over = [(register, posting) for register, posting in self._postings.items() if posting.is_over(now)]
        for register, _ in over:
            self._remove(register)
        return [posting.message for _, posting in over]

    def _make_room(self, division: str) -> None:
        while self._bytes[division] > self.division_bytes:
            victim = self._victim(division)
            if victim is None:
                return
            self._spared.discard(victim[0])  # or it would be spared again when another link brings it
            self._remove(victim)
            self.counters["evicted"] += 1

    def _victim(self, division: str) -> Register | None:
        """First tombstones of wishes never held, then the oldest of those spared beyond their half, then the oldest
        from the link that brought most bytes."""
        shelf = self._shelves[division]
        for register in shelf.orphans:
            if self._is_loose(register):
                return register
        if shelf.spared_bytes > self.division_bytes // 2:
            for register in shelf.spared:
                if self._is_loose(register):
                    return register
        # Nearly always the heaviest link has something loose: only what is pinned makes us look at the next.
        for via in sorted(shelf.brought, key=lambda via: (-shelf.brought[via], via)):
            for register in shelf.by_link[via]:
                if self._is_loose(register):
                    return register
        return None

    def _is_loose(self, register: Register) -> bool:
        return register[0] not in self.pinned and self._postings[register].via != OURS

    def _remove(self, register: Register) -> None:
        posting = self._postings.pop(register)
        del self._by_id[posting.message.id]
        self._trees[register[1]].remove(posting.message.id)
        self._bytes[register[1]] -= posting.size
        self._shelves[register[1]].remove(register, posting)


@dataclass(slots=True)
class _Shelf:
    """One division's postings in the order they came, by what is asked for: a full board must not be slow."""

    orphans: dict[Register, None] = field(default_factory=dict)
    """Tombstones of wishes that never hung here."""
    spared: dict[Register, None] = field(default_factory=dict)
    """Those with an open offer of ours, in the order of the offers. No link has them in its list."""
    spared_bytes: int = 0
    by_link: dict[str, dict[Register, None]] = field(default_factory=dict)
    brought: Counter[str] = field(default_factory=Counter)
    """Bytes by link, of those in its list."""

    def add(self, register: Register, posting: Posting, spared: bool) -> None:
        if spared:
            self.spared[register] = None
            self.spared_bytes += posting.size
            return
        if not posting.held:
            self.orphans[register] = None
        link = self.by_link.get(posting.via)
        if link is None:
            link = self.by_link[posting.via] = {}
        link[register] = None
        self.brought[posting.via] += posting.size

    def remove(self, register: Register, posting: Posting) -> None:
        if register in self.spared:
            del self.spared[register]
            self.spared_bytes -= posting.size
            return
        self.orphans.pop(register, None)
        link = self.by_link[posting.via]
        del link[register]
        self.brought[posting.via] -= posting.size
        if not link:
            del self.by_link[posting.via]
            del self.brought[posting.via]

    def spare(self, register: Register, posting: Posting) -> None:
        if register not in self.spared:
            self.remove(register, posting)
            self.add(register, posting, True)

    def release(self, register: Register, posting: Posting) -> None:
        if register in self.spared:
            self.remove(register, posting)
            self.add(register, posting, False)


def _beats(new: Message, old: Message) -> bool:
    return _rank(new) > _rank(old)


def _rank(message: Message) -> tuple[bool, int, int]:
    assert isinstance(message.body, Intent | IntentClose)
    return message.kind == "intent.close", message.head.seq, -int.from_bytes(message.id, "big")
