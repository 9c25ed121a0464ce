"""The store: transactions over SQLite, durable when they return.

Two implementations behind one class: a file (WAL, synchronous=FULL, one writer thread at a time) and memory (the same
SQL, run inline, so that tests under virtual time meet no worker thread).
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio
from sqlalchemy import Connection, Engine, create_engine, event, insert, select, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from ..trouble import Trouble
from .tables import SCHEMA_VERSION, meta, metadata
from .tx import Tx

T = TypeVar("T")

_PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
"""Read back at start. synchronous 2 is FULL: WAL with NORMAL can lose committed transactions when the power goes."""


class Store:
    """Run work in a transaction: `await store.transact(lambda tx: tx.add_wish(...))`. Committed when it returns."""

    def __init__(self, engine: Engine, *, inline: bool) -> None:
        self._engine = engine
        self._inline = inline
        self._one_writer = trio.CapacityLimiter(1)
        self._broken: Trouble | None = None
        self._breaks = trio.Event()

    async def transact(self, work: Callable[[Tx], T]) -> T:
        """Do `work` in one transaction. If it raises, nothing of it happened. Not cancelled half-way.

        Raises Trouble when SQLite does not do its work (a full disk, say); the node then ends, see wait_broken."""
        try:
            if self._inline:
                await trio.lowlevel.checkpoint()
                return self._run(work)
            return await trio.to_thread.run_sync(self._run, work, limiter=self._one_writer)
        except (OperationalError, DatabaseError) as error:
            self._broken = Trouble("store", f"the store does not work: {error.orig}", "Is the disk full?")
            self._breaks.set()
            raise self._broken from error

    async def wait_broken(self) -> None:
        """Until a transaction fails; raises its Trouble. What memory and store hold may differ from then on, and some
        stream's handler may have taken the error for its own: the node must not go on."""
        await self._breaks.wait()
        assert self._broken is not None
        raise self._broken

    async def checkpoint(self) -> None:
        """Cut the write-ahead log: what was deleted is then overwritten in the file, and gone from the log."""
        if self._inline:
            await trio.lowlevel.checkpoint()
        else:
            await trio.to_thread.run_sync(self._cut_log, limiter=self._one_writer)

    def _cut_log(self) -> None:
        with self._engine.connect() as connection:
            connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))

    def transact_nowait(self, work: Callable[[Tx], T]) -> T:
        """The same, blocking: for start-up and for commands that read a stopped node's store."""
        return self._run(work)

    def _run(self, work: Callable[[Tx], T]) -> T:
        with self._engine.begin() as connection:
            return work(Tx(connection))

    def close(self) -> None:
        self._engine.dispose()


@asynccontextmanager
async def open_store(path: Path | None) -> AsyncIterator[Store]:
    """Open (and make, if new) the store in this file; None: in memory. Raises Trouble."""
    store = open_store_nowait(path)
    try:
        yield store
    finally:
        store.close()


def open_store_nowait(path: Path | None) -> Store:
    if path is not None:
        _make_private(path)
    engine = _engine(path)
    try:
        with engine.begin() as connection:
            if path is not None:
                _check_pragmas(connection)
            metadata.create_all(connection)
            _check_version(connection)
    except (OperationalError, DatabaseError) as error:
        engine.dispose()
        raise Trouble(
            "store", f"{path} cannot be used as a store: {error.orig}", "Is it a file of this node?"
        ) from None
    except BaseException:
        engine.dispose()
        raise
    return Store(engine, inline=path is None)


def _make_private(path: Path) -> None:
    """0600 from its first moment; SQLite gives its companions (-wal, -shm) the mode of the file itself."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as wrong:
        raise Trouble("store", f"{path} cannot be used as a store: {wrong.strerror}") from None


def _engine(path: Path | None) -> Engine:
    if path is None:
        return create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    engine = create_engine(f"sqlite:///{path}", poolclass=StaticPool, connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA busy_timeout = 5000")
        for name, value in _PRAGMAS.items():
            connection.execute(f"PRAGMA {name} = {value}")

    return engine


def _check_pragmas(connection: Connection) -> None:
    for name, wanted in _PRAGMAS.items():
        found = connection.execute(text(f"PRAGMA {name}")).scalar_one()
        if str(found) != str(wanted):
            raise Trouble("store", f"SQLite runs with {name} = {found}, not {wanted}: what it promises would not last")


def _check_version(connection: Connection) -> None:
    found = connection.execute(select(meta.c.value).where(meta.c.name == "schema")).scalar_one_or_none()
    if found is None:
        connection.execute(insert(meta).values(name="schema", value=str(SCHEMA_VERSION)))
    elif found != str(SCHEMA_VERSION):
        raise Trouble(
            "store", f"the store has schema {found}, this program knows {SCHEMA_VERSION}", "Update intentcast."
        )
