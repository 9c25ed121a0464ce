"""What stands on a gossip stream, byte by byte, and what is refused."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from libp2p.pubsub.pb import rpc_pb2

from protocol.errors import Reason, Refused
from protocol.framing import Deframer, encode_varint, frame_with_length
from protocol.gossip import Params
from protocol.gossip.outbox import Outbox
from protocol.gossip.rpc import (
    MAX_CONTROL,
    MAX_IDS,
    MAX_MESSAGES,
    MAX_SUBSCRIPTIONS,
    IHave,
    Message,
    Prune,
    Rpc,
    Subscription,
    decode_rpc,
    encode_control,
    encode_graft,
    encode_ihave,
    encode_iwant,
    encode_prune,
    encode_publish,
    encode_subscription,
    message_id,
)
from protocol.limits import MAX_RPC

TOPIC = "t/é"  # three characters, four bytes


def test_an_rpc_written_by_hand_is_read() -> None:
    """The numbers of the fields are those of the specification: this RPC was put together from it by hand. The peers
    that a PRUNE offers are not read (PX)."""
    data = bytes.fromhex(
        "0a05 0801 1201 61"  # subscriptions { subscribe: true, topicid: "a" }
        "0a03 1201 62"  # subscriptions { topicid: "b" }
        "1206 1201 78 2201 61"  # publish { data: "x", topic: "a" }
        "1a28"  # control
        "  0a08 0a01 61 1203 010203"  # ihave { topicID: "a", messageIDs: 010203 }
        "  1204 0a02 ff fe"  # iwant { messageIDs: fffe }
        "  1a03 0a01 61"  # graft { topicID: "a" }
        "  220b 0a01 61 1203 0a01 70 18ac02"  # prune { topicID: "a", peers { peerID: "p" }, backoff: 300 }
        "  2204 0a02 6262"  # prune { topicID: "bb" }
        "52 00"  # field 10, which we do not know
    )
    assert decode_rpc(data) == Rpc(
        subscriptions=(Subscription(True, "a"), Subscription(False, "b")),
        messages=(Message("a", b"x", signed=False),),
        ihave=(IHave("a", (b"\x01\x02\x03",)),),
        iwant=(b"\xff\xfe",),
        graft=("a",),
        prune=(Prune("a", 300), Prune("bb", None)),
    )


def test_what_we_write_is_what_the_specification_says() -> None:
    assert encode_subscription("a", True).hex(" ") == "0a 05 08 01 12 01 61"
    assert encode_subscription("a", False).hex(" ") == "0a 05 08 00 12 01 61"
    assert encode_publish("a", b"x").hex(" ") == "12 06 12 01 78 22 01 61"
    control = encode_control([encode_graft("a"), encode_prune("a", 300), encode_prune("a", None)])
    assert control.hex(" ") == "1a 12 1a 03 0a 01 61 22 06 0a 01 61 18 ac 02 22 03 0a 01 61"
    control = encode_control([encode_ihave("a", [b"\x01\x02"]), encode_iwant([b"\x03"])])
    assert control.hex(" ") == "1a 0e 0a 07 0a 01 61 12 02 01 02 12 03 0a 01 03"


def test_pieces_put_one_after_the_other_are_one_rpc() -> None:
    """A message is encoded once and spliced into the RPC to each peer, beside whatever else waits there."""
    big = bytes(8192)
    data = b"".join(
        [
            encode_subscription(TOPIC, True),
            encode_control([encode_ihave(TOPIC, [b"1" * 20, b"2" * 20]), encode_iwant([b"3" * 20])]),
            encode_publish(TOPIC, big),
            encode_publish(TOPIC, b""),
        ]
    )
    assert decode_rpc(data) == Rpc(
        subscriptions=(Subscription(True, TOPIC),),
        messages=(Message(TOPIC, big, signed=False), Message(TOPIC, b"", signed=False)),
        ihave=(IHave(TOPIC, (b"1" * 20, b"2" * 20)),),
        iwant=(b"3" * 20,),
    )


def test_an_empty_rpc_says_nothing() -> None:
    """go-libp2p greets with one when it has no subscriptions."""
    assert decode_rpc(b"") == Rpc()


def test_the_message_id_binds_the_topic() -> None:
    expected = hashlib.sha256(bytes([0, 0, 0, 0, 0, 0, 0, 4]) + "t/é".encode() + b"data").digest()[:20]
    assert message_id("t/é", b"data") == expected
    assert message_id("t", b"data") != message_id("td", b"ata")


@pytest.mark.parametrize(("field", "number"), [("from", 1), ("seqno", 3), ("signature", 5), ("key", 6)])
@pytest.mark.parametrize("content", [b"", b"x"])
def test_the_presence_of_a_signing_field_is_seen_even_when_it_is_empty(field: str, number: int, content: bytes) -> None:
    body = bytes([0x12, 1, 0x78, 0x22, 1, 0x61, number << 3 | 2, len(content)]) + content
    (message,) = decode_rpc(bytes([0x12, len(body)]) + body).messages
    assert message == Message("a", b"x", signed=True), field


def test_libp2p_reads_what_we_write_and_we_read_what_it_writes() -> None:
    theirs = rpc_pb2.RPC()
    theirs.ParseFromString(
        b"".join(
            [
                encode_subscription(TOPIC, True),
                encode_control([encode_ihave(TOPIC, [b"1" * 20]), encode_graft(TOPIC), encode_prune(TOPIC, 60)]),
                encode_publish(TOPIC, b"data"),
            ]
        )
    )
    assert (theirs.subscriptions[0].subscribe, theirs.subscriptions[0].topicid) == (True, TOPIC)
    assert (theirs.publish[0].data, theirs.publish[0].topicIDs) == (b"data", [TOPIC])
    assert not theirs.publish[0].HasField("from_id")
    assert (theirs.control.ihave[0].topicID, len(theirs.control.ihave[0].messageIDs)) == (TOPIC, 1)
    assert theirs.control.graft[0].topicID == TOPIC
    assert (theirs.control.prune[0].topicID, theirs.control.prune[0].backoff) == (TOPIC, 60)

    theirs.control.iwant.add(messageIDs=[b"an id of theirs"])
    assert decode_rpc(theirs.SerializeToString()) == Rpc(
        subscriptions=(Subscription(True, TOPIC),),
        messages=(Message(TOPIC, b"data", signed=False),),
        ihave=(IHave(TOPIC, (b"1" * 20,)),),
        iwant=(b"an id of theirs",),
        graft=(TOPIC,),
        prune=(Prune(TOPIC, 60),),
    )
    theirs.publish[0].seqno = b""
    assert decode_rpc(theirs.SerializeToString()).messages[0].signed


def reason_of(data: bytes) -> Reason:
    with pytest.raises(Refused) as caught:
        decode_rpc(data)
    return caught.value.reason


def test_refusals_have_names() -> None:
    assert reason_of(bytes(MAX_RPC + 1)) is Reason.SIZE
    assert reason_of(b"\x12\x05ab") is Reason.RPC
    assert reason_of(b"\xff" * 20) is Reason.RPC
    assert reason_of(b"\x12\x04\x22\x02\xff\xfe") is Reason.TEXT
    assert reason_of(b"\x0a\x03\x12\x01\xff") is Reason.TEXT
    assert reason_of(encode_control([b"\x1a\x03\x0a\x01\xff"])) is Reason.TEXT


@pytest.mark.parametrize(
    ("one", "limit", "is_control"),
    [
        (b"\x0a\x00", MAX_SUBSCRIPTIONS, False),
        (b"\x12\x00", MAX_MESSAGES, False),
        (b"\x1a\x00", MAX_CONTROL, True),
        (b"\x22\x00", MAX_CONTROL, True),
        (encode_ihave("a", [b"1"] * 1000), MAX_IDS // 1000, True),
        (encode_iwant([b"1"] * 1000), MAX_IDS // 1000, True),
    ],
)
def test_entries_are_counted_before_they_are_read(one: bytes, limit: int, is_control: bool) -> None:
    """64 KiB can hold 32,000 empty subscriptions; nobody has to make objects of them."""
    allowed, over = one * limit, one * (limit + 1)
    decode_rpc(encode_control([allowed]) if is_control else allowed)
    assert reason_of(encode_control([over]) if is_control else over) is Reason.COUNT


@given(st.binary(max_size=400))
def test_garbage_is_refused_or_read_and_nothing_else(data: bytes) -> None:
    refusal = None
    try:
        decode_rpc(data)
    except Refused as refused:
        refusal = refused.reason
    assert refusal in {None, Reason.RPC, Reason.TEXT, Reason.COUNT}


# ------------------------------------------------------------------------------------------------------ the outbox


def test_control_leaves_first_then_own_messages_then_those_of_others() -> None:
    outbox = Outbox(Params())
    assert not outbox
    assert outbox.put_forwarded(encode_publish(TOPIC, b"theirs"))
    assert outbox.put_own(encode_publish(TOPIC, b"ours"))
    outbox.put_ihave(TOPIC, encode_ihave(TOPIC, [b"1" * 20]))
    outbox.put_iwant([b"2" * 20])
    assert outbox.put_graft(TOPIC)
    outbox.put_subscription(TOPIC, True)
    rpc = outbox.next_rpc()
    assert rpc is not None
    assert decode_rpc(rpc) == Rpc(
        subscriptions=(Subscription(True, TOPIC),),
        messages=(Message(TOPIC, b"ours", False), Message(TOPIC, b"theirs", False)),
        ihave=(IHave(TOPIC, (b"1" * 20,)),),
        iwant=(b"2" * 20,),
        graft=(TOPIC,),
    )
    assert not outbox
    assert outbox.next_rpc() is None
    assert outbox.size == 0


def test_a_full_outbox_is_split_into_rpcs_that_others_accept_and_loses_nothing() -> None:
    params = Params()
    outbox = Outbox(params)
    topics = [f"topic/{number}" for number in range(250)]
    for topic in topics:
        outbox.put_subscription(topic, True)
        assert outbox.put_graft(topic)
        ids = [bytes([number % 256]) * 20 for number in range(50)]
        outbox.put_ihave(topic, encode_ihave(topic, ids))
    outbox.put_iwant([number.to_bytes(20, "big") for number in range(5000)])
    own = [bytes([number]) * (number * 80) for number in range(100)]
    others = [number.to_bytes(2, "big") for number in range(1500)]
    assert all(outbox.put_own(encode_publish(TOPIC, data)) for data in own)
    assert all(outbox.put_forwarded(encode_publish(TOPIC, data)) for data in others)

    rpcs = []
    while (rpc := outbox.next_rpc()) is not None:
        assert 0 < len(rpc) <= params.max_rpc_bytes
        rpcs.append(decode_rpc(rpc))
    assert [entry.topic for rpc in rpcs for entry in rpc.subscriptions] == topics
    assert [topic for rpc in rpcs for topic in rpc.graft] == topics
    assert [entry.topic for rpc in rpcs for entry in rpc.ihave] == topics
    assert [mid for rpc in rpcs for mid in rpc.iwant] == [number.to_bytes(20, "big") for number in range(5000)]
    assert [message.data for rpc in rpcs for message in rpc.messages] == own + others
    assert outbox.size == 0


def test_a_full_class_refuses_what_comes_last_and_leaves_room_for_the_others() -> None:
    outbox = Outbox(Params(own_queue_bytes=1000, forward_queue_bytes=1000, control_queue=2))
    assert outbox.put_forwarded(bytes(600))
    assert not outbox.put_forwarded(bytes(600))
    assert outbox.put_own(bytes(600))
    assert not outbox.put_own(bytes(600))
    assert outbox.put_graft("a")
    assert outbox.put_prune("b", 60)
    assert not outbox.put_graft("c")
    assert outbox.put_prune("a", 60), "the newest word about a topic replaces the older one"
    assert outbox.size == 1200


def test_joining_and_leaving_before_the_peer_could_see_it_is_nothing() -> None:
    outbox = Outbox(Params())
    outbox.put_subscription("a", True)
    outbox.put_subscription("a", False)
    assert not outbox


# -------------------------------------------------------------------------------------------------------- framing


@given(st.lists(st.binary(max_size=300), max_size=20), st.data())
def test_items_survive_any_cutting_of_the_stream(items: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(frame_with_length(item) for item in items)
    deframer = Deframer(300)
    got: list[bytes] = []
    while stream:
        cut = data.draw(st.integers(1, len(stream)))
        got += deframer.feed(stream[:cut])
        stream = stream[cut:]
    assert got == items
    assert deframer.pending == 0


def test_varints() -> None:
    assert [encode_varint(n).hex() for n in (0, 1, 127, 128, 300, 65536)] == [
        "00",
        "01",
        "7f",
        "8001",
        "ac02",
        "808004",
    ]
    with pytest.raises(ValueError, match="zero"):
        encode_varint(-1)


def feed_in_steps(deframer: Deframer, data: bytes, step: int) -> None:
    for start in range(0, len(data), step):
        deframer.feed(data[start : start + step])


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        ("8100", Reason.LENGTH),  # 1, spelled with two digits
        ("808000", Reason.LENGTH),  # 0, spelled with three
        ("808080", Reason.LENGTH),  # a fourth digit would follow
        ("ffffffffffffffffff01", Reason.LENGTH),
        ("818004", Reason.SIZE),  # 65,537
    ],
)
def test_a_bad_length_is_refused_for_good(stream: str, reason: Reason) -> None:
    for step in (1, 100):
        deframer = Deframer(65536)
        data = bytes.fromhex(stream)
        with pytest.raises(Refused) as caught:
            feed_in_steps(deframer, data, step)
        assert caught.value.reason is reason
        with pytest.raises(Refused):
            deframer.feed(b"\x00")
        assert deframer.pending == 0


def test_the_largest_item_passes_and_is_not_kept_before_its_length_is_known_to_be_allowed() -> None:
    deframer = Deframer(65536)
    item = bytes(65536)
    stream = frame_with_length(item)
    assert deframer.feed(stream[:-1]) == []
    assert deframer.pending == len(stream) - 1
    assert deframer.feed(stream[-1:] + frame_with_length(b"next")) == [item, b"next"]


@given(st.binary(max_size=200))
def test_garbage_on_a_stream_is_cut_or_refused(data: bytes) -> None:
    deframer = Deframer(50)
    refusal = None
    items: list[bytes] = []
    try:
        items = deframer.feed(data)
    except Refused as refused:
        refusal = refused.reason
    assert refusal in {None, Reason.LENGTH, Reason.SIZE}
    if refusal is None:
        assert b"".join(frame_with_length(item) for item in items) == data[: len(data) - deframer.pending]
        assert deframer.pending <= 50 + 1
