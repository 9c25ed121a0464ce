"""How far this machine's clock is from those of its peers: measured and told. Nobody's clock is changed by it.

Only peers of our own choosing are asked (peering.py), and sources count, not peers: whoever has a thousand keys in one
subnet has one voice. The median of three or more stands against one liar in three. What is kept of a peer is its
course, its clock less our elapsed time: so our own clock may be set meanwhile, and what we know of theirs stays true.
"""

from collections import OrderedDict
from dataclasses import dataclass
from statistics import median
from typing import Final

import structlog
import trio

from protocol.limits import MAX_SKEW

from .clock import CarefulClock, Clock
from .events import EventLog
from .store import Store

log = structlog.get_logger("clock")

ENOUGH: Final = 3
"""Sources without which we say nothing: of two that differ, nobody knows which is wrong."""

WORTH_SAYING: Final = 60
"""Seconds: half of what others bear."""

MAX_ROUND_TRIP: Final = 10.0
"""Seconds. An answer that took longer says too little: half of it is unknown."""

MAX_AGE: Final = 3600.0
"""Seconds for which what a peer said counts. They are asked every ten minutes."""

MAX_PEERS: Final = 64

LOOK_EVERY: Final = 20.0
"""Seconds between two looks at our own clock: what is wrong is told within a minute."""


CERTAIN: Final = "certain"
"""In the store's meta: the last certain hour, while the present one is not."""


@dataclass(frozen=True, slots=True)
class Sample:
    source: str
    course: float
    taken: float
    """Our elapsed time."""


class Skew:
    def __init__(self, machine: Clock) -> None:
        self._machine = machine
        self._samples: OrderedDict[str, Sample] = OrderedDict()

    def heard(self, peer: str, source: str, hour: int, asked: float, answered: float) -> None:
        """A peer said what hour it has. `asked` and `answered`: our elapsed time before and after."""
        if not 0 <= answered - asked <= MAX_ROUND_TRIP:
            return
        self._samples.pop(peer, None)
        self._samples[peer] = Sample(source, hour - (asked + answered) / 2, answered)
        while len(self._samples) > MAX_PEERS:
            self._samples.popitem(last=False)

    @property
    def courses(self) -> list[float]:
        """One for each source."""
        since = self._machine.elapsed() - MAX_AGE
        by_source: dict[str, list[float]] = {}
        for sample in list(self._samples.values()):  # transactions ask for the hour, and have a thread of their own
            if sample.taken >= since:
                by_source.setdefault(sample.source, []).append(sample.course)
        return [median(courses) for courses in by_source.values()]

    @property
    def seconds(self) -> int | None:
        """By how much our machine's clock is ahead of our peers' (negative: behind); None: too few are known."""
        courses = self.courses
        if len(courses) < ENOUGH:
            return None
        return round(self._machine.now() - self._machine.elapsed() - median(courses))

    def witness(self, new: float, old: float | None) -> int | None:
        """How many more sources have the first course than the second, or (None) than any other. One is enough to speak
        for what our own machine says; to speak against it takes ENOUGH. None: nothing that counts was said."""
        courses = self.courses
        ours = sum(abs(one - new) <= MAX_SKEW for one in courses)
        others = len(courses) - ours if old is None else sum(abs(one - old) <= MAX_SKEW for one in courses)
        lead = ours - others
        return lead if lead > 0 or len(courses) >= ENOUGH else None


def advice(skew: int | None, jump: int | None) -> str | None:
    """What to tell a person about the clock; None: nothing is wrong with it, as far as we know."""
    if jump is not None:
        return (
            f"the clock of this machine jumped {_span(jump)}, and the node goes on by its old course for now; "
            "set the clock right, or wait: ten minutes, or until peers say the same"
        )
    if skew is None or abs(skew) <= WORTH_SAYING:
        return None
    told = f"the clock of this machine is {abs(skew)} s {'ahead of' if skew > 0 else 'behind'} its peers'; set it right"
    if abs(skew) <= MAX_SKEW:
        return f"{told}: beyond {MAX_SKEW} s others will not hear you in time"
    if skew > 0:
        return f"{told}: until then others hear what you say {skew - MAX_SKEW} s late, or not at all"
    return f"{told}: until then you hear what others say {-skew - MAX_SKEW} s late, or not at all"


def _span(jump: int) -> str:
    return f"{abs(jump)} s {'forward' if jump > 0 else 'back'}"


async def resume(clock: CarefulClock, store: Store) -> None:
    """At start, before anything is written: compare the hour with the last one that was certain."""
    noted, last_event = await store.transact(lambda tx: (tx.get_meta(CERTAIN), tx.last_event_at()))
    last = last_event if noted is None else int(noted)
    if last is not None:
        clock.resume(last)
    if noted is None and not clock.is_certain:
        await _note_certain(clock, store)


async def _note_certain(clock: CarefulClock, store: Store) -> None:
    """While the hour is not certain the last certain one stands in the store: what is written now proves nothing."""
    hour = None if clock.is_certain else str(clock.certain())
    await store.transact_at_best(lambda tx: tx.drop_meta(CERTAIN) if hour is None else tx.put_meta(CERTAIN, hour))


async def watch_clock(clock: CarefulClock, skew: Skew, events: EventLog, store: Store) -> None:
    """Until cancelled: say once when the clock goes wrong, and once when it is right again."""
    told: str | None = None
    was_certain = clock.is_certain
    while True:
        if clock.is_certain != was_certain:
            was_certain = not was_certain
            await _note_certain(clock, store)
        await trio.sleep(LOOK_EVERY)
        seconds, jump = skew.seconds, clock.jump
        text = advice(seconds, jump)
        state = None if text is None else "clock.jumped" if jump is not None else "clock.wrong"
        if state != told:
            told = state
            if text is not None and state is not None:
                log.warning("the clock of this machine is wrong", advice=text)
                await events.add(state, {"seconds": jump if jump is not None else seconds, "advice": text})
            else:
                log.info("the clock of this machine is right again")
                await events.add("clock.right", {})
