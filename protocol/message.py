"""From a verified envelope to a believed message, and from our own words to a signed frame."""

from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Annotated, Any

from . import schema
from .codec import Map, Value, encode
from .envelope import Envelope, Realm, id_of, open_frame, sign, zero_bits
from .errors import Reason, Refused
from .keys import SigningKey
from .kinds import KINDS, Body, Kind
from .limits import MAX_GOSSIP_FRAME, MAX_ITEM, MAX_LIFE, MAX_SKEW, VERSION
from .schema import Bin, Int, Text

MAX_INSTANT = 2**40
"""Seconds UTC; the year 36812. Keeps sums of instants far from the end of int64."""

_ROUTING = ("ref", "root", "to", "tkey", "stamp")
_ROUTING_SET = frozenset(_ROUTING)


@dataclass(frozen=True, slots=True)
class Head:
    """The fields every payload has, and those some kinds ask for."""

    v: Annotated[int, Int(0)]
    net: Annotated[str, Text(32, r"[a-z0-9-]+")]
    kind: Annotated[str, Text(64, r"[a-z0-9.]+")]
    at: Annotated[int, Int(0, MAX_INSTANT)]
    """Created, seconds UTC by the author's clock. Decides nothing between two parties."""
    exp: Annotated[int, Int(0, MAX_INSTANT)]
    """The instant from which it is void."""
    seq: Annotated[int, Int(0)]
    salt: Annotated[bytes, Bin(16)]
    ref: Annotated[bytes | None, Bin(32)] = None
    root: Annotated[bytes | None, Bin(32)] = None
    to: Annotated[bytes | None, Bin(32)] = None
    tkey: Annotated[bytes | None, Bin(32)] = None
    stamp: Annotated[bytes | None, Bin(8)] = None


@dataclass(frozen=True, slots=True)
class Message:
    """Something somebody said, believed: signed by `author` for this network, well-typed, of a known kind."""

    id: bytes
    author: bytes
    head: Head
    body: Body
    frame: bytes = field(repr=False)

    @property
    def kind(self) -> str:
        return self.head.kind

    @property
    def root(self) -> bytes:
        """The id of the wish's first frame; for that frame, its own."""
        return self.head.root if self.head.root is not None else self.id

    @property
    def ref(self) -> bytes:
        """What it answers. Only for kinds whose row in the table has `ref`."""
        assert self.head.ref is not None
        return self.head.ref

    def expects_ack(self) -> bool:
        return KINDS[self.kind].acked


def believe(envelope: Envelope) -> Message:
    """Judge what a verified envelope says, from itself alone: no clock, no memory. Raises Refused."""
    return believe_body(envelope, *read_head(envelope.fields, envelope.realm))


def believe_body(envelope: Envelope, head: Head, kind: Kind) -> Message:
    """The same for a caller who has read the head already. Raises Refused."""
    body = schema.read(kind.body, envelope.fields.get("body"))
    return Message(envelope.id, envelope.author, head, body, envelope.frame)


def read_head(fields: Map, realm: Realm) -> tuple[Head, Kind]:
    """The common fields and the kind they name, before any signature is checked. Raises Refused."""
    name = fields.get("kind")
    kind = KINDS.get(name) if isinstance(name, str) else None
    if kind is not None and kind.realm is not realm:
        kind = None
    # A routing field where its kind has none is like any unknown field: kept in the signed bytes, and ignored.
    foreign = _ROUTING_SET - kind.head if kind is not None else _ROUTING_SET
    said = fields
    if not foreign.isdisjoint(fields):
        said = {key: value for key, value in fields.items() if key not in foreign}
    head = schema.read(Head, said, "head", Reason.HEAD)
    if head.v != VERSION:
        raise Refused(Reason.VERSION, f"version {head.v}")
    if head.exp <= head.at or head.exp - head.at > MAX_LIFE:
        raise Refused(Reason.LIFE, "lives not at all or longer than 30 days")
    if kind is None:
        raise Refused(Reason.UNKNOWN_KIND, f"no kind of realm {realm.value}")
    missing = [needed for needed in kind.head if getattr(head, needed) is None]
    if missing:
        raise Refused(Reason.HEAD, f"head.{min(missing)}: is missing")
    _check_extensions(fields.get("ext"))
    return head, kind


def check_time(head: Head, now: int) -> None:
    """Raises Refused for what is early or expired on a clock that shows `now`."""
    if head.at > now + MAX_SKEW:
        raise Refused(Reason.EARLY, "from the future")
    grace = MAX_SKEW if head.kind == "intent.close" else 0
    if now > head.exp + grace or (not grace and now == head.exp):
        raise Refused(Reason.EXPIRED, "its time is over")


def _check_extensions(ext: Value | None) -> None:
    if ext is None:
        return
    if not isinstance(ext, dict):
        raise Refused(Reason.HEAD, "head.ext: a map was expected")
    critical = ext.get("crit", [])
    if not isinstance(critical, list) or not all(type(name) is str for name in critical):
        raise Refused(Reason.HEAD, "head.ext.crit: a list of names was expected")
    if critical:
        raise Refused(Reason.CRITICAL, "asks to understand an extension we do not know")


# ------------------------------------------------------------------------------------------------------- speaking


@dataclass(frozen=True, slots=True)
class Draft:
    """What we are about to say, unsigned."""

    kind: str
    body: Body
    net: str
    at: int
    exp: int
    seq: int
    salt: bytes
    ref: bytes | None = None
    root: bytes | None = None
    to: bytes | None = None
    tkey: bytes | None = None
    stamp: bytes | None = None

    def payload(self) -> bytes:
        fields: dict[str, Any] = {
            "v": VERSION,
            "net": self.net,
            "kind": self.kind,
            "at": self.at,
            "exp": self.exp,
            "seq": self.seq,
            "salt": self.salt,
            "body": schema.write(self.body),
        }
        for name in _ROUTING:
            value = getattr(self, name)
            if value is not None:
                fields[name] = value
        return encode(fields)


def speak(draft: Draft, key: SigningKey) -> Message:
    """Sign a draft. The frame is read back as a stranger would: we never say what we would refuse. Raises Refused."""
    realm = KINDS[draft.kind].realm
    if realm is Realm.GOSSIP and draft.stamp is None:
        draft = replace(draft, stamp=bytes(8))
    frame = sign(draft.payload(), key, realm, draft.net)
    limit = MAX_GOSSIP_FRAME if realm is Realm.GOSSIP else MAX_ITEM
    return believe(open_frame(frame, realm, draft.net, limit))


def mine_stamp(draft: Draft, public: bytes, bits: int, start: int = 0) -> Draft:
    """The draft with a stamp that gives its id `bits` trailing zero bits: about 2**bits hashes, deterministic.

    Bounded by nothing but luck: callers run it in a thread and fix `bits` from the network's table.
    """
    if bits == 0:
        return replace(draft, stamp=bytes(8))
    marker = b"\xa5" * 8
    payload = replace(draft, stamp=marker).payload()
    # `stamp` sorts behind `body`, whose texts are foreign: look for the key's own bytes from the end.
    at = payload.rindex(b"\xa5stamp\xc4\x08" + marker) + 8
    before = blake2b(public + payload[:at], digest_size=32)
    after = payload[at + 8 :]
    nonce = start
    while True:
        stamp = nonce.to_bytes(8, "big")
        attempt = before.copy()
        attempt.update(stamp + after)
        if zero_bits(attempt.digest()) >= bits:
            return replace(draft, stamp=stamp)
        nonce += 1


def stamp_bits(public: bytes, payload: bytes) -> int:
    """How many zero bits a gossip payload's id shows."""
    return zero_bits(id_of(public, payload))
