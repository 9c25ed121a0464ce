"""The store: transactions over SQLite, durable when they return.

Two implementations behind one class: a file (WAL, synchronous=FULL, one writer thread at a time) and memory (the same
SQL, run inline, so that tests under virtual time meet no worker thread).
"""

import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.pool import StaticPool

from ..trouble import Trouble
from . import migrations, tables
from .tx import Tx

T = TypeVar("T")

_PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}
"""Read back at start. synchronous 2 is FULL: WAL with NORMAL can lose committed transactions when the power goes."""


class Store:
    """Run work in a transaction: `await store.transact(lambda tx: tx.add_wish(...))`. Committed when it returns."""

    def __init__(self, engine: Engine, path: Path | None = None, upgraded_from: int | None = None) -> None:
        self._engine = engine
        self.path = path
        """None: in memory."""
        self.upgraded_from = upgraded_from
        """The schema it had when it was opened, if that was not today's. A copy from before then lies beside it."""
        self._inline = path is None
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
        """Cut the write-ahead log: what was deleted is then overwritten in the file, and gone from the log; and so is
        a copy from before an upgrade, which would hold it still."""
        if self._inline:
            await trio.lowlevel.checkpoint()
        else:
            await trio.to_thread.run_sync(self._cut_log, limiter=self._one_writer)

    def _cut_log(self) -> None:
        _database(self._engine).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.drop_copies()

    def drop_copies(self) -> None:
        """Delete the copies from before upgrades: today's schema has proved itself."""
        if self.path is not None:
            for copy in migrations.copies(self.path):
                copy.unlink(missing_ok=True)

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
    """The same, blocking. A store of an earlier schema is brought to today's; one of a later is refused."""
    if path is not None:
        _make_private(path)
    engine = _engine(path)
    try:
        with engine.begin() as connection:
            if path is not None:
                _check_pragmas(connection)
            found = migrations.schema_of(connection)
            if found is None:
                migrations.create(connection)
        if found is not None and found != tables.SCHEMA_VERSION:
            assert path is not None
            _upgrade(engine, path, found)
            return Store(engine, path, upgraded_from=found)
        return Store(engine, path)
    except (OperationalError, DatabaseError) as error:
        engine.dispose()
        raise Trouble(
            "store", f"{path} cannot be used as a store: {error.orig}", "Is it a file of this node?"
        ) from None
    except BaseException:
        engine.dispose()
        raise


def _upgrade(engine: Engine, path: Path, found: int) -> None:
    known = tables.SCHEMA_VERSION
    if found > known:
        raise Trouble(
            "store_newer",
            f"{path} was written by a newer intentcast: it has schema {found}, and this program knows {known}",
            "Update intentcast.",
        )
    try:
        copy = migrations.make_copy(_database(engine), path, found)
    except (OSError, sqlite3.Error) as error:
        raise Trouble(
            "store", f"no copy of {path} could be made, so it was not upgraded: {error}", "Is the disk full?"
        ) from None
    try:
        with engine.begin() as connection:
            migrations.upgrade(connection, found)
    except (OperationalError, DatabaseError) as error:
        raise Trouble(
            "store",
            f"{path} could not be brought from schema {found} to {known}, and is as it was: {error.orig}",
            f"Use the version of intentcast you had. A copy of the store is {copy}.",
        ) from None


def _database(engine: Engine) -> sqlite3.Connection:
    """SQLite itself, for what is done outside of any transaction. There is one connection, see _engine."""
    pooled = engine.raw_connection()
    try:
        database = pooled.driver_connection
        assert isinstance(database, sqlite3.Connection)
        return database
    finally:
        pooled.close()  # hands it back; StaticPool keeps it open


def _make_private(path: Path) -> None:
    """0600 from its first moment; SQLite gives its companions (-wal, -shm) the mode of the file itself."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as wrong:
        raise Trouble("store", f"{path} cannot be used as a store: {wrong.strerror}") from None


def _engine(path: Path | None) -> Engine:
    url = "sqlite://" if path is None else f"sqlite:///{path}"
    engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _record: Any) -> None:
        # Left to itself, Python's driver begins a transaction only at the first INSERT: a CREATE before it would stay
        # if the rest failed. So we begin ourselves.
        connection.isolation_level = None
        if path is not None:
            connection.execute("PRAGMA busy_timeout = 5000")
            for name, value in _PRAGMAS.items():
                connection.execute(f"PRAGMA {name} = {value}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _check_pragmas(connection: Connection) -> None:
    for name, wanted in _PRAGMAS.items():
        found = connection.execute(text(f"PRAGMA {name}")).scalar_one()
        if str(found) != str(wanted):
            raise Trouble("store", f"SQLite runs with {name} = {found}, not {wanted}: what it promises would not last")
