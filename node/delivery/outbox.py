"""The outbox: what was said and is not settled yet. In memory; its rows are in the store before anything leaves.

QUEUED -> CONNECTING -> SENT -> ACKED | FAILED(reason)
                    \\-> STORED at n mailboxes -> FETCHED -> ACKED | FAILED(reason)
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum

from protocol.envelope import Item
from protocol.kinds import KINDS

from ..network.seam import Address
from ..store import OutboxRow
from .lines import Line

ACK_WAIT = 10.0
"""Seconds after which an unacknowledged item is sent again on a stream that still lives, doubling to LAST_RETRY."""

LAST_RETRY = 300.0


class Stage(StrEnum):
    """How far a message of ours has come. ACKED and FAILED are the end."""

    QUEUED = "QUEUED"
    CONNECTING = "CONNECTING"
    SENT = "SENT"
    STORED = "STORED"
    """At least one mailbox holds it."""
    FETCHED = "FETCHED"
    """A mailbox says that it was fetched. Only an ack proves it."""
    ACKED = "ACKED"
    FAILED = "FAILED"


@dataclass(slots=True, eq=False)
class Pending:
    """A message of ours that is not settled yet."""

    row: OutboxRow
    item: Item
    digest: bytes
    not_before: float = 0.0
    """Steady time before which it is not sent at all: the other side asked for patience."""
    line: Line | None = None
    """The line it went out on last."""
    sent_at: float = 0.0
    tries: int = 0
    again_at: float = 0.0
    """Steady time at which it is said once more on that line."""
    left: dict[Address, Stage] = field(default_factory=dict)
    """Mailboxes that have it: STORED or FETCHED."""
    left_at: dict[Address, float] = field(default_factory=dict)
    """Steady time of the last try at each mailbox."""

    told: tuple[Stage, int] | None = None
    """What people were told of it last: how far it came, and how many mailboxes have it."""

    @property
    def wants_ack(self) -> bool:
        """Answers are never answered: they are done with when somebody has them."""
        return KINDS[self.row.kind].acked

    @property
    def stored_at(self) -> int:
        """How many mailboxes have it."""
        return len(self.left)

    def due_at(self, line: Line) -> float:
        return max(self.not_before, self.again_at if self.line is line else 0.0)

    def sent_on(self, line: Line, now: float) -> None:
        self.line, self.sent_at = line, now
        self.again_at = now + min(LAST_RETRY, ACK_WAIT * 2 ** min(self.tries, 10))
        self.tries += 1

    def stage(self, *, on_the_way: bool) -> Stage:
        """`on_the_way`: somebody is looking for a way to the other party now."""
        if Stage.FETCHED in self.left.values():
            return Stage.FETCHED
        if self.left:
            return Stage.STORED
        if self.line is not None and self.line.is_open:
            return Stage.SENT
        return Stage.CONNECTING if on_the_way else Stage.QUEUED


class Outbox:
    """All that is pending, by thread in the order it was said, and by the digest of its item: what hints are about."""

    def __init__(self) -> None:
        self._by_thread: dict[bytes, OrderedDict[bytes, Pending]] = {}
        self._by_digest: dict[bytes, Pending] = {}

    def __len__(self) -> int:
        return sum(len(queue) for queue in self._by_thread.values())

    def __contains__(self, thread: bytes) -> bool:
        """Has this thread anything pending?"""
        return thread in self._by_thread

    def add(self, row: OutboxRow, item: Item) -> Pending:
        pending = Pending(row, item, item.digest)
        self._by_thread.setdefault(row.thread, OrderedDict())[row.id] = pending
        self._by_digest[pending.digest] = pending
        return pending

    def of(self, thread: bytes) -> list[Pending]:
        return list(self._by_thread.get(thread, {}).values())

    def get(self, thread: bytes, message_id: bytes) -> Pending | None:
        queue = self._by_thread.get(thread)
        return queue.get(message_id) if queue is not None else None

    def by_digest(self, digest: bytes) -> Pending | None:
        return self._by_digest.get(digest)

    def holds(self, pending: Pending) -> bool:
        """Is it still to be settled?"""
        return self._by_digest.get(pending.digest) is pending

    def find(self, message_id: bytes) -> Pending | None:
        return next((queue[message_id] for queue in self._by_thread.values() if message_id in queue), None)

    def settle(self, thread: bytes, message_id: bytes) -> None:
        """Nothing more is sent of it."""
        queue = self._by_thread.get(thread)
        pending = queue.pop(message_id, None) if queue is not None else None
        if pending is not None:
            self._by_digest.pop(pending.digest, None)
        if not queue:
            self._by_thread.pop(thread, None)

    @property
    def oldest(self) -> int | None:
        """Wall clock at which the one that waits longest was said."""
        return min((pending.row.queued_at for pending in self._by_digest.values()), default=None)
