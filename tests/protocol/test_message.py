"""What a verified envelope may say, and that we never say what we would refuse."""

from dataclasses import MISSING, fields, replace
from typing import Any

import pytest

from protocol.codec import decode_map, encode
from protocol.deal import Decline, Problem
from protocol.envelope import Realm, open_frame, read_frame, sign
from protocol.errors import REJECTED_ON_GOSSIP, Fault, Reason, Refused
from protocol.intent import Intent, division_of
from protocol.kinds import KINDS
from protocol.message import Draft, believe, check_time, mine_stamp, speak, stamp_bits
from protocol.offer import Offer
from protocol.schema import read, write
from protocol.terms import LOCAL_TIME, Money, Route, When, local_time
from tests.protocol.people import (
    ALICE,
    BOB,
    DAY,
    NET,
    NOW,
    OFFER,
    PLAIN_OFFER,
    WISH,
    accept,
    author_of,
    close,
    derived,
    offer,
    one_of_each,
    wish,
)

SAID = one_of_each()


def fields_of(kind: str) -> dict[str, Any]:
    return dict(decode_map(read_frame(SAID[kind].frame).payload))


def judged(kind: str, /, **changed: Any) -> Any:
    """The message with other fields, signed again by its author; None takes a field away."""
    fields = {key: value for key, value in (fields_of(kind) | changed).items() if value is not None}
    realm = KINDS[kind].realm
    return believe(open_frame(sign(encode(fields), author_of(SAID[kind]).key, realm, NET), realm, NET))


def refusal(kind: str, /, **changed: Any) -> Reason:
    with pytest.raises(Refused) as refused:
        judged(kind, **changed)
    return refused.value.reason


@pytest.mark.parametrize("kind", SAID)
def test_every_kind_is_said_and_believed(kind: str) -> None:
    message = judged(kind)
    assert message == SAID[kind]
    assert isinstance(message.body, KINDS[kind].body)
    assert message.expects_ack() == KINDS[kind].acked
    assert write(message.body) == fields_of(kind)["body"], "everything in a body survives reading and writing"


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind in SAID for field in sorted(KINDS[kind].head)])
def test_every_head_field_of_the_table_is_needed(kind: str, field: str) -> None:
    assert refusal(kind, **{field: None}) is Reason.HEAD
    assert refusal(kind, **{field: 7}) is Reason.HEAD
    assert refusal(kind, **{field: b"short"}) is Reason.HEAD


@pytest.mark.parametrize(
    ("kind", "field"),
    [(kind, field) for kind in SAID for field in sorted({"ref", "root", "to", "tkey", "stamp"} - KINDS[kind].head)],
)
def test_a_head_field_its_kind_does_not_have_is_only_kept(kind: str, field: str) -> None:
    message = judged(kind, **{field: "anything"})
    assert getattr(message.head, field) is None
    assert field in open_frame(message.frame, KINDS[kind].realm, NET).fields


@pytest.mark.parametrize("kind", SAID)
def test_every_kind_is_checked_for_its_common_fields(kind: str) -> None:
    for field in ("v", "kind", "at", "exp", "seq", "salt"):
        assert refusal(kind, **{field: None}) is Reason.HEAD
    assert refusal(kind, v=2) is Reason.VERSION
    assert refusal(kind, exp=NOW) is Reason.LIFE
    assert refusal(kind, exp=NOW + 30 * DAY + 1) is Reason.LIFE
    assert refusal(kind, body=None) is Reason.BODY
    assert refusal(kind, ext={"crit": ["org.example.x"]}) is Reason.CRITICAL
    assert refusal(kind, ext="x") is Reason.HEAD
    judged(kind, ext={"crit": [], "org.example.x": 1})
    judged(kind, a_field_of_the_future=[1, {"b": b"c"}])


@pytest.mark.parametrize("kind", SAID)
def test_every_required_field_of_a_body_is_required(kind: str) -> None:
    body = fields_of(kind)["body"]
    for field in fields(KINDS[kind].body):
        without = {name: value for name, value in body.items() if name != field.name}
        if field.default is MISSING:
            assert refusal(kind, body=without) is Reason.BODY, field.name
        elif field.name != "fees":  # without them the sum is wrong, which is another rule
            judged(kind, body=without)
        assert refusal(kind, body=body | {field.name: {"no": "such"}}) in (Reason.BODY, Reason.SUM), field.name


@pytest.mark.parametrize(
    ("offset", "verdict"),
    [
        (-121, Reason.EARLY),
        (-120, None),
        (0, None),
        (DAY - 1, None),
        (DAY, Reason.EXPIRED),
        (DAY + 121, Reason.EXPIRED),
    ],
)
def test_a_wish_has_its_time(offset: int, verdict: Reason | None) -> None:
    assert time_verdict(wish().head, NOW + offset) is verdict


@pytest.mark.parametrize(("offset", "verdict"), [(DAY, None), (DAY + 120, None), (DAY + 121, Reason.EXPIRED)])
def test_a_close_stays_two_minutes_longer(offset: int, verdict: Reason | None) -> None:
    assert time_verdict(close(wish()).head, NOW + offset) is verdict


def time_verdict(head: Any, now: int) -> Reason | None:
    try:
        check_time(head, now)
    except Refused as refused:
        return refused.reason
    return None


def test_root_and_ref_name_what_a_message_belongs_to() -> None:
    first, bobs = SAID["intent"], SAID["offer"]
    assert first.root == first.id
    assert (bobs.root, bobs.ref) == (first.id, first.id)
    assert (accept(bobs).root, accept(bobs).ref) == (first.id, bobs.id)


@pytest.mark.parametrize(
    "body",
    [
        replace(OFFER, total=Money(34_001, "EUR")),
        replace(OFFER, fees=()),
        replace(PLAIN_OFFER, lines=(replace(PLAIN_OFFER.lines[0], count=2),)),
        replace(PLAIN_OFFER, lines=()),
        replace(PLAIN_OFFER, category="Mobility"),
        replace(PLAIN_OFFER, note="n" * 1001),
        replace(PLAIN_OFFER, note="tab\t"),
    ],
)
def test_we_never_say_what_we_would_refuse(body: Offer) -> None:
    with pytest.raises(Refused):
        offer(wish(), body=body)


def test_a_wish_over_the_size_of_gossip_is_not_said() -> None:
    with pytest.raises(Refused) as refused:
        wish(
            body=replace(
                WISH,
                note="\U0001f3d4" * 1000,
                terms=tuple("t" * 120 for _ in range(8)),
                title="\u6771" * 200,
                reply=tuple(Route("direct", "/" + "a" * 140 + "/p2p/" + "Q" * 46) for _ in range(4)),
                props=WISH.props * 6,
            )
        )
    assert refused.value.reason is Reason.SIZE


@pytest.mark.parametrize("bits", [0, 1, 6, 10])
def test_a_stamp_is_mined_and_shows_its_bits(bits: int) -> None:
    draft = Draft("intent", WISH, NET, NOW, NOW + DAY, 0, derived("mine", 16))
    stamped = mine_stamp(draft, ALICE.key.public, bits)
    message = speak(stamped, ALICE.key)
    assert stamp_bits(ALICE.key.public, read_frame(message.frame).payload) >= bits
    assert mine_stamp(draft, ALICE.key.public, bits) == stamped, "the same draft gives the same stamp"


def test_a_wish_that_quotes_a_stamp_is_stamped_in_the_right_place() -> None:
    """The miner looks for its marker in bytes that hold a stranger's text: it must not find that one."""
    draft = Draft(
        "intent.update",
        replace(WISH, title="\u00a5stamp", note="stamp\u00c4" + "\u00a5" * 8),
        NET,
        NOW,
        NOW + DAY,
        1,
        b"\xa5stamp\xc4\x08" + b"\xa5" * 8,
        ref=b"\xa5stamp\xc4\x08" + b"\xa5" * 24,
        root=b"\xa5stamp\xc4\x08" + b"\xa5" * 24,
    )
    message = speak(mine_stamp(draft, ALICE.key.public, 6), ALICE.key)
    assert stamp_bits(ALICE.key.public, read_frame(message.frame).payload) >= 6
    assert message.head.salt == draft.salt
    assert message.head.ref == draft.ref


def test_reasons_have_a_verdict_each() -> None:
    for reason in Reason:
        assert (Refused(reason).fault is Fault.REJECT) == (reason in REJECTED_ON_GOSSIP)
    assert Refused(Reason.UNKNOWN_KIND).fault is Fault.IGNORE
    assert str(Refused(Reason.SIZE, "12 bytes")) == "size: 12 bytes"


def test_the_division_is_what_stands_before_the_first_dot() -> None:
    assert [division_of(text) for text in ("mobility.car.suv", "mobility", "", ".car")] == [
        "mobility",
        "mobility",
        "",
        "",
    ]


@pytest.mark.parametrize(
    "text", ["2027-02-29", "2027-13-01", "0000-01-01", "2027-1-1", "2027-02-01T24:00", "", "٢٠٢٧-02-01"]
)
def test_a_day_that_is_none_is_no_time(text: str) -> None:
    assert local_time(text) is None


def test_local_time_is_a_day_or_a_minute() -> None:
    assert LOCAL_TIME
    for text in ("2028-02-29", "0001-01-01", "9999-12-31T23:59"):
        assert local_time(text) is not None
    assert read(When, {"start": "2027-02-01", "end": "2027-02-01T00:01", "tz": "Europe/Paris"})


def test_writing_leaves_out_what_says_nothing() -> None:
    assert write(Decline()) == {}
    assert write(Problem("lapsed")) == {"code": "lapsed"}
    assert write(Intent("buy", "home", "A chair", ALICE.box.public)).keys() == {
        "action",
        "category",
        "title",
        "box",
        "quantity",
        "spread",
        "max_offers",
        "award",
    }


def test_a_complaint_names_the_place_and_quotes_nobody() -> None:
    with pytest.raises(Refused) as refused:
        judged("offer", body=fields_of("offer")["body"] | {"lines": [{"title": "t"}]})
    assert refused.value.detail == "body.lines[0].count: is missing"
    with pytest.raises(Refused) as refused:
        judged("offer", body=fields_of("offer")["body"] | {"category": "<script>"})
    assert "script" not in str(refused.value)


def test_the_realm_of_a_kind_is_part_of_believing_it() -> None:
    """Bob signs an offer for gossip: it verifies there, and is still no kind of that realm."""
    frame = sign(encode(fields_of("offer")), BOB.key, Realm.GOSSIP, NET)
    with pytest.raises(Refused) as refused:
        believe(open_frame(frame, Realm.GOSSIP, NET))
    assert refused.value.reason is Reason.UNKNOWN_KIND
