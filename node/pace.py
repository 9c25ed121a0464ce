"""Work that others ask of us, in small pieces and in turns, out of a fixed part of our time."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, TypeVar

import trio

T = TypeVar("T")

REST: Final = 4.0
"""Times as long as it worked does it rest: a fifth of the time, whoever asks and however many."""


class Pace:
    def __init__(self, steady: Callable[[], float] = trio.current_time) -> None:
        self._steady = steady
        self._one_at_a_time = trio.Lock()
        self._rested = 0.0

    async def work(self, piece: Callable[[], T]) -> T:
        """Do a piece that takes a few milliseconds at most, when it is its turn."""
        async with self._one_at_a_time:
            await trio.sleep(max(0.0, self._rested - self._steady()))
            began = self._steady()
            done = piece()
            ended = self._steady()
            self._rested = ended + REST * (ended - began)
            return done

    async def all_of(self, work: Iterator[T], at_once: int) -> list[T]:
        """All that an iterator makes, so many in one piece."""
        done: list[T] = []
        while True:
            some = await self.work(lambda: list(islice(work, at_once)))
            done += some
            if len(some) < at_once:
                return done
