"""The simulator itself: it tells the truth, twice the same, and does not leave out what matters. Twelve honest nodes,
48 sybils; the real sizes are `scripts/simulate`'s."""

import csv
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from node.mesh import growth, report
from node.mesh.figures import IN_TIME, Measured, Wish, recovery_of
from node.mesh.scenarios import SCENARIOS, Plan, Story, missed, play, run, tell_story
from node.mesh.simulate import main
from node.mesh.sybils import Conduct
from node.mesh.world import TOPIC, World
from protocol.gossip import Params

SMALL = Plan("baseline", 12, 48, dials=3, sybil_links=6, time_scale=0.2)
FLASH = replace(SMALL, scenario="covert-flash", honest=20, sybils=80, dials=5, sybil_links=10)
"""Among twelve one that stays behind is a twelfth; here the pace can be told."""


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_reaches_its_goal_in_the_small(scenario: str) -> None:
    """Four sybils to one honest node, scores on: what is said arrives, also at (or from) the one they are after."""
    plan = FLASH if scenario == FLASH.scenario else replace(SMALL, scenario=scenario)
    figures = run(plan)
    assert missed(figures) == []
    assert figures.messages >= 8
    assert figures.sybils == (0 if scenario == "baseline" else plan.sybils)
    assert (figures.target is not None) is scenario.endswith("-one")


def played(scenario: str) -> Story:
    """The whole story, to look into: two of three links of an honest node are with sybils."""
    story = tell_story(replace(SMALL, scenario=scenario, honest=20, sybils=80, dials=5, sybil_links=16))
    play(story)
    return story


def by_sybils(story: Story, wishes: Iterable[Wish]) -> float:
    """The part of all first copies that sybils brought."""
    found = list(wishes)
    assert found
    return sum(wish.by_strangers for wish in found) / len(found) / (len(story.names) - 1)


def sybils_beside(story: Story, name: str) -> tuple[int, int]:
    """Those that are linked with a node, and those in its mesh."""
    node = story.world.nodes[name]
    ours = set(story.sybils.names)
    return len(ours & node.pipes.keys()), len(ours & set(node.router.mesh(TOPIC)))


def test_sybils_do_what_the_scenario_says_baseline() -> None:
    """There are none."""
    story = played("baseline")
    assert story.sybils.names == []
    assert by_sybils(story, story.world.wishes) == 0
    assert {sample.honest_part for sample in story.world.samples} == {1.0}


@pytest.mark.parametrize("scenario", ["eclipse-one", "eclipse-network", "eclipse-publishers", "cold-boot"])
def test_sybils_do_what_the_scenario_says_eclipse(scenario: str) -> None:
    """They are at every door they want, got into meshes, and passed on nothing."""
    story = played(scenario)
    victims = {"eclipse-one": story.names[-1:], "eclipse-publishers": story.authors}.get(scenario, story.names)
    beside = {name: sybils_beside(story, name) for name in story.names}
    assert all(beside[name][0] >= len(story.sybils.names) / 3 for name in victims)
    assert all(beside[name] == (0, 0) for name in story.names if name not in victims)
    assert sum(beside[name][1] for name in victims) >= len(victims)
    assert by_sybils(story, story.world.wishes) == 0


def test_sybils_do_what_the_scenario_says_censor() -> None:
    """They carry what the others say, and of one author not a word."""
    story = played("censor-one")
    assert story.target is not None
    victim = story.world.nodes[story.target].number
    assert sybils_beside(story, story.target)[0] == len(story.sybils.names)
    assert by_sybils(story, (wish for wish in story.world.wishes if wish.author == victim)) == 0
    assert by_sybils(story, (wish for wish in story.world.wishes if wish.author != victim)) > 0.3


def test_sybils_do_what_the_scenario_says_degrade() -> None:
    """They carry half of it: with none it would be nothing, with all 0.4, and more if they behaved."""
    story = played("degrade")
    assert 0.2 < by_sybils(story, story.world.wishes) < 0.35
    good = tell_story(story.plan)
    good.sybils.conduct = Conduct.BEHAVE
    play(good)
    assert by_sybils(good, good.world.wishes) > 0.6


def test_sybils_do_what_the_scenario_says_flash() -> None:
    """Nearly everything comes from them, until nothing does."""
    story = played("covert-flash")
    wishes = story.world.wishes
    assert by_sybils(story, (wish for wish in wishes if wish.at < story.attack)) > 0.6
    assert by_sybils(story, (wish for wish in wishes if wish.at >= story.attack)) == 0


def test_sybils_do_what_the_scenario_says_dawn() -> None:
    """When the honest nodes find one another the sybils are the whole mesh; and without scores they stay it."""
    story = played("attack-at-dawn")
    assert story.world.samples[0].at > story.meet
    assert story.world.samples[0].honest_part < 0.1
    assert by_sybils(story, story.world.wishes) == 0
    unscored = run(replace(story.plan, scores=False, dials=3))
    assert unscored.honest_part < 0.2
    assert unscored.soon < 0.98


def test_sybils_do_what_the_scenario_says_colocation() -> None:
    """They share a few machines, for which each of them pays; from subnets of their own they pay nothing."""
    together, apart = played("colocation"), played("eclipse-network")
    homes = [{story.world.ips.get(name, name) for name in story.sybils.names} for story in (together, apart)]
    assert [len(each) for each in homes] == [10, 80]
    assert together.world.samples[-1].sybil_score < 0
    assert apart.world.samples[-1].sybil_score == 0
    assert by_sybils(together, together.world.wishes) == 0


def test_after_a_flash_meshes_are_mended_and_without_scores_they_are_not() -> None:
    """Hearsay brings everything in time in either case: it is the pace that tells."""
    mended, broken = run(FLASH), run(replace(FLASH, scores=False))
    assert (mended.recovery, broken.recovery) == (0, 0)
    assert mended.prompt_again is not None
    assert mended.prompt_again <= 60
    assert missed(replace(broken, scores=True)) == ["prompt again after inf s, wanted 60"]


@pytest.mark.parametrize("scenario", ["baseline", "eclipse-network", "attack-at-dawn"])
def test_skipping_idle_heartbeats_changes_nothing(scenario: str) -> None:
    """The same bytes at the same moments, for less work."""
    quiet = replace(SMALL, scenario=scenario, rate=0.05, time_scale=2.0)
    lazy, eager = run(quiet), run(replace(quiet, skip_idle=False))
    assert lazy.trace == eager.trace
    assert lazy.steps < eager.steps


def test_a_silent_network_sleeps() -> None:
    """Nobody says anything for ten minutes: a beat a minute and node is all that happens."""
    world = World(skip_idle=True)
    names = [f"n{number}" for number in range(20)]
    for name in names:
        world.add(name)
    world.random_graph(names, 12)
    world.run(70)
    before = world.steps
    world.run(600)
    assert world.steps - before <= 20 * 11


def test_full_admission_is_the_same_story_with_signatures() -> None:
    figures = run(replace(SMALL, scenario="eclipse-network", full=True))
    assert missed(figures) == []
    assert figures.in_time == 1


def test_the_same_seed_is_the_same_history_whatever_python_hashes() -> None:
    """In two processes that hash texts differently; another seed is another history."""

    def trace(seed: int, hashing: str) -> str:
        program = (
            "from node.mesh.scenarios import Plan, run;"
            f"print(run(Plan('covert-flash', 12, 48, seed={seed}, dials=3, sybil_links=6, time_scale=0.1)).trace)"
        )
        environment = {**os.environ, "PYTHONHASHSEED": hashing}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    first = trace(1, "1")
    assert len(first) == 32
    assert trace(1, "2") == first
    assert run(replace(SMALL, scenario="covert-flash", seed=2, time_scale=0.1)).trace != first


def test_a_lost_message_is_a_missed_goal() -> None:
    """Of all, of those of the one they are after, and of those after the attack."""
    figures = run(SMALL)
    assert missed(figures) == []
    assert missed(replace(figures, good=0.98)) != []
    assert missed(replace(figures, target=0.5)) != []
    assert missed(replace(figures, honest=50, memory_per_node=51_000.0)) == ["51 kB a node, wanted 50"]
    assert missed(replace(figures, name="covert-flash", recovery=61.0)) != []
    assert missed(replace(figures, name="covert-flash", recovery=0.0, prompt_again=61.0)) != []
    assert missed(replace(figures, good=0.98, scores=False)) == [], "without scores it is there to be compared with"


def test_what_does_not_arrive_is_counted() -> None:
    world = Measured(1, Params())
    names = world.populate(12)
    world.random_graph(names, 6)
    world.run(3)
    heard = world.say("n0")
    world.run(10)
    assert heard.reached(IN_TIME) == 1
    assert max(hop for hop in heard.hops if hop != 255) <= 4
    world.loss = 1.0
    lost = world.say("n0")
    world.run(20)
    assert lost.reached(IN_TIME) == 0
    assert not lost.is_good


def test_recovery_is_when_the_last_bad_message_is_past() -> None:
    def wish(at: float, arrives: bool) -> Wish:
        made = Wish(0, at, 2)
        if arrives:
            made.delays[1] = 0.5
        return made

    story = [wish(10, False), wish(100, True), wish(110, False), wish(130, True)]
    assert recovery_of(story, 100) == 30
    assert recovery_of(story[:2], 100) == 0
    assert recovery_of(story[:3], 100) == float("inf")


def test_growth_is_judged() -> None:
    """Hops like log N, bytes a node flat; a network that grows badly is told so."""
    rows = [run(replace(growth.plan_of(nodes, 1.0, 1), time_scale=0.2)) for nodes in (30, 120)]
    assert [line for line in growth.missed_growth(rows) if "ms/s" not in line] == []
    heavy = replace(rows[1], bytes_per_second=2 * rows[0].bytes_per_second)
    far = replace(rows[1], hops_mean=9.0)
    assert len(growth.missed_growth([rows[0], heavy])) > 0
    assert any("hops" in line for line in growth.missed_growth([rows[0], far]))
    slow = replace(rows[1], cpu_alone=2 * rows[0].cpu_alone)
    assert rows[0].cpu_alone > 0
    assert any("ms/s" in line for line in growth.missed_growth([rows[0], slow]))


def test_the_door_says_its_cost_first_and_exits_as_it_went(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--ci", "--honest", "12", "--scenario", "cold-boot", "--jobs", "1", "--out", str(tmp_path)]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("2 runs, 1 at a time: about ")
    assert lines[-1] == "every goal is reached"
    with (tmp_path / "attacks-12.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["scores"] for row in rows] == ["True", "False"]
    assert all(float(row["in_time"]) >= 0.99 for row in rows)
    assert len((tmp_path / "attacks-12-samples.csv").read_text().splitlines()) > 20
    monkeypatch.setattr("node.mesh.simulate.missed", lambda row: ["the sky fell"])
    assert main([*arguments, "--scores", "on"]) == 1
    assert "missed: cold-boot: the sky fell" in capsys.readouterr().out


def test_plots_are_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="plots are an extra: pip install 'intentcast[sim]'")
    figures = run(replace(SMALL, scenario="cold-boot"))
    drawn = [report.draw_attack(tmp_path, "cold-boot", [figures]), report.draw_growth(tmp_path, [figures])]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def test_without_matplotlib_there_is_a_hint(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["--out", str(tmp_path)]) == 2
    assert "intentcast[sim]" in capsys.readouterr().err
