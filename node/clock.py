"""Time and chance, handed in: what a node decides depends on no clock and no randomness of its own."""

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from protocol.limits import MAX_SKEW

DOUBT_FOR: Final = 600.0
"""Seconds for which a jump of the wall clock is not believed if no peer speaks for it: time to set it right."""


class Clock(Protocol):
    def now(self) -> int:
        """The hour, seconds UTC: for what is written into messages, and for what ends by its `exp`."""

    def moment(self) -> float:
        """The same hour with its fraction: for telling what came first, never for what is decided."""

    def steady(self) -> float:
        """Seconds that never jump: for waiting and counting. They may stand still while the machine sleeps."""

    def elapsed(self) -> float:
        """Seconds that never jump and go on while the machine sleeps: they tell a clock that was set from a lid that
        was shut. Can be read in any thread."""


class SystemClock:
    """The wall clock of the machine, and trio's clock for everything that waits."""

    def now(self) -> int:
        return int(time.time())

    def moment(self) -> float:
        return time.time()

    def steady(self) -> float:
        return trio.current_time()

    def elapsed(self) -> float:
        return time.clock_gettime(_SLEEPLESS)


_SLEEPLESS: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""Linux counts sleep in CLOCK_BOOTTIME alone; macOS in CLOCK_MONOTONIC."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """The wall clock has left its course, and we have not followed."""

    course: float
    since: float
    """Elapsed time at which it was seen."""


class CarefulClock:
    """A wall clock that does not believe every jump.

    Its course is the wall clock less the time elapsed. Up to MAX_SKEW it is followed wherever it goes: computers are
    set right all the time. A greater jump is followed when more peers have the new hour than the old, or when it has
    lasted for ten minutes and no majority of peers speaks against it; until then the old course goes on. So an hour
    that is wrong for a while ends no wish, deletes no key and forgets no tombstone, and nothing else in the node needs
    to think of it. A machine that slept has not jumped.
    """

    def __init__(self, machine: Clock, witness: Callable[[float, float], int | None]) -> None:
        """`witness(new, old)`: how many more peers have the first course than the second; None if too few are known
        to speak against anything. See node/skew.py."""
        self.machine = machine
        self._witness = witness
        self._course = machine.now() - machine.elapsed()
        self._doubt: Doubt | None = None

    def now(self) -> int:
        wall, elapsed = self.machine.now(), self.machine.elapsed()
        course = wall - elapsed
        if abs(course - self._course) <= MAX_SKEW or self._is_believed(course, elapsed):
            self._course, self._doubt = course, None
            return wall
        return int(elapsed + self._course)

    def moment(self) -> float:
        self.now()
        return self.machine.moment() if self._doubt is None else self.machine.elapsed() + self._course

    def _is_believed(self, course: float, elapsed: float) -> bool:
        doubt = self._doubt
        if doubt is None or abs(course - doubt.course) > MAX_SKEW:
            doubt = self._doubt = Doubt(course, elapsed)
        lead = self._witness(course, self._course)
        if lead is not None and lead != 0:
            return lead > 0
        return elapsed - doubt.since >= DOUBT_FOR

    def steady(self) -> float:
        return self.machine.steady()

    def elapsed(self) -> float:
        return self.machine.elapsed()

    @property
    def jump(self) -> int | None:
        """Seconds by which the machine's clock has jumped and is not believed; None: we have its hour."""
        self.now()
        return None if self._doubt is None else round(self._doubt.course - self._course)

    @property
    def is_undecided(self) -> bool:
        """A jump was seen less than ten minutes ago, and neither hour is believed for good."""
        self.now()
        return self._doubt is not None and self.elapsed() - self._doubt.since < DOUBT_FOR


class VirtualClock:
    """A wall clock that follows trio's, from a given start: whole days pass in a test under a mock clock.

    `skew` shifts this node's idea of the hour, `asleep` is how long its machine slept; in seconds.
    """

    def __init__(self, start: int = 1_800_000_000, skew: int = 0) -> None:
        self._start = start
        self.skew = skew
        self.asleep = 0
        self._origin: float | None = None

    def now(self) -> int:
        return int(self.moment())

    def moment(self) -> float:
        if self._origin is None:
            self._origin = trio.current_time()
        return self._start + self.skew + self.asleep + trio.current_time() - self._origin

    def steady(self) -> float:
        return trio.current_time()

    def elapsed(self) -> float:
        return trio.current_time() + self.asleep


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
