"""Mallory's many: peers that speak the protocol and need not run it. They know of one another, and tell one another
everything at once.

An attacker is no honest router with a flaw, so these have none: they say what serves them, and cost next to nothing.
"""

import random
from collections.abc import Callable
from enum import Enum

from protocol.gossip import Event, PeerDown, PeerUp, RpcReceived, message_id
from protocol.gossip.rpc import (
    Message,
    decode_rpc,
    encode_control,
    encode_graft,
    encode_ihave,
    encode_publish,
    encode_subscription,
)

from .world import TOPIC, World

_HELLO = encode_subscription(TOPIC, True) + encode_control([encode_graft(TOPIC)])
_GRAFT = encode_control([encode_graft(TOPIC)])
_REMEMBERED = 256
"""Messages of which they know whether they had them; honest nodes speak for some seconds about one."""


class Conduct(Enum):
    """What they do with the messages of others. All of them subscribe, ask to be in every mesh, wait out their
    back-off (see `greedy`) and ask again."""

    DROP = "drop"  # nothing is passed on
    HALF = "half"  # each passes on every other message, by lot, when it hears it
    CENSOR = "censor"  # all is passed on but what `is_censored`
    BEHAVE = "behave"  # all is passed on, faster than honest nodes can: what one hears, all say at once


class Sybils:
    """`conduct`, `garbage` (they send forged messages) and `promises` (ids they do not have) can be changed while the
    world runs."""

    def __init__(self, world: World, count: int, *, conduct: Conduct = Conduct.DROP, greedy: bool = False) -> None:
        """`greedy`: they ask to be in the mesh again as soon as they were put out."""
        self.world = world
        self.names = [f"sybil{number:02}" for number in range(count)]
        self.rng = random.Random(f"{world.seed}/sybils")
        self.conduct = conduct
        self.is_censored: Callable[[bytes], bool] = lambda data: False
        self.garbage = False
        self.promises = False
        self.greedy = greedy
        self._meshes: dict[str, dict[str, bool]] = {name: {} for name in self.names}
        """Of each: its links, and whether it is in the mesh there, as far as it can know."""
        self._again: dict[tuple[str, str], float] = {}  # who may graft whom again, and when
        self._heard: dict[bytes, set[str]] = {}  # who passed it on; the empty name: all of them
        self._said: dict[bytes, None] = {}  # RPCs with what all have passed on
        for name in self.names:
            world.strangers[name] = self._ear_of(name)
            world.ears[name] = self._cares
        world.at(world.now + self.rng.random(), self._beat)

    def connect(self, name: str, victim: str) -> None:
        if not self.world.is_connected(name, victim):
            self.world.connect(name, victim)

    def surround(self, victims: list[str], links: int) -> None:
        """Each of them dials so many of the victims."""
        for name in self.names:
            for victim in self.rng.sample(victims, min(links, len(victims))):
                self.connect(name, victim)

    def _cares(self, rpc: bytes) -> bool:
        """Which RPCs can change anything: who only drops needs to know where it was pruned, which is said before
        anything else."""
        if self.conduct is Conduct.BEHAVE or self.conduct is Conduct.CENSOR:
            return rpc not in self._said  # a copy of what all of them have passed on
        if self.conduct is not Conduct.DROP or not rpc:
            return True
        if rpc[0] != 0x1A:
            return rpc[0] != 0x12  # messages come last, so there is nothing else
        inner = 1
        while rpc[inner] & 0x80:  # the length of all control
            inner += 1
        return rpc[inner + 1] in (0x1A, 0x22)  # GRAFT or PRUNE; they stand before IWANT and IHAVE

    def _ear_of(self, name: str) -> Callable[[Event], None]:
        def hear(event: Event) -> None:
            match event:
                case PeerUp(peer):
                    self._meshes[name][peer] = True
                    self.world.send(name, peer, _HELLO)
                case PeerDown(peer):
                    self._meshes[name].pop(peer, None)
                case RpcReceived(peer, data):
                    self._hear(name, peer, data)

        return hear

    def _hear(self, name: str, peer: str, data: bytes) -> None:
        rpc = decode_rpc(data)
        for _ in rpc.graft:
            self._meshes[name][peer] = True
        for prune in rpc.prune:
            self._meshes[name][peer] = False
            wait = 0.0 if self.greedy else (prune.backoff or 60) + 1
            self._again[name, peer] = self.world.now + wait
        for message in rpc.messages:
            self._pass_on(name, message)

    def _pass_on(self, name: str, message: Message) -> None:
        if self.conduct is Conduct.DROP or (self.conduct is Conduct.CENSOR and self.is_censored(message.data)):
            return
        who = name if self.conduct is Conduct.HALF else ""
        done = self._heard.setdefault(message.data, set())
        if who in done:
            return
        done.add(who)
        if len(self._heard) > _REMEMBERED:
            del self._heard[next(iter(self._heard))]
        if who and self.rng.random() < 0.5:
            return
        rpc = encode_publish(message.topic, message.data)
        if not who:
            self._said[rpc] = None
            if len(self._said) > _REMEMBERED:
                del self._said[next(iter(self._said))]
        for sybil in [who] if who else self.names:
            for other, is_in in self._meshes[sybil].items():
                if is_in:
                    self.world.send(sybil, other, rpc)

    def _beat(self) -> None:
        for (name, peer), when in list(self._again.items()):
            if when <= self.world.now:
                del self._again[name, peer]
                if peer in self._meshes[name]:
                    self._meshes[name][peer] = True  # until they say no
                    self.world.send(name, peer, _GRAFT)
        if self.garbage or self.promises:
            for name, links in self._meshes.items():
                for peer in links:
                    self._harass(name, peer)
        self.world.at(self.world.now + 1.0, self._beat)

    def _harass(self, name: str, peer: str) -> None:
        if self.garbage:
            self.world.send(name, peer, encode_publish(TOPIC, b"forged " + self.rng.randbytes(8)))
        if self.promises:
            ids = [message_id(TOPIC, self.rng.randbytes(8)) for _ in range(20)]
            self.world.send(name, peer, encode_control([encode_ihave(TOPIC, ids)]))
