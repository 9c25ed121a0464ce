"""Evidence stands on its own: whoever holds the file knows who agreed to what, and any change to it shows."""

from collections.abc import Callable
from itertools import product

import pytest

from protocol.codec import decode, encode
from protocol.envelope import Realm, sign
from protocol.errors import Reason, Refused
from protocol.evidence import MAX_EVIDENCE, PARTS, bundle, verify
from protocol.intent import Intent
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
    PLAIN_OFFER,
    accept,
    ack,
    close,
    confirm,
    offer,
    one_of_each,
    reject,
    twin_of,
    update,
    wish,
)

FIRST = wish()
OFFERED = offer(FIRST)
YES = accept(OFFERED)
SURE = confirm(YES)
STORY = [FIRST, OFFERED, YES, SURE]


def frames(*messages: Message) -> list[bytes]:
    return [message.frame for message in messages]


def refusal(data: bytes) -> Reason:
    with pytest.raises(Refused) as refused:
        verify(data)
    return refused.value.reason


def raw(kind: str, *messages: Message, net: str = NET) -> bytes:
    """A bundle nobody checked."""
    return encode(["intentcast/evidence", 1, net, kind, frames(*messages)])


def test_a_contract_says_who_agreed_with_whom() -> None:
    evidence = verify(bundle("contract", NET, frames(*STORY)))
    assert (evidence.kind, evidence.net) == ("contract", NET)
    assert evidence.id == YES.id, "the accept's id is the contract's"
    assert (evidence.author, evidence.requester, evidence.vendor) == (
        ALICE.key.public,
        ALICE.key.public,
        BOB.key.public,
    )
    assert evidence.at == YES.head.at
    assert evidence.messages == tuple(STORY)


def test_an_offer_says_what_it_answers() -> None:
    evidence = verify(bundle("offer", NET, frames(FIRST, OFFERED)))
    assert (evidence.id, evidence.author, evidence.vendor) == (OFFERED.id, BOB.key.public, BOB.key.public)
    assert evidence.requester == ALICE.key.public


@pytest.mark.parametrize("message", [FIRST, update(FIRST), close(FIRST)], ids=lambda message: message.kind)
def test_a_wish_its_revisions_and_its_end_are_evidence(message: Message) -> None:
    evidence = verify(bundle("intent", NET, [message.frame]))
    assert (evidence.id, evidence.author, evidence.requester) == (message.id, ALICE.key.public, ALICE.key.public)
    assert evidence.vendor is None


def test_a_contract_over_a_later_revision_names_the_first_as_root() -> None:
    changed = update(FIRST)
    offered = offer(changed)
    yes = accept(offered)
    evidence = verify(bundle("contract", NET, frames(changed, offered, yes, confirm(yes))))
    assert evidence.messages[0] == changed
    assert evidence.messages[1].root == FIRST.id


def test_it_stays_evidence_when_everything_has_long_expired() -> None:
    old = wish(at=NOW - 900 * DAY, exp=NOW - 899 * DAY)
    assert verify(bundle("intent", NET, [old.frame])).id == old.id


@pytest.mark.parametrize("kind", PARTS)
def test_every_single_bit_of_a_bundle_matters(kind: str) -> None:
    first = wish(body=Intent("rent", "mobility.car", "4x4", ALICE.box.public))
    offered = offer(first, body=PLAIN_OFFER)
    yes = accept(offered)
    data = bundle(kind, NET, frames(first, offered, yes, confirm(yes))[: len(PARTS[kind])])
    accepted = 0
    for at in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        try:
            verify(bytes(flipped))
        except Refused:
            continue
        accepted += 1
    assert accepted == 0


def test_a_cut_or_lengthened_bundle_is_none() -> None:
    data = bundle("offer", NET, frames(FIRST, OFFERED))
    for changed in (data[:-1], data + b"\0", b"", data[1:], data * 2):
        with pytest.raises(Refused):
            verify(changed)


CASES: dict[str, tuple[Callable[[], bytes], Reason]] = {
    "too long": (lambda: bytes(MAX_EVIDENCE + 1), Reason.SIZE),
    "a map": (lambda: encode({"kind": "intent"}), Reason.EVIDENCE),
    "another magic": (lambda: encode(["evidence", 1, NET, "intent", [FIRST.frame]]), Reason.EVIDENCE),
    "version 2": (lambda: encode(["intentcast/evidence", 2, NET, "intent", [FIRST.frame]]), Reason.VERSION),
    "version true": (lambda: encode(["intentcast/evidence", True, NET, "intent", [FIRST.frame]]), Reason.VERSION),
    "a kind nobody knows": (lambda: raw("receipt", FIRST), Reason.EVIDENCE),
    "a frame too few": (lambda: raw("contract", FIRST, OFFERED, YES), Reason.EVIDENCE),
    "a frame too many": (lambda: raw("offer", FIRST, OFFERED, YES), Reason.EVIDENCE),
    "a frame as text": (lambda: encode(["intentcast/evidence", 1, NET, "intent", ["x"]]), Reason.EVIDENCE),
    "frames in another order": (lambda: raw("offer", OFFERED, FIRST), Reason.EVIDENCE),
    "an ack for a confirm": (lambda: raw("contract", FIRST, OFFERED, YES, ack(YES, BOB)), Reason.EVIDENCE),
    "a reject for a confirm": (lambda: raw("contract", FIRST, OFFERED, YES, reject(YES)), Reason.EVIDENCE),
    "an offer for a close": (lambda: raw("offer", close(FIRST), OFFERED), Reason.EVIDENCE),
    "another network": (lambda: raw("intent", FIRST, net="main"), Reason.NET),
    "an offer to another revision": (lambda: raw("offer", update(FIRST), OFFERED), Reason.REF),
    "an offer to another wish": (lambda: raw("offer", wish(CAROL), OFFERED), Reason.REF),
    "an accept of another offer": (
        lambda: raw("contract", FIRST, offer(FIRST, CAROL), YES, SURE),
        Reason.REF,
    ),
    "a confirm of another accept": (
        lambda: raw("contract", FIRST, OFFERED, accept(OFFERED, seq=9), SURE),
        Reason.REF,
    ),
    "an offer with another root": (lambda: raw("offer", FIRST, offer(FIRST, root=bytes(32))), Reason.ROOT),
    "an accept with another root": (lambda: _from_accept(accept(OFFERED, root=bytes(32))), Reason.ROOT),
    "a confirm with another root": (lambda: raw("contract", *STORY[:3], confirm(YES, root=bytes(32))), Reason.ROOT),
    "an offer written to somebody else": (lambda: raw("offer", FIRST, offer(FIRST, to=CAROL.key.public)), Reason.TO),
    "an accept written to somebody else": (lambda: _from_accept(accept(OFFERED, to=CAROL.key.public)), Reason.TO),
    "a confirm written to somebody else": (
        lambda: raw("contract", *STORY[:3], confirm(YES, to=CAROL.key.public)),
        Reason.TO,
    ),
    "an offer to oneself": (lambda: raw("offer", FIRST, offer(FIRST, ALICE, to=ALICE.key.public)), Reason.AUTHOR),
    "an accept by somebody else": (lambda: _by_stranger(), Reason.AUTHOR),
    "a confirm by somebody else": (lambda: raw("contract", *STORY[:3], confirm(YES, MALLORY)), Reason.AUTHOR),
    "an accept that outlives the offer": (lambda: _from_accept(accept(OFFERED, exp=NOW + DAY + 1)), Reason.DEADLINE),
}


def _from_accept(yes: Message) -> bytes:
    return raw("contract", FIRST, OFFERED, yes, confirm(yes, to=ALICE.key.public))


def _by_stranger() -> bytes:
    yes = accept(OFFERED, MALLORY)
    return raw("contract", FIRST, OFFERED, yes, confirm(yes))


@pytest.mark.parametrize("name", CASES)
def test_pieces_that_do_not_belong_together_are_no_evidence(name: str) -> None:
    make, reason = CASES[name]
    assert refusal(make()) is reason


def test_an_accept_may_end_with_its_offer() -> None:
    assert verify(_from_accept(accept(OFFERED, exp=OFFERED.head.exp))).kind == "contract"


def test_every_other_frame_in_every_place_is_refused() -> None:
    """All kinds in all places of a contract: only the story fits together."""
    said = list(one_of_each().values())
    for place, message in product(range(4), said):
        story = [*STORY]
        if story[place] == message:
            continue
        story[place] = message
        with pytest.raises(Refused):
            verify(raw("contract", *story))


def test_a_frame_of_the_other_realm_is_no_evidence() -> None:
    payload = decode(OFFERED.frame)
    assert isinstance(payload, list)
    assert isinstance(payload[2], bytes)
    crossed = sign(payload[2], BOB.key, Realm.GOSSIP, NET)
    data = encode(["intentcast/evidence", 1, NET, "offer", [FIRST.frame, crossed]])
    assert refusal(data) is Reason.SIGNATURE


def test_another_signature_of_the_same_accept_is_the_same_contract() -> None:
    """Alice can sign her accept in two ways. There is still one contract."""
    data = [*frames(FIRST, OFFERED), twin_of(YES, Realm.DIRECT), SURE.frame]
    assert verify(bundle("contract", NET, data)).id == YES.id


def test_we_hand_out_nothing_that_would_be_refused() -> None:
    with pytest.raises(Refused):
        bundle("contract", NET, frames(FIRST, OFFERED, accept(OFFERED, exp=NOW + HOUR), SURE)[:3])
