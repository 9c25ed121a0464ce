"""exchange.json: what one side of a thread hears and says, in order, and the state of each offer after every step."""

from dataclasses import dataclass
from typing import Any

from protocol.exchange import Outcome, Side, Thread
from protocol.message import Message
from tests.protocol.people import (
    ALICE,
    BOB,
    DAY,
    HOUR,
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
CHANGED = update(FIRST)
ENDED = close(FIRST)
A = offer(FIRST, seq=0)
B = offer(FIRST, seq=3)
LATE_ANSWER = offer(CHANGED, seq=4)
HOUR_OF_OFFERS = NOW + 6 * HOUR
LAST = offer(FIRST, seq=7, at=HOUR_OF_OFFERS - 1)
LATE = offer(FIRST, seq=8, at=HOUR_OF_OFFERS)
YES = accept(A, seq=5)
SURE = confirm(YES, seq=6)
NO = reject(YES, seq=6)
BACK = withdraw(A, seq=2)
DEADLINE = YES.head.exp
TWINS = sorted((update(FIRST), update(FIRST, exp=NOW + HOUR)), key=lambda message: message.id)
TWIN_ANSWER = offer(TWINS[0], seq=4)


@dataclass(frozen=True)
class Step:
    """A message that is added, or only the clock that is looked at."""

    message: Message | None
    now: int = NOW


@dataclass(frozen=True)
class Scenario:
    side: Side
    steps: tuple[Step, ...]
    ends: dict[bytes, str]
    """Offer -> state after the last step, worked out by hand."""
    owes: str | None = None
    """What the last step makes this side owe, by hand."""


def _tale(side: Side, *steps: Message | Step, ends: dict[bytes, str], owes: str | None = None) -> Scenario:
    return Scenario(
        side,
        tuple(step if isinstance(step, Step) else Step(step) for step in steps),
        ends,
        owes,
    )


def scenarios() -> dict[str, Scenario]:
    alice, bob = Side.REQUESTER, Side.VENDOR
    later = Step(None, DEADLINE)
    return {
        "a deal, at Alice": _tale(alice, FIRST, A, YES, SURE, ends={A.id: "CONFIRMED"}),
        "a deal, at Bob": _tale(bob, FIRST, A, YES, SURE, ends={A.id: "CONFIRMED"}),
        "everything twice": _tale(alice, FIRST, FIRST, A, A, YES, YES, SURE, SURE, ends={A.id: "CONFIRMED"}),
        "everything backwards": _tale(alice, SURE, YES, A, FIRST, ends={A.id: "CONFIRMED"}),
        "declined": _tale(alice, FIRST, A, decline(A), ends={A.id: "DECLINED"}),
        "declined, then accepted all the same": _tale(
            bob, FIRST, A, decline(A), YES, ends={A.id: "DECLINED"}, owes="state"
        ),
        "turned away at the door": _tale(bob, FIRST, A, problem(A, ALICE, "state"), ends={A.id: "VOID"}),
        "turned away, then accepted all the same": _tale(
            bob, FIRST, A, problem(A, ALICE, "state"), YES, ends={A.id: "ACCEPTED"}
        ),
        "a decline after the wish changed says why": _tale(alice, FIRST, A, CHANGED, decline(A), ends={A.id: "VOID"}),
        "rejected": _tale(bob, FIRST, A, YES, NO, ends={A.id: "REJECTED"}),
        "confirm and reject: the first stored wins": _tale(
            alice, FIRST, A, YES, NO, SURE, ends={A.id: "REJECTED"}, owes="state"
        ),
        "nobody confirms in time": _tale(alice, FIRST, A, YES, later, ends={A.id: "LAPSED"}),
        "confirmed in the last second": _tale(alice, FIRST, A, YES, Step(SURE, DEADLINE - 1), ends={A.id: "CONFIRMED"}),
        "confirmed at the deadline, which is too late": _tale(
            alice, FIRST, A, YES, Step(SURE, DEADLINE), ends={A.id: "LAPSED"}, owes="lapsed"
        ),
        "told that the confirm came too late": _tale(
            bob, FIRST, A, YES, SURE, problem(SURE, ALICE), ends={A.id: "LAPSED"}
        ),
        "told so after it was acknowledged": _tale(
            bob, FIRST, A, YES, SURE, ack(SURE, ALICE, seq=7), problem(SURE, ALICE, seq=8), ends={A.id: "CONFIRMED"}
        ),
        "the offer expires": _tale(alice, FIRST, A, Step(None, A.head.exp), ends={A.id: "VOID"}),
        "withdrawn": _tale(alice, FIRST, A, BACK, ends={A.id: "WITHDRAWN"}),
        "withdrawn before it is heard": _tale(alice, FIRST, BACK, A, ends={A.id: "WITHDRAWN"}),
        "withdrawn after it was accepted": _tale(alice, FIRST, A, YES, BACK, ends={A.id: "ACCEPTED"}),
        "accept and withdrawal cross: the accept stands": _tale(
            bob, FIRST, A, BACK, YES, SURE, ends={A.id: "CONFIRMED"}
        ),
        "the withdrawal was acknowledged after the accept: it stands": _tale(
            bob, FIRST, A, BACK, ack(BACK, ALICE, seq=6), YES, ends={A.id: "ACCEPTED"}
        ),
        "the withdrawal was acknowledged before the accept: it falls": _tale(
            bob, FIRST, A, BACK, ack(BACK, ALICE, seq=4), YES, ends={A.id: "WITHDRAWN"}, owes="superseded"
        ),
        "a newer offer replaces the older": _tale(alice, FIRST, A, B, ends={A.id: "VOID", B.id: "OFFERED"}),
        "a newer offer replaces the older, whichever comes first": _tale(
            alice, FIRST, B, A, ends={A.id: "VOID", B.id: "OFFERED"}
        ),
        "accept and newer offer cross: the accept stands": _tale(
            bob, FIRST, A, B, YES, ends={A.id: "ACCEPTED", B.id: "OFFERED"}
        ),
        "the newer offer was acknowledged before the accept: it falls": _tale(
            bob, FIRST, A, B, ack(B, ALICE, seq=4), YES, ends={A.id: "VOID", B.id: "OFFERED"}, owes="superseded"
        ),
        "withdrawn and replaced, only the newer offer acknowledged: the accept falls": _tale(
            bob,
            FIRST,
            A,
            BACK,
            B,
            ack(B, ALICE, seq=4),
            YES,
            ends={A.id: "WITHDRAWN", B.id: "OFFERED"},
            owes="superseded",
        ),
        "the wish changes: its author voids": _tale(alice, FIRST, A, CHANGED, ends={A.id: "VOID"}),
        "the wish changes: its vendor is bound": _tale(bob, FIRST, A, CHANGED, YES, ends={A.id: "ACCEPTED"}),
        "the wish changed before the offer came": _tale(alice, FIRST, CHANGED, A, ends={A.id: "VOID"}),
        "an offer for the newest revision": _tale(
            alice, FIRST, A, CHANGED, LATE_ANSWER, ends={A.id: "VOID", LATE_ANSWER.id: "OFFERED"}
        ),
        "the wish is closed": _tale(alice, FIRST, A, ENDED, ends={A.id: "VOID"}),
        "the wish is closed after the accept": _tale(alice, FIRST, A, YES, ENDED, SURE, ends={A.id: "CONFIRMED"}),
        "an accept that outlives its offer": _tale(
            bob, FIRST, A, accept(A, seq=5, exp=NOW + DAY + HOUR), ends={A.id: "OFFERED"}, owes="state"
        ),
        "a second accept of one offer": _tale(
            bob, FIRST, A, YES, accept(A, seq=9), ends={A.id: "ACCEPTED"}, owes="state"
        ),
        "an accept that was refused is not the one": _tale(
            bob, FIRST, A, accept(A, seq=4, exp=NOW + DAY + HOUR), YES, ends={A.id: "ACCEPTED"}
        ),
        "a confirm of what is no accept": _tale(
            alice, FIRST, A, YES, confirm(A, seq=6), ends={A.id: "ACCEPTED"}, owes="state"
        ),
        "a second confirm": _tale(
            alice, FIRST, A, YES, SURE, confirm(YES, seq=7), ends={A.id: "CONFIRMED"}, owes="state"
        ),
        "rejected in time, confirmed too late": _tale(
            alice, FIRST, A, YES, NO, Step(SURE, DEADLINE), ends={A.id: "REJECTED"}, owes="state"
        ),
        "declined, then withdrawn": _tale(alice, FIRST, A, decline(A), BACK, ends={A.id: "DECLINED"}),
        "withdrawn, then declined": _tale(bob, FIRST, A, BACK, decline(A, seq=3), ends={A.id: "WITHDRAWN"}),
        "an old ack behind the accept undoes nothing": _tale(
            bob, FIRST, A, BACK, YES, ack(BACK, ALICE, seq=4), ends={A.id: "ACCEPTED"}
        ),
        "an ack behind the lapsed brings nothing back": _tale(
            bob, FIRST, A, YES, SURE, problem(SURE, ALICE, seq=7), ack(SURE, ALICE, seq=8), ends={A.id: "LAPSED"}
        ),
        "a newer offer that is void itself": _tale(
            alice, FIRST, A, offer(CHANGED, seq=9), ends={A.id: "VOID", offer(CHANGED, seq=9).id: "VOID"}
        ),
        "an offer whose revision comes later": _tale(
            alice, LATE_ANSWER, FIRST, CHANGED, ends={LATE_ANSWER.id: "OFFERED"}
        ),
        "an offer made in the last second": _tale(
            alice, FIRST, A, Step(LAST, HOUR_OF_OFFERS - 1), ends={A.id: "VOID", LAST.id: "OFFERED"}
        ),
        "an offer made when no more are collected replaces nothing": _tale(
            alice, FIRST, A, Step(LATE, HOUR_OF_OFFERS), ends={A.id: "OFFERED"}, owes="lapsed"
        ),
        "an offer made too late for a wish that changed": _tale(
            alice, FIRST, A, CHANGED, Step(LATE, HOUR_OF_OFFERS), ends={A.id: "VOID", LATE.id: "VOID"}
        ),
        "told that a newer offer came too late: the older one can still be accepted": _tale(
            bob, FIRST, A, B, problem(B, ALICE), YES, ends={A.id: "ACCEPTED", B.id: "VOID"}
        ),
        "two revisions with one seq": _tale(alice, *TWINS, TWIN_ANSWER, ends={TWIN_ANSWER.id: "OFFERED"}),
        "two revisions with one seq, the other way round": _tale(
            alice, *TWINS[::-1], TWIN_ANSWER, ends={TWIN_ANSWER.id: "OFFERED"}
        ),
        "an answer to nothing waits": _tale(alice, FIRST, SURE, ends={}),
        "a ninth that waits is dropped": _tale(
            alice, FIRST, *(withdraw(A, seq=30 + number) for number in range(8)), BACK, A, ends={A.id: "WITHDRAWN"}
        ),
        "what waited owes nothing": _tale(alice, FIRST, A, SURE, NO, YES, ends={A.id: "CONFIRMED"}),
    }


def play(scenario: Scenario) -> list[tuple[Step, Outcome, dict[str, str]]]:
    """Each step with what it did and the state of every offer after it."""
    thread = Thread(FIRST.id, ALICE.key.public, BOB.key.public, scenario.side)
    played = []
    for step in scenario.steps:
        outcome = thread.add(step.message, step.now) if step.message is not None else Outcome(thread.tick(step.now))
        states = {offered.hex(): talk.state.value for offered, talk in thread.talks.items()}
        played.append((step, outcome, states))
    return played


def build() -> dict[str, Any]:
    tales = scenarios()
    spoken = {step.message.id: step.message for tale in tales.values() for step in tale.steps if step.message}
    return {
        "about": "Messages added to one side's thread, in this order. A step without an id only looks at the clock.",
        "root": FIRST.id.hex(),
        "requester": ALICE.key.public.hex(),
        "vendor": BOB.key.public.hex(),
        "frames": {message_id.hex(): message.frame.hex() for message_id, message in spoken.items()},
        "scenarios": [
            {
                "name": name,
                "side": tale.side.value,
                "steps": [
                    {
                        "now": step.now,
                        "kind": step.message.kind if step.message else None,
                        "id": step.message.id.hex() if step.message else None,
                        "early": outcome.early,
                        "dropped": outcome.dropped,
                        "owes": outcome.owes,
                        "states": states,
                    }
                    for step, outcome, states in play(tale)
                ],
            }
            for name, tale in tales.items()
        ],
    }
