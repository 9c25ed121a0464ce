"""What reads bytes of strangers, each as a function of bytes alone that raises nothing but Refused; and what to begin
with, from the vectors.

Two of them sign and seal what they are given: no fuzzer finds a signature that verifies, and most rules are behind it.
"""

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from protocol.board import Board
from protocol.codec import decode
from protocol.envelope import Item, Realm, read_frame, read_item, seal, sign
from protocol.errors import Refused
from protocol.exchange import Side, Thread
from protocol.framing import Deframer, frame_with_length
from protocol.gossip import Heartbeat, Join, Judgement, Params, PeerUp, Router, RpcReceived, Verdict
from protocol.gossip.rpc import encode_publish
from protocol.kinds import KINDS
from protocol.letter import open_letter
from protocol.limits import MAX_RPC
from tests.adversary.frames import TOPIC, broken_rpcs, graft_flood, ihave_flood, iwant_flood, subscription_flood
from tests.protocol.people import ALICE, BOB, NET, NOW, wish
from tests.vectors import build
from tests.vectors.item_vectors import item_bytes

CRASHES: Final = Path(__file__).parent / "crashes"
"""Inputs that once raised something, named `reader-...`. They are read again whenever the tests run."""

WISH: Final = wish()


def read_frame_heard(data: bytes) -> None:
    """A message of gossip."""
    Board(NET).hear(data, "mobility", "mallory", NOW)


def read_payload(payload: bytes) -> None:
    """Any payload, under Alice's signature."""
    read_frame_heard(sign(payload, ALICE.key, Realm.GOSSIP, NET))


def read_stream(data: bytes) -> None:
    """All that a peer says on its gossip stream, to a router that has just met it: half a second from one RPC to the
    next, a heartbeat after every second one, and at the end so much time that promises are due and things forgotten."""
    judge = Judgement(Verdict.REJECT)
    router = Router(Params(), lambda *_: judge, random.Random(1), lambda topic: topic == TOPIC)
    router.handle(Join(TOPIC), 0.0)
    for peer in ("mallory", "carol"):
        router.handle(PeerUp(peer, outbound=False, ip=""), 0.0)
    now = 0.0
    for number, rpc in enumerate(Deframer(MAX_RPC).feed(data)):
        now += 0.5
        router.handle(RpcReceived("mallory", rpc), now)
        if number % 2:
            _beat(router, now)
    for later in (1.0, 5.0, 200.0):
        _beat(router, now + later)


def _beat(router: Router, now: float) -> None:
    """A heartbeat; and what the router has to say is said."""
    router.handle(Heartbeat(), now)
    for peer in ("mallory", "carol"):
        while router.next_rpc(peer) is not None:
            pass


def read_letter(data: bytes) -> None:
    """What comes to Alice on a direct stream; what she believes of it changes her thread with Bob."""
    item = read_item(data)
    if not isinstance(item, Item):
        return
    ends = {"me": ALICE.key.public, "root": WISH.id, "expected_author": BOB.key.public}
    message = open_letter(item, ALICE.box, own_is_box=True, net=NET, **ends)
    thread = Thread(WISH.id, ALICE.key.public, BOB.key.public, Side.REQUESTER)
    thread.add(WISH, NOW)
    thread.add(message, NOW)


def read_sealed(payload: bytes) -> None:
    """Any payload, signed by Bob and sealed for Alice."""
    fields = decode(payload)
    exp = fields.get("exp") if isinstance(fields, dict) else None
    frame = sign(payload, BOB.key, Realm.DIRECT, NET)
    outside = exp if type(exp) is int and exp >= 0 else 0
    read_letter(seal(frame, BOB.box, ALICE.box.public, own_is_box=False, n=0, exp=outside, nonce=bytes(24)).encoded())


READERS: Final[dict[str, Callable[[bytes], None]]] = {
    "frame": read_frame_heard,
    "payload": read_payload,
    "stream": read_stream,
    "letter": read_letter,
    "sealed": read_sealed,
}


def seeds(reader: str) -> list[bytes]:
    return list(SEEDS[reader]())


def _frames() -> Iterator[bytes]:
    vectors = build.load("refused_frames.json")
    yield from (bytes.fromhex(vector["frame"]) for vector in build.load("frames.json")["frames"])
    yield from (bytes.fromhex(vector["frame"]) for group in ("accepted", "refused") for vector in vectors[group])


def _payloads(realm: Realm) -> Iterator[bytes]:
    for frame in _frames():
        try:
            unverified = read_frame(frame)
            kind = KINDS.get(str(unverified.peek_unverified().get("kind")))
        except Refused:
            continue
        if kind is None or kind.realm is realm:
            yield unverified.payload


def _streams() -> Iterator[bytes]:
    rng = random.Random(1)
    said = [next(flood(rng)) for flood in (subscription_flood, ihave_flood, graft_flood)]
    said += [next(iwant_flood(rng, bytes(20))), encode_publish(TOPIC, WISH.frame), *broken_rpcs(rng)]
    yield from (frame_with_length(rpc) for rpc in said)
    yield b"".join(frame_with_length(rpc) for rpc in said if len(rpc) < 2000)


def _letters() -> Iterator[bytes]:
    vectors = build.load("items.json")
    yield from (bytes.fromhex(vector["item"]) for vector in vectors["good"])
    yield from (bytes.fromhex(vector["hint"]) for vector in vectors["hints"])
    yield from (item_bytes(vector["item"]) for vector in vectors["refused"])


SEEDS: Final[dict[str, Callable[[], Iterator[bytes]]]] = {
    "frame": _frames,
    "payload": partial(_payloads, Realm.GOSSIP),
    "stream": _streams,
    "letter": _letters,
    "sealed": partial(_payloads, Realm.DIRECT),
}
