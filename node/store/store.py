"""The store: transactions over SQLite, durable when they return.

Two implementations behind one class: a file (WAL, synchronous=FULL, one writer thread at a time) and memory (the same
SQL, run inline, so that tests under virtual time meet no worker thread).
"""

import math
import os
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import trio
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import StaticPool

from ..trouble import Trouble
from . import foreign, migrations, tables, tail
from .room import Disk, Room
from .tx import Tx

T = TypeVar("T")

_MEMORY_PAGE = 1024
"""Bytes, and not the 4,096 of a file: each table and index takes a page at least, and in a store in memory most stay
nearly empty. It saves a quarter of what a node of a mesh takes for its store."""

_PRAGMAS = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1, "temp_store": 2}
"""Read back at start. synchronous 2 is FULL: WAL with NORMAL can lose committed transactions when the power goes."""


LOOK_EVERY = 5.0
"""Seconds between two looks at the room that is left, and between two tries of what waits for it."""

ROOM_INSIDE = 1 << 20
"""Bytes that a store on a full disk keeps free inside its file: what is stored there makes no file grow."""

EVICTED_AT_ONCE = 1 << 18
"""Bytes of other people's data that make way at a time: so little that the log can take it."""


class NoRoom(Exception):
    """The disk is full: nothing of the transaction happened."""


class Store:
    """Run work in a transaction: `await store.transact(lambda tx: tx.add_wish(...))`. Committed when it returns."""

    def __init__(self, engine: Engine, path: Path | None = None, upgraded_from: int | None = None) -> None:
        self._engine = engine
        self.path = path
        """None: in memory."""
        self.upgraded_from = upgraded_from
        """The schema it had when it was opened, if that was not today's. A copy from before then lies beside it."""
        self.frames_dropped = 0
        """Frames at the end of the log that could not be read when it was opened; -1: the whole log. See tail.py."""
        self.disk = Disk(path) if path is not None else None
        self._inline = path is None
        self._one_writer = trio.CapacityLimiter(1)
        self._turn = trio.Lock()
        """The same for a store without threads: one after the other, as they were asked for."""
        self._broken: Trouble | None = None
        self._breaks = trio.Event()
        self._found = trio.Event()
        self._given_up = trio.Event()
        self.waiting = 0
        """Transactions that wait for room."""
        self.counters: Counter[str] = Counter()

    # ------------------------------------------------------------------------------------------------ transactions

    async def transact(self, work: Callable[[Tx], T]) -> T:
        """Do `work` in one transaction. If it raises, nothing of it happened. Not cancelled half-way.

        In the order of the calls, but on a full disk: then it waits until there is room, others may be first, and
        `work` may be done more than once. Raises Trouble when SQLite does not do its work for another reason; the node
        then ends, see wait_broken."""
        while True:
            try:
                return await self._attempt(lambda: self._run_own(work))
            except NoRoom:
                await self._make_room()

    async def transact_foreign(self, work: Callable[[Tx], T]) -> T | None:
        """The same for what belongs to other people: left out, and None, while there is not room enough."""
        if self.room is Room.ENOUGH:
            try:
                return await self._attempt(lambda: self._run(work))
            except NoRoom:
                self._found_low()
        self.counters["left_out"] += 1
        return None

    async def transact_at_best(self, work: Callable[[Tx], T]) -> T | None:
        """The same for what is not worth waiting for: tried once, and None if there is no room for it."""
        try:
            return await self._attempt(lambda: self._run(work))
        except NoRoom:
            return None

    async def checkpoint(self) -> None:
        """Cut the write-ahead log: what was deleted is then overwritten in the file, and gone from the log; and so is
        a copy from before an upgrade, which would hold it still. Waits for room like transact."""
        while True:
            try:
                return await self._attempt(self._cut_log)
            except NoRoom:
                await self._make_room()

    async def _attempt(self, work: Callable[[], T]) -> T:
        """Raises NoRoom on a full disk."""
        try:
            if self._inline:
                async with self._turn:
                    return work()
            return await trio.to_thread.run_sync(work, limiter=self._one_writer)
        except (DatabaseError, sqlite3.Error) as error:
            if self._is_no_room(error):
                raise NoRoom from error
            self._broken = _not_working(error)
            self._breaks.set()
            raise self._broken from error

    def _is_no_room(self, error: Exception) -> bool:
        return self.disk is not None and self.disk.is_full(_cause_of(error))

    @property
    def inline(self) -> bool:
        """In memory, and without worker threads: under a mock clock there may be none."""
        return self._inline

    async def wait_broken(self) -> None:
        """Until a transaction fails; raises its Trouble. What memory and store hold may differ from then on, and some
        stream's handler may have taken the error for its own: the node must not go on."""
        await self._breaks.wait()
        assert self._broken is not None
        raise self._broken

    def transact_nowait(self, work: Callable[[Tx], T]) -> T:
        """The same, blocking, and without patience: for start-up and for commands on a stopped node's store."""
        try:
            return self._run(work)
        except (DatabaseError, sqlite3.Error) as error:
            raise _full() if self._is_no_room(error) else _not_working(error) from error

    def _run(self, work: Callable[[Tx], T]) -> T:
        with self._engine.begin() as connection:
            return work(Tx(connection))

    def _run_own(self, work: Callable[[Tx], T]) -> T:
        found = self._run(work)
        if self.room is Room.FULL:  # for the next one, while there is still room in the log to make room in the file
            with suppress(DatabaseError, sqlite3.Error):
                self._fold()
        return found

    def _found_low(self) -> None:
        assert self.disk is not None
        self.disk.room = Room.LOW
        self._found.set()

    def _cut_log(self) -> None:
        if not self._inline:
            _database(self._engine).execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self.drop_copies()

    def drop_copies(self) -> None:
        """Delete the copies from before upgrades: today's schema has proved itself."""
        if self.path is not None:
            for copy in migrations.copies(self.path):
                copy.unlink(missing_ok=True)

    def close(self) -> None:
        self._engine.dispose()

    # -------------------------------------------------------------------------------------------------------- room

    @property
    def room(self) -> Room:
        return self.disk.room if self.disk is not None else Room.ENOUGH

    async def watch_room(self, changed: Callable[[Room], Awaitable[None]]) -> None:
        """Say how much room there is, now and whenever it changes, until cancelled. Meanwhile the reserve is kept; at
        the end what waits for room is given up, with a Trouble."""
        self._given_up = trio.Event()
        said: Room | None = None
        due = True
        try:
            while True:
                if due and self.disk is not None and not self.waiting:  # while something waits, there is not enough
                    await trio.to_thread.run_sync(self.disk.look)
                found = self._found = trio.Event()
                if self.room is not said:
                    said = self.room
                    await changed(said)
                with trio.move_on_after(LOOK_EVERY if self.disk is not None else math.inf) as pause:
                    await found.wait()
                due = pause.cancelled_caught
        finally:
            self._given_up.set()

    def check_room(self) -> None:
        """Raises Trouble if things wait for room already: a person should rather hear that than wait with them."""
        if self.waiting:
            raise _full()

    async def _make_room(self) -> None:
        """The disk is full: give up the reserve; then let other people's data make way; then wait a while."""
        assert self.disk is not None
        had_reserve = self.disk.give_up_reserve()
        self._found.set()
        try:
            freed = await self._attempt(self._fold)
        except NoRoom:
            freed = 0
        if had_reserve or freed:
            return
        self.waiting += 1
        try:
            with trio.move_on_after(LOOK_EVERY):
                await self._given_up.wait()
        finally:
            self.waiting -= 1
        if self._given_up.is_set():
            raise Trouble(
                "disk_full",
                "the disk is full: what waited to be stored was neither stored nor said to anybody",
                "Make room on it, and start the node again.",
            )

    def _fold(self) -> int:
        """Fold the log into the file. If there is little room inside, let other people's data make way: so many bytes.
        The log is not cut: on a full disk its room can be used again, and would be lost to others."""
        database = _database(self._engine)

        def fold() -> None:
            with suppress(sqlite3.Error):  # the file cannot grow: the log stays longer
                database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

        fold()
        (inside,) = database.execute("PRAGMA freelist_count").fetchone()
        (page,) = database.execute("PRAGMA page_size").fetchone()
        if inside * page >= ROOM_INSIDE:
            return 0
        database.execute("PRAGMA secure_delete = FAST")  # what everybody heard need not be overwritten, page by page
        try:
            with self._engine.begin() as connection:
                freed = foreign.evict(connection, EVICTED_AT_ONCE)
        finally:
            database.execute(f"PRAGMA secure_delete = {_PRAGMAS['secure_delete']}")
        fold()
        self.counters["evicted_bytes"] += freed
        return freed


def _full() -> Trouble:
    return Trouble("disk_full", "the disk is full: nothing more can be stored", "Make room on it, and try again.")


def _not_working(error: Exception) -> Trouble:
    return Trouble("store", f"the store does not work: {_cause_of(error)}", "intentcast doctor looks into it.")


def _cause_of(error: Exception) -> BaseException | None:
    return error.orig if isinstance(error, DatabaseError) else error


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
    if path is None:
        return _open(None)
    try:
        return _open(path)
    except (DatabaseError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, DatabaseError) else error
        disk = Disk(path)
        if not disk.is_full(cause):
            raise _unusable(path, cause) from None
        disk.give_up_reserve()
    try:
        return _open(path)
    except DatabaseError as error:
        raise _unusable(path, error.orig) from None


def _unusable(path: Path, cause: BaseException | None) -> Trouble:
    if Disk(path).is_full(cause):
        return Trouble("disk_full", f"the disk is full: {path} cannot be opened ({cause})", "Make room on it.")
    return Trouble("store", f"{path} cannot be used as a store: {cause}", "Is it a file of this node?")


def _open(path: Path | None) -> Store:
    claimed = 0
    if path is not None:
        _make_private(path)
        claimed = tail.frames_claimed(path.with_name(f"{path.name}-wal"))
    engine = _engine(path)
    try:
        dropped = _frames_dropped(engine, claimed)
        with engine.begin() as connection:
            if path is not None:
                _check_pragmas(connection)
            found = migrations.schema_of(connection)
            if found is None:
                migrations.create(connection)
        older = found is not None and found != tables.SCHEMA_VERSION
        if older:
            assert path is not None
            assert found is not None
            _upgrade(engine, path, found)
        store = Store(engine, path, upgraded_from=found if older else None)
        store.frames_dropped = dropped
        return store
    except BaseException:
        engine.dispose()
        raise


def _frames_dropped(engine: Engine, claimed: int) -> int:
    """Before the first transaction: how many of the frames that the log claims to have were not read; -1: all."""
    if claimed == 0:
        return 0
    database = _database(engine)
    database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()  # reads the log
    _, frames, _ = database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return -1 if claimed < 0 else max(0, claimed - frames)


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
    except DatabaseError as error:
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
        if path is None:
            connection.execute(f"PRAGMA page_size = {_MEMORY_PAGE}")
        else:
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
