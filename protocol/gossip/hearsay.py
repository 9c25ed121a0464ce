"""IHAVE and IWANT: telling those outside the mesh what there is to be had, asking for what we missed, giving it.

Hearsay heals what the mesh lost, and can be abused from both ends: so what one peer makes us ask, wait for and give
is capped, and who promises and does not deliver is written down.
"""

import random

from ..limits import GOSSIP_ID_BYTES
from .cache import MessageCache, SeenIds
from .mesh import Peer
from .overlay import Overlay
from .params import Params
from .rpc import IHave, encode_ihave


class Hearsay:
    __slots__ = ("_counts", "_ihave_rpcs", "_overlay", "_params", "_rejected", "_rng", "_seen", "asking", "cache")

    def __init__(self, params: Params, rng: random.Random, overlay: Overlay, seen: SeenIds, rejected: SeenIds) -> None:
        self._params = params
        self._rng = rng
        self._overlay = overlay
        self._counts = overlay.counts
        self._seen = seen
        self._rejected = rejected
        self._ihave_rpcs: dict[Peer, int] = {}  # since the last heartbeat
        self.asking: dict[Peer, None] = {}
        """Peers we wait for."""
        self.cache = MessageCache(params.history_length, params.history_gossip, params.cache_bytes)

    def forget(self, peer: Peer) -> None:
        """The peer is down."""
        self.asking.pop(peer, None)
        self._ihave_rpcs.pop(peer, None)

    def hear_ihave(self, peer: Peer, entries: tuple[IHave, ...], now: float) -> None:
        """Ask for what we do not know, whoever else was asked for it: one of them may be lying."""
        heard = self._ihave_rpcs[peer] = self._ihave_rpcs.get(peer, 0) + 1
        if heard > self._params.max_ihave_rpcs:
            self._counts["ihave.over_cap"] += 1
            return
        self._counts["ihave.received"] += 1
        wanted: dict[bytes, None] = {}
        for entry in entries:
            if entry.topic in self._overlay.topics:
                for mid in entry.ids:
                    if not self._knows(mid) and mid not in peer.asked and len(mid) == GOSSIP_ID_BYTES:
                        wanted[mid] = None
        ids = list(wanted)
        room = self._params.max_asked - len(peer.asked)
        if len(ids) > room:
            self._counts["iwant.over_cap"] += len(ids) - room
            ids = self._rng.sample(ids, room)
        if ids:
            due = now + self._params.promise_ttl
            for mid in ids:
                peer.asked[mid] = due
            self.asking[peer] = None
            self._counts["iwant.sent"] += len(ids)
            peer.outbox.put_iwant(ids)
            self._overlay.wake(peer)

    def hear_iwant(self, peer: Peer, ids: tuple[bytes, ...]) -> None:
        """Give what we have, each message a few times to the same peer and no more."""
        self._counts["iwant.received"] += 1
        for mid in ids:
            message = self.cache.get(mid)
            if message is None:
                self._counts["iwant.unknown"] += 1
                continue
            if message.served is None:
                message.served = {}
            served = message.served.get(peer.id, 0)
            if served >= self._params.max_served:
                self._counts["iwant.over_served"] += 1
            elif self._overlay.send_forwarded(peer, message.wire):
                message.served[peer.id] = served + 1
                self._counts["iwant.served"] += 1

    def beat(self, now: float) -> None:
        """A heartbeat: settle what was promised, speak about what is new, grow older."""
        self._ihave_rpcs.clear()
        if self.asking:
            self._settle_promises(now)
        self._tell()
        self.cache.shift()

    def _knows(self, mid: bytes) -> bool:
        return mid in self._seen or mid in self._rejected

    def _settle_promises(self, now: float) -> None:
        for peer in list(self.asking):
            overdue = []
            for mid, due in peer.asked.items():
                if due > now:
                    break
                overdue.append(mid)
            for mid in overdue:
                del peer.asked[mid]
                if peer.outbox.withdraw_iwant(mid):
                    self._counts["dropped.iwant"] += 1  # it still waits here: not the peer's promise that broke
                elif not self._knows(mid):
                    peer.broken_promises += 1
                    self._counts["promise.broken"] += 1
            if not peer.asked:
                del self.asking[peer]

    def _tell(self) -> None:
        overlay = self._overlay
        for name, ids in self.cache.gossip_ids().items():
            told = overlay.whom_to_tell(name)
            if not told:
                continue
            if len(ids) > self._params.max_ihave_ids:
                self._counts["ihave.ids_left_out"] += len(ids) - self._params.max_ihave_ids
                ids = self._rng.sample(ids, self._params.max_ihave_ids)
            piece = encode_ihave(name, ids)
            for peer in told:
                peer.outbox.put_ihave(name, piece)
                self._counts["ihave.sent"] += 1
                overlay.wake(peer)
        overlay.forget_newcomers()
