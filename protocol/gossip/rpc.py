"""The pubsub RPC: what stands between two lengths on a gossip stream.

The message is the one of libp2p/specs, `pubsub/README.md` and `pubsub/gossipsub/gossipsub-v1.1.md`; its description
is below instead of in a generated file, in a pool of its own, so that another libp2p in the process is not disturbed.
Two liberties, neither seen on the wire: topics and ids are declared as bytes (go and py-libp2p put raw hashes into
fields that are declared as text), and `topic` is optional, so that its absence is ours to judge.

Reading is done by protobuf's C runtime. Writing is done here: each piece of an RPC is made once, as bytes, and shared
by all the peers it goes to. A second `control` field in one RPC would replace the first one in js and rust, so the
pieces of control are joined in one.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

from ..errors import Reason, Refused
from ..framing import encode_varint
from ..limits import GOSSIP_ID_BYTES, MAX_RPC

MAX_SUBSCRIPTIONS: Final = 256
"""In one RPC. A node of ours carries about 26 topics, others some hundred; 64 KiB could hold 32,000 empty ones."""
MAX_MESSAGES: Final = 512
"""In one RPC. A signed frame with its topic has over 160 bytes, so 64 KiB hold at most 400 of ours."""
MAX_IDS: Final = 3_000
"""In one RPC, in all its IHAVE and IWANT: what 64 KiB hold of our ids."""
MAX_CONTROL: Final = 512
"""IHAVE, IWANT, GRAFT and PRUNE in one RPC, together."""


def _describe() -> Any:
    """The class of the RPC, made from its description."""
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="intentcast/gossip.proto", package="intentcast.gossip")
    file.syntax = "proto2"

    def describe(name: str, **fields: tuple[int, str]) -> None:
        described = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            repeated = kind.endswith("*")
            field = described.field.add(name=field_name.rstrip("_"), number=number)
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            match kind.rstrip("*"):
                case "bytes":
                    field.type = kinds.TYPE_BYTES
                case "bool":
                    field.type = kinds.TYPE_BOOL
                case "uint64":
                    field.type = kinds.TYPE_UINT64
                case other:
                    field.type = kinds.TYPE_MESSAGE
                    field.type_name = f".intentcast.gossip.{other}"

    describe("SubOpts", subscribe=(1, "bool"), topicid=(2, "bytes"))
    describe(
        "Message",
        from_=(1, "bytes"),
        data=(2, "bytes"),
        seqno=(3, "bytes"),
        topic=(4, "bytes"),
        signature=(5, "bytes"),
        key=(6, "bytes"),
    )
    describe("ControlIHave", topicID=(1, "bytes"), messageIDs=(2, "bytes*"))
    describe("ControlIWant", messageIDs=(1, "bytes*"))
    describe("ControlGraft", topicID=(1, "bytes"))
    describe("PeerInfo", peerID=(1, "bytes"), signedPeerRecord=(2, "bytes"))
    describe("ControlPrune", topicID=(1, "bytes"), peers=(2, "PeerInfo*"), backoff=(3, "uint64"))
    describe(
        "ControlMessage",
        ihave=(1, "ControlIHave*"),
        iwant=(2, "ControlIWant*"),
        graft=(3, "ControlGraft*"),
        prune=(4, "ControlPrune*"),
    )
    describe("RPC", subscriptions=(1, "SubOpts*"), publish=(2, "Message*"), control=(3, "ControlMessage"))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("intentcast.gossip.RPC"))


_RPC: Final = _describe()

# ------------------------------------------------------------------------------------------------------ reading


class Subscription(NamedTuple):
    subscribe: bool
    topic: str


class Message(NamedTuple):
    topic: str
    data: bytes
    signed: bool
    """One of from, seqno, signature and key is present, be it empty."""


class IHave(NamedTuple):
    topic: str
    ids: tuple[bytes, ...]


class Prune(NamedTuple):
    topic: str
    backoff: int | None
    """Seconds, any 64-bit number; None: not said."""


class Rpc(NamedTuple):
    subscriptions: tuple[Subscription, ...] = ()
    messages: tuple[Message, ...] = ()
    ihave: tuple[IHave, ...] = ()
    iwant: tuple[bytes, ...] = ()
    graft: tuple[str, ...] = ()
    prune: tuple[Prune, ...] = ()


def decode_rpc(data: bytes) -> Rpc:
    """What an RPC says. Fields we do not know are ignored; peers offered with a PRUNE are not read (PX is off).

    Raises Refused, and nothing else: SIZE (over MAX_RPC), RPC (not protobuf of this shape), TEXT (a topic that is not
    UTF-8), COUNT (more entries than allowed).
    """
    if len(data) > MAX_RPC:
        raise Refused(Reason.SIZE, f"{len(data)} bytes, at most {MAX_RPC}")
    try:
        raw = _RPC.FromString(data)
    except message.DecodeError:
        raise Refused(Reason.RPC, "not protobuf") from None
    subscriptions: tuple[Subscription, ...] = ()
    messages: tuple[Message, ...] = ()
    try:
        if raw.publish:
            _check_count("messages", len(raw.publish), MAX_MESSAGES)
            messages = tuple([Message(entry.topic.decode(), entry.data, _is_signed(entry)) for entry in raw.publish])
        if raw.subscriptions:
            _check_count("subscriptions", len(raw.subscriptions), MAX_SUBSCRIPTIONS)
            subscriptions = tuple([Subscription(one.subscribe, one.topicid.decode()) for one in raw.subscriptions])
        if not raw.HasField("control"):
            return Rpc(subscriptions, messages)
        control = raw.control
        entries = len(control.ihave) + len(control.iwant) + len(control.graft) + len(control.prune)
        _check_count("control entries", entries, MAX_CONTROL)
        ids = sum([len(entry.messageIDs) for entry in control.ihave])
        ids += sum([len(entry.messageIDs) for entry in control.iwant])
        _check_count("ids", ids, MAX_IDS)
        return Rpc(
            subscriptions,
            messages,
            tuple([IHave(entry.topicID.decode(), tuple(entry.messageIDs)) for entry in control.ihave]),
            tuple([message_id for entry in control.iwant for message_id in entry.messageIDs]),
            tuple([entry.topicID.decode() for entry in control.graft]),
            tuple(
                [
                    Prune(entry.topicID.decode(), entry.backoff if entry.HasField("backoff") else None)
                    for entry in control.prune
                ]
            ),
        )
    except UnicodeDecodeError:
        raise Refused(Reason.TEXT, "a topic that is not UTF-8") from None


def _is_signed(entry: Any) -> bool:
    present = entry.HasField
    return bool(present("from") or present("seqno") or present("signature") or present("key"))


def _check_count(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise Refused(Reason.COUNT, f"{count} {what}, at most {limit}")


# ------------------------------------------------------------------------------------------------------ writing


def message_id(topic: str, data: bytes) -> bytes:
    """What the network calls a message. Binds the topic: a copy on another topic has another id, and mutes nothing."""
    name = topic.encode()
    return hashlib.sha256(len(name).to_bytes(8, "big") + name + data).digest()[:GOSSIP_ID_BYTES]


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field; numbers below 16 only."""
    return bytes((number << 3 | 2,)) + encode_varint(len(content)) + content


@lru_cache(maxsize=1024)
def _text_field(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def encode_publish(topic: str, data: bytes) -> bytes:
    """A message as a piece of an RPC: made once, and put as it is into the RPC to each peer."""
    return _field(2, _field(2, data) + _text_field(4, topic))


def encode_subscription(topic: str, subscribe: bool) -> bytes:
    """A piece of an RPC."""
    return _field(1, (b"\x08\x01" if subscribe else b"\x08\x00") + _text_field(2, topic))


def encode_ihave(topic: str, ids: Iterable[bytes]) -> bytes:
    """A piece of control."""
    return _field(1, _text_field(1, topic) + b"".join([_field(2, message_id) for message_id in ids]))


def encode_iwant(ids: Iterable[bytes]) -> bytes:
    """A piece of control."""
    return _field(2, b"".join([_field(1, message_id) for message_id in ids]))


def encode_graft(topic: str) -> bytes:
    """A piece of control."""
    return _field(3, _text_field(1, topic))


def encode_prune(topic: str, backoff: int | None) -> bytes:
    """A piece of control. `backoff` in seconds; None for a peer that speaks 1.0 only."""
    said = b"" if backoff is None else b"\x18" + encode_varint(backoff)
    return _field(4, _text_field(1, topic) + said)


def encode_control(pieces: Iterable[bytes]) -> bytes:
    """All control of an RPC, as one piece of it."""
    return _field(3, b"".join(pieces))
