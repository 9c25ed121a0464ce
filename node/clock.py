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

SURE_AFTER: Final = 3600.0
"""Seconds after which an hour is certain that nobody speaks for or against; and how long a node may have been down for
the hour at its start to be certain at once."""


class Clock(Protocol):
    def now(self) -> int:
        """The hour, seconds UTC: for what is written into messages, and for what ends by its `exp`."""

    def certain(self) -> int:
        """An hour that has surely come, never after `now`: for what time ends among our own things, and nothing can
        bring back."""

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

    def certain(self) -> int:
        return self.now()

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

    An hour may be wrong from the start, where there is no course to compare it with, or be followed because nobody knew
    better. So there is a second one that lags behind it until the first is certain: the last certain hour, and the time
    that has passed since. Little waits for it, see `certain`; what is said and heard goes by the first.
    """

    def __init__(self, machine: Clock, witness: Callable[[float, float | None], int | None]) -> None:
        """`witness(new, old)`: how many more peers have the first course than the second (None: than any other); None
        if too few are known to speak against anything. See node/skew.py."""
        self.machine = machine
        self._witness = witness
        self._course = self._certain_course = machine.now() - machine.elapsed()
        self._doubt: Doubt | None = None
        self._unsure_since: float | None = None
        """Elapsed time since which we go by a course that nobody has spoken for."""

    def resume(self, last: int) -> None:
        """At start: `last` is the last hour that was certain before."""
        elapsed = self.elapsed()
        if not -MAX_SKEW <= self.now() - last <= SURE_AFTER:
            self._certain_course, self._unsure_since = last - elapsed, elapsed

    def now(self) -> int:
        wall, elapsed = self.machine.now(), self.machine.elapsed()
        course = wall - elapsed
        if abs(course - self._course) <= MAX_SKEW or self._is_believed(course, elapsed):
            self._course, self._doubt = course, None
            if self._unsure_since is None:
                self._certain_course = course
            return wall
        return int(elapsed + self._course)

    def certain(self) -> int:
        now = self.now()
        if self.is_certain and self._doubt is None:
            return now
        course = self._certain_course if self._doubt is None else min(self._certain_course, self._doubt.course)
        return min(now, int(self.elapsed() + course))

    @property
    def is_certain(self) -> bool:
        """Do we know of no reason to doubt the hour we have? A jump that we have not followed does not count."""
        self.now()
        if self._unsure_since is not None:
            lead, elapsed = self._witness(self._course, None) or 0, self.elapsed()
            if lead < 0:
                self._unsure_since = elapsed
            elif lead > 0 or elapsed - self._unsure_since >= SURE_AFTER:
                self._certain_course, self._unsure_since = self._course, None
        return self._unsure_since is None

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
        if elapsed - doubt.since < DOUBT_FOR:
            return False
        self._unsure_since = elapsed
        return True

    def steady(self) -> float:
        return self.machine.steady()

    def elapsed(self) -> float:
        return self.machine.elapsed()

    @property
    def jump(self) -> int | None:
        """Seconds by which the machine's clock has jumped and is not believed; None: we have its hour."""
        self.now()
        return None if self._doubt is None else round(self._doubt.course - self._course)


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

    def certain(self) -> int:
        return self.now()

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
