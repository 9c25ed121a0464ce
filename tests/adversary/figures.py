"""What an attack came to, and whether that is good enough."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Figure:
    threat: str
    """Its number in the table of threats: T2."""
    what: str
    measured: str
    goal: str
    """Empty: no goal, said to be known."""
    reached: bool
    times: float | None = None
    """What was measured, in goals, if it is seconds on this machine: the one thing that others on it can spoil."""

    def is_missed(self, patience: float = 1) -> bool:
        """patience: by how much a goal in time may be missed."""
        return not self.reached and (self.times is None or self.times > patience)

    def line(self, patience: float = 1) -> str:
        word = "ok" if self.reached else "MISSED" if self.is_missed(patience) else "slow"
        return (
            f"{self.threat:4} {self.what:64} {self.measured:>22}   {self.goal:18} {word if self.goal else ''}".rstrip()
        )


def at_most(threat: str, what: str, measured: float, most: float, unit: str = "") -> Figure:
    return Figure(threat, what, f"{measured:.6g}{unit}", f"at most {most:.6g}{unit}", measured <= most)


def within(threat: str, what: str, measured: float, most: float, unit: str = " s") -> Figure:
    """At most, of time on this machine."""
    return replace(at_most(threat, what, measured, most, unit), times=measured / most)


def at_least(threat: str, what: str, measured: float, least: float, unit: str = "") -> Figure:
    return Figure(threat, what, f"{measured:.6g}{unit}", f"at least {least:.6g}{unit}", measured >= least)


def told(threat: str, what: str, measured: str) -> Figure:
    return Figure(threat, what, measured, "", True)
