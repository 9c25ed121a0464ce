"""Whom we know, and whom we exchange whole messages with: subscriptions, meshes, fan-outs, GRAFT and PRUNE.

The part of the router that never looks at a message. Scores, when they come, are asked in three places: `_may_graft`
(who may come in), `_tend_mesh` (who stays) and `whom_to_tell` with `publish_targets` (who is worth a word).
"""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from .events import Effect, PeerId, PeerSubscribed, PeerUnsubscribed, PeerUp
from .mesh import Backoffs, Fanout, Peer, Topic, choose_survivors, draw
from .params import MESHSUB_1_0, Params
from .rpc import Prune

_SWEEP_EVERY = 15
"""Heartbeats between two sweeps of the back-offs; they are compared with the clock whenever they matter."""


class Overlay:
    __slots__ = (
        "_allow",
        "_beats",
        "_params",
        "_rng",
        "backoffs",
        "counts",
        "effects",
        "fanouts",
        "peers",
        "subscribers",
        "topics",
    )

    def __init__(self, params: Params, rng: random.Random, allow: Callable[[str], bool]) -> None:
        self._params = params
        self._rng = rng
        self._allow = allow
        self._beats = 0
        self.peers: dict[PeerId, Peer] = {}
        self.topics: dict[str, Topic] = {}  # that we carry
        self.fanouts: dict[str, Fanout] = {}
        self.subscribers: dict[str, dict[Peer, None]] = {}  # who heard our IHAVE longest ago comes first
        self.backoffs = Backoffs(params.max_backoffs)
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.effects: list[Effect] = []
        """Of the event that is being handled."""

    # ------------------------------------------------------------------------------------------------------------ peers

    def peer_up(self, event: PeerUp) -> None:
        known = self.peers.get(event.peer)
        if known is not None:
            known.outbound = event.outbound
            return
        peer = Peer(event.peer, event.outbound, event.protocol != MESHSUB_1_0, self._params)
        self.peers[event.peer] = peer
        for name in self.topics:
            self._announce(peer, name, True)

    def peer_down(self, peer_id: PeerId) -> Peer | None:
        peer = self.peers.pop(peer_id, None)
        if peer is None:
            self.counts["unknown_peer"] += 1
            return None
        for name in list(peer.topics):
            self.unsubscribe(peer, name)
        return peer

    def is_ours(self, name: str) -> bool:
        return len(name) <= self._params.max_topic_bytes and self._allow(name)

    def subscribe(self, peer: Peer, name: str, now: float) -> bool:
        """The peer carries a topic of ours. False: it is in more topics than a peer may be."""
        if name in peer.topics:
            return True
        if len(peer.topics) >= self._params.max_peer_topics:
            self.counts["subscription.over_cap"] += 1
            return False
        peer.topics[name] = None
        subscribers = self.subscribers.get(name)
        if subscribers is None:
            subscribers = self.subscribers[name] = {}
        subscribers[peer] = None
        self.effects.append(PeerSubscribed(peer.id, name))
        topic = self.topics.get(name)
        if topic is not None:
            topic.newcomers[peer] = None
            if len(topic.mesh) < self._params.d_low and self._may_graft(peer, name, now):
                self._graft(topic, peer, now)  # a small network need not wait for the heartbeat
        elif name in self.fanouts:
            self.fanouts[name].newcomers[peer] = None
        return True

    def unsubscribe(self, peer: Peer, name: str) -> None:
        if name not in peer.topics:
            return
        del peer.topics[name]
        subscribers = self.subscribers[name]
        del subscribers[peer]
        if not subscribers:
            del self.subscribers[name]
        topic = self.topics.get(name)
        if topic is not None:
            topic.mesh.pop(peer, None)
            topic.newcomers.pop(peer, None)
        fanout = self.fanouts.get(name)
        if fanout is not None:
            fanout.peers.pop(peer, None)
            fanout.newcomers.pop(peer, None)
        self.effects.append(PeerUnsubscribed(peer.id, name))

    def _announce(self, peer: Peer, name: str, subscribe: bool) -> None:
        peer.outbox.put_subscription(name, subscribe)
        self.wake(peer)

    def send_own(self, peer: Peer, wire: bytes) -> bool:
        if not peer.outbox.put_own(wire):
            self.counts["dropped.own"] += 1
            return False
        self.counts["sent.own"] += 1
        self.wake(peer)
        return True

    def send_forwarded(self, peer: Peer, wire: bytes) -> bool:
        if not peer.outbox.put_forwarded(wire):
            self.counts["dropped.forwarded"] += 1
            return False
        self.counts["sent.forwarded"] += 1
        self.wake(peer)
        return True

    def wake(self, peer: Peer) -> None:
        if not peer.awake:
            peer.awake = True
            self.effects.append(peer.wake)

    # ------------------------------------------------------------------------------------------------------- own topics

    def join(self, name: str, now: float) -> None:
        if name in self.topics:
            return
        self.check_own_topic(name)
        if len(self.topics) >= self._params.max_topics:
            raise ValueError(f"at most {self._params.max_topics} topics")
        topic = self.topics[name] = Topic(name)
        for peer in self.peers.values():
            self._announce(peer, name, True)
        fanout = self.fanouts.pop(name, None)
        if fanout is not None:
            for peer in list(fanout.peers)[: self._params.d]:
                if self._may_graft(peer, name, now):
                    self._graft(topic, peer, now)
        self._fill(topic, self._params.d - len(topic.mesh), now)

    def leave(self, name: str, now: float) -> None:
        topic = self.topics.pop(name, None)
        if topic is None:
            return
        for peer in topic.mesh:
            self._prune(peer, name, self._params.unsubscribe_backoff, now)
        for peer in self.peers.values():
            self._announce(peer, name, False)

    def check_own_topic(self, name: str) -> None:
        if len(name.encode()) > self._params.max_topic_bytes or not self._allow(name):
            raise ValueError(f"not a topic of this network: {name!r}")

    # ----------------------------------------------------------------------------------------------- what peers ask for

    def hear_graft(self, peer: Peer, name: str, now: float) -> None:
        if not self.is_ours(name):
            self.counts["graft.foreign"] += 1
            return
        topic = self.topics.get(name)
        if topic is None:
            self.counts["graft.not_joined"] += 1
            self._say_prune(peer, name, self._params.unsubscribe_backoff)
            return
        if peer in topic.mesh or not self.subscribe(peer, name, now) or peer in topic.mesh:
            return  # whoever grafts is in the topic, also when its subscription got lost; subscribing may graft
        if self.backoffs.blocks(name, peer.id, now):
            peer.early_grafts += 1
            self.counts["graft.early"] += 1
            self._prune(peer, name, self._params.prune_backoff, now)
        elif len(topic.mesh) >= self._params.d_high and not peer.outbound:
            self.counts["graft.full"] += 1
            self._prune(peer, name, self._params.prune_backoff, now)
        else:
            self.counts["graft.received"] += 1
            topic.mesh[peer] = now

    def hear_prune(self, peer: Peer, prune: Prune, now: float) -> None:
        topic = self.topics.get(prune.topic)
        if topic is None:
            self.counts["prune.not_joined"] += 1
            return
        self.counts["prune.received"] += 1
        topic.mesh.pop(peer, None)
        backoff = self._params.prune_backoff if not prune.backoff else min(prune.backoff, self._params.max_backoff)
        self.backoffs.add(topic.name, peer.id, now + backoff)

    # ---------------------------------------------------------------------------------------------------------- tending

    def beat(self, now: float) -> None:
        """A heartbeat: meshes and fan-outs."""
        self._beats += 1
        if self._beats % _SWEEP_EVERY == 0:
            self.backoffs.sweep(now - self._params.heartbeat_interval)  # see _may_graft
        for topic in self.topics.values():
            self._tend_mesh(topic, now)
        if self.fanouts:
            self._tend_fanouts(now)

    def _tend_mesh(self, topic: Topic, now: float) -> None:
        params, mesh = self._params, topic.mesh
        if len(mesh) < params.d_low:
            self._fill(topic, params.d - len(mesh), now)
        elif len(mesh) > params.d_high:
            stay = choose_survivors(mesh, params, self._rng)
            for peer in [peer for peer in mesh if peer not in stay]:
                del mesh[peer]
                self._prune(peer, topic.name, params.prune_backoff, now)
        if len(mesh) >= params.d_low:
            dialled = 0
            for peer in mesh:
                dialled += peer.outbound
            if dialled < params.d_out:
                self._fill(topic, params.d_out - dialled, now, outbound_only=True)

    def _tend_fanouts(self, now: float) -> None:
        for name, fanout in list(self.fanouts.items()):
            if now - fanout.last > self._params.fanout_ttl:
                del self.fanouts[name]
            else:
                self._fill_fanout(name, fanout)

    def _may_graft(self, peer: Peer, name: str, now: float) -> bool:
        """Whether we may ask this peer into the mesh. A heartbeat of slack, so that we are never early on its clock."""
        return not self.backoffs.blocks(name, peer.id, now - self._params.heartbeat_interval)

    def _fill(self, topic: Topic, missing: int, now: float, *, outbound_only: bool = False) -> None:
        candidates = [
            peer
            for peer in self.subscribers.get(topic.name, ())
            if peer not in topic.mesh
            and (peer.outbound or not outbound_only)
            and self._may_graft(peer, topic.name, now)
        ]
        for peer in draw(candidates, missing, self._rng):
            self._graft(topic, peer, now)

    def _graft(self, topic: Topic, peer: Peer, now: float) -> None:
        if peer.outbox.put_graft(topic.name):
            topic.mesh[peer] = now
            self.counts["graft.sent"] += 1
            self.wake(peer)
        else:
            self.counts["dropped.control"] += 1

    def _prune(self, peer: Peer, name: str, backoff: float, now: float) -> None:
        """Say so and keep the back-off ourselves, too. The caller takes the peer out of the mesh."""
        self.backoffs.add(name, peer.id, now + backoff)
        self._say_prune(peer, name, backoff)

    def _say_prune(self, peer: Peer, name: str, backoff: float) -> None:
        if peer.outbox.put_prune(name, math.ceil(backoff) if peer.says_backoff else None):
            self.counts["prune.sent"] += 1
            self.wake(peer)
        else:
            self.counts["dropped.control"] += 1

    # ----------------------------------------------------------------------------------------- choosing whom to send to

    def publish_targets(self, name: str, now: float) -> list[Peer]:
        """Mesh or fan-out, and more of the subscribers: all of them, or a random few."""
        params = self._params
        topic = self.topics.get(name)
        chosen: Iterable[Peer] = topic.mesh if topic is not None else self._refresh_fanout(name, now)
        subscribers = self.subscribers.get(name, {})
        if params.flood_publish:
            return list(subscribers)
        near = list(chosen)
        others = [peer for peer in subscribers if peer not in chosen]
        return near + draw(others, max(params.publish_extra, params.d - len(near)), self._rng)

    def _refresh_fanout(self, name: str, now: float) -> dict[Peer, None]:
        fanout = self.fanouts.get(name)
        if fanout is None:
            fanout = self.fanouts[name] = Fanout(now)
        fanout.last = now
        self._fill_fanout(name, fanout)
        return fanout.peers

    def _fill_fanout(self, name: str, fanout: Fanout) -> None:
        missing = self._params.d - len(fanout.peers)
        if missing > 0:
            others = [peer for peer in self.subscribers.get(name, ()) if peer not in fanout.peers]
            for peer in draw(others, missing, self._rng):
                fanout.peers[peer] = None

    def whom_to_tell(self, name: str) -> list[Peer]:
        """Who hears of a topic's messages in this heartbeat: some outside the mesh, in turns, and all newcomers."""
        params = self._params
        subscribers = self.subscribers.get(name)
        topic = self.topics.get(name)
        fanout = self.fanouts.get(name)
        near: Mapping[Peer, object]
        if subscribers is None:
            return []
        if topic is not None:
            near, newcomers = topic.mesh, topic.newcomers
        elif fanout is not None:
            near, newcomers = fanout.peers, fanout.newcomers
        else:
            return []
        others = [peer for peer in subscribers if peer not in near and peer not in newcomers]
        part = max(params.gossip_factor, 1 / params.history_gossip)
        told = others[: max(params.d_lazy, math.ceil(part * len(others)))]
        told += newcomers
        for peer in told:  # to the end of the line
            del subscribers[peer]
            subscribers[peer] = None
        return told

    def forget_newcomers(self) -> None:
        """They were told."""
        places: list[Topic | Fanout] = [*self.topics.values(), *self.fanouts.values()]
        for place in places:
            if place.newcomers:
                place.newcomers.clear()
