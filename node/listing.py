"""What catch-up lists: a board's ids in an asker's order, sorted once, paged through, out of a fixed part of our time.

A meeting node's board holds a quarter of a million postings when it is full. Whoever asks chooses the order, with a
fresh salt: so nothing can be made before, and what is made is of use to one asker only.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection
from typing import Final, TypeVar

import trio

from protocol.board import Board
from protocol.envelope import digest

T = TypeVar("T")

CHUNK: Final = 1_000
"""Ids looked at in one go: about a millisecond in which nothing else happens."""

REST: Final = 4.0
"""Times as long as it worked does listing rest: a fifth of the time, whoever asks and however many."""


class Order:
    """Ids in ascending order of their position, BLAKE2b-256(salt || id): nobody can mint ids that always come first.

    Kept are references to ids, which are the board's: a position costs a microsecond to make again, and four times the
    memory to keep. By the first byte of the position they lie in 256 heaps, each sorted when its page is turned."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._heaps: dict[int, list[bytes]] = {}
        self._sorted: set[int] = set()

    def add(self, ids: list[bytes]) -> None:
        """Before the first page."""
        for one in ids:
            self._heaps.setdefault(self._position(one)[0], []).append(one)

    def page(self, after: bytes, most: int) -> tuple[list[bytes], bytes]:
        """Up to `most` ids behind the position `after` (empty: from the beginning), and the position of the last of
        them if there may be more."""
        found: list[bytes] = []
        first = after[0] if after else 0
        for number in range(first, 256):
            heap = self._heaps.get(number)
            if heap is None:
                continue
            if number not in self._sorted:
                heap.sort(key=self._position)
                self._sorted.add(number)
            start = bisect_right(heap, after, key=self._position) if number == first and after else 0
            found += heap[start : start + most - len(found)]
            if len(found) == most:
                return found, self._position(found[-1])
        return found, b""

    def _position(self, one: bytes) -> bytes:
        return digest(self._salt + one)


class Listings:
    """Makes orders and pages, in small pieces and in turns."""

    def __init__(self, board: Board, steady: Callable[[], float] = trio.current_time) -> None:
        self._board = board
        self._steady = steady
        self._one_at_a_time = trio.Lock()
        self._rested = 0.0

    async def order(self, salt: bytes, divisions: Collection[str]) -> Order:
        """What hangs in these divisions now."""
        order = Order(salt)
        for division in sorted(divisions):
            ids = self._board.ids_of(division)
            for start in range(0, len(ids), CHUNK):
                await self._work(lambda some=ids[start : start + CHUNK]: order.add(some))  # type: ignore[misc]
        return order

    async def page(self, order: Order, after: bytes, most: int) -> tuple[list[bytes], bytes]:
        return await self._work(lambda: order.page(after, most))

    async def _work(self, piece: Callable[[], T]) -> T:
        async with self._one_at_a_time:
            await trio.sleep(max(0.0, self._rested - self._steady()))
            began = self._steady()
            done = piece()
            ended = self._steady()
            self._rested = ended + REST * (ended - began)
            return done
