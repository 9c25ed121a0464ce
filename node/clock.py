"""Time and chance, handed in: what a node decides depends on no clock and no randomness of its own."""

import random
import secrets
import time
from typing import Protocol

import trio


class Clock(Protocol):
    def now(self) -> int:
        """Wall clock, seconds UTC: for what is written into messages."""

    def steady(self) -> float:
        """Seconds that never jump: for waiting and counting."""


class SystemClock:
    """The wall clock of the machine, and trio's clock for everything that waits."""

    def now(self) -> int:
        return int(time.time())

    def steady(self) -> float:
        return trio.current_time()


class VirtualClock:
    """A wall clock that follows trio's, from a given start: whole days pass in a test under a mock clock.

    `skew` shifts this node's idea of the hour, in seconds.
    """

    def __init__(self, start: int = 1_800_000_000, skew: int = 0) -> None:
        self._start = start
        self.skew = skew
        self._origin: float | None = None

    def now(self) -> int:
        if self._origin is None:
            self._origin = trio.current_time()
        return int(self._start + self.skew + trio.current_time() - self._origin)

    def steady(self) -> float:
        return trio.current_time()


class Chance(Protocol):
    """Randomness for secrets and for choices."""

    def bytes(self, count: int) -> bytes: ...

    @property
    def choices(self) -> random.Random:
        """For choices that need not be secret: whom to dial, how long to wait."""


class SystemChance:
    def __init__(self) -> None:
        self.choices = random.Random(secrets.randbits(128))

    def bytes(self, count: int) -> bytes:
        return secrets.token_bytes(count)


class SeededChance:
    """Reproducible, for tests and simulations only."""

    def __init__(self, seed: str) -> None:
        self.choices = random.Random(seed)

    def bytes(self, count: int) -> bytes:
        return self.choices.randbytes(count)
