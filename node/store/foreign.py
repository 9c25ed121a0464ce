"""Other people's data in our store: what there is of it, and in which order it makes way when the disk is full.

Own data is in no list here, so it is never evicted: wishes, threads and all that was said in them, the outbox, stock,
and what was disclosed to whom. Neither are the few peers on disk: they are how a node finds its way back; nor, on a
mailbox, the keys it holds for.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Table, delete, func, literal_column, select

from protocol.board import OURS

from . import tables as t

HEARD_EVENTS: Final = ("wish.heard", "wish.ended")
"""Types of events that only tell what others did."""

AT_ONCE: Final = 200
"""Rows deleted in one go: few enough that the log stays small."""


OLDEST: Final[ColumnElement[Any]] = literal_column("rowid")
"""Orders rows of a table that has no better number."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """One sort of other people's data."""

    name: str
    table: Table
    size: ColumnElement[Any]
    """Bytes of a row, roughly."""
    first_out: tuple[ColumnElement[Any], ...]
    """The order in which rows go."""
    belongs: ColumnElement[bool] | None = None
    """Which rows of the table are other people's; None: all."""


EVICTION_ORDER: Final = (
    Foreign("events", t.events, func.length(t.events.c.data) + 40, (t.events.c.id,), t.events.c.type.in_(HEARD_EVENTS)),
    Foreign("ended", t.ended, func.length(t.ended.c.frame) + 100, (t.ended.c.n,)),
    # First tombstones of wishes that never hung here, then the oldest: as on the board, which will bring them again.
    Foreign(
        "postings",
        t.postings,
        func.length(t.postings.c.frame) + 150,
        (t.postings.c.held, OLDEST),
        t.postings.c.via != OURS,
    ),
    # Last, for we said that we hold them; and of these the ones with the lowest stamps first.
    Foreign("held", t.held, t.held.c.size, (t.held.c.bits, t.held.c.n)),
)
"""What goes first stands first: news of others, the record of what is over, then the
board, then what is held for others."""


def evict(connection: Connection, wanted: int) -> int:
    """Delete about `wanted` bytes of other people's data, the least useful first. How much it was; 0: none is left."""
    freed = 0
    for sort in EVICTION_ORDER:
        while freed < wanted:
            rows = _first(connection, sort)
            if not rows:
                break
            keys = list(sort.table.primary_key.columns)
            assert len(keys) == 1, "a sort of foreign data has one column for its key"
            connection.execute(delete(sort.table).where(keys[0].in_([row[0] for row in rows])))
            freed += sum(row[1] for row in rows)
    return freed


def _first(connection: Connection, sort: Foreign) -> list[tuple[Any, int]]:
    """(key, bytes) of those that go first."""
    (key,) = sort.table.primary_key.columns
    query = select(key, sort.size).order_by(*sort.first_out).limit(AT_ONCE)
    if sort.belongs is not None:
        query = query.where(sort.belongs)
    return [(row[0], int(row[1])) for row in connection.execute(query)]


def sizes(connection: Connection) -> dict[str, int]:
    """Bytes there are of each sort, roughly."""
    found = {}
    for sort in EVICTION_ORDER:
        query = select(func.coalesce(func.sum(sort.size), 0))
        if sort.belongs is not None:
            query = query.where(sort.belongs)
        found[sort.name] = int(connection.execute(query).scalar_one())
    return found
