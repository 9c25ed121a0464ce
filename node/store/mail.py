"""What a mailbox holds for others, inside a transaction: receivers, their sealed items, and which were fetched."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, true, update
from sqlalchemy.dialects.sqlite import insert as upsert

from . import tables as t

FETCHED_SIZE = 200
"""Bytes it costs to remember a fetched item."""

KEEP_FETCHED = 1_000
"""How many fetched items are remembered for one receiver, so that their senders can be told."""


@dataclass(frozen=True, slots=True)
class InboxRow:
    """Whom something is held for."""

    receiver: bytes
    seq: int
    room: int
    exp: int
    source: str
    known: bytes = b""

    def knows(self, channel: bytes) -> bool:
        return any(self.known[at : at + 32] == channel for at in range(0, len(self.known), 32))


@dataclass(frozen=True, slots=True)
class HeldRow:
    receiver: bytes
    digest: bytes
    channel: bytes
    item: bytes
    size: int
    bits: int
    exp: int


class Mail:
    """Sizes are bytes as they count against shares; items that were fetched count too, until they expire."""

    def __init__(self, connection: Connection) -> None:
        self._db = connection

    def inbox(self, receiver: bytes) -> InboxRow | None:
        row = self._db.execute(select(t.inboxes).where(t.inboxes.c.receiver == receiver)).first()
        return None if row is None else InboxRow(**row._mapping)

    def put_inbox(self, row: InboxRow) -> None:
        """New, or granted anew: what is known and held stays."""
        values = {name: getattr(row, name) for name in InboxRow.__slots__}
        changed = {"seq": row.seq, "room": row.room, "exp": row.exp}
        statement = upsert(t.inboxes).values(values)
        self._db.execute(statement.on_conflict_do_update(index_elements=["receiver"], set_=changed))
        if not row.room:
            self._db.execute(delete(t.held).where(t.held.c.receiver == row.receiver))

    def put_known(self, receiver: bytes, known: list[bytes]) -> None:
        self._db.execute(update(t.inboxes).where(t.inboxes.c.receiver == receiver).values(known=b"".join(known)))

    def raise_known(self, receiver: bytes, known: list[bytes], rank: int, most: int, most_bytes: int) -> None:
        """What lies here already from these channels gets this rank: of each the oldest, so many items and bytes."""
        waiting = (t.held.c.receiver == receiver) & t.held.c.channel.in_(known) & t.held.c.item.is_not(None)
        place = func.row_number().over(partition_by=t.held.c.channel, order_by=t.held.c.n).label("place")
        so_far = func.sum(t.held.c.size).over(partition_by=t.held.c.channel, order_by=t.held.c.n).label("so_far")
        queue = select(t.held.c.n, place, so_far).where(waiting).subquery()
        raised = select(queue.c.n).where(queue.c.place <= most, queue.c.so_far <= most_bytes)
        self._db.execute(update(t.held).where(t.held.c.n.in_(raised)).values(bits=rank))

    def inboxes_of(self, source: str) -> int:
        query = select(func.count()).select_from(t.inboxes).where(t.inboxes.c.source == source)
        return int(self._db.execute(query).scalar_one())

    def state_of(self, receiver: bytes, digest: bytes) -> str | None:
        """stored, fetched, or None for what never came."""
        query = select(t.held.c.item.is_(None)).where(t.held.c.receiver == receiver, t.held.c.digest == digest)
        fetched = self._db.execute(query).scalar()
        return None if fetched is None else "fetched" if fetched else "stored"

    def put(self, row: HeldRow, rank: int) -> None:
        values = {name: getattr(row, name) for name in HeldRow.__slots__} | {"bits": rank}
        self._db.execute(insert(t.held).values(values))

    def after(self, receiver: bytes, n: int, now: int, most_bytes: int) -> list[tuple[int, bytes]]:
        """(n, item) of what came after n, oldest first: so much at once, but at least one."""
        waiting = (t.held.c.receiver == receiver) & (t.held.c.n > n) & (t.held.c.exp > now) & t.held.c.item.is_not(None)
        query = select(t.held.c.n, t.held.c.item).where(waiting).order_by(t.held.c.n).limit(64)
        found: list[tuple[int, bytes]] = []
        size = 0
        for row in self._db.execute(query):
            size += len(row.item)
            if found and size > most_bytes:
                break
            found.append((row.n, row.item))
        return found

    def release(self, receiver: bytes, digests: list[bytes]) -> None:
        """They were fetched: the items go, that they were here stays for a while."""
        ours = t.held.c.receiver == receiver
        self._db.execute(
            update(t.held).where(ours, t.held.c.digest.in_(digests)).values(item=None, size=FETCHED_SIZE, bits=0)
        )
        fetched = select(t.held.c.n).where(ours, t.held.c.item.is_(None)).order_by(t.held.c.n.desc())
        self._db.execute(delete(t.held).where(t.held.c.n.in_(fetched.offset(KEEP_FETCHED).limit(-1))))

    def cheapest(self, receiver: bytes) -> list[tuple[int, int, int]]:
        """(n, rank, size) of what waits, the first to go first: the lowest stamp, and of equals the newest."""
        waiting = (t.held.c.receiver == receiver) & t.held.c.item.is_not(None)
        query = select(t.held.c.n, t.held.c.bits, t.held.c.size).where(waiting)
        return [(row[0], row[1], row[2]) for row in self._db.execute(query.order_by(t.held.c.bits, t.held.c.n.desc()))]

    def drop(self, n: int) -> None:
        self._db.execute(delete(t.held).where(t.held.c.n == n))

    def drop_expired(self, now: int) -> None:
        self._db.execute(delete(t.held).where(t.held.c.exp <= now))
        self._db.execute(delete(t.inboxes).where(t.inboxes.c.exp <= now))
        self._db.execute(delete(t.held).where(t.held.c.receiver.not_in(select(t.inboxes.c.receiver))))

    def waiting(self, receiver: bytes) -> int:
        """Items that were not fetched yet."""
        return self._sum((t.held.c.receiver == receiver) & t.held.c.item.is_not(None))[0]

    def on_channel(self, receiver: bytes, channel: bytes) -> tuple[int, int]:
        """(items, bytes) held on one channel."""
        return self._sum((t.held.c.receiver == receiver) & (t.held.c.channel == channel) & t.held.c.item.is_not(None))

    def of_receiver(self, receiver: bytes) -> tuple[int, int]:
        """(items, bytes) held for one receiver, fetched ones included."""
        return self._sum(t.held.c.receiver == receiver)

    def from_source(self, source: str) -> int:
        """Bytes held for receivers whose grants came from one source."""
        theirs = select(t.inboxes.c.receiver).where(t.inboxes.c.source == source)
        return self._sum(t.held.c.receiver.in_(theirs))[1]

    def in_all(self) -> tuple[int, int, int]:
        """(receivers, items, bytes)."""
        receivers = int(self._db.execute(select(func.count()).select_from(t.inboxes)).scalar_one())
        return (receivers, *self._sum(true()))

    def _sum(self, which: Any) -> tuple[int, int]:
        """Answered from the index on sizes alone, but where it matters whether there is an item."""
        query = select(func.count(), func.coalesce(func.sum(t.held.c.size), 0)).where(which)
        row = self._db.execute(query).one()
        return int(row[0]), int(row[1])
