"""The board shows which wishes are open, the same on every node that heard the same, in whatever order."""

from dataclasses import replace
from itertools import combinations, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.board import OURS, Board, Heard
from protocol.codec import encode
from protocol.envelope import Realm, read_frame, sign
from protocol.errors import Reason
from protocol.message import Message
from tests.protocol.people import (
    ALICE,
    BOB,
    CAROL,
    DAY,
    HOUR,
    MALLORY,
    NET,
    NOW,
    WISH,
    Person,
    close,
    person,
    twin_of,
    update,
    wish,
)

DIVISION = "mobility"
FIRST = wish()
END = close(FIRST)


def hear(board: Board, message: Message | bytes, via: str = "peer", now: int = NOW) -> Heard:
    return board.hear(message if isinstance(message, bytes) else message.frame, DIVISION, via, now)


def shown(board: Board) -> dict[bytes, bytes]:
    return {posting.message.author: posting.message.id for posting in board}


def test_a_wish_hangs_until_it_expires() -> None:
    board = Board(NET)
    heard = hear(board, FIRST)
    assert heard.accepted
    assert heard.remember
    assert board.get(FIRST.id) is board.of_author(ALICE.key.public, DIVISION)
    assert board.sweep(NOW + DAY - 1) == []
    assert board.sweep(NOW + DAY) == [FIRST]
    assert len(board) == 0
    assert board.bytes_of(DIVISION) == 0


def test_a_close_hangs_two_minutes_longer() -> None:
    board = Board(NET)
    hear(board, FIRST)
    assert hear(board, END).replaced == FIRST
    assert board.sweep(NOW + DAY + 120) == []
    assert board.sweep(NOW + DAY + 121) == [END]


def test_a_newer_revision_replaces_the_older_whole() -> None:
    board, second = Board(NET), update(FIRST)
    hear(board, FIRST)
    heard = hear(board, second)
    assert (heard.message, heard.replaced) == (second, FIRST)
    assert board.get(FIRST.id) is None
    assert len(board) == 1
    again = hear(board, FIRST)
    assert (again.reason, again.remember) == (Reason.SUPERSEDED, True)


def test_a_close_is_final_whatever_its_seq() -> None:
    board = Board(NET)
    hear(board, update(FIRST, seq=9))
    assert hear(board, close(FIRST, seq=0)).accepted
    assert hear(board, update(FIRST, seq=10)).reason is Reason.SUPERSEDED
    assert not board.of_author(ALICE.key.public, DIVISION).is_open  # type: ignore[union-attr]


def test_the_end_of_a_wish_nobody_saw_is_kept_too() -> None:
    board = Board(NET)
    assert hear(board, END).accepted
    assert not board.get(END.id).held  # type: ignore[union-attr]
    assert hear(board, FIRST).reason is Reason.SUPERSEDED


def test_the_wishes_of_two_authors_do_not_meet() -> None:
    """Mallory's close names Alice's root. It ends nothing but her own register."""
    board = Board(NET)
    hear(board, FIRST)
    assert hear(board, close(FIRST, MALLORY)).accepted
    assert board.of_author(ALICE.key.public, DIVISION).is_open  # type: ignore[union-attr]


def test_one_author_has_one_register_a_division() -> None:
    board = Board(NET)
    chair = wish(body=replace(WISH, category="furniture.chair"))
    hear(board, FIRST)
    assert board.hear(chair.frame, "furniture", "peer", NOW).accepted
    assert len(board) == 2


REVISIONS = [
    FIRST,
    update(FIRST, seq=1),
    update(FIRST, seq=2),
    update(FIRST, seq=2, exp=NOW + HOUR),
    update(FIRST, seq=2, exp=NOW + 2 * HOUR),
    close(FIRST, seq=0),
    close(FIRST, seq=3),
    close(FIRST, seq=3, reason="awarded"),
    wish(BOB),
    update(wish(BOB), BOB, seq=4),
]


@pytest.mark.parametrize("taken", list(combinations(range(8), 3)))
def test_any_three_revisions_in_any_order_leave_the_same(taken: tuple[int, ...]) -> None:
    boards = []
    for order in permutations(taken):
        board = Board(NET)
        for index in order:
            hear(board, REVISIONS[index])
        boards.append(shown(board))
    assert all(board == boards[0] for board in boards)


@settings(max_examples=150)
@given(st.lists(st.sampled_from(REVISIONS), max_size=15), st.randoms(use_true_random=False))
def test_any_history_in_any_order_any_number_of_times_leaves_the_same(heard: list[Message], random: object) -> None:
    one, other = Board(NET), Board(NET)
    for message in heard:
        hear(one, message)
    again = heard + heard[::2]
    random.shuffle(again)  # type: ignore[attr-defined]
    for message in again:
        hear(other, message)
    assert shown(one) == shown(other)
    for author, shown_id in shown(one).items():
        expected = max(
            (message for message in heard if message.author == author),
            key=lambda m: (m.kind == "intent.close", m.head.seq, -int.from_bytes(m.id, "big")),
        )
        assert shown_id == expected.id


def test_what_could_be_right_later_is_not_remembered() -> None:
    """Ignoring must not mute: the next copy of the same bytes is judged afresh."""
    board = Board(NET)
    early = hear(board, FIRST, now=NOW - 121)
    assert (early.reason, early.remember, early.rejected) == (Reason.EARLY, False, False)
    assert hear(board, FIRST, now=NOW - 120).accepted


def test_a_bad_copy_does_not_mute_the_good_one() -> None:
    """Mallory is quicker, and spoils the signature: the same id, other bytes."""
    board = Board(NET)
    spoiled = FIRST.frame[:40] + bytes([FIRST.frame[40] ^ 1]) + FIRST.frame[41:]
    assert read_frame(spoiled).id == FIRST.id
    assert hear(board, spoiled, "mallory").rejected
    assert hear(board, FIRST).accepted
    assert hear(board, spoiled, "mallory").rejected, "a known id in other bytes is verified as well"


def test_a_second_signature_of_a_known_payload_is_ignored() -> None:
    """What Ed25519 lets an author do: nobody is to blame, and nothing happens twice."""
    board, twin = Board(NET), twin_of(FIRST, Realm.GOSSIP)
    assert twin != FIRST.frame
    hear(board, FIRST)
    heard = hear(board, twin, "another link")
    assert (heard.reason, heard.rejected, heard.remember) == (Reason.SEEN, False, True)
    assert board.get(FIRST.id).via == "peer"  # type: ignore[union-attr]


def test_a_node_counts_what_it_heard() -> None:
    board = Board(NET)
    for frame in (FIRST.frame, FIRST.frame, b"garbage", END.frame):
        hear(board, frame)
    assert board.counters == {"accepted": 2, "seen": 1, "not_msgpack": 1}


def test_the_stamp_is_what_the_name_of_the_network_asks() -> None:
    assert Board("main").bits == 18
    assert Board("test").bits == 0
    main = wish(net="main")
    heard = Board("main").hear(main.frame, DIVISION, "peer", NOW)
    assert (heard.reason, heard.rejected) == (Reason.STAMP, True)


def test_a_kind_of_the_future_is_ignored_and_not_held_against_anybody() -> None:
    fields = dict(read_frame(FIRST.frame).peek_unverified())
    frame = sign(encode(fields | {"kind": "intent.later"}), ALICE.key, Realm.GOSSIP, NET)
    heard = hear(Board(NET), frame)
    assert (heard.reason, heard.rejected, heard.remember) == (Reason.UNKNOWN_KIND, False, False)


# -------------------------------------------------------------------------------------------------------- bounds


def crowd(count: int) -> list[Person]:
    return [person(f"number {number}") for number in range(count)]


def room_for(count: int, message: Message) -> int:
    board = Board(NET)
    hear(board, message)
    return board.bytes_of(DIVISION) * count


def test_a_full_board_drops_first_the_ends_of_wishes_it_never_held() -> None:
    board = Board(NET, division_bytes=room_for(3, FIRST))
    hear(board, close(FIRST, MALLORY), "mallory")
    for one in crowd(3):
        assert hear(board, wish(one), "honest").accepted
    assert board.of_author(MALLORY.key.public, DIVISION) is None
    assert len(board) == 3
    assert board.counters["evicted"] == 1


def test_a_full_board_then_drops_the_oldest_of_the_link_that_brought_most() -> None:
    """Mallory's flood pushes out Mallory's flood."""
    board = Board(NET, division_bytes=room_for(6, FIRST))
    hear(board, FIRST, "honest")
    hear(board, wish(BOB), "honest too")
    flood = crowd(40)
    for one in flood:
        hear(board, wish(one), "mallory")
    assert set(shown(board)) == {ALICE.key.public, BOB.key.public, *(one.key.public for one in flood[-4:])}
    assert board.bytes_of(DIVISION) <= board.division_bytes


def test_our_own_wishes_and_open_threads_are_never_dropped() -> None:
    board = Board(NET, division_bytes=room_for(2, FIRST))
    hear(board, FIRST, OURS)
    board.pinned.add(CAROL.key.public)
    hear(board, wish(CAROL), "mallory")
    for one in crowd(10):
        hear(board, wish(one), "mallory")
    assert {ALICE.key.public, CAROL.key.public} == set(shown(board))
    board.pinned |= {one.key.public for one in crowd(3)}
    for one in crowd(3):
        assert hear(board, wish(one), "honest").accepted
    assert len(board) == 5, "nothing is left to drop: what we must keep is more than the limit"


def test_an_open_offer_spares_its_wish_for_half_of_the_room() -> None:
    """What was answered stays while strangers flood; of more than half the oldest go first, and all are like any other
    when nothing is open any more."""
    board = Board(NET, division_bytes=room_for(6, FIRST))
    answered, flood = crowd(5), crowd(30)[5:]
    for one in answered:
        hear(board, wish(one), "honest")
        board.spare(one.key.public)
    for one in flood:
        assert hear(board, wish(one), "mallory").accepted
        assert one.key.public in shown(board), "who comes is heard"
    assert {one.key.public for one in answered[2:]} <= shown(board).keys()
    assert board.of_author(answered[0].key.public, DIVISION) is None
    newer = update(wish(answered[2]), answered[2])
    assert hear(board, newer, "mallory").accepted
    hear(board, wish(person("one more")), "mallory")
    assert board.get(newer.id), "a revision of it is spared like the first"
    for one in answered:
        board.release(one.key.public)
    for one in crowd(50)[30:]:
        hear(board, wish(one), "honest")
    assert not {one.key.public for one in answered[3:]} & shown(board).keys()
    assert board.bytes_of(DIVISION) <= board.division_bytes


def test_an_open_accept_pins_its_wish() -> None:
    """Whatever comes; and afterwards it goes like the others."""
    board = Board(NET, division_bytes=room_for(2, FIRST))
    accepted = crowd(2)
    for one in accepted:
        hear(board, wish(one), "mallory")
        board.spare(one.key.public)
        board.pin(one.key.public)
    for one in crowd(9)[2:]:
        hear(board, wish(one), "mallory")
    assert {one.key.public for one in accepted} <= shown(board).keys()
    for one in accepted:
        board.release(one.key.public)
    hear(board, FIRST, "honest")
    assert len(board) == 2


def test_what_was_evicted_is_not_spared_when_it_comes_again() -> None:
    board = Board(NET, division_bytes=room_for(2, FIRST))
    for one in crowd(2):
        hear(board, wish(one))
        board.spare(one.key.public)
    first, second = (one.key.public for one in crowd(2))
    hear(board, FIRST)
    assert first not in shown(board)
    hear(board, wish(crowd(1)[0]))
    hear(board, wish(BOB))
    assert shown(board).keys() == {second, BOB.key.public}


def test_divisions_have_room_of_their_own() -> None:
    board = Board(NET, division_bytes=room_for(1, FIRST))
    hear(board, FIRST)
    board.hear(wish(BOB, replace(WISH, category="home")).frame, "home", "mallory", NOW)
    board.hear(wish(CAROL, replace(WISH, category="home")).frame, "home", "mallory", NOW)
    assert ALICE.key.public in shown(board)


SENDERS = crowd(12)
STEPS = st.tuples(
    st.integers(0, 11), st.sampled_from(["wish", "update", "close"]), st.sampled_from([OURS, "a", "b", "c"])
)


@settings(max_examples=60)
@given(st.lists(STEPS, max_size=40), st.sets(st.integers(0, 11), max_size=3))
def test_a_board_of_any_history_keeps_its_promises(steps: list[tuple[int, str, str]], pinned: set[int]) -> None:
    """Never over its limit but for what it must keep; and the next to go is what the rule names."""
    pins = {SENDERS[number].key.public for number in pinned}
    board = Board(NET, division_bytes=room_for(5, FIRST), pinned=pins)
    for number, kind, via in steps:
        before = [posting for posting in board if posting.via != OURS and posting.message.author not in pins]
        by = SENDERS[number]
        said = wish(by) if kind == "wish" else {"update": update, "close": close}[kind](wish(by), by)
        heard = hear(board, said, via)
        hung = list(board)
        assert board.bytes_of(DIVISION) == sum(posting.size for posting in hung)
        loose = [posting for posting in hung if posting.via != OURS and posting.message.author not in pins]
        assert board.bytes_of(DIVISION) <= board.division_bytes or not loose
        replaced = heard.replaced.id if heard.replaced else b""
        gone = [posting for posting in before if posting not in hung and posting.message.id != replaced]
        if gone and gone[0].held:
            assert all(posting.held for posting in loose), "ends of wishes never held go first"
        assert all(posting in hung for posting in before if posting not in gone and posting.message.id != replaced)


# ------------------------------------------------------------------------------------------------------ catch-up


def test_the_tree_of_a_division_is_what_hangs_there() -> None:
    """Through revisions, ends, eviction and expiry, and whoever is spared."""
    board = Board(NET, division_bytes=20_000)
    chair = wish(body=replace(WISH, category="furniture"), exp=NOW + 5)
    assert list(board.tree_of(DIVISION)) == []
    hear(board, FIRST)
    hear(board, update(FIRST))
    hear(board, END)
    board.hear(chair.frame, "furniture", "peer", NOW)
    for one in crowd(25):
        hear(board, wish(one))
        board.spare(one.key.public)
    assert board.counters["evicted"] > 0
    assert list(board.tree_of("furniture")) == [chair.id]
    assert set(board.tree_of(DIVISION)) == {posting.message.id for posting in board} - {chair.id}
    board.sweep(NOW + 10)
    assert list(board.tree_of("furniture")) == []
    board.sweep(NOW + 2 * DAY)
    assert list(board.tree_of(DIVISION)) == []


def test_room_for_a_link_is_room_without_pushing_out_its_own() -> None:
    board = Board(NET, division_bytes=60_000)
    assert board.has_room_for(DIVISION, "mallory")
    for one in crowd(60):
        hear(board, wish(one), "mallory")
    assert board.counters["evicted"] > 0
    assert not board.has_room_for(DIVISION, "mallory")
    assert board.has_room_for(DIVISION, "bob")
    assert board.has_room_for("home", "mallory")
    for posting in list(board):
        board.pin(posting.message.author)
    assert not board.has_room_for(DIVISION, "bob"), "where nothing may go, nothing may come"
