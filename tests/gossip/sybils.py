"""Mallory's many: peers that speak the protocol and need not run it. They know of one another, and tell one another
everything at once.

An attacker is no honest router with a flaw, so these have none: they say what serves them.
"""

import random
from collections.abc import Callable

from protocol.gossip import Event, PeerDown, PeerUp, RpcReceived, message_id
from protocol.gossip.rpc import (
    Rpc,
    decode_rpc,
    encode_control,
    encode_graft,
    encode_ihave,
    encode_publish,
    encode_subscription,
)

from .world import TOPIC, World


class Sybils:
    """`forward`, `garbage`, `promises`: what they do with the messages of others, whether they send forged ones, and
    ids they do not have. Can be changed while the world runs."""

    def __init__(self, world: World, count: int, *, greedy: bool = False) -> None:
        self.world = world
        self.names = [f"sybil{number:02}" for number in range(count)]
        self.rng = random.Random(f"{world.seed}/sybils")
        self.forward = False
        self.garbage = False
        self.promises = False
        self.greedy = greedy  # asks to be in the mesh again as soon as it was put out
        self._links: dict[str, dict[str, None]] = {name: {} for name in self.names}
        self._again: dict[tuple[str, str], float] = {}  # who may graft whom again, and when
        self._heard: set[bytes] = set()
        for name in self.names:
            world.strangers[name] = self._ear_of(name)
        world.at(world.now + self.rng.random(), self._beat)

    def connect(self, name: str, victim: str) -> None:
        if not self.world.is_connected(name, victim):
            self.world.connect(name, victim)

    def surround(self, victims: list[str], links: int) -> None:
        """Each of them dials so many of the victims."""
        for name in self.names:
            for victim in self.rng.sample(victims, min(links, len(victims))):
                self.connect(name, victim)

    def _ear_of(self, name: str) -> Callable[[Event], None]:
        def hear(event: Event) -> None:
            match event:
                case PeerUp(peer):
                    self._links[name][peer] = None
                    self.world.send(name, peer, encode_subscription(TOPIC, True) + _graft())
                case PeerDown(peer):
                    self._links[name].pop(peer, None)
                case RpcReceived(peer, data):
                    self._hear(name, peer, decode_rpc(data))

        return hear

    def _hear(self, name: str, peer: str, rpc: Rpc) -> None:
        for prune in rpc.prune:
            wait = 0.0 if self.greedy else (prune.backoff or 60) + 1
            self._again[name, peer] = self.world.now + wait
        for message in rpc.messages:
            if self.forward and message.data not in self._heard:
                self._heard.add(message.data)
                for sybil in self.names:  # one hears, all tell
                    for other in self._links[sybil]:
                        self.world.send(sybil, other, encode_publish(message.topic, message.data))

    def _beat(self) -> None:
        for (name, peer), when in list(self._again.items()):
            if when <= self.world.now:
                del self._again[name, peer]
                self.world.send(name, peer, _graft())
        if self.garbage or self.promises:
            for name, links in self._links.items():
                for peer in links:
                    self._harass(name, peer)
        self.world.at(self.world.now + 1.0, self._beat)

    def _harass(self, name: str, peer: str) -> None:
        if self.garbage:
            self.world.send(name, peer, encode_publish(TOPIC, b"forged " + self.rng.randbytes(8)))
        if self.promises:
            ids = [message_id(TOPIC, self.rng.randbytes(8)) for _ in range(20)]
            self.world.send(name, peer, encode_control([encode_ihave(TOPIC, ids)]))


def _graft() -> bytes:
    return encode_control([encode_graft(TOPIC)])
