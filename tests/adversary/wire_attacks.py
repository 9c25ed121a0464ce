"""Attacks with bytes alone: mutants, spellings, signatures in the wrong place, weak keys."""

import hashlib
import random
import time

from node.gossip import judgement_on
from protocol.board import Board
from protocol.codec import encode
from protocol.envelope import Realm, open_frame, read_frame, sign
from protocol.errors import Refused
from protocol.gossip import Join, Judgement, Params, PeerUp, Router, RpcReceived
from protocol.gossip.rpc import encode_control, encode_prune, encode_publish, encode_subscription
from protocol.keys import SigningKey, verifies
from protocol.kinds import KINDS
from tests.driver import NET
from tests.fuzz.changes import change_bytes
from tests.fuzz.mutants import FUZZERS
from tests.protocol.people import ALICE, MALLORY, NOW, author_of, one_of_each
from tests.vectors.ed25519.vectors import Signed, cctv, rfc_8032, wycheproof, x25519
from tests.vectors.frame_vectors import board_for, refused_frames

from .figures import Figure, at_least, at_most, told, within
from .frames import (
    DIVISION,
    TOPIC,
    Forger,
    broken_rpcs,
    graft_flood,
    id_flood,
    ihave_flood,
    iwant_flood,
    subscription_flood,
)
from .points import cases, x25519_spellings


def mutants(frames: int, rpcs: int, seed: int = 1) -> list[Figure]:
    """T1: mutated frames and items (half of them signed again) and mutated RPCs."""
    found = []
    for name, make in FUZZERS.items():
        tally = make(seed).run(frames // 2)
        thinnest = min(tally.stages, key=lambda stage: tally.reached[stage])
        least = frames // 24
        found.append(
            at_least("T1", f"{frames // 2} {name} mutants: reached {thinnest}", tally.reached[thinnest], least)
        )
        found.append(at_most("T1", "believed twice", tally.second_effects, 0))
    return [*found, *rpc_mutants(rpcs, seed)]


def rpc_mutants(count: int, seed: int = 1) -> list[Figure]:
    """Any exception ends it. Each peer sends two: after a few more nothing of it would be decoded."""
    rng = random.Random(seed)
    forger = Forger(f"rpc {seed}", NOW)
    bases = [next(flood(rng)) for flood in (subscription_flood, ihave_flood, graft_flood, id_flood)]
    bases += [next(iwant_flood(rng, rng.randbytes(20))), *broken_rpcs(rng)]
    bases += [encode_publish(TOPIC, forger.good().frame), encode_control([encode_prune(TOPIC, 2**63)])]
    decoded = 0
    router, now = _router(), 0.0
    for number in range(count):
        if number % 200 == 0:
            router, now = _router(), 0.0
        now += 0.01
        data = rng.choice(bases)
        if len(data) > 3000 and rng.random() < 0.9:
            data = data[: rng.randint(1, 3000)]
        for _ in range(rng.randint(0, 2)):
            data = change_bytes(data, rng)
        before = router.statistics().counters.get("rpc.received", 0)
        router.handle(RpcReceived(f"peer {number % 100}", data), now)
        decoded += router.statistics().counters.get("rpc.received", 0) - before
    began = time.perf_counter()
    router.handle(PeerUp("carol", outbound=False, ip=""), now)
    router.handle(RpcReceived("carol", encode_publish(TOPIC, forger.good().frame)), now)
    took = time.perf_counter() - began
    ledger = router.ledger("carol")
    assert ledger is not None
    return [
        at_least("T1", f"{count} RPC mutants, none raised: decoded", decoded, min(5000, count // 20)),
        at_least("T1", "an honest wish right after them: believed", ledger.first, 1),
        within("T1", "after", took, 1),
    ]


def _router() -> Router:
    board = Board(NET)

    def judge(topic: str, data: bytes, via: str, _now: float) -> Judgement:
        return judgement_on(board.hear(data, DIVISION, via, NOW))

    router = Router(Params(), judge, random.Random(1), lambda topic: topic.startswith(f"intentcast/1/{NET}/"))
    router.handle(Join(TOPIC), 0.0)
    for number in range(100):
        router.handle(PeerUp(f"peer {number}", outbound=False, ip=""), 0.0)
        router.handle(RpcReceived(f"peer {number}", encode_subscription(TOPIC, True)), 0.0)
    return router


def spellings() -> list[Figure]:
    """T10: the same wish in other bytes. None is believed, and none of them has an id that mutes the real one."""
    board = Board(NET)
    forger = Forger("spellings", NOW)
    good = forger.good()
    frame = read_frame(good.frame)
    wide = [
        b"\xdc\x00\x03" + good.frame[1:],  # lengths in more bytes than needed
        b"\x93\xc5\x00\x20" + good.frame[3:],
        good.frame[:35] + b"\xc5\x00\x40" + good.frame[37:],
        good.frame[:101] + b"\xc6\x00\x00" + good.frame[102:],
        good.frame + b"\x00",
        good.frame[:-1],
        encode([frame.key, frame.signature, frame.payload, 1]),
        encode({"k": frame.key, "s": frame.signature, "p": frame.payload}),
    ]
    half = int.from_bytes(frame.signature[32:], "little") + 2**252 + 27742317777372353535851937790883648493
    wide.append(encode([frame.key, frame.signature[:32] + half.to_bytes(32, "little"), frame.payload]))
    accepted = sum(board.hear(bytes(data), DIVISION, "mallory", NOW).accepted for data in wide)
    heard = board.hear(good.frame, DIVISION, "carol", NOW).accepted
    corpus = refused_frames()
    believed = sum(
        board_for(case).hear(case.frame, case.division, "mallory", case.now).accepted for case in corpus.values()
    )
    return [
        at_most("T10", f"{len(wide)} other spellings of a wish: believed", accepted, 0),
        at_least("T10", "the wish itself, after them", heard, 1),
        at_most("T10", f"{len(corpus)} frames of bad form, of the vectors: believed", believed, 0),
    ]


def realms() -> list[Figure]:
    """T11: every kind's payload signed for each realm and network, tried in each."""
    nets = (NET, "other")
    accepted = tried = wrong = 0
    for kind, message in one_of_each().items():
        payload, key = read_frame(message.frame).payload, author_of(message).key
        for signed_realm in Realm:
            for signed_net in nets:
                frame = sign(payload, key, signed_realm, signed_net)
                for realm in Realm:
                    for net in nets:
                        tried += 1
                        right = signed_realm is realm and signed_net == net == message.head.net
                        try:
                            open_frame(frame, realm, net)
                        except Refused:
                            wrong += right
                            continue
                        accepted += not right
        assert kind in KINDS
    return [
        at_most("T11", f"{tried} signatures in a place: believed in the wrong one", accepted, 0),
        at_most("T11", "refused in the right one", wrong, 0),
    ]


ACCEPTED_CASES = "088651bab61aac510c85bd156ec3a5bddf9cee621a3a5a18376c5efec624fd89"
"""SHA-256 over what is accepted of `points.cases()`, a bit each, as bytes. Another library, or another version of this
one, that takes one signature more or less splits the network: then this is not equal."""


def weak_keys() -> list[Figure]:
    """T12: what is accepted of keys and signatures made to be borderline, by others and by us."""
    made = sum(SigningKey(one.secret).sign(one.message) == one.signature for one in rfc_8032())
    borderline = list(cases())
    bits = [verifies(case.public, case.signature, case.message) for case in borderline]
    wrong = sum(bit != case.expected() for case, bit in zip(borderline, bits, strict=True))
    pinned = bitmap(bits)
    weak = [one.public for one in x25519() if not any(one.shared)]
    return [
        at_least("T12", "signatures of RFC 8032 made", made, 5),
        *_judged("Wycheproof", wycheproof()),
        *_judged("CCTV", cctv()),
        at_most("T12", f"{len(borderline)} borderline signatures of our own: judged unlike the rule", wrong, 0),
        told("T12", "of them accepted; a verifier with cofactor takes all", f"{sum(bits)}"),
        Figure("T12", "their bitmap is the pinned one", pinned[:16], ACCEPTED_CASES[:16], pinned == ACCEPTED_CASES),
        at_most("T12", f"{len(weak)} weak X25519 keys of Wycheproof: agreed with", _agreed_with(weak), 0),
        at_most("T12", "and in every spelling there is", _agreed_with(x25519_spellings()), 0),
    ]


def _judged(whose: str, vectors: list[Signed]) -> list[Figure]:
    bits = [verifies(one.public, one.signature, one.message) for one in vectors]
    wrong = sum(bit != one.right for one, bit in zip(vectors, bits, strict=True))
    return [
        at_most("T12", f"{len(vectors)} signatures of {whose}: judged unlike the rule", wrong, 0),
        told("T12", "of them accepted", f"{sum(bits)}"),
    ]


def _agreed_with(publics: list[bytes]) -> int:
    shared = 0
    for public in publics:
        for keys in (ALICE.box.box_side_keys, MALLORY.box.vendor_side_keys):
            try:
                keys(public)
            except ValueError:
                continue
            shared += 1
    return shared


def bitmap(bits: list[bool]) -> str:
    return hashlib.sha256("".join("01"[bit] for bit in bits).encode()).hexdigest()
