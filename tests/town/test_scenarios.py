"""Every scenario in the box plays and holds; and one that does not hold, or cannot be read, is told as such."""

from pathlib import Path

import pytest

import node.town
from node.town.play import play_fast
from node.town.scenario import Scenario, load_scenario, read_scenario, read_share, read_span
from node.trouble import Trouble

BOX = Path(node.town.__file__).parent / "scenarios"
FILES = sorted(BOX.glob("*.toml"))

HEAD = """
story = "Alice asks and Bob's shop answers."
[nodes]
market = { meeting = true }
alice = {}
bob = { sells = {} }
[[steps]]
does = "ask"
who = "alice"
"""


def read(text: str) -> Scenario:
    return read_scenario(text.encode(), "story.toml")


def test_the_box_covers_the_flows() -> None:
    """And the README names as many as there are."""
    assert len(FILES) >= 25
    assert f"{len(FILES)} are in the box" in Path(node.town.__file__).parents[2].joinpath("README.md").read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_holds(file: Path) -> None:
    """What its story says is true at the end, in virtual time."""
    outcome = play_fast(load_scenario(file))
    assert outcome.wrong == []
    assert outcome.done, "something happened"


def test_what_does_not_hold_is_told() -> None:
    """With what was found, also when several lines are wrong."""
    held = read(
        HEAD
        + """
[[holds]]
who = "alice"
wish = "wish"
offers = 2
within = "10s"
[[holds]]
who = "bob"
offers_made = 1
"""
    )
    assert play_fast(held).wrong == ["alice: wish: offers = 2: after 10 s offers is 1, not 2"]


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (
            'does = "accept"\nwho = "bob"\nby = "alice"\nwithin = "1s"',
            "step 2 (bob accept by alice): no wish of yours",
        ),
        (
            'does = "withdraw"\nwho = "alice"\nrefused = "state"',
            "step 2 (alice withdraw: refused (state)): was not refused",
        ),
        ('does = "offer"\nwho = "market"\nsay = { props = [] }', "step 2 (market offer): this does not answer"),
    ],
)
def test_a_step_that_fails_ends_the_play(step: str, said: str) -> None:
    with pytest.raises(Trouble) as trouble:
        play_fast(read(f"{HEAD}\n[[steps]]\n{step}\n"))
    assert trouble.value.message.startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("story = 1", "story.toml: story: Input should be a valid string"),
        ("story = [", "story.toml: is no TOML"),
        (HEAD.replace("sells", "sels"), "nodes bob: unknown field 'sels'; did you mean 'sells'?"),
        (HEAD + 'wich = "car"', "unknown field 'wich'; did you mean 'wish'?"),
        (HEAD.replace('"alice"', '"alicia"'), "step 1 (ask): there is no node 'alicia'; did you mean 'alice'?"),
        (HEAD + '[[steps]]\ndoes = "fly"', "steps 2: does = 'fly' is none of ask, update, offer"),
        (HEAD + '[[steps]]\ndoes = "pass"\ntime = "soon"', "'soon' is no span of time"),
        (HEAD + '[[steps]]\ndoes = "accept"\nwho = "alice"\nwish = "boat"\nby = "bob"', "nobody has asked 'boat'"),
        (HEAD + '[[holds]]\nwho = "alice"', "nothing is asked"),
        (HEAD + '[[holds]]\nwho = "alice"\noffers = 1', "of which wish?"),
        (HEAD + '[[holds]]\nwho = "alice"\nwish = "wish"\noffer = "confirmed"', "whose offer?"),
        ('story = "x"\n[nodes]\na = { join = ["b"] }\nb = {}', "'b' must stand above it"),
        ('story = "x"\n[nodes]\n"A b" = {}', "nodes"),
        (HEAD + 'say = { offers_by = "noon" }', "'noon' is no span of time"),
        ('story = "x"\nnodes = { a = { lists = { "../a.csv" = "" } } }', "lists ../a.csv"),
        ('story = "x"\nnodes = { a = { lists = { "a.csv" = "" } } }', "lists belong to a catalogue"),
        ('story = "x"\nnodes = {}', "nodes: Dictionary should have at least 1"),
    ],
)
def test_a_bad_file_is_told_with_the_place(text: str, said: str) -> None:
    with pytest.raises(Trouble) as trouble:
        read(text)
    assert trouble.value.code == "scenario"
    assert said in trouble.value.message
    assert trouble.value.message.startswith("story.toml: ")


def test_spans_and_shares() -> None:
    assert [read_span(text) for text in ("80ms", "30s", "2h", "1d12h", "1.5s")] == [0.08, 30, 7200, 129_600, 1.5]
    assert [read_share(text) for text in ("5%", 0.05, 0)] == [0.05, 0.05, 0]
    for bad in ("", "5", "s", "1x", "1s later", 5):
        with pytest.raises(ValueError, match="is no span"):
            read_span(bad)
    for bad in ("100%", "-1%", "much", 1.0, None):
        with pytest.raises(ValueError, match="is no share"):
            read_share(bad)
