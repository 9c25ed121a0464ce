"""Long random histories of one thread, over a network that delays, repeats and reorders everything.

Alice and Bob each keep the rules for their own side and know nothing of the other's but what arrives. Their clocks
differ by up to two minutes. Whatever happens: what Alice holds for confirmed, Bob holds for confirmed; there is never
more than one contract; and once everything has arrived, both say the same.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from protocol.exchange import FINAL, Move, Outcome, Side, State, Thread
from protocol.message import Message
from tests.protocol.people import (
    ALICE,
    BOB,
    DAY,
    NOW,
    Person,
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

FIRST = wish(exp=NOW + 30 * DAY)
DEAD = FINAL - {State.CONFIRMED}
FAR = NOW + 29 * DAY


@dataclass
class Node:
    """One side: its thread, its counter, its store, and the messages it owes the network until they are answered."""

    who: Person
    thread: Thread
    skew: int = 0
    seq: int = 0
    log: list[tuple[Message, int]] = field(default_factory=list)
    answers: dict[bytes, Message] = field(default_factory=dict)
    outbox: dict[bytes, Message] = field(default_factory=dict)
    states: dict[bytes, State] = field(default_factory=dict)

    def next_seq(self) -> int:
        self.seq += 1
        return self.seq

    def note(self, moves: tuple[Move, ...]) -> None:
        """Moves form a chain: each starts where the last one ended."""
        for move in moves:
            assert move.before is self.states.get(move.offer, State.NONE)
            self.states[move.offer] = move.after

    def add(self, message: Message, now: int) -> Outcome:
        self.note(self.thread.tick(now + self.skew))
        outcome = self.thread.add(message, now + self.skew)
        self.note(outcome.moves)
        if not outcome.dropped:
            self.log.append((message, now + self.skew))
        return outcome

    def has(self, *states: State) -> bool:
        return any(talk.state in states for talk in self.thread.talks.values())

    def hear(self, message: Message, now: int) -> Message | None:
        """What goes back: an ack or a problem, the same one for every copy."""
        if now + self.skew >= message.head.exp and message.kind != "intent.close":
            return None
        if message.id in self.answers:
            return self.answers[message.id]
        outcome = self.add(message, now)
        if outcome.dropped:
            return None
        if message.kind in ("ack", "problem"):
            self.outbox.pop(message.ref, None)
        if not message.expects_ack():
            return None
        if outcome.owes in ("state", "lapsed"):
            said = problem(message, self.who, outcome.owes, self.next_seq(), exp=message.head.exp)
        else:
            said = ack(message, self.who, self.next_seq(), exp=message.head.exp)
        self.answers[message.id] = said
        if outcome.owes == "superseded":
            no = reject(message, self.who, self.next_seq(), exp=FAR)
            self.add(no, now)
            self.outbox[no.id] = no
        return said


class Conversation(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        keys = (FIRST.id, ALICE.key.public, BOB.key.public)
        self.alice = Node(ALICE, Thread(*keys, Side.REQUESTER))
        self.bob = Node(BOB, Thread(*keys, Side.VENDOR))
        self.now = NOW
        self.revisions = [FIRST]
        self.closed = False
        self.flights: list[tuple[Node, Message]] = []

    @initialize(skew=st.integers(-120, 120))
    def begin(self, skew: int) -> None:
        self.bob.skew = skew
        for node in (self.alice, self.bob):
            node.add(FIRST, self.now)

    # ------------------------------------------------------------------------------------------------------- bob

    @precondition(lambda self: not self.bob.has(State.OFFERED) or len(self.bob.thread.talks) < 3)
    @rule(life=st.sampled_from([300, 20 * DAY, 20 * DAY]), old=st.integers(0, 3))
    def bob_offers(self, life: int, old: int) -> None:
        revision = self.revisions[-1 if old else 0]
        now = self.now + self.bob.skew
        if len(self.bob.thread.talks) < 8:
            self.say(self.bob, offer(revision, seq=self.bob.next_seq(), at=now, exp=now + life))

    @precondition(lambda self: self.bob.has(State.OFFERED, State.ACCEPTED, State.VOID))
    @rule(data=st.data(), really=st.sampled_from([False, False, True]))
    def bob_withdraws(self, data: st.DataObject, really: bool) -> None:
        if not really:
            return
        talk = data.draw(st.sampled_from(list(self.bob.thread.talks.values())))
        self.say(self.bob, withdraw(talk.offer, seq=self.bob.next_seq(), exp=FAR))

    @precondition(lambda self: self.bob.has(State.ACCEPTED))
    @rule(sure=st.integers(0, 3))
    def bob_answers(self, sure: int) -> None:
        self.bob.note(self.bob.thread.tick(self.now + self.bob.skew))
        for talk in self.bob.thread.talks.values():
            if talk.state is State.ACCEPTED and talk.accept is not None:
                answer = confirm if sure else reject
                self.say(self.bob, answer(talk.accept, seq=self.bob.next_seq(), exp=FAR))
                return

    # ----------------------------------------------------------------------------------------------------- alice

    @precondition(lambda self: self.alice.has(State.OFFERED))
    @rule(life=st.sampled_from([60, 600, DAY, DAY]))
    def alice_accepts(self, life: int) -> None:
        self.alice.note(self.alice.thread.tick(self.now))
        talks = self.alice.thread.talks.values()
        if any(talk.state in (State.ACCEPTED, State.CONFIRMED) for talk in talks):
            return  # award: one
        for talk in talks:
            if talk.state is State.OFFERED:
                exp = min(self.now + life, talk.offer.head.exp)
                outcome = self.say(self.alice, accept(talk.offer, seq=self.alice.next_seq(), at=self.now - 1, exp=exp))
                assert outcome.moves
                return

    @precondition(lambda self: self.alice.has(State.OFFERED))
    @rule()
    def alice_declines(self) -> None:
        live = self.alice.thread.live
        if live is not None and live.state is State.OFFERED:
            self.say(self.alice, decline(live.offer, seq=self.alice.next_seq(), exp=FAR))

    @precondition(lambda self: not self.closed and len(self.revisions) < 4)
    @rule()
    def alice_changes_her_wish(self) -> None:
        changed = update(FIRST, seq=len(self.revisions), exp=NOW + 30 * DAY, ref=self.revisions[-1].id)
        self.revisions.append(changed)
        self.alice.add(changed, self.now)
        self.flights.append((self.bob, changed))

    @precondition(lambda self: not self.closed and self.alice.has(*FINAL))
    @rule()
    def alice_closes_her_wish(self) -> None:
        self.closed = True
        ended = close(FIRST, seq=9, exp=NOW + 30 * DAY)
        self.alice.add(ended, self.now)
        self.flights.append((self.bob, ended))

    # --------------------------------------------------------------------------------------------------- network

    @rule()
    def everything_unanswered_is_sent_again(self) -> None:
        for node, other in ((self.alice, self.bob), (self.bob, self.alice)):
            self.flights += [(other, message) for message in node.outbox.values()]
        del self.flights[:-60]  # and some of it is lost

    @precondition(lambda self: self.flights)
    @rule()
    def all_of_it_arrives(self) -> None:
        pending, self.flights = self.flights, []
        for node, message in pending:
            self.arrive(node, message)

    @precondition(lambda self: self.flights)
    @rule(data=st.data(), stays=st.booleans(), count=st.integers(1, 4))
    def some_of_it_arrives(self, data: st.DataObject, stays: bool, count: int) -> None:
        for _ in range(min(count, len(self.flights))):
            at = data.draw(st.integers(0, len(self.flights) - 1))
            node, message = self.flights[at] if stays else self.flights.pop(at)
            self.arrive(node, message)

    def say(self, node: Node, message: Message) -> Outcome:
        """Save, then speak: once now, and again until it is answered."""
        outcome = node.add(message, self.now)
        node.outbox[message.id] = message
        self.flights.append((self.bob if node is self.alice else self.alice, message))
        return outcome

    def arrive(self, node: Node, message: Message) -> None:
        answer = node.hear(message, self.now)
        if message.kind == "accept" and answer is not None:
            state = self.bob.thread.talks[message.ref].state
            assert state in (State.ACCEPTED, State.CONFIRMED, State.REJECTED, State.LAPSED), "an honest accept stands"
        if answer is not None:
            self.flights.append((self.bob if node is self.alice else self.alice, answer))

    @rule(seconds=st.sampled_from([1, 1, 59, 300, 3000]))
    def time_passes(self, seconds: int) -> None:
        self.pass_time(seconds)

    def pass_time(self, seconds: int) -> None:
        self.now += seconds
        for node in (self.alice, self.bob):
            node.note(node.thread.tick(self.now + node.skew))

    @precondition(lambda self: self.alice.has(State.ACCEPTED) and self.bob.has(State.CONFIRMED))
    @rule()
    def the_confirm_is_late(self) -> None:
        accepted = [talk.accept for talk in self.alice.thread.talks.values() if talk.state is State.ACCEPTED]
        if accepted[0] is not None:
            self.pass_time(max(0, accepted[0].head.exp - self.now))

    # ----------------------------------------------------------------------------------------------- what is true

    @invariant()
    def what_alice_holds_for_confirmed_bob_does_too(self) -> None:
        for offered, talk in self.alice.thread.talks.items():
            if talk.state is State.CONFIRMED:
                assert self.bob.thread.talks[offered].state is State.CONFIRMED

    @invariant()
    def there_is_at_most_one_contract(self) -> None:
        for node in (self.alice, self.bob):
            confirmed = [talk for talk in node.thread.talks.values() if talk.state is State.CONFIRMED]
            assert sum(talk.offer.id in self.alice.thread.talks for talk in confirmed) <= 1 or node is self.bob
        assert sum(talk.state is State.CONFIRMED for talk in self.alice.thread.talks.values()) <= 1

    @invariant()
    def moves_tell_all(self) -> None:
        for node in (self.alice, self.bob):
            assert node.states == {offered: talk.state for offered, talk in node.thread.talks.items()}

    def teardown(self) -> None:
        self.settle()
        self.compare()
        for node in (self.alice, self.bob):
            self.replay(node)

    def settle(self) -> None:
        """The network heals, and both go on until nobody has anything left to say; then the offers' time runs out."""
        for _ in range(40):
            for node, other in ((self.alice, self.bob), (self.bob, self.alice)):
                self.flights += [(other, message) for message in node.outbox.values()]
            if not self.flights:
                break
            pending, self.flights = self.flights, []
            for node, message in pending:
                self.arrive(node, message)
            if all(self.is_expired(message) for node in (self.alice, self.bob) for message in node.outbox.values()):
                break
        live = self.alice.thread.live
        if live is not None and not self.is_expired(live.accept or live.offer):  # on neither clock
            state = self.bob.thread.talks[live.offer.id].state
            if live.state is State.OFFERED and state is not live.state:
                # He changed his mind, and the word of it expired before it reached her.
                bobs = deepcopy(self.bob.thread)
                bobs.add(accept(live.offer, seq=self.alice.seq + 1, exp=live.offer.head.exp), self.now + self.bob.skew)
                state = State.OFFERED if bobs.talks[live.offer.id].state is State.ACCEPTED else state
            assert state is live.state, "what she may still accept, or has accepted, binds him"
        self.now += 28 * DAY
        for node in (self.alice, self.bob):
            node.note(node.thread.tick(self.now + node.skew))

    def is_expired(self, message: Message) -> bool:
        return self.now + 120 >= message.head.exp

    def compare(self) -> None:
        """Why an offer ended may be told differently; that it ended, or became a contract, is not."""
        for offered, talk in self.alice.thread.talks.items():
            other = self.bob.thread.talks[offered]
            assert (talk.state is State.CONFIRMED) == (other.state is State.CONFIRMED), (talk.state, other.state)
            assert (talk.state in DEAD) == (other.state in DEAD), (talk.state, other.state)
        for offered, talk in self.bob.thread.talks.items():
            if offered not in self.alice.thread.talks:
                assert talk.state in DEAD, "she never heard of it"

    def replay(self, node: Node) -> None:
        """A restart: the thread is made again from what was stored, with the times at which it was."""
        again = Thread(FIRST.id, ALICE.key.public, BOB.key.public, node.thread.side)
        for message, stored_at in node.log:
            again.add(message, stored_at)
        again.tick(self.now + node.skew)
        for offered, talk in node.thread.talks.items():
            told, replayed = talk.state, again.talks[offered].state
            assert told is replayed or (told in DEAD and replayed in DEAD), (told, replayed)


TestConversation: Any = Conversation.TestCase
TestConversation.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
