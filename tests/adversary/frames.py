"""What Mallory puts on the wire: frames that are not what they seem, and copies that would mute the real one."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

from protocol.codec import encode
from protocol.envelope import Realm, read_frame, sign
from protocol.framing import encode_varint
from protocol.gossip.rpc import (
    encode_control,
    encode_graft,
    encode_ihave,
    encode_iwant,
    encode_prune,
    encode_publish,
    encode_subscription,
)
from protocol.keys import SigningKey
from protocol.message import Draft, Message, mine_stamp, speak
from tests.driver import NET
from tests.protocol.people import WISH, twin_of, wish

TOPIC = f"intentcast/1/{NET}/intent/mobility"
DIVISION = "mobility"

Flood: TypeAlias = Callable[[random.Random], Iterator[bytes]]
"""RPCs without end."""

SMALL_ORDER_KEY = bytes([1]) + bytes(31)
"""The neutral element: as a key it would verify nearly everything, where a library lets it."""


class Forger:
    """Makes frames by the thousand, each by a key of its own, at an hour."""

    def __init__(self, seed: str, now: int, net: str = NET, category: str = "mobility.car") -> None:
        self.rng = random.Random(seed)
        self.now = now
        self.net = net
        self.category = category

    def draft(self, life: int = 3600) -> Draft:
        body = replace(WISH, box=self.rng.randbytes(32), offers_by=None, category=self.category)
        return Draft("intent", body, self.net, self.now, self.now + life, 0, self.rng.randbytes(16))

    def good(self, bits: int = 0, life: int = 3600) -> Message:
        """Nothing is wrong with it."""
        key = SigningKey(self.rng.randbytes(32))
        return speak(mine_stamp(self.draft(life), key.public, bits), key)

    # ------------------------------------------------------------------------------------------- what is refused

    def garbage(self) -> bytes:
        return self.rng.randbytes(self.rng.randint(1, 500))

    def unsigned(self) -> bytes:
        """All is well but the signature: refused at the last and dearest door."""
        frame = self.good().frame
        return frame[:37] + self.rng.randbytes(64) + frame[101:]

    def oversize(self) -> bytes:
        """Over the limit of gossip, and an RPC can still carry it."""
        return encode([self.rng.randbytes(32), self.rng.randbytes(64), self.rng.randbytes(9000)])

    def deep(self) -> bytes:
        """A thousand arrays in one another."""
        return b"\x91" * 1000 + b"\xc0"

    def wrong_realm(self) -> bytes:
        """Signed, but as a letter."""
        return self._signed(Realm.DIRECT, self.net)

    def other_net(self) -> bytes:
        return self._signed(Realm.GOSSIP, "another")

    def weak_key(self) -> bytes:
        """By a key that everybody has: small order, R and S to match."""
        payload = read_frame(self.good().frame).payload
        return encode([SMALL_ORDER_KEY, SMALL_ORDER_KEY + bytes(32), payload])

    def loose_spelling(self) -> bytes:
        """The array's length in two bytes more than it needs."""
        return b"\xdc\x00\x03" + self.good().frame[1:]

    def _signed(self, realm: Realm, net: str) -> bytes:
        payload = replace(self.draft(), net=net, stamp=bytes(8)).payload()
        return sign(payload, SigningKey(self.rng.randbytes(32)), realm, net)

    def bad(self) -> dict[str, bytes]:
        """One of each, by name."""
        makers = (
            self.garbage, self.unsigned, self.oversize, self.deep, self.wrong_realm, self.other_net, self.weak_key,
            self.loose_spelling,
        )  # fmt: skip
        return {make.__name__: make() for make in makers}


def twins(now: int) -> tuple[bytes, bytes]:
    """One wish under two signatures that both verify: what its author alone can make."""
    first = wish(at=now, exp=now + 3600)
    return first.frame, twin_of(first, Realm.GOSSIP)


# -------------------------------------------------------------------------------- copies, and RPCs by the thousand


def dressed(frame: bytes, topic: str = TOPIC) -> list[bytes]:
    """RPCs with the same message in clothes its id does not cover: `from`, `seqno`, `signature` and `key`, be they
    empty. Who remembers the id of a refused one is deaf to the good one."""
    content = _content(encode_publish(topic, frame))
    return [
        _publish(content + bytes([number << 3 | 2]) + encode_varint(len(value)) + value)
        for number in (1, 3, 5, 6)
        for value in (b"", b"x" * 36)
    ]


def cross_topic(frame: bytes) -> list[bytes]:
    """The frame on the channels of other divisions and networks."""
    return [encode_publish(topic, frame) for topic in (TOPIC.replace("mobility", "lodging"), "intentcast/1/x/intent/a")]


def _content(field: bytes) -> bytes:
    at = 1
    while field[at] & 0x80:
        at += 1
    return field[at + 1 :]


def _publish(content: bytes) -> bytes:
    return b"\x12" + encode_varint(len(content)) + content


def broken_rpcs(rng: random.Random) -> list[bytes]:
    """RPCs no implementation sends: no protobuf, too many of everything, text that is none."""
    return [
        rng.randbytes(64),
        b"\x12\xff\xff\xff\xff\x0f",
        encode_publish(TOPIC, b"x") * 600,
        encode_subscription(TOPIC, True) * 300,
        encode_control([encode_graft(TOPIC)] * 600),
        encode_control([encode_iwant([rng.randbytes(20) for _ in range(2900)]), encode_ihave(TOPIC, [b""] * 200)]),
        b"\x0a\x06\x08\x01\x12\x02\xff\xfe",
    ]


def subscription_flood(rng: random.Random) -> Iterator[bytes]:
    """Topics nobody has heard of, and ours on and off."""
    while True:
        foreign = (f"intentcast/1/{NET}/intent/x{rng.getrandbits(48):x}" for _ in range(200))
        yield b"".join(encode_subscription(topic, True) for topic in foreign) + b"".join(
            encode_subscription(TOPIC, on) for on in (False, True)
        )


def ihave_flood(rng: random.Random, ids: int = 300) -> Iterator[bytes]:
    """Promises nobody can keep."""
    while True:
        yield encode_control([encode_ihave(TOPIC, [rng.randbytes(20) for _ in range(ids)])])


def iwant_flood(rng: random.Random, wanted: bytes) -> Iterator[bytes]:
    """One message wanted a hundred times over, among ids nobody knows."""
    while True:
        yield encode_control([encode_iwant([wanted] * 100 + [rng.randbytes(20) for _ in range(200)])])


def graft_flood(rng: random.Random) -> Iterator[bytes]:
    """Into the mesh and out of it, whatever the answer."""
    while True:
        yield encode_control([encode_graft(TOPIC)])
        yield encode_control([encode_prune(TOPIC, 60)])


def id_flood(rng: random.Random) -> Iterator[bytes]:
    """Messages that are nothing, each with an id to remember."""
    while True:
        yield b"".join(encode_publish(TOPIC, rng.randbytes(40)) for _ in range(50))
