"""A signature is worth something in one realm of one network, and nothing anywhere else."""

from itertools import product

import pytest

from protocol.board import Board
from protocol.codec import decode_map, encode
from protocol.envelope import Item, Realm, open_frame, read_frame, seal, sign
from protocol.errors import Refused
from protocol.kinds import KINDS
from protocol.letter import open_letter
from protocol.message import Message, believe
from tests.protocol.people import ALICE, BOB, NET, NOW, author_of, derived, one_of_each

SAID = one_of_each()
NETS = (NET, "main", "test-2")
PLACES = list(product(Realm, NETS))


def test_the_story_has_every_kind() -> None:
    assert set(SAID) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_counts_only_where_it_was_signed_for(kind: str) -> None:
    """Signed for every place, tried in every place: 9 x 9, and only its own place believes its own signature."""
    fields = decode_map(read_frame(SAID[kind].frame).payload)
    accepted = set()
    for (signed_realm, signed_net), (realm, net), said_net in product(PLACES, PLACES, NETS):
        payload = encode(fields | {"net": said_net})
        frame = sign(payload, author_of(SAID[kind]).key, signed_realm, signed_net)
        try:
            believe(open_frame(frame, realm, net))
        except Refused:
            continue
        accepted.add((signed_realm, signed_net, realm, net, said_net))
    own = KINDS[kind].realm
    assert accepted == {(own, net, own, net, net) for net in NETS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_a_frame_does_not_pass_for_another_kind(kind: str, other: str) -> None:
    """Not even in the same realm: the kind is inside of what is signed."""
    if kind == other:
        return
    payload = read_frame(SAID[kind].frame).payload
    renamed = encode(decode_map(payload) | {"kind": other})
    unverified = read_frame(SAID[kind].frame)
    forged = encode([unverified.key, unverified.signature, renamed])
    with pytest.raises(Refused):
        open_frame(forged, KINDS[other].realm, NET)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].realm is not Realm.GOSSIP])
def test_gossip_hangs_up_nothing_of_the_other_realms(kind: str) -> None:
    payload = decode_map(read_frame(SAID[kind].frame).payload)
    payload["body"] = dict(payload["body"]) | {"category": "mobility"}  # type: ignore[call-overload, operator]
    for realm in Realm:
        board = Board(NET)
        frame = sign(encode(payload), author_of(SAID[kind]).key, realm, NET)
        assert not board.hear(frame, "mobility", "peer", NOW).accepted
        assert len(board) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("own_is_box", [True, False])
def test_a_letter_holds_only_what_its_side_may_hear(kind: str, own_is_box: bool) -> None:
    """Every kind, sealed to both sides, signed by the other: only the table's senders are heard."""
    reader, writer = (ALICE, BOB) if own_is_box else (BOB, ALICE)
    fields = decode_map(read_frame(SAID[kind].frame).payload)
    fields |= {
        "to": reader.key.public,
        "tkey": writer.box.public,
        "root": SAID["offer"].root,
        "ref": SAID["offer"].id,
        "stamp": bytes(8),
    }
    sender = "vendor" if own_is_box else "requester"
    heard: list[Realm] = []
    for realm in Realm:
        item = _sealed(sign(encode(fields), writer.key, realm, NET), SAID[kind], own_is_box)
        try:
            open_letter(
                item,
                reader.box,
                own_is_box=own_is_box,
                net=NET,
                me=reader.key.public,
                root=SAID["offer"].root,
                expected_author=writer.key.public,
            )
        except Refused:
            continue
        heard.append(realm)
    allowed = KINDS[kind].realm is Realm.DIRECT and KINDS[kind].sender in (sender, "either")
    assert heard == ([Realm.DIRECT] if allowed else [])


def _sealed(frame: bytes, message: Message, own_is_box: bool) -> Item:
    reader, writer = (ALICE, BOB) if own_is_box else (BOB, ALICE)
    return seal(
        frame,
        writer.box,
        reader.box.public,
        own_is_box=not own_is_box,
        n=0,
        exp=message.head.exp,
        nonce=derived("realm", 24),
    )
