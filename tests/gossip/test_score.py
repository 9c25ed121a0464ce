"""The score by itself: each term, decay, memory, bounds. Bob and Carol are peers, Mallory is one to be wary of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.gossip import Params, ScoreParams, TopicScore
from protocol.gossip.score import Scores, Standing

from .world import OTHER, TOPIC

PLAIN = TopicScore(time_in_mesh_weight=0.0, first_weight=0.0)
"""Nothing to be earned: what is left is what is owed."""


def test_time_in_the_mesh_earns_a_little_by_the_minute_and_no_more_than_a_point() -> None:
    """P1."""
    scores = Scores(ScoreParams())
    bob = scores.came("bob", "", 0.0)
    scores.entered_mesh(bob, TOPIC, 0.0)
    assert scores.explain(bob, 59.0).time_in_mesh == 0
    assert scores.explain(bob, 600.0).time_in_mesh == pytest.approx(0.2)
    assert scores.explain(bob, 100_000.0).time_in_mesh == pytest.approx(1.0)
    scores.left_mesh(bob, TOPIC, 100_000.0)
    assert scores.score(bob, 100_001.0) == 0, "it is for being there"


def test_first_deliveries_count_up_to_a_cap_and_fade() -> None:
    """P2."""
    scores = Scores(ScoreParams())
    bob = scores.came("bob", "", 0.0)
    for number in range(30):
        scores.brought_first(bob, TOPIC, bytes([number]), 0.0)
    assert scores.explain(bob, 0.5).first == 10
    assert scores.explain(bob, 120.0).first == pytest.approx(5)
    assert scores.explain(bob, 240.0).first == pytest.approx(2.5)
    assert scores.explain(bob, 2000.0).first == 0, "below decay_to_zero"
    assert bob.topics == {}, "and nothing is kept"


def test_topics_together_bring_no_more_than_the_cap_but_cost_without_limit() -> None:
    topics = {f"t{number}": TopicScore(weight=2.0) for number in range(5)}
    scores = Scores(ScoreParams(topics=topics, topic_cap=20.0))
    bob = scores.came("bob", "", 0.0)
    for name in topics:
        for _ in range(10):
            scores.brought_first(bob, name, name.encode(), 0.0)
    assert scores.explain(bob, 0.5).first == 100
    assert scores.score(bob, 0.5) == 20
    for _ in range(10):
        scores.brought_invalid(bob, "t0", 0.5)
    assert scores.score(bob, 0.5) == pytest.approx(100 - 2 * 10 * 100)


def test_a_topic_without_parameters_counts_for_nothing() -> None:
    scores = Scores(ScoreParams(default_topic=None, topics={TOPIC: TopicScore()}))
    bob = scores.came("bob", "", 0.0)
    scores.brought_invalid(bob, OTHER, 0.0)
    assert scores.score(bob, 0.0) == 0
    scores.brought_invalid(bob, TOPIC, 0.0)
    assert scores.score(bob, 0.0) == -10


STRICT = TopicScore(
    time_in_mesh_weight=0.0,
    first_weight=0.0,
    mesh_weight=-1.0,
    mesh_threshold=5.0,
    mesh_cap=8.0,
    mesh_activation=30.0,
    mesh_window=0.01,
    mesh_half_life=60.0,
    failure_weight=-1.0,
    failure_half_life=600.0,
)


def test_a_mesh_peer_that_owes_deliveries_pays_the_square_of_the_deficit() -> None:
    """P3, where it is switched on. Before the activation time it owes nothing; a copy right behind the first counts as
    a delivery, once; a late one does not, and what a peer outside the mesh brings does not either."""
    scores = Scores(ScoreParams(default_topic=STRICT))
    bob, carol, dave = (scores.came(name, "", 0.0) for name in ("bob", "carol", "dave"))
    scores.entered_mesh(bob, TOPIC, 0.0)
    scores.entered_mesh(carol, TOPIC, 0.0)
    assert scores.score(bob, 30.0) == 0
    assert scores.score(bob, 31.0) == -25
    for number in range(3):
        at = 31.0 + number / 10
        scores.brought_first(bob, TOPIC, bytes([number]), at)
        for _ in range(4):
            scores.brought_copy(carol, TOPIC, bytes([number]), at + 0.005)
        scores.brought_copy(dave, TOPIC, bytes([number]), at + 0.005)
    scores.brought_first(dave, TOPIC, b"late", 31.4)
    scores.brought_copy(carol, TOPIC, b"late", 31.5)
    assert scores.explain(bob, 31.9).deficit == -4
    assert scores.explain(carol, 31.9).deficit == -4
    assert scores.explain(dave, 31.9).deficit == 0
    for number in range(20):
        scores.brought_first(bob, TOPIC, bytes([100 + number]), 32.0)
    assert scores.explain(bob, 32.0).deficit == 0
    assert scores.explain(bob, 32.0 + 60).deficit == pytest.approx(-1), "eight at most, and half of them a minute later"


def test_who_leaves_the_mesh_with_a_deficit_keeps_it_for_a_while() -> None:
    """P3b."""
    scores = Scores(ScoreParams(default_topic=STRICT))
    bob = scores.came("bob", "", 0.0)
    scores.entered_mesh(bob, TOPIC, 0.0)
    scores.left_mesh(bob, TOPIC, 20.0)
    assert scores.score(bob, 20.0) == 0, "too short to owe anything"
    scores.entered_mesh(bob, TOPIC, 20.0)
    scores.left_mesh(bob, TOPIC, 100.0)
    assert scores.explain(bob, 100.0).failures == -25
    scores.entered_mesh(bob, TOPIC, 100.0)
    scores.went(bob, 200.0)
    back = scores.came("bob", "", 201.0)
    assert scores.explain(back, 201.0).failures < -45, "hanging up is leaving, too"


def test_silence_is_no_offence_by_default() -> None:
    scores = Scores(ScoreParams())
    bob = scores.came("bob", "", 0.0)
    scores.entered_mesh(bob, TOPIC, 0.0)
    assert not scores.counts_copies
    assert scores.score(bob, 50_000.0) > 0


@pytest.mark.parametrize(("credit", "mesh"), [(False, 1), (True, 2)])
def test_after_how_many_rejects_a_peer_is_where(credit: bool, mesh: int) -> None:
    """P4, and the table in README.md. Whoever has earned all that can be earned may slip once."""
    params = ScoreParams()
    scores = Scores(params)
    mallory = scores.came("mallory", "", 0.0)
    if credit:
        for name in (TOPIC, OTHER):
            for _ in range(10):
                scores.brought_first(mallory, name, b"", 0.0)
    crossed: dict[float, int] = {}
    for count in range(1, 20):
        scores.brought_invalid(mallory, TOPIC, 0.0)
        for threshold in (0, params.gossip_threshold, params.publish_threshold, params.graylist_threshold):
            if scores.is_below(mallory, threshold, 0.0):
                crossed.setdefault(threshold, count)
    assert list(crossed.values()) == [mesh, 4, 8, 11]


def test_what_the_application_says_counts_both_ways() -> None:
    """P5."""
    opinion = {"bob": 30.0, "mallory": -2000.0}
    scores = Scores(ScoreParams(application_weight=2.0), lambda peer: opinion.get(peer, 0.0))
    assert scores.score(scores.came("bob", "", 0.0), 0.0) == 60
    mallory = scores.came("mallory", "", 0.0)
    assert scores.is_below(mallory, -1000.0, 0.0)
    opinion["mallory"] = 0.0
    assert not scores.is_below(mallory, 0.0, 1.0), "asked again every interval"


def test_many_peers_behind_one_address_pay_the_square_of_the_surplus() -> None:
    """P6. Five may; the sixth costs all of them, and when it goes they are free again. Who has no address that counts
    is never one of many."""
    scores = Scores(ScoreParams(retain_score=0.0))
    family = [scores.came(f"peer{number}", "198.51.100.1", 0.0) for number in range(5)]
    assert [scores.score(one, 0.0) for one in family] == [0] * 5
    sixth = scores.came("peer5", "198.51.100.1", 0.0)
    assert [scores.score(one, 0.0) for one in [*family, sixth]] == [-5] * 6
    more = [scores.came(f"peer{number}", "198.51.100.1", 0.0) for number in range(6, 20)]
    assert scores.is_below(family[0], -1000.0, 0.0)
    for one in [sixth, *more]:
        scores.went(one, 0.0)
    assert [scores.score(one, 0.0) for one in family] == [0] * 5
    scores.clear(1.0)
    assert not scores.suspects
    nowhere = [scores.came(f"home{number}", "", 1.0) for number in range(50)]
    assert {scores.score(one, 1.0) for one in nowhere} == {0}
    scores.move(nowhere[0], "198.51.100.1")
    assert scores.score(family[0], 1.0) == -5


def test_behaviour_costs_the_square_of_what_exceeds_the_tolerance_and_fades() -> None:
    """P7."""
    scores = Scores(ScoreParams())
    mallory = scores.came("mallory", "", 0.0)
    scores.misbehaved(mallory, 2.0, 0.0)
    assert scores.score(mallory, 0.0) == 0
    scores.misbehaved(mallory, 10.0, 0.0)
    assert scores.score(mallory, 0.0) == -1000
    assert scores.score(mallory, 300.0) == pytest.approx(-160)
    scores.clear(300.0)
    assert list(scores.suspects) == [mallory]
    scores.clear(4000.0)
    assert not scores.suspects
    assert not mallory.suspect


def test_a_peer_that_hangs_up_and_comes_again_is_who_it_was() -> None:
    scores = Scores(ScoreParams(default_topic=PLAIN))
    mallory = scores.came("mallory", "", 0.0)
    for _ in range(11):
        scores.brought_invalid(mallory, TOPIC, 0.0)
    scores.went(mallory, 1.0)
    again = scores.came("mallory", "", 2.0)
    assert scores.is_below(again, -1000.0, 2.0)
    scores.went(again, 3.0)
    late = scores.came("mallory", "", 3.0 + 3601.0)
    assert not late.suspect
    assert scores.score(late, 3604.0) == 0, "an hour later it is forgotten"


def test_credit_survives_a_link_and_debt_outlives_credit() -> None:
    """Earned and owed were even when it left; what is earned fades first, and that must be seen on return."""
    scores = Scores(ScoreParams())
    bob = scores.came("bob", "", 0.0)
    for _ in range(10):
        scores.brought_first(bob, TOPIC, b"", 0.0)
    scores.brought_invalid(bob, TOPIC, 0.0)
    assert scores.score(bob, 0.5) == 0
    scores.went(bob, 0.5)
    back = scores.came("bob", "", 400.0)
    assert scores.explain(back, 400.0).first == pytest.approx(1, rel=0.05)
    assert scores.is_below(back, 0.0, 400.0)


def test_memory_of_those_who_left_is_bounded_and_the_good_do_not_push_out_the_bad() -> None:
    scores = Scores(ScoreParams(max_retained=10))
    mallory = scores.came("mallory", "", 0.0)
    scores.brought_invalid(mallory, TOPIC, 0.0)
    scores.went(mallory, 0.0)
    for number in range(100):
        one = scores.came(f"peer{number}", "", 0.0)
        scores.brought_first(one, TOPIC, b"", 0.0)
        scores.went(one, 0.0)
    assert scores.kept == 11
    assert scores.came("mallory", "", 0.0).suspect
    scores.went(scores.came("idle", "", 0.0), 0.0)
    assert scores.kept == 10, "who did nothing leaves nothing"
    one = scores.came("late", "", 5000.0)
    scores.went(one, 5000.0)
    assert scores.kept == 0


def test_switched_off_everybody_is_worth_nothing_for_ever() -> None:
    scores = Scores(None, lambda _peer: -1e9)
    mallory = scores.came("mallory", "198.51.100.1", 0.0)
    scores.entered_mesh(mallory, TOPIC, 0.0)
    scores.brought_invalid(mallory, TOPIC, 0.0)
    scores.misbehaved(mallory, 100.0, 0.0)
    assert scores.score(mallory, 0.0) == 0
    assert not mallory.suspect
    scores.went(mallory, 0.0)
    assert scores.kept == 0
    assert Params(score=None).score is None


def test_numbers_that_cannot_be_meant_are_refused() -> None:
    for wrong in (
        {"gossip_threshold": 1.0},
        {"publish_threshold": -1.0},
        {"graylist_threshold": -10.0},
        {"opportunistic_threshold": -1.0},
        {"behaviour_weight": 1.0},
        {"colocation_threshold": 0},
        {"decay_to_zero": 0.0},
    ):
        with pytest.raises(ValueError, match=r"\w"):
            ScoreParams(**wrong)  # type: ignore[arg-type]
    for wrong in ({"first_weight": -1.0}, {"invalid_weight": 1.0}, {"mesh_cap": 1.0}, {"first_half_life": 0.0}):
        with pytest.raises(ValueError, match=r"\w"):
            TopicScore(**wrong)  # type: ignore[arg-type]


acts = st.lists(
    st.tuples(
        st.sampled_from(["first", "invalid", "behave", "enter", "leave", "look"]), st.floats(0, 40), st.booleans()
    ),
    max_size=40,
)


def play(history: list[tuple[str, float, bool]], *, beating: bool) -> float:
    """The score after a history, with a heartbeat every second or with none at all."""
    scores = Scores(ScoreParams())
    bob: Standing = scores.came("bob", "", 0.0)
    now, beat = 0.0, 0.0
    for act, pause, elsewhere in history:
        now += pause
        while beating and beat <= now:
            scores.clear(beat)
            scores.score(bob, beat)
            beat += 1.0
        name = OTHER if elsewhere else TOPIC
        match act:
            case "first":
                scores.brought_first(bob, name, b"", now)
            case "invalid":
                scores.brought_invalid(bob, name, now)
            case "behave":
                scores.misbehaved(bob, 1.5, now)
            case "enter":
                scores.entered_mesh(bob, name, now)
            case "leave":
                scores.left_mesh(bob, name, now)
            case "look":
                scores.score(bob, now)
        assert bob.suspect or scores.explain(bob, now).total >= 0, "who is below zero is always a suspect"
    return scores.explain(bob, now + 5).total


@given(acts)
def test_heartbeats_may_be_late_or_left_out_and_the_score_is_the_same(history: list[tuple[str, float, bool]]) -> None:
    """Decay goes by the clock. (Touching a counter more often can only forget a rest below decay_to_zero sooner.)"""
    assert play(history, beating=True) == pytest.approx(play(history, beating=False), abs=1.0)
