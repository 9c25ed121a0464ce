"""Clocks that jump, drift and lie: what a node believes of its own, and what it says about it."""

from dataclasses import dataclass

import pytest

from node.clock import DOUBT_FOR, SURE_AFTER, CarefulClock
from node.skew import ENOUGH, MAX_AGE, MAX_ROUND_TRIP, Skew, advice
from protocol.limits import MAX_SKEW

DAY = 24 * 3600


@dataclass
class Machine:
    """A machine whose clock anybody can set, and whose lid can be shut."""

    wall: float = 1_800_000_000.0
    up: float = 1_000.0

    def now(self) -> int:
        return int(self.wall)

    def steady(self) -> float:
        return self.up

    def elapsed(self) -> float:
        return self.up

    def wait(self, seconds: float) -> None:
        self.wall += seconds
        self.up += seconds


def careful(machine: Machine) -> tuple[CarefulClock, Skew]:
    skew = Skew(machine)
    return CarefulClock(machine, skew.witness), skew


def hear(skew: Skew, machine: Machine, *ahead: float) -> None:
    """Peers of so many sources say what hour they have: so many seconds ahead of the machine's present one."""
    for number, seconds in enumerate(ahead):
        skew.heard(f"peer {number}", f"source {number}", int(machine.wall + seconds), machine.up, machine.up)


@pytest.mark.parametrize("jump", [DAY, -DAY, 400 * DAY, MAX_SKEW + 2, -MAX_SKEW - 2])
def test_a_jump_that_does_not_last_was_never_there(jump: int) -> None:
    machine = Machine()
    clock, _ = careful(machine)
    machine.wall += jump
    for _ in range(9):
        machine.wait(60)
        assert abs(clock.now() - (machine.wall - jump)) <= 1
        assert abs((clock.jump or 0) - jump) <= 1
    machine.wall -= jump
    assert clock.now() == machine.now()
    assert clock.jump is None


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_a_jump_that_lasts_is_followed_after_ten_minutes(jump: int) -> None:
    machine = Machine()
    clock, _ = careful(machine)
    machine.wall += jump
    clock.now()
    machine.wait(DOUBT_FOR - 1)
    assert clock.now() != machine.now()
    machine.wait(2)
    assert clock.now() == machine.now()


def test_a_second_jump_is_doubted_anew() -> None:
    machine = Machine()
    clock, _ = careful(machine)
    for _ in range(5):
        machine.wall += DAY
        assert clock.jump is not None
        machine.wait(DOUBT_FOR - 100)
    assert clock.now() < machine.now() - 4 * DAY


def test_small_steps_are_followed_at_once_and_so_is_sleep() -> None:
    machine = Machine()
    clock, _ = careful(machine)
    for step in (30, -90, 100, MAX_SKEW - 1, -MAX_SKEW + 1):
        machine.wall += step
        assert clock.now() == machine.now()
    machine.wait(30 * DAY)
    assert clock.now() == machine.now()


def test_one_peer_is_enough_to_believe_ones_own_machine() -> None:
    """The clock was wrong at start and is set right: a single peer that has the new hour ends the doubt."""
    machine = Machine()
    clock, skew = careful(machine)
    hear(skew, machine, 3 * DAY)
    machine.wall += 3 * DAY
    assert clock.now() == machine.now()


def test_it_takes_three_sources_to_keep_the_old_hour() -> None:
    machine = Machine()
    clock, skew = careful(machine)
    hear(skew, machine, 0, 0)
    machine.wall += DAY
    clock.now()
    machine.wait(DOUBT_FOR + 1)
    assert clock.now() == machine.now(), "two cannot hold us"
    machine.wait(60)
    hear(skew, machine, 0, 1, -1)
    machine.wall += DAY
    clock.now()
    machine.wait(DOUBT_FOR + 1)
    assert abs(clock.now() - (machine.wall - DAY)) <= 1, "three have the old hour"
    machine.wait(MAX_AGE)
    assert clock.now() == machine.now(), "what was said an hour ago holds nobody"


def test_a_start_soon_after_the_last_hour_is_certain() -> None:
    """A crash, a restart, a first start: nothing waits."""
    for away in (0, 60, SURE_AFTER - 1):
        machine = Machine()
        clock, _ = careful(machine)
        clock.resume(machine.now() - int(away))
        assert clock.is_certain
        assert clock.certain() == clock.now() == machine.now()


@pytest.mark.parametrize("gap", [SURE_AFTER + 60, DAY, 365 * DAY])
def test_a_start_long_after_the_last_hour_waits_for_somebody_to_say_so(gap: float) -> None:
    """What is certain is the last hour and the time since, until one peer has ours. More who have another one hold us
    to that for as long as they say so; with nobody at all it takes an hour."""
    machine = Machine()
    last = machine.now() - int(gap)
    clock, skew = careful(machine)
    clock.resume(last)
    machine.wait(100)
    assert clock.now() == machine.now()
    assert clock.certain() == last + 100
    for _ in range(10):
        hear(skew, machine, -gap, -gap, -gap)
        machine.wait(SURE_AFTER / 2)
        assert not clock.is_certain
    assert clock.certain() == last + 100 + 5 * SURE_AFTER
    machine.wait(SURE_AFTER / 2 + 1)  # they have not said so for an hour, and nobody speaks any more
    assert not clock.is_certain
    machine.wait(SURE_AFTER)
    assert clock.certain() == machine.now()
    clock, skew = careful(machine)
    clock.resume(last)
    assert not clock.is_certain
    hear(skew, machine, 0)
    assert clock.certain() == machine.now()


def test_what_is_certain_never_runs_ahead() -> None:
    """Neither of a clock that was set back, nor while it is undecided which hour is right; nor of a jump forward that
    was only followed because nobody knew better."""
    machine = Machine()
    clock, skew = careful(machine)
    machine.wall -= DAY
    assert clock.now() == machine.now() + DAY
    assert clock.certain() == machine.now()
    machine.wall += DAY
    assert clock.certain() == clock.now() == machine.now()
    machine.wall += DAY
    assert clock.certain() == clock.now() == machine.now() - DAY
    machine.wait(DOUBT_FOR)
    assert clock.now() == machine.now()
    assert clock.certain() == machine.now() - DAY
    hear(skew, machine, 0)
    assert clock.certain() == machine.now()
    clock.resume(machine.now() + DAY)
    assert clock.certain() == machine.now()


def test_the_median_of_sources_stands_against_liars() -> None:
    """Two honest peers and a liar: the liar moves nothing. A thousand keys in one subnet have one voice."""
    machine = Machine()
    skew = Skew(machine)
    hear(skew, machine, 110, 111)
    assert skew.seconds is None, "two are too few"
    for number in range(1000):
        skew.heard(f"sybil {number}", "one subnet", int(machine.wall) + 9 * DAY, machine.up, machine.up)
    hear(skew, machine, 110, 111)
    assert len(skew.courses) == ENOUGH
    assert skew.seconds == pytest.approx(-111, abs=1)


def test_half_of_the_round_trip_is_taken_off_and_a_long_one_tells_nothing() -> None:
    machine = Machine()
    skew = Skew(machine)
    for number in range(ENOUGH):
        skew.heard(f"peer {number}", f"source {number}", int(machine.wall) + 4, machine.up, machine.up + 8)
        skew.heard(f"far {number}", f"far {number}", 0, machine.up, machine.up + MAX_ROUND_TRIP + 1)
    assert skew.seconds == 0


def test_what_a_person_reads() -> None:
    """Nothing while all is well; who does not hear whom when it is not."""
    assert advice(None, None) is advice(59, None) is advice(-60, None) is None
    assert "110 s behind its peers'" in str(advice(-110, None))
    assert "others hear what you say 480 s late" in str(advice(600, None))
    assert "you hear what others say 480 s late" in str(advice(-600, None))
    assert "jumped 86400 s forward" in str(advice(0, DAY))
    assert "jumped 86400 s back" in str(advice(None, -DAY))
