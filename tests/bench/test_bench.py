"""The benchmark measures what it says: its parts, and one small run of each side in Python."""

import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import trio

from protocol.board import Board

from . import __main__ as bench
from . import letters, offers, sync
from .contest import OURS, Contestant, Score, percentile
from .floor import run_floor
from .goals import Goal
from .mesh import over_memory, run_mesh
from .phases import Authors
from .plan import DIVISION, NET, Plan, circulant, most_hops, plan_for


def test_every_node_has_as_many_links() -> None:
    for nodes, degree in ((10, 9), (20, 12), (50, 12), (4, 3)):
        links = circulant(nodes, degree)
        assert len({frozenset(link) for link in links}) == len(links) == nodes * degree // 2
        assert set(Counter(end for link in links for end in link).values()) == {degree}


def test_a_plan_survives_its_way_to_a_contestant() -> None:
    plan = plan_for(20, quick=True)
    assert Plan.parse(plan.text()) == plan


def test_wishes_are_of_one_size_and_believed() -> None:
    """Each is by another author, and none is refused: what is measured is admission, not refusal."""
    plan = plan_for(10, authors=20)
    authors = Authors(plan)
    board = Board(NET)
    frames = [authors.frame(number) for number in range(20)]
    assert {len(frame) for frame in frames} == {plan.bytes}
    assert all(board.hear(frame, DIVISION, "somebody", int(time.time())).accepted for frame in frames)


@pytest.mark.parametrize(("value", "at_least", "met"), [(2.1, True, True), (1.9, True, False), (1.9, False, True)])
def test_a_goal_knows_its_direction(value: float, at_least: bool, met: bool) -> None:
    assert Goal("x", value, 2.0, at_least).met is met


def test_what_is_lost_shows_in_the_percentiles() -> None:
    assert percentile([0.01] * 98 + [None, None], 99) == 3600.0
    assert percentile([0.01] * 98 + [None, None], 50) == 0.01


def test_both_ways_of_catching_up_find_the_same() -> None:
    found: Any = sync.measure(600)
    for name in ("one", "all"):
        assert [pair["ranges"]["differing"] for pair in found[name]] == [0, 1, 10, 100]
        for pair in found[name]:
            assert pair["ranges"]["found"] == pair["listing"]["found"]
            assert (pair["ranges"]["messages"] == 2) == (pair["ranges"]["differing"] == 0)
    assert found["nothing held"]["ranges"]["found"] == 600


def test_without_node_the_bench_goes_on_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours runs alone, what needs js is not measured, the next section runs; and nobody is told that all is well."""
    ran = []

    def alone(contestants: list[Contestant], nodes: int, rounds: int, *, quick: bool) -> dict[str, Score]:
        ran.append([each.name for each in contestants])
        return {OURS.name: Score(OURS.name, nodes, 3000, 5, 1e-4, 5e-4, 0.01, 0.02, 0.01, 0.02, 5e5, 0)}

    monkeypatch.setattr("shutil.which", lambda program: None)
    monkeypatch.setattr("sys.argv", ["bench", "mesh", "floor", "--quick"])
    monkeypatch.setattr(bench, "contest", alone)
    monkeypatch.setattr(bench, "floor", lambda _chosen: ({}, [Goal("the floor", 1, 1, True)]))
    assert bench.main() == 1
    said = capsys.readouterr()
    assert "needs Node.js and npm" in said.err
    assert "deliveries against the faster js: not measured" in said.out
    assert "met     N = 20: messages lost: 0" in said.out
    assert "met     the floor" in said.out
    assert ran == [[OURS.name]]


def test_hops_to_the_farthest_node() -> None:
    assert most_hops(5, [(0, 1), (1, 2), (2, 3), (3, 4)]) == 4
    assert most_hops(20, circulant(20, 12)) == 2
    assert most_hops(50, circulant(50, 12)) == 5


@pytest.mark.live
async def test_the_stages_of_an_offer_are_all_passed_in_turn() -> None:
    """Two wishes between real nodes: the first over a link that is made for it, the second over the open stream."""
    with trio.fail_after(30):
        first, second = await offers.measure(2)
    assert tuple(first) == tuple(second) == offers.STAGES
    assert all(seconds > 0 for seconds in (*first.values(), *second.values()))


@pytest.mark.live
async def test_an_offer_goes_over_the_slow_wire() -> None:
    """TCP alone takes a stranger a round trip, and no ack comes back in less than one."""
    with trio.fail_after(60):
        found = await letters.measure(1)
    assert found["first"] > 4
    assert 1 <= found["kept"] < found["first"]


SMALL = replace(
    plan_for(4, authors=500),
    settle=0.0,
    warm_messages=2,
    idle_messages=2,
    idle_pause=0.0,
    load_rate=20.0,
    load_seconds=0.1,
    flow_seconds=0.1,
    settle_garbage=False,
)


def check(result: dict[str, Any]) -> None:
    flow = result["flow"]
    assert None not in result["idle"] + result["load"]
    assert flow["lost"] == 0
    assert flow["copies"] >= flow["deliveries"] > 0
    assert flow["deliveries"] % 3 == 0  # each message to the three others


@pytest.mark.live
async def test_our_side_delivers_everything_it_counts() -> None:
    """Four nodes, the shortest phases, real time: heartbeats are what it waits for."""
    check(await run_mesh(over_memory(), SMALL))


@pytest.mark.live
async def test_the_floor_does_too() -> None:
    check(await run_floor(SMALL))
