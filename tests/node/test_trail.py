"""What a node remembers of each wish's way, and that nobody can make it remember too much."""

from node.trail import LOOK_BURST, MAX_STEPS, Trail
from tests.protocol.people import NOW, wish


class Still:
    """Time stands."""

    def now(self) -> int:
        return NOW

    def moment(self) -> float:
        return NOW + 0.25

    def steady(self) -> float:
        return 0.0

    def elapsed(self) -> float:
        return 0.0


def test_the_oldest_steps_make_room() -> None:
    """And how many did is told."""
    trail = Trail(Still())
    for number in range(MAX_STEPS + 7):
        trail.note(number.to_bytes(32, "big"), "heard")
    assert trail.forgotten == 7
    assert trail.of((6).to_bytes(32, "big")) == []
    assert trail.of((7).to_bytes(32, "big")) == [{"at": NOW + 0.25, "what": "heard"}]


def test_refused_frames_are_looked_at_so_often_and_no_more() -> None:
    """A flood of the same refused frame leaves as many steps as there are looks; garbage leaves none."""
    trail = Trail(Still())
    trail.refused(b"garbage", "Mallory", "not_msgpack", "gossip")
    for _ in range(int(LOOK_BURST) + 50):
        trail.refused(wish().frame, "Mallory", "superseded", "gossip")
    (root,) = trail.roots("")
    steps = trail.of(root)
    assert len(steps) == LOOK_BURST - 1
    assert steps[0] == {"at": NOW + 0.25, "what": "refused", "reason": "superseded", "via": "Mallory", "way": "gossip"}
