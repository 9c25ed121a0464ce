"""Every state and every message, from the table: what the table says happens, and nothing else ever does."""

import pytest

from protocol.exchange import FINAL, MAX_EARLY, MAX_OFFERS, Side, State, Thread
from protocol.kinds import KINDS
from protocol.message import Message
from tests.protocol.people import (
    ALICE,
    BOB,
    HOUR,
    MALLORY,
    NOW,
    accept,
    ack,
    close,
    confirm,
    decline,
    offer,
    problem,
    reject,
    update,
    wish,
    withdraw,
)

FIRST = wish()
A = offer(FIRST)
YES = accept(A, seq=3)
AFTER = NOW + 2 * HOUR


def thread(side: Side, *said: Message) -> Thread:
    thread = Thread(FIRST.id, ALICE.key.public, BOB.key.public, side)
    for message in (FIRST, *said):
        thread.add(message, NOW)
    return thread


def in_state(state: State, side: Side) -> Thread:
    """A thread whose one offer is in this state, and how it got there."""
    said: dict[State, tuple[Message, ...]] = {
        State.NONE: (),
        State.OFFERED: (A,),
        State.ACCEPTED: (A, YES),
        State.CONFIRMED: (A, YES, confirm(YES)),
        State.REJECTED: (A, YES, reject(YES)),
        State.LAPSED: (A, YES),
        State.DECLINED: (A, decline(A)),
        State.WITHDRAWN: (A, withdraw(A)),
        State.VOID: (A,),
    }
    made = thread(side, *said[state])
    if state in (State.LAPSED, State.VOID):
        made.tick(YES.head.exp if state is State.LAPSED else A.head.exp)
    assert state is State.NONE or made.talks[A.id].state is state
    return made


def said_in(kind: str) -> Message:
    """A fresh message of a kind about the offer A: one the thread has not seen."""
    return {
        "intent": FIRST,
        "intent.update": update(FIRST, seq=7),
        "intent.close": close(FIRST, seq=8),
        "offer": A,
        "offer.withdraw": withdraw(A, seq=9),
        "decline": decline(A, seq=9),
        "accept": accept(A, seq=9),
        "confirm": confirm(YES, seq=9),
        "reject": reject(YES, seq=9),
        "ack": ack(A, ALICE, seq=9),
        "problem": problem(A, ALICE, seq=9),
    }[kind]


TALKED = [kind for kind in KINDS if KINDS[kind].realm in ("gossip", "direct")]


@pytest.mark.parametrize("kind", TALKED)
@pytest.mark.parametrize("state", State)
def test_at_the_requester_the_table_is_all_there_is(state: State, kind: str) -> None:
    message, alice = said_in(kind), in_state(state, Side.REQUESTER)
    moves = alice.add(message, NOW).moves
    expected = KINDS[kind].moves.get(state.value)
    if state is State.NONE and kind != "offer":
        assert moves == ()  # about an offer that is not there yet
        return
    if kind == "offer" and state is not State.NONE:
        assert moves == ()  # the same offer again
        return
    assert [move.after.value for move in moves] == ([expected] if expected else [])
    assert alice.talks[A.id].state.value == (expected or state.value)


@pytest.mark.parametrize("kind", TALKED)
@pytest.mark.parametrize("state", [state for state in State if state is not State.NONE])
def test_at_the_vendor_too_but_for_what_binds(state: State, kind: str) -> None:
    """A vendor is bound by its offer whatever becomes of the wish, and by an accept sent before its author knew."""
    message, bob = said_in(kind), in_state(state, Side.VENDOR)
    expected = KINDS[kind].moves.get(state.value)
    if kind in ("intent.update", "intent.close"):
        expected = None
    if kind == "accept" and state is State.WITHDRAWN:
        expected = "ACCEPTED"
    if kind == "problem" and state is State.OFFERED:
        expected = "VOID"  # turned away at the door
    moves = bob.add(message, NOW).moves
    assert [move.after.value for move in moves] == ([expected] if expected else [])
    assert bob.talks[A.id].state.value == (expected or state.value)
    assert all(move.before is state for move in moves)


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("state", sorted(FINAL))
def test_what_is_over_stays_over(state: State, side: Side) -> None:
    """No message but an accept that crossed a withdrawal moves an offer that has ended, and no clock does."""
    over = in_state(state, side)
    for kind in TALKED:
        if kind != "accept":
            over.add(said_in(kind), NOW)
    over.tick(AFTER * 2)
    assert over.talks[A.id].state is state


@pytest.mark.parametrize("side", Side)
def test_the_second_copy_of_anything_does_nothing(side: Side) -> None:
    story = [A, YES, confirm(YES), ack(YES, BOB), update(FIRST), close(FIRST)]
    once = thread(side, *story)
    states = {talk.state for talk in once.talks.values()}
    for message in (*story, *reversed(story)):
        outcome = once.add(message, AFTER)
        assert (outcome.moves, outcome.owes, outcome.early) == ((), None, False)
    assert {talk.state for talk in once.talks.values()} == states


def test_early_messages_wait_their_turn_and_not_for_ever() -> None:
    alice = thread(Side.REQUESTER)
    sure = confirm(YES)
    assert alice.add(sure, NOW).early
    assert alice.add(sure, NOW).early, "a second copy takes no second place"
    for number in range(MAX_EARLY - 1):
        assert alice.add(withdraw(offer(FIRST, seq=number + 50)), NOW).early
    too_many = alice.add(withdraw(offer(FIRST, seq=99)), NOW)
    assert too_many.dropped
    assert not too_many.early
    assert too_many.owes is None, "it is neither acknowledged nor answered: then it comes again"
    alice.add(A, NOW)
    after = [move.after for move in alice.add(YES, NOW).moves]
    assert after == [State.ACCEPTED, State.CONFIRMED]


def test_an_early_message_that_comes_too_late_counts_as_late() -> None:
    """Alice hears the confirm in time, but her accept is only then put in: what counts is when it could count."""
    alice = thread(Side.REQUESTER, A)
    alice.add(confirm(YES), NOW)
    outcome = alice.add(YES, YES.head.exp)
    assert [move.after for move in outcome.moves] == [State.ACCEPTED, State.LAPSED]
    assert outcome.owes is None, "the accept did what it says, and the confirm was acknowledged when it came"


def test_a_vendor_does_not_make_offers_without_end() -> None:
    alice = thread(Side.REQUESTER, *(offer(FIRST, seq=number) for number in range(MAX_OFFERS)))
    assert len(alice.talks) == MAX_OFFERS
    assert alice.add(offer(FIRST, seq=1000), NOW).owes == "state"
    assert len(alice.talks) == MAX_OFFERS


def test_the_newest_offer_is_the_live_one() -> None:
    newer = offer(FIRST, seq=5)
    for order in ((A, newer), (newer, A)):
        alice = thread(Side.REQUESTER, *order)
        assert alice.live is not None
        assert alice.live.offer == newer
        assert alice.talks[A.id].state is State.VOID
        assert alice.talks[A.id].ended_by == newer.id


def test_of_two_offers_with_one_seq_both_sides_keep_the_same() -> None:
    """A vendor restored from a backup counts from where it stood: the lower id lives, whichever came first."""
    twins = sorted((offer(FIRST, seq=5), offer(FIRST, seq=5, at=NOW + 1)), key=lambda message: message.id)
    for order in (twins, twins[::-1]):
        live = thread(Side.REQUESTER, *order).live
        assert live is not None
        assert live.offer == twins[0]


def test_a_talk_is_found_by_everything_in_it() -> None:
    sure = confirm(YES)
    bob = thread(Side.VENDOR, A, YES, sure)
    assert {id(bob.talk_of(message.id)) for message in (A, YES, sure)} == {id(bob.talks[A.id])}
    assert bob.talk_of(FIRST.id) is None


def test_everybody_has_one_role() -> None:
    alice = thread(Side.REQUESTER)
    assert alice.sender_of(A) == "vendor"
    assert alice.sender_of(YES) == "requester"
    assert alice.sender_of(offer(FIRST, MALLORY)) is None


def test_a_thread_is_over_when_the_wish_is_closed_and_nothing_can_move() -> None:
    alice = thread(Side.REQUESTER, A, YES)
    assert not alice.is_over
    alice.add(close(FIRST), NOW)
    assert not alice.is_over, "an accept is open"
    alice.add(confirm(YES), NOW)
    assert alice.is_over


@pytest.mark.parametrize("seq", [2, 3, 4])
def test_an_accept_stands_unless_its_author_had_acknowledged_the_withdrawal(seq: int) -> None:
    back = withdraw(A, seq=1)
    bob = thread(Side.VENDOR, A, back, ack(back, ALICE, seq=seq))
    outcome = bob.add(YES, NOW)
    if seq < YES.head.seq:
        assert (outcome.moves, outcome.owes) == ((), "superseded")
    else:
        assert [(move.before, move.after) for move in outcome.moves] == [(State.WITHDRAWN, State.ACCEPTED)]


@pytest.mark.parametrize("order", [(2, 9), (9, 2)])
def test_of_two_acks_for_one_withdrawal_the_earlier_counts(order: tuple[int, int]) -> None:
    back = withdraw(A, seq=1)
    bob = thread(Side.VENDOR, A, back, *(ack(back, ALICE, seq=seq) for seq in order))
    assert bob.add(YES, NOW).owes == "superseded"


def test_an_expired_offer_is_not_revived_by_an_accept() -> None:
    bob = thread(Side.VENDOR, A)
    bob.tick(A.head.exp)
    outcome = bob.add(YES, A.head.exp)
    assert (outcome.moves, outcome.owes) == ((), "superseded")


@pytest.mark.parametrize(("said", "after"), [((A,), State.VOID), ((A, YES), State.LAPSED)])
def test_what_time_had_ended_a_replay_ends_at_any_hour(said: tuple[Message, ...], after: State) -> None:
    alice = thread(Side.REQUESTER, *said)
    for _ in range(2):
        alice.expire(A.id)
        assert alice.talks[A.id].state is after
    assert alice.due() is None
    alice.expire(FIRST.id)  # which is no offer


def test_what_was_decided_does_not_expire() -> None:
    alice = in_state(State.CONFIRMED, Side.REQUESTER)
    alice.expire(A.id)
    assert alice.talks[A.id].state is State.CONFIRMED


def test_an_accept_of_an_offer_it_never_saw_waits() -> None:
    assert thread(Side.VENDOR).add(YES, NOW).early


def test_of_two_revisions_with_one_seq_the_lower_id_counts_whichever_came_first() -> None:
    twins = sorted((update(FIRST, seq=1), update(FIRST, seq=1, at=NOW + 1)), key=lambda message: message.id)
    for order in (twins, twins[::-1]):
        alice = thread(Side.REQUESTER, *order, offer(twins[0], seq=1))
        assert [talk.state for talk in alice.talks.values()] == [State.OFFERED]


def test_nobody_else_revises_or_closes_the_wish() -> None:
    """Mallory's revision and close name Alice's root. Her signature is good; the wish is not hers."""
    alice = thread(Side.REQUESTER, A)
    for claimed in (update(FIRST, MALLORY, seq=50), close(FIRST, MALLORY)):
        assert alice.add(claimed, NOW).moves == ()
    assert alice.talks[A.id].state is State.OFFERED
    alice.add(update(FIRST, seq=1), NOW)
    assert alice.talks[A.id].state is State.VOID


def test_an_answer_to_the_wrong_thing_has_no_effect() -> None:
    """Refs that name something of another sort: a confirm of an offer, an accept of an accept."""
    alice = thread(Side.REQUESTER, A, YES)
    for wrong in (confirm(A), accept(YES), withdraw(YES, ALICE), decline(YES)):
        outcome = alice.add(wrong, NOW)
        assert (outcome.moves, outcome.owes) == ((), "state")
