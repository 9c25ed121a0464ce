"""Who stays in a full pool of offers."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from node.pool import Place, passed_over


def fill(most: int, arrivals: list[tuple[str, int]]) -> list[Place]:
    """Let vendors come one after the other, each with a source and a price."""
    pool: list[Place] = []
    for number, (source, price) in enumerate(arrivals):
        pool.append(Place(number.to_bytes(4, "big"), source, (price,), number))
        if len(pool) > most:
            out = passed_over(pool)
            assert out is not None
            pool.remove(out)
    return pool


def test_a_crowd_of_one_source_crowds_out_only_itself() -> None:
    """500 cheap keys of one peer, and ten honest vendors who come before, between and after them: all ten stay."""
    crowd = [("mallory", 1)] * 500
    arrivals = crowd[:100] + [(f"honest {n}", 500) for n in range(5)] + crowd[100:]
    arrivals += [(f"late {n}", 500) for n in range(5)]
    kept = Counter(place.source.split()[0] for place in fill(300, arrivals))
    assert kept == {"mallory": 290, "honest": 5, "late": 5}


def test_of_many_sources_the_first_and_the_best_stay() -> None:
    """Every source has one key, so sources say nothing: half of the places are for the best offers, however late, and
    half for those who were first, however dear."""
    arrivals = [(f"first {n}", 900) for n in range(4)] + [(f"flood {n}", 500 - n) for n in range(100)]
    kept = fill(8, arrivals)
    assert [place.source for place in kept[:4]] == [f"first {n}" for n in range(4)]
    assert [place.source for place in kept[4:]] == [f"flood {n}" for n in range(96, 100)]


def test_nobody_must_go_where_nobody_is() -> None:
    assert passed_over([]) is None


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 9)), max_size=120), st.integers(8, 20))
def test_the_shares_of_sources_are_fair(arrivals: list[tuple[str, int]], most: int) -> None:
    """A source that asked for no more than an equal part has everything it asked for, whatever the others do."""
    kept = Counter(place.source for place in fill(most, arrivals))
    asked = Counter(source for source, _ in arrivals)
    assert kept.total() == min(most, len(arrivals))
    for source, count in asked.items():
        assert kept[source] >= min(count, most // len(asked))
