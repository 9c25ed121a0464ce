"""Room on the disk: how much is left, and a reserve that is given up when there is none.

Three states. ENOUGH: everything is taken. LOW, below a mark: what belongs to other people is left out, so that what is
left is for the node's own. FULL, when SQLite found no room: the reserve is given up, other people's data makes way, and
what the node itself has to store waits for its turn. From FULL and LOW the way back is longer than the way there, or a
disk at the mark would make us change our mind all day.

The reserve belongs to this node as long as nobody else fills the disk in the same moment: it is a good start, no more.
"""

import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Final, NamedTuple

from ..trouble import is_no_room

LOW_BYTES: Final = 64 << 20
"""Free space below which other people's data is left out; on a small file system an eighth of it."""

RESERVE_BYTES: Final = 4 << 20
"""What the write-ahead log grows to before it is folded into the file; on a small file system a sixteenth of it."""


CRUMBS: Final = 1 << 16
"""Free bytes with which nothing can be begun: a disk that has no more is full, whether SQLite has noticed or not."""


class Room(StrEnum):
    ENOUGH = "enough"
    LOW = "low"
    FULL = "full"


class Space(NamedTuple):
    """Bytes of a file system."""

    total: int
    free: int
    """For this user."""

    @property
    def low(self) -> int:
        return min(LOW_BYTES, self.total // 8)

    @property
    def reserve(self) -> int:
        return min(RESERVE_BYTES, self.total // 16)


def space_of(path: Path) -> Space:
    """Of the file system this file or directory is on. Raises OSError."""
    found = os.statvfs(path)
    return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)


class Disk:
    """The file system under one store. Looks when it is told to; blocking, but only as long as statvfs."""

    def __init__(self, path: Path, measure: Callable[[Path], Space] = space_of) -> None:
        self._folder = path.parent
        self._reserve = path.with_name(f"{path.name}.reserve")
        self._measure = measure
        self.room = Room.ENOUGH
        self.space_seen = Space(0, 0)
        """When it was looked at last."""

    def space(self) -> Space:
        """Raises OSError."""
        return self._measure(self._folder)

    def look(self) -> Room:
        """How it is now. With room enough the reserve is made again."""
        try:
            self.space_seen = space = self.space()
        except OSError:
            return self.room  # a file system that cannot tell: whoever writes to it will learn
        was = self.room
        if space.free < CRUMBS:
            self.give_up_reserve()  # lock, note and log need little, but some
            return self.room
        if was is not Room.ENOUGH and space.free < 2 * space.low + (space.reserve if was is Room.FULL else 0):
            return self.room
        self.room = Room.LOW if space.free < space.low else Room.ENOUGH
        if self.room is Room.ENOUGH and not self._keep_reserve(space):
            self.room = Room.LOW
        return self.room

    def is_full(self, error: BaseException | None) -> bool:
        """Is this error of SQLite's one of a full disk?"""
        code = getattr(error, "sqlite_errorcode", None)
        if code is None:
            return False
        if code & 0xFF == sqlite3.SQLITE_FULL:
            return True
        # SQLite has a name of its own for ENOSPC alone, and only where it writes: not for a quota, nor for the shared
        # memory beside the log, which it makes as long as it needs when a store is opened.
        with suppress(OSError):
            return code & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and self.space().free < CRUMBS
        return False

    def give_up_reserve(self) -> bool:
        """True if there was one: that much room is there now."""
        self.room = Room.FULL
        with suppress(OSError):
            self._reserve.unlink()
            return True
        return False

    def _keep_reserve(self, space: Space) -> bool:
        """Make it, if it is not there. False: there is no room for it after all."""
        if self._reserve.exists():
            return True
        try:
            fd = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fd, 0, space.reserve)
            finally:
                os.close(fd)
        except OSError as wrong:
            with suppress(OSError):
                self._reserve.unlink()
            return not is_no_room(wrong)  # what cannot reserve at all does without
        return True
