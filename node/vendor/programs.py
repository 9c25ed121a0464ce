"""Vendors' programs, seen from the node: who is here, what each is asked, and what became of it.

A program is a process of its own. It opens a stream on the local API and gets wishes and accepts on it, a bounded
number at a time and a second; each is a job with ten seconds to answer. One that raises, hangs, spins or dies is
counted and shown, and costs the node nothing: what it did not answer goes to the catalogue if there is one, and is
offered to the program again when it is back. A wish that thrice brought it down is left alone.
"""

import secrets
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
import trio

from protocol.categories import divisions_of_pattern, matches_pattern
from protocol.intent import Intent
from protocol.message import Message

from ..policy import Shares
from ..trouble import not_found, refused

log = structlog.get_logger("vendor.programs")

BY_PROGRAM: Final = "program:"
"""Leads, in why a wish was answered as it was, the name of the program that did."""

JOB_SECONDS: Final = 10.0
"""A program has to answer; on its side it stops its handler at that time, so the node waits a little longer."""

SLACK: Final = 1.5

MAX_PROGRAMS: Final = 16
"""Connected at once, and remembered while they are away."""

MAX_CONCURRENCY: Final = 32
"""Jobs one program may have at a time, if it asks for so many."""

JOBS_PER_SECOND, JOB_BURST = 50.0, 200.0

MAX_WAITING: Final = 1_000
"""Wishes that wait for one program; more stay on the board until there is room."""

STRIKES: Final = 3
"""Failures over a wish, after which a program is not asked about it any more."""

PATIENCE: Final = 3
"""Time-outs in a row after which a program rests."""

FIRST_REST, LAST_REST = 15.0, 900.0
"""Seconds without new jobs for one that does not answer, doubling."""

ACCEPT_AGAIN: Final = 5.0
"""Seconds until a program is asked again to decide an accept it did not answer."""


@dataclass(slots=True, eq=False)
class Job:
    """One question to a program. `about` is a wish's revision, or an accept."""

    id: str
    kind: str
    about: Message
    view: dict[str, Any]
    deadline: float = 0.0


@dataclass(slots=True, eq=False)
class Program:
    """One that is connected."""

    name: str
    contact: str
    categories: tuple[str, ...]
    decides: bool
    """Asked about accepts; otherwise they are confirmed at once, while there is stock."""
    concurrency: int
    waiting: OrderedDict[bytes, Job] = field(default_factory=OrderedDict)
    jobs: dict[str, Job] = field(default_factory=dict)
    seen: set[bytes] = field(default_factory=set)
    """Revisions it was asked about since it is here."""
    silent: int = 0
    """Time-outs in a row."""
    rest: float = FIRST_REST
    rests_until: float = 0.0
    wake: trio.Event = field(default_factory=trio.Event)

    def hears(self, category: str) -> bool:
        return any(matches_pattern(pattern, category) for pattern in self.categories)


class Programs:
    def __init__(self) -> None:
        self._here: dict[str, Program] = {}
        self._away: dict[str, tuple[str, ...]] = {}
        """Those that were here before: name -> categories."""
        self._counts: dict[str, Counter[str]] = {}
        self._last_error: dict[str, str] = {}
        self._strikes: OrderedDict[bytes, int] = OrderedDict()
        self._asked: dict[bytes, float] = {}
        """Accept -> steady time at which a program may be asked about it again."""
        self._shares = Shares(JOBS_PER_SECOND, JOB_BURST)
        self.on_change: Callable[[], None] = lambda: None
        """A program came or went."""
        self.on_unanswered: Callable[[Message, bool], None] = lambda _wish, _for_good: None
        """A program failed over a wish; `for_good`: it will not be asked about it again."""

    # -------------------------------------------------------------------------------------------------- who is here

    def remember(self, name: str, categories: tuple[str, ...]) -> None:
        """From a former life of the node: it is away, and will be back."""
        self._away[name] = categories

    def forget_program(self, name: str) -> None:
        """It will not come back. Raises Trouble for one that is here, or was never."""
        if name in self._here:
            raise refused("program_here", f"{name!r} is connected", "End it first.")
        if self._away.pop(name, None) is None:
            raise not_found(f"no program is called {name!r}", "`intentcast vendor programs` lists them.")
        self.on_change()

    def get(self, name: str) -> Program | None:
        return self._here.get(name)

    @property
    def divisions(self) -> set[str]:
        patterns = [pattern for program in self._here.values() for pattern in program.categories]
        patterns += [pattern for listed in self._away.values() for pattern in listed]
        return {division for pattern in patterns for division in divisions_of_pattern(pattern)}

    @property
    def any_here(self) -> bool:
        return bool(self._here)

    @property
    def is_busy(self) -> bool:
        """Must somebody look every second who has taken too long, or has rested enough?"""
        return any(program.jobs or program.rests_until for program in self._here.values())

    def expected(self, category: str) -> bool:
        """Is somebody away who would want to see this?"""
        return any(matches_pattern(p, category) for patterns in self._away.values() for p in patterns)

    def views(self) -> list[dict[str, Any]]:
        """Every program, how it is, and what it did."""
        now = trio.current_time()
        found = []
        for name in sorted({*self._here, *self._away}):
            program = self._here.get(name)
            state = "away" if program is None else "resting" if program.rests_until > now else "here"
            view: dict[str, Any] = {
                "name": name,
                "state": state,
                "categories": list(program.categories if program else self._away[name]),
                "jobs": len(program.jobs) if program else 0,
                "waiting": len(program.waiting) if program else 0,
                "counts": dict(self._counts.get(name, {})),
            }
            if name in self._last_error:
                view["last_error"] = self._last_error[name]
            found.append(view)
        return found

    def count(self, name: str, what: str, error: str = "") -> None:
        self._counts.setdefault(name, Counter())[what] += 1
        if error:
            self._last_error[name] = error[:500]

    # ------------------------------------------------------------------------------------------------------- asking

    def program_for(self, wish: Message) -> Program | None:
        """Who is to be asked about this wish next, of those that are here."""
        assert isinstance(wish.body, Intent)
        if self._strikes.get(wish.id, 0) >= STRIKES:
            return None
        now = trio.current_time()
        for program in self._here.values():
            if wish.id not in program.seen and program.rests_until <= now and program.hears(wish.body.category):
                return program
        return None

    def is_resting_for(self, wish: Message) -> bool:
        """Is somebody here who wants this wish, and is let alone for the moment?"""
        assert isinstance(wish.body, Intent)
        category = wish.body.category
        return self._strikes.get(wish.id, 0) < STRIKES and any(
            program.rests_until > trio.current_time() and wish.id not in program.seen and program.hears(category)
            for program in self._here.values()
        )

    def waits(self, revision: bytes, category: str) -> tuple[str, str] | None:
        """The program a wish waits for, and in a few words what keeps it; None: for none."""
        struck = self._strikes.get(revision, 0)
        if struck >= STRIKES:
            return None
        hearing = [program for program in self._here.values() if program.hears(category)]
        for program in hearing:
            if revision in program.waiting or any(job.about.id == revision for job in program.jobs.values()):
                return program.name, "is being asked"
            if program.rests_until > trio.current_time() and revision not in program.seen:
                return program.name, "rests, for it did not answer in time"
        for name, patterns in self._away.items():
            if any(matches_pattern(pattern, category) for pattern in patterns):
                return name, "is away"
        asked = [program.name for program in hearing if revision in program.seen]
        return (asked[-1], "failed over it") if struck and asked else None

    def ask(self, program: Program, kind: str, about: Message, view: dict[str, Any]) -> bool:
        """Put a question. False if there is no room: ask again later."""
        if len(program.waiting) >= MAX_WAITING or about.id in program.waiting:
            return False
        program.seen.add(about.id)
        program.waiting[about.id] = Job(secrets.token_hex(8), kind, about, view)
        program.wake.set()
        return True

    def may_ask_about(self, accept: bytes) -> bool:
        return self._asked.get(accept, 0.0) <= trio.current_time()

    def is_asked(self, about: bytes) -> bool:
        """Is somebody working on it, or about to?"""
        return any(
            about in program.waiting or any(job.about.id == about for job in program.jobs.values())
            for program in self._here.values()
        )

    def check_place(self, name: str) -> None:
        """Raises Trouble if no program of this name can be let in."""
        if name in self._here:
            raise refused("program_here", f"a program called {name!r} is connected already", "End it, or rename one.")
        if len({*self._here, *self._away, name}) > MAX_PROGRAMS:
            raise refused("programs_full", f"{MAX_PROGRAMS} programs are known already", "Use one for several trades.")

    async def work(
        self, name: str, contact: str, categories: tuple[str, ...], *, decides: bool, concurrency: int
    ) -> AsyncIterator[dict[str, Any]]:
        """A program's stream of jobs, for as long as it reads it. Raises Trouble if it cannot be let in."""
        self.check_place(name)
        program = Program(name, contact, categories, decides, min(concurrency, MAX_CONCURRENCY))
        self._here[name] = program
        self._away.pop(name, None)
        self.on_change()
        try:
            yield {"id": 0, "type": "hello", "name": name, "seconds": JOB_SECONDS}
            while True:
                program.wake = trio.Event()
                job, pause = self._next(program)
                if job is not None:
                    yield {"id": 0, "type": job.kind, "job": job.id, "seconds": JOB_SECONDS, **job.view}
                    continue
                with trio.move_on_after(pause):
                    await program.wake.wait()
        finally:
            del self._here[name]
            self._away[name] = categories
            for job in [*program.jobs.values()]:
                self._failed(program, job, "died", "it went away before it answered")
            for job in program.waiting.values():
                self.on_unanswered(job.about, False)
            self.on_change()

    def _next(self, program: Program) -> tuple[Job | None, float]:
        """The next job to hand out, or how long to wait at most."""
        now = trio.current_time()
        if program.rests_until > now:
            return None, program.rests_until - now
        if not program.waiting or len(program.jobs) >= program.concurrency:
            return None, 60.0
        about, job = next(iter(program.waiting.items()))
        # What has brought it down before is asked alone, so that the innocent are not taken along.
        if program.jobs and any(self._strikes.get(one, 0) for one in (about, *self._working_on(program))):
            return None, 60.0
        if not self._shares.take(program.name, now):
            return None, 1.0 / JOBS_PER_SECOND
        del program.waiting[about]
        job.deadline = now + JOB_SECONDS + SLACK
        program.jobs[job.id] = job
        return job, 0.0

    def _working_on(self, program: Program) -> list[bytes]:
        return [job.about.id for job in program.jobs.values()]

    # ---------------------------------------------------------------------------------------------------- answering

    def take(self, job_id: str) -> tuple[Program, Job]:
        """The job a program answers: it is no longer open. Raises Trouble for one that is over."""
        for program in self._here.values():
            job = program.jobs.pop(job_id, None)
            if job is not None:
                program.silent, program.rest, program.rests_until = 0, FIRST_REST, 0.0
                program.wake.set()
                return program, job
        raise not_found("this job is over", "It took longer than ten seconds, or the wish was ended.")

    def failed(self, program: Program, job: Job, what: str, error: str) -> None:
        """It answered that it could not answer."""
        self._failed(program, job, what, error)

    def _failed(self, program: Program, job: Job, what: str, error: str) -> None:
        program.jobs.pop(job.id, None)
        program.wake.set()
        self.count(program.name, what, f"{what} on a {job.kind}: {error}")
        log.warning("a vendor's program failed", program=program.name, how=what, job=job.kind)
        self._asked[job.about.id] = trio.current_time() + ACCEPT_AGAIN
        if job.kind == "wish":
            strikes = self._strikes[job.about.id] = self._strikes.pop(job.about.id, 0) + 1
            while len(self._strikes) > 10_000:
                self._strikes.popitem(last=False)
            self.on_unanswered(job.about, strikes >= STRIKES)

    def tick(self) -> None:
        """Once a second: who has taken too long."""
        now = trio.current_time()
        for program in self._here.values():
            for job in [job for job in program.jobs.values() if job.deadline <= now]:
                program.silent += 1
                self._failed(program, job, "timeout", f"no answer within {JOB_SECONDS:.0f} s")
            if 0 < program.rests_until <= now:
                program.rests_until = 0.0
                self.on_change()
            if program.silent >= PATIENCE:
                program.silent = 0
                program.rests_until = now + program.rest
                program.rest = min(LAST_REST, 2 * program.rest)
                self.count(program.name, "rested")
                for job in program.waiting.values():
                    program.seen.discard(job.about.id)
                    self.on_unanswered(job.about, False)
                program.waiting.clear()
        self._asked = {accept: due for accept, due in self._asked.items() if due > now}

    def forget(self, is_known: Callable[[bytes], bool]) -> None:
        """What has left the board leaves the memory too."""
        for program in self._here.values():
            program.seen = {revision for revision in program.seen if is_known(revision)}


__all__ = ["JOB_SECONDS", "Job", "Program", "Programs"]
