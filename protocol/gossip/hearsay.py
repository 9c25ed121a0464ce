"""IHAVE and IWANT: telling those outside the mesh what there is to be had, asking for what we missed, giving it.

Hearsay heals what the mesh lost, and can be abused from both ends: so what one peer makes us ask, wait for and give
is capped, and who promises and does not deliver is written down.
"""

import random

from ..limits import GOSSIP_ID_BYTES
from .cache import MessageCache, SeenIds
from .events import PeerId
from .mesh import Peer, Topic
from .neighbours import Neighbours
from .overlay import Overlay
from .params import Params
from .rpc import IHave, encode_ihave


class Asked:
    """What we wait for from one peer."""

    __slots__ = ("ids", "promises")

    def __init__(self) -> None:
        self.ids: dict[bytes, float] = {}
        """What we asked for, with the time by which it is due; earliest first."""
        self.promises: dict[float, tuple[int, int]] = {}
        """By the time they are due: RPCs with IHAVE, and ids we asked for because of them."""


class Said:
    """How much hearsay one peer uttered since the last heartbeat. It outlives the link: a new one is no new leave."""

    __slots__ = ("floods", "ihave_rpcs", "iwant_ids")

    def __init__(self) -> None:
        self.ihave_rpcs = self.iwant_ids = 0
        self.floods: tuple[str, ...] = ()
        """What it was blamed for already."""


class Hearsay:
    __slots__ = (
        "_counts",
        "_late",
        "_neighbours",
        "_overlay",
        "_params",
        "_prompted",
        "_rejected",
        "_rng",
        "_said",
        "_seen",
        "asking",
        "cache",
    )

    def __init__(
        self,
        params: Params,
        rng: random.Random,
        overlay: Overlay,
        neighbours: Neighbours,
        seen: SeenIds,
        rejected: SeenIds,
    ) -> None:
        self._params = params
        self._rng = rng
        self._overlay = overlay
        self._neighbours = neighbours
        self._counts = neighbours.counts
        self._seen = seen
        self._rejected = rejected
        self._said: dict[PeerId, Said] = {}
        self._late: dict[Topic, list[bytes]] = {}  # what this RPC brought because we asked
        self._prompted: list[float] = []  # when we said IHAVE at once, in the last interval
        self.asking: dict[Peer, Asked] = {}
        """Peers we wait for. Most of the time there are none."""
        self.cache = MessageCache(params.history_length, params.history_gossip, params.cache_bytes)

    def forget(self, peer: Peer, now: float) -> None:
        """The peer goes down. What was due is settled as at a heartbeat. What was not is nobody's fault: links of
        honest peers break, too, and they do not know after it what they were asked before."""
        asked = self.asking.pop(peer, None)
        if asked is not None:
            self._settle(peer, asked, now)

    def hear_ihave(self, peer: Peer, entries: tuple[IHave, ...], now: float) -> None:
        """Ask for what we do not know, whoever else was asked for it: one of them may be lying."""
        if not self._neighbours.may_gossip(peer, now):
            self._counts["ihave.low_score"] += 1
            return
        said = self._said_by(peer)
        said.ihave_rpcs += 1
        if said.ihave_rpcs > self._params.max_ihave_rpcs:
            self._counts["ihave.over_cap"] += 1
            self._blame_flood(peer, said, "ihave", now)
            return
        self._counts["ihave.received"] += 1
        asked = self.asking.get(peer) or Asked()
        wanted: dict[bytes, None] = {}
        for entry in entries:
            if entry.topic in self._overlay.topics:
                for mid in entry.ids:
                    if not self._knows(mid) and mid not in asked.ids and len(mid) == GOSSIP_ID_BYTES:
                        wanted[mid] = None
        ids = list(wanted)
        room = self._params.max_asked - len(asked.ids)
        if len(ids) > room:
            self._counts["iwant.over_cap"] += len(ids) - room
            ids = self._rng.sample(ids, room)
        if ids:
            due = now + self._params.promise_ttl
            for mid in ids:
                asked.ids[mid] = due
            rpcs, promised = asked.promises.get(due, (0, 0))
            asked.promises[due] = (rpcs + 1, promised + len(ids))
            self.asking[peer] = asked
            self._counts["iwant.sent"] += len(ids)
            peer.outbox.put_iwant(ids)
            self._neighbours.wake(peer)

    def hear_iwant(self, peer: Peer, ids: tuple[bytes, ...], now: float) -> None:
        """Give what we have, each message a few times to the same peer and no more."""
        if not self._neighbours.may_gossip(peer, now):
            self._counts["iwant.low_score"] += 1
            return
        self._counts["iwant.received"] += 1
        said = self._said_by(peer)
        room = max(0, self._params.max_iwant_ids - said.iwant_ids)
        said.iwant_ids += len(ids)
        if len(ids) > room:
            self._counts["iwant.flood"] += len(ids) - room
            self._blame_flood(peer, said, "iwant", now)
        for mid in ids[:room]:
            message = self.cache.get(mid)
            if message is None:
                self._counts["iwant.unknown"] += 1
                continue
            if message.served is None:
                message.served = {}
            served = message.served.get(peer.id, 0)
            if served >= self._params.max_served:
                self._counts["iwant.over_served"] += 1
                self._blame_flood(peer, said, "repeats", now)
            elif self._neighbours.send_forwarded(peer, message.wire):
                message.served[peer.id] = served + 1
                self._counts["iwant.served"] += 1

    @property
    def is_busy(self) -> bool:
        """Something is spoken about, waited for, or to be judged at the next heartbeat."""
        return bool(len(self.cache) or self.asking or self._said)

    def beat(self, now: float) -> None:
        """A heartbeat: settle what was promised, speak about what is new, grow older."""
        self._said.clear()
        if self.asking:
            self._settle_promises(now)
        self._tell(now)
        self.cache.shift()

    def _said_by(self, peer: Peer) -> Said:
        said = self._said.get(peer.id)
        if said is None:
            said = self._said[peer.id] = Said()
        return said

    def _blame_flood(self, peer: Peer, said: Said, kind: str, now: float) -> None:
        """One point a heartbeat for each kind, at once: no honest peer says IHAVE in more RPCs than the cap, asks for
        more ids than there can be, or for one message a fourth time."""
        if kind not in said.floods:
            said.floods += (kind,)
            self._neighbours.blame(peer, 1.0, now)

    def _knows(self, mid: bytes) -> bool:
        return mid in self._seen or mid in self._rejected

    def _settle_promises(self, now: float) -> None:
        for peer, asked in list(self.asking.items()):
            self._settle(peer, asked, now)
            if not asked.ids and not asked.promises:
                del self.asking[peer]

    def _settle(self, peer: Peer, asked: Asked, now: float) -> None:
        broken: dict[float, int] = {}
        overdue = []
        for mid, due in asked.ids.items():
            if due > now:
                break
            overdue.append((mid, due))
        for mid, due in overdue:
            del asked.ids[mid]
            if peer.awake and peer.outbox.withdraw_iwant(mid):
                self._counts["dropped.iwant"] += 1  # it still waits here: not the peer's promise that broke
            elif not self._knows(mid):
                peer.broken_promises += 1
                broken[due] = broken.get(due, 0) + 1
                self._counts["promise.broken"] += 1
        for due in [due for due in asked.promises if due <= now]:
            rpcs, promised = asked.promises.pop(due)
            # The specification follows one id of each IHAVE, drawn by lot; this is what the lot comes to.
            self._neighbours.blame(peer, rpcs * broken.get(due, 0) / promised, now)

    def came_late(self, topic: Topic, mid: bytes) -> None:
        """A message was new although we had to ask for it: the mesh should have brought it before."""
        self._late.setdefault(topic, []).append(mid)

    def pass_on_late(self, source: Peer, now: float) -> None:
        """At the end of an RPC. What came by hearsay goes on by hearsay at once: where our mesh failed, that of others
        may have failed as well, and a heartbeat at every hop adds up. Who is slow hears of it at the heartbeat."""
        for topic, ids in self._late.items():
            self._prompted = [then for then in self._prompted if now - then < self._params.heartbeat_interval]
            if len(self._prompted) < self._params.max_prompt_ihaves:
                self._prompted.append(now)
                self._counts["ihave.prompt"] += 1
                others = self._overlay.all_outside(topic, now)
                self._say(topic.name, ids, [peer for peer in others if not peer.awake and peer is not source])
        self._late.clear()

    def _tell(self, now: float) -> None:
        overlay = self._overlay
        spoken = self.cache.gossip_ids()
        overlay.turn += bool(spoken)
        for name, ids in spoken.items():
            told = overlay.whom_to_tell(name, now)
            if told:
                self._say(name, ids, told)
        overlay.forget_newcomers()

    def _say(self, name: str, ids: list[bytes], told: list[Peer]) -> None:
        if len(ids) > self._params.max_ihave_ids:
            self._counts["ihave.ids_left_out"] += len(ids) - self._params.max_ihave_ids
            ids = self._rng.sample(ids, self._params.max_ihave_ids)
        piece = encode_ihave(name, ids)
        for peer in told:
            peer.outbox.put_ihave(name, piece)
            self._counts["ihave.sent"] += 1
            self._neighbours.wake(peer)
