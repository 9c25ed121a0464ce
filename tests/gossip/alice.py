"""Alice: one router, told one thing after the other."""

import random
from collections.abc import Collection

from protocol.gossip import (
    AppScore,
    Effect,
    Heartbeat,
    Join,
    Judge,
    Locate,
    Params,
    PeerUp,
    Router,
    RpcReceived,
    public_place,
)
from protocol.gossip.rpc import (
    Rpc,
    decode_rpc,
    encode_control,
    encode_graft,
    encode_ihave,
    encode_iwant,
    encode_publish,
    encode_subscription,
)

from .world import TOPIC, accept_all, is_ours

HELLO = encode_subscription(TOPIC, True)
BYE = encode_subscription(TOPIC, False)
GRAFT = encode_control([encode_graft(TOPIC)])


class Alice:
    """A router with a hand on its clock, and on what leaves it."""

    def __init__(self, judge: Judge = accept_all, params: Params | None = None, *, join: bool = True) -> None:
        self.router = Router(params or Params(), judge, random.Random(7), is_ours)
        self.now = 0.0
        if join:
            self.router.handle(Join(TOPIC), self.now)

    def hear(self, peer: str, data: bytes) -> list[Effect]:
        return self.router.handle(RpcReceived(peer, data), self.now)

    def meet(self, *peers: str, outbound: bool = False, hello: bytes = HELLO) -> None:
        """Peers come up and say hello; what Alice answers is thrown away."""
        for peer in peers:
            self.router.handle(PeerUp(peer, outbound), self.now)
            self.hear(peer, hello)
            self.said(peer)

    def said(self, peer: str) -> list[Rpc]:
        rpcs = []
        while (rpc := self.router.next_rpc(peer)) is not None:
            rpcs.append(decode_rpc(rpc))
        return rpcs

    def beat(self, seconds: float = 1.0) -> list[Effect]:
        self.now += seconds
        return self.router.handle(Heartbeat(), self.now)

    def count(self, name: str) -> int:
        return self.router.statistics().counters.get(name, 0)


def crowd(count: int) -> list[str]:
    return [f"peer{number:02}" for number in range(count)]


def message(data: bytes, topic: str = TOPIC) -> bytes:
    return encode_publish(topic, data)


class Careful(Alice):
    """Alice with an opinion of her own (P5), static peers, and an eye for addresses."""

    def __init__(
        self,
        params: Params | None = None,
        *,
        app_score: AppScore | None = None,
        static: Collection[str] = (),
        locate: Locate = public_place,
    ) -> None:
        super().__init__(params=params)
        self.opinion: dict[str, float] = {}
        self.router = Router(
            params or Params(),
            accept_all,
            random.Random(7),
            is_ours,
            app_score=app_score or (lambda peer: self.opinion.get(peer, 0.0)),
            static=static,
            locate=locate,
        )
        self.router.handle(Join(TOPIC), 0.0)

    def meet_at(self, ip: str, *peers: str, outbound: bool = False) -> None:
        for peer in peers:
            self.router.handle(PeerUp(peer, outbound, ip=ip), self.now)
            self.hear(peer, HELLO)
            self.said(peer)

    def earn(self, peer: str, times: int) -> None:
        """The peer is the first to bring so many messages."""
        for number in range(times):
            self.hear(peer, message(f"{peer} {self.now} {number}".encode()))


def points(alice: Alice, peer: str) -> float:
    score = alice.router.score(peer, alice.now)
    assert score is not None
    return score.total


def ihave(*ids: bytes, topic: str = TOPIC) -> bytes:
    return encode_control([encode_ihave(topic, ids)])


def iwant(*ids: bytes) -> bytes:
    return encode_control([encode_iwant(ids)])
