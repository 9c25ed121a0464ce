"""Attacks with bytes alone: mutants, spellings, signatures in the wrong place, weak keys."""

import hashlib
import random
import time
from collections import Counter

from protocol.board import Board
from protocol.codec import encode
from protocol.envelope import Realm, open_frame, read_frame, sign
from protocol.errors import Refused
from protocol.gossip import Join, Judgement, Params, PeerUp, Router, RpcReceived, Verdict
from protocol.gossip.rpc import encode_control, encode_prune, encode_publish, encode_subscription
from protocol.keys import SigningKey, verifies
from protocol.kinds import KINDS
from tests.driver import NET
from tests.fuzz.changes import change_bytes
from tests.fuzz.mutants import FUZZERS
from tests.protocol.people import ALICE, MALLORY, NOW, author_of, one_of_each

from .figures import Figure, at_least, at_most, told
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
    stages: Counter[str] = Counter()
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
        stages["decoded"] += router.statistics().counters.get("rpc.received", 0) - before
    began = time.perf_counter()
    router.handle(PeerUp("carol", outbound=False, ip=""), now)
    router.handle(RpcReceived("carol", encode_publish(TOPIC, forger.good().frame)), now)
    took = time.perf_counter() - began
    ledger = router.ledger("carol")
    assert ledger is not None
    return [
        at_least("T1", f"{count} RPC mutants, none raised: decoded", stages["decoded"], min(5000, count // 20)),
        at_least("T1", "an honest wish right after them: believed", ledger.first, 1),
        at_most("T1", "after", took, 1, " s"),
    ]


def _router() -> Router:
    board = Board(NET)

    def judge(topic: str, data: bytes, via: str, _now: float) -> Judgement:
        heard = board.hear(data, DIVISION, via, NOW)
        if heard.accepted:
            return Judgement(Verdict.ACCEPT)
        return Judgement(Verdict.REJECT if heard.rejected else Verdict.IGNORE, remember=heard.remember)

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
    return [
        at_most("T10", f"{len(wide)} other spellings of a wish: believed", accepted, 0),
        at_least("T10", "the wish itself, after them", heard, 1),
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


RFC_8032 = (
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").hexdigest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
)
"""Secret, public, message, signature: the test vectors of RFC 8032, 7.1 (all but the long one)."""

ACCEPTED_CASES = "088651bab61aac510c85bd156ec3a5bddf9cee621a3a5a18376c5efec624fd89"
"""SHA-256 over what is accepted of `points.cases()`, a bit each, as bytes. Another library, or another version of this
one, that takes one signature more or less splits the network: then this is not equal."""


def weak_keys() -> list[Figure]:
    """T12: what is accepted of keys and signatures made to be borderline."""
    made = sum(
        SigningKey(bytes.fromhex(secret)).public.hex() == public
        and SigningKey(bytes.fromhex(secret)).sign(bytes.fromhex(message)).hex() == signature
        and verifies(bytes.fromhex(public), bytes.fromhex(signature), bytes.fromhex(message))
        for secret, public, message, signature in RFC_8032
    )
    all_cases = list(cases())
    bits = [verifies(case.public, case.signature, case.message) for case in all_cases]
    wrong = [case.what for case, bit in zip(all_cases, bits, strict=True) if bit != case.expected()]
    pinned = bitmap(bits)
    spelled = x25519_spellings()
    shared = 0
    for public in spelled:
        for keys in (ALICE.box.box_side_keys, MALLORY.box.vendor_side_keys):
            try:
                keys(public)
            except ValueError:
                continue
            shared += 1
    return [
        at_least("T12", "vectors of RFC 8032 made and verified", made, len(RFC_8032)),
        at_most("T12", f"{len(all_cases)} borderline signatures: judged unlike the rule", len(wrong), 0),
        told("T12", "of them accepted; a verifier with cofactor takes all", f"{sum(bits)}"),
        Figure("T12", "their bitmap is the pinned one", pinned[:16], ACCEPTED_CASES[:16], pinned == ACCEPTED_CASES),
        at_most("T12", f"{len(spelled)} X25519 keys of small order: agreed with", shared, 0),
    ]  # fmt: skip


def bitmap(bits: list[bool]) -> str:
    return hashlib.sha256("".join("01"[bit] for bit in bits).encode()).hexdigest()
