"""Frames and items: who signed is certain, for which world too; nobody else reads, changes or hands on a letter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec import decode, encode
from protocol.envelope import (
    NO_STAMP,
    Hint,
    HintCode,
    Item,
    Realm,
    digest,
    id_of,
    item_stamp_bits,
    open_frame,
    read_frame,
    read_item,
    recall_frame,
    seal,
    sign,
    unseal,
    verify,
    zero_bits,
)
from protocol.errors import Reason, Refused
from protocol.letter import open_envelope, open_letter, write_letter
from protocol.message import Draft, Message
from protocol.offer import OfferWithdraw
from tests.protocol.people import ALICE, BOB, CAROL, DAY, MALLORY, NET, NOW, OFFER, accept, derived, letter, offer, wish

PAYLOAD = encode({"net": NET, "what": "anything"})
FRAME = sign(PAYLOAD, ALICE.key, Realm.GOSSIP, NET)


def refusal(call: object, *args: object, **named: object) -> Reason:
    with pytest.raises(Refused) as refused:
        call(*args, **named)  # type: ignore[operator]
    return refused.value.reason


def test_alice_signs_and_everybody_knows_it_was_her() -> None:
    envelope = open_frame(FRAME, Realm.GOSSIP, NET)
    assert envelope.author == ALICE.key.public
    assert envelope.id == id_of(ALICE.key.public, PAYLOAD)
    assert envelope.fields == {"net": NET, "what": "anything"}


def test_every_single_bit_of_a_frame_matters() -> None:
    for at in range(len(FRAME) * 8):
        flipped = bytearray(FRAME)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(Refused):
            open_frame(bytes(flipped), Realm.GOSSIP, NET)


def test_what_was_kept_is_recalled_unless_a_bit_of_it_changed() -> None:
    """But for the signature: it says nothing new about what had verified."""
    kept = open_frame(FRAME, Realm.GOSSIP, NET)
    assert recall_frame(FRAME, kept.id, Realm.GOSSIP, NET) == kept
    signature = range(37, 101)
    for at in range(len(FRAME) * 8):
        flipped = bytearray(FRAME)
        flipped[at // 8] ^= 1 << at % 8
        if at // 8 in signature:
            assert recall_frame(bytes(flipped), kept.id, Realm.GOSSIP, NET).fields == kept.fields
        else:
            with pytest.raises(Refused):
                recall_frame(bytes(flipped), kept.id, Realm.GOSSIP, NET)
    assert refusal(recall_frame, FRAME, kept.id, Realm.GOSSIP, "main") is Reason.NET


def test_peeking_believes_nothing() -> None:
    """Mallory puts her words under Alice's key: one can look at them, but opening finds out."""
    forged = encode([ALICE.key.public, bytes(64), PAYLOAD])
    unverified = read_frame(forged)
    assert unverified.peek_unverified()["what"] == "anything"
    assert refusal(verify, unverified, Realm.GOSSIP, NET) is Reason.SIGNATURE


def test_the_payload_names_its_network_and_the_signature_binds_it() -> None:
    """Signing for one network what another's name stands in fails in both."""
    crossed = sign(PAYLOAD, ALICE.key, Realm.GOSSIP, "main")
    assert refusal(open_frame, crossed, Realm.GOSSIP, NET) is Reason.SIGNATURE
    assert refusal(open_frame, crossed, Realm.GOSSIP, "main") is Reason.NET


def test_signing_twice_does_not_make_two_messages() -> None:
    """An author can make other signatures for the same payload; the id is outside of their reach."""
    assert read_frame(FRAME).id == read_frame(encode([ALICE.key.public, bytes(64), PAYLOAD])).id


@given(st.binary(max_size=200))
def test_garbage_is_refused_and_nothing_else(data: bytes) -> None:
    for read in (read_frame, read_item):
        with pytest.raises(Refused):
            read(data)


@pytest.mark.parametrize(
    ("value", "bits"), [(b"\x01", 0), (b"\x02", 1), (b"\x01\x00", 8), (bytes(4), 32), (b"\x80", 7)]
)
def test_zero_bits_are_counted_from_the_end(value: bytes, bits: int) -> None:
    assert zero_bits(value) == bits


# --------------------------------------------------------------------------------------------------------- items

FIRST = wish()
OFFERED = offer(FIRST)
SEALED = letter(OFFERED, BOB, ALICE)


def test_bob_writes_and_only_alice_reads() -> None:
    assert unseal(SEALED, ALICE.box, own_is_box=True) == OFFERED.frame
    for stranger in (CAROL, MALLORY):
        assert refusal(unseal, SEALED, stranger.box, own_is_box=True) is Reason.SEALED
    assert refusal(unseal, SEALED, ALICE.box, own_is_box=False) is Reason.SEALED


def test_every_single_bit_of_an_item_but_its_stamp_matters() -> None:
    data = SEALED.encoded()
    assert data.endswith(NO_STAMP)
    for at in range((len(data) - len(NO_STAMP)) * 8):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(Refused):
            open_at_alice(bytes(flipped))


def open_at_alice(data: bytes) -> Message:
    item = read_item(data)
    assert isinstance(item, Item)
    return open_letter(item, ALICE.box, own_is_box=True, net=NET, me=ALICE.key.public, root=FIRST.id)


def test_only_the_stamp_of_an_item_may_change() -> None:
    stamped = read_item(SEALED.encoded()[:-8] + b"\x01" * 8)
    assert isinstance(stamped, Item)
    assert stamped.digest == SEALED.digest
    assert unseal(stamped, ALICE.box, own_is_box=True) == OFFERED.frame
    assert item_stamp_bits(stamped) == zero_bits(digest(SEALED.digest + b"\x01" * 8))


def test_nobody_hands_on_a_letter_as_their_own() -> None:
    """Alice reads Bob's offer, and seals it again to Carol, as if Bob had written to her."""
    frame = unseal(SEALED, ALICE.box, own_is_box=True)
    again = seal(frame, ALICE.box, CAROL.box.public, own_is_box=False, n=0, exp=SEALED.exp, nonce=derived("n", 24))
    opened = {"own_is_box": True, "net": NET, "root": FIRST.id}
    assert refusal(open_letter, again, CAROL.box, me=CAROL.key.public, **opened) is Reason.TO
    assert refusal(open_letter, again, CAROL.box, me=ALICE.key.public, **opened) is Reason.TKEY


def test_an_envelope_can_be_had_without_judging_the_body() -> None:
    """So that whoever wrote an ill body can be told which message it was."""
    ill = decode(read_frame(OFFERED.frame).payload)
    assert isinstance(ill, dict)
    frame = sign(encode({**ill, "body": {}}), BOB.key, Realm.DIRECT, NET)
    item = seal(frame, BOB.box, ALICE.box.public, own_is_box=False, n=0, exp=SEALED.exp, nonce=derived("i", 24))
    known = {"own_is_box": True, "net": NET, "me": ALICE.key.public, "root": FIRST.id}
    assert open_envelope(item, ALICE.box, **known).author == BOB.key.public  # type: ignore[arg-type]
    assert refusal(open_letter, item, ALICE.box, **known) is Reason.BODY


def test_a_letter_is_written_and_read() -> None:
    draft = Draft("offer", OFFER, NET, NOW, NOW + DAY, 0, derived("salt", 16), FIRST.id, FIRST.id, ALICE.key.public)
    message, item = write_letter(
        draft, BOB.key, BOB.box, ALICE.box.public, own_is_box=False, n=7, nonce=derived("nonce", 24)
    )
    assert (item.n, item.exp, item.tkey, item.to_box) == (7, NOW + DAY, BOB.box.public, ALICE.box.public)
    assert open_letter(item, ALICE.box, own_is_box=True, net=NET, me=ALICE.key.public, root=FIRST.id) == message


@pytest.mark.parametrize(
    ("changed", "own_is_box", "complaint"),
    [
        ({"tkey": CAROL.box.public}, False, "tkey"),
        ({}, True, "not sent by this side"),
        ({"kind": "intent", "body": FIRST.body}, False, "not sent by this side"),
    ],
)
def test_a_letter_nobody_could_believe_is_not_written(
    changed: dict[str, object], own_is_box: bool, complaint: str
) -> None:
    fields = {"kind": "offer.withdraw", "body": OfferWithdraw(), "ref": OFFERED.id, "to": ALICE.key.public} | changed
    draft = Draft(net=NET, at=NOW, exp=NOW + DAY, seq=0, salt=bytes(16), root=FIRST.id, **fields)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=complaint):
        write_letter(draft, BOB.key, BOB.box, ALICE.box.public, own_is_box=own_is_box, n=0, nonce=bytes(24))


@pytest.mark.parametrize(("n", "nonce"), [(-1, bytes(24)), (2**63, bytes(24)), (0, bytes(23))])
def test_sealing_takes_a_counter_and_a_whole_nonce(n: int, nonce: bytes) -> None:
    with pytest.raises(ValueError, match="nonce"):
        seal(FRAME, BOB.box, ALICE.box.public, own_is_box=False, n=n, exp=1, nonce=nonce)


def test_nothing_is_sealed_to_a_key_of_small_order() -> None:
    with pytest.raises(ValueError, match="shared secret"):
        seal(FRAME, BOB.box, bytes(32), own_is_box=False, n=0, exp=1, nonce=bytes(24))


def test_an_answer_opens_on_the_other_side() -> None:
    yes = accept(OFFERED)
    item = letter(yes, ALICE, BOB)
    assert item.to_box == OFFERED.head.tkey, "sealed to the tkey of what it answers"
    known = {"own_is_box": False, "net": NET, "me": BOB.key.public, "root": FIRST.id}
    assert open_letter(item, BOB.box, expected_author=ALICE.key.public, **known) == yes  # type: ignore[arg-type]
    assert refusal(open_letter, item, BOB.box, expected_author=CAROL.key.public, **known) is Reason.AUTHOR


@pytest.mark.parametrize("code", HintCode)
def test_a_hint_names_the_item_it_is_about(code: HintCode) -> None:
    hint = Hint(SEALED.digest, code, 3)
    assert read_item(hint.encoded()) == hint
