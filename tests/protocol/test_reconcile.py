"""Alice learns what Bob has and she lacks, and it costs what differs; whatever Mallory answers, it ends."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol import reconcile
from protocol.codec import Value, decode, encode
from protocol.envelope import digest
from protocol.errors import Reason, Refused
from protocol.limits import MAX_ITEM, MAX_ITEMS, SYNC_ANSWER, SYNC_FEW
from protocol.reconcile import (
    DIGITS,
    EMPTY,
    MAX_TURNS,
    MAX_WAITING,
    Compare,
    IdTree,
    Open,
    Range,
    Walk,
    mark_of,
    read_question,
)
from tests.protocol.people import derived

SALT = derived("asker", 16)
HERE = "mobility"

ANYWHERE = st.binary(min_size=32, max_size=32)
CROWDED = st.builds(
    lambda shared, last: (shared + last).ljust(32, b"\x07"),
    st.sampled_from([b"", b"\x3f", b"\x3f\xa0\xb1", bytes(8), b"\xff" * 9]),
    st.binary(min_size=1, max_size=3),
)
"""Ids as somebody mines them: many that begin alike, down to the smallest range and below."""

SETS = st.sets(ANYWHERE | CROWDED, max_size=120)


def ids(count: int, seed: int = 1) -> list[bytes]:
    chance = Random(seed)
    return [chance.randbytes(32) for _ in range(count)]


def plain_fingerprint(some: list[bytes], digits: str = "") -> bytes:
    """As the book has it, word for word."""
    found = sorted(one for one in some if one.hex().startswith(digits))
    if len(found) <= 8 or len(digits) == 16:
        return digest(b"\x00" + b"".join(found))
    return digest(b"\x01" + b"".join(plain_fingerprint(found, digits + digit) for digit in "0123456789abcdef"))


class Talk:
    """Alice asks, Bob answers, over bytes as they would travel."""

    def __init__(self, alice: IdTree, bob: IdTree, answer: Callable[[Any], list[Value]] | None = None) -> None:
        self.alice, self.bob = alice, bob
        self.answer = answer or self.honest
        self.bytes = self.turns = self.most_waiting = 0
        self.walk = Walk(lambda division: self.alice if division == HERE else IdTree(), SALT, Random(7))

    def honest(self, question: Compare | Open) -> list[Value]:
        answers = list(question.answers(lambda division: self.bob if division == HERE else IdTree()))
        return ["marks" if isinstance(question, Compare) else "parts", answers]

    def exchange(self, question: Compare | Open) -> Any:
        self.turns += 1
        asked = encode(question.value())
        heard = decode(asked)
        assert isinstance(heard, list)
        understood = read_question(heard)
        assert understood == question
        answered = encode(self.answer(understood))
        self.bytes += len(asked) + len(answered)
        assert len(answered) <= MAX_ITEM
        return question.read(decode(answered))  # type: ignore[arg-type]

    def listed(self) -> Iterator[list[tuple[str, bytes]]]:
        comparison = self.walk.begin([HERE])
        self.walk.compared(comparison, self.exchange(comparison))
        while (question := self.walk.ask()) is not None:
            yield from self.walk.opened(question, self.exchange(question))
            waiting = sum(len(some) for some in self.walk._waiting.values())
            self.most_waiting = max(self.most_waiting, waiting)

    def missing(self) -> list[bytes]:
        found = [each for some in self.listed() for each in some]
        assert all(division == HERE for division, _ in found)
        return [id for _, id in found]


# ------------------------------------------------------------------------------------------------- what is learned


@given(SETS, SETS, SETS)
def test_exactly_what_bob_has_and_alice_lacks_is_learned(both: set[bytes], hers: set[bytes], his: set[bytes]) -> None:
    """Each id once, whoever mined them."""
    alice, bob = IdTree(both | hers), IdTree(both | his)
    talk = Talk(alice, bob)
    assert sorted(talk.missing()) == sorted(his - both - hers)
    assert talk.walk.left == 0


@settings(max_examples=15)
@given(st.integers(0, 3000), st.integers(0, 300), st.integers(0, 300), st.integers(0, 5))
def test_large_sets_too(shared: int, hers: int, his: int, seed: int) -> None:
    pool = ids(shared + hers + his, seed)
    alice, bob = IdTree(pool[: shared + hers]), IdTree(pool[:shared] + pool[shared + hers :])
    assert sorted(Talk(alice, bob).missing()) == sorted(pool[shared + hers :])


@given(st.lists(CROWDED | ANYWHERE, max_size=80), st.data())
def test_the_tree_is_what_its_ids_are(some: list[bytes], data: st.DataObject) -> None:
    """Ids come and go in any order, and are asked about in between: every fingerprint is that of the set there is."""
    tree, held = IdTree(), set[bytes]()
    for one in some:
        if one in held and data.draw(st.booleans()):
            tree.remove(one)
            held.discard(one)
        else:
            tree.add(one)
            held.add(one)
        if data.draw(st.booleans()):
            assert tree.prepare(data.draw(st.integers(0, 3))) in (True, False)
        digits = one.hex()[: data.draw(st.integers(0, 16))]
        assert tree.fingerprint(digits) == plain_fingerprint(list(held), digits)
        assert tree.count(digits) == sum(each.hex().startswith(digits) for each in held)
        assert (one in tree) == (one in held)
    assert list(tree) == sorted(held)
    assert tree.fingerprint() == IdTree(held).fingerprint()


def test_who_was_never_there_cannot_leave() -> None:
    with pytest.raises(KeyError):
        IdTree(ids(3)).remove(bytes(32))


def test_two_sets_of_a_few_thousand_differ_in_their_marks_wherever_they_differ() -> None:
    pool = ids(2000)
    whole = IdTree(pool)
    for one in pool[:10]:
        assert IdTree(set(pool) - {one}).fingerprint() != whole.fingerprint()


# -------------------------------------------------------------------------------------------------- what it costs


def test_equal_sets_cost_one_small_round_trip() -> None:
    pool = ids(4000)
    talk = Talk(IdTree(pool), IdTree(pool))
    assert talk.missing() == []
    assert (talk.turns, talk.bytes) == (1, 56)


@pytest.mark.parametrize(("missing", "turns", "most_bytes"), [(1, 5, 1_000), (10, 5, 5_000), (100, 6, 30_000)])
def test_the_cost_follows_what_differs(missing: int, turns: int, most_bytes: int) -> None:
    """Four thousand wishes: all their ids would be 136,000 bytes."""
    pool = ids(4000)
    talk = Talk(IdTree(pool[missing:]), IdTree(pool))
    assert len(talk.missing()) == missing
    assert talk.turns <= turns
    assert talk.bytes <= most_bytes


@pytest.mark.parametrize("held", [0, 5, 2000])
def test_who_has_little_or_half_pays_hardly_more_than_for_all_ids(held: int) -> None:
    pool = ids(4000)
    talk = Talk(IdTree(pool[:held]), IdTree(pool))
    assert len(talk.missing()) == 4000 - held
    assert talk.bytes < 1.25 * 4000 * 34


def test_an_id_that_comes_costs_the_ranges_it_lies_in(monkeypatch: pytest.MonkeyPatch) -> None:
    tree, hashes = IdTree(ids(4000)), 0
    assert tree.prepare(10_000)

    def counted(data: bytes) -> bytes:
        nonlocal hashes
        hashes += 1
        return digest(data)

    monkeypatch.setattr(reconcile, "digest", counted)
    tree.add(derived("one more"))
    tree.fingerprint()
    assert hashes <= 3 + 16 + 8  # its ranges, and the small parts of the smallest of them


def test_an_index_is_prepared_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """No piece computes more than it may; when it says that it is done, no question has to."""
    tree, hashes, pieces = IdTree(ids(4000)), 0, 0

    def counted(data: bytes) -> bytes:
        nonlocal hashes
        hashes += 1
        return digest(data)

    monkeypatch.setattr(reconcile, "digest", counted)
    done = False
    while not done:
        hashes, done = 0, tree.prepare(10)
        assert hashes <= 10 * 17
        pieces += 1
    assert 20 < pieces < 40
    hashes = 0
    tree.fingerprint()
    assert hashes == 0


def test_an_answer_holds_what_fits() -> None:
    """Sixteen lists of 250 ids are more than an answer holds: Alice asks again for the rest, and misses nothing."""
    bob = IdTree(ids(4000))
    question = Open(SALT, Range(HERE).parts, MAX_ITEMS)
    parts = list(question.answers(lambda _division: bob))
    assert 0 < len(parts) < 16
    assert len(encode(["parts", parts])) <= SYNC_ANSWER + 100
    assert len(Talk(IdTree(), bob).missing()) == 4000


def test_ids_that_cannot_be_told_apart_are_listed_as_far_as_may_be() -> None:
    """Somebody spent 2^64 hashes on each of 300 ids: the first 256 are listed, and the walk ends."""
    alike = [bytes(8) + number.to_bytes(24, "big") for number in range(300)]
    assert Talk(IdTree(), IdTree(alike)).missing() == alike[:256]


# ------------------------------------------------------------------------------------------------------ who lies


def always_split(question: Compare | Open) -> list[Value]:
    if isinstance(question, Compare):
        return ["marks", [b"mallory!"] * len(question.ranges)]
    return ["parts", [b"mallory!" * 16 if len(one.digits) < 16 else [] for one in question.ranges]]


def test_a_tree_without_end_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mallory says that everything differs, all the way down. Alice remembers so much and asks so often, no more."""
    monkeypatch.setattr(reconcile, "MAX_TURNS", 30)
    talk = Talk(IdTree(ids(500)), IdTree(), always_split)
    assert talk.missing() == []
    assert talk.turns == 1 + 30
    assert MAX_WAITING <= talk.most_waiting <= 2 * MAX_WAITING
    assert talk.walk.left > 0


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.integers(-1, 300)
    | st.booleans()
    | st.sampled_from(["marks", "parts", "x"])
    | st.sampled_from([b"", b"m" * 8, b"i" * 32, b"m" * 128]),
    lambda inner: st.lists(inner, max_size=5),
    max_leaves=12,
)


@given(st.lists(VALUES, max_size=3), st.sampled_from(["marks", "parts"]), SETS)
def test_nonsense_is_refused_or_harmless(said: list[Any], word: str, held: set[bytes]) -> None:
    """Whatever well-formed value Mallory answers: it is refused as a bad request, or the walk goes on and ends."""
    talk = Talk(IdTree(held), IdTree(), lambda _question: [word, *said])
    reason = Reason.REQUEST
    try:
        assert not set(talk.missing()) & held
    except Refused as refused:
        reason = refused.reason
    assert reason is Reason.REQUEST
    assert talk.turns <= MAX_TURNS + 1


OPENED = Open(SALT, [Range(HERE, "6"), Range(HERE, "00" * 8)], 8)
SIX = [b"f" + bytes([number]) * 31 for number in range(1, 11)]


@pytest.mark.parametrize(
    "answer",
    [
        ["marks", []],
        ["parts"],
        ["parts", b"m" * 128],
        ["parts", []],
        ["parts", [[], [], []]],
        ["parts", ["text"]],
        ["parts", [b"m" * 127]],
        ["parts", [[], b"m" * 128]],
        ["parts", [[b"short"]]],
        ["parts", [[b"x" * 32]]],
        ["parts", [SIX[1::-1]]],
        ["parts", [[SIX[0], SIX[0]]]],
        ["parts", [SIX[:9]]],
        ["parts", [[1]]],
    ],
    ids=[
        "another word", "nothing", "no list", "no part", "too many", "text", "cut marks", "split too far", "short id",
        "elsewhere", "out of order", "twice", "more than asked", "no id",
    ],
)  # fmt: skip
def test_answers_that_are_none(answer: list[Value]) -> None:
    with pytest.raises(Refused) as caught:
        OPENED.read(answer)
    assert caught.value.reason is Reason.REQUEST


def test_answers_that_are_some() -> None:
    assert OPENED.read(["parts", [SIX[:8]]]) == [SIX[:8]]
    many = [bytes(8) + number.to_bytes(24, "big") for number in range(256)]
    assert OPENED.read(["parts", [b"m" * 128, many]]) == [b"m" * 128, many]


@pytest.mark.parametrize(
    "marks", [[], [b"m" * 8], [b"m" * 8] * 3, [b"m" * 8, b"m" * 7], [b"m" * 8, "m" * 8], b"m" * 16]
)
def test_marks_that_are_none(marks: Value) -> None:
    with pytest.raises(Refused):
        Compare(SALT, [Range("home"), Range(HERE)]).read(["marks", marks])


@pytest.mark.parametrize(
    "question",
    [
        ["compare"],
        ["compare", SALT, []],
        ["compare", SALT, "mobility/"],
        ["compare", SALT[:-1], ["mobility/"]],
        ["compare", SALT, ["mobility"]],
        ["compare", SALT, ["mobility/3F"]],
        ["compare", SALT, ["mobility/" + "0" * 17]],
        ["compare", SALT, ["Mobility/"]],
        ["compare", SALT, ["/3f"]],
        ["compare", SALT, [b"mobility/"]],
        ["compare", SALT, ["mobility/\n"]],
        ["open", SALT, ["mobility/"]],
        ["open", SALT, ["mobility/"], 7],
        ["open", SALT, ["mobility/"], 257],
        ["open", SALT, ["mobility/"], True],
        ["open", SALT, ["mobility/"], 8, 8],
    ],
    ids=repr,
)
def test_questions_that_are_none(question: list[Value]) -> None:
    with pytest.raises(Refused) as caught:
        read_question(question)
    assert caught.value.reason is Reason.REQUEST


def test_other_questions_are_somebody_elses() -> None:
    assert read_question(["get", []]) is None


def test_marks_depend_on_the_salt_and_nothing_shows_as_nothing() -> None:
    tree = IdTree(ids(20))
    assert mark_of(tree.fingerprint(), SALT) != mark_of(tree.fingerprint(), derived("another", 16))
    assert EMPTY == plain_fingerprint([]) == IdTree().fingerprint("3f")
    parts = tree.part("", SALT, SYNC_FEW)
    assert parts == b"".join(mark_of(tree.fingerprint(digit), SALT) for digit in DIGITS)
    assert tree.part("", SALT, 20) == list(tree)
