"""Who comes and goes, which topics they and we carry, and to whom what is said. Never looks at a message.

Scores are asked wherever somebody is chosen: `meshes` for who may come in and who stays, here for who hears what is
ours (publish threshold) and what there is to be had (gossip threshold).
"""

import math
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import takewhile
from sys import intern

from .events import PeerId, PeerSubscribed, PeerUnsubscribed, PeerUp
from .mesh import Fanout, Peer, Topic, draw
from .meshes import Meshes
from .neighbours import Neighbours
from .params import MESHSUB_1_0, Params
from .place import Locate
from .share import FairShare
from .watch import Watch


class Overlay:
    __slots__ = (
        "_allow",
        "_locate",
        "_neighbours",
        "_params",
        "_rng",
        "_static",
        "fanouts",
        "meshes",
        "shares",
        "subscribers",
        "topics",
        "turn",
        "watch",
    )

    def __init__(
        self,
        params: Params,
        rng: random.Random,
        allow: Callable[[str], bool],
        neighbours: Neighbours,
        *,
        static: Collection[PeerId],
        locate: Locate,
    ) -> None:
        self._params = params
        self._rng = rng
        self._allow = allow
        self._neighbours = neighbours
        self._static = frozenset(static)
        self._locate = locate
        self.meshes = Meshes(params, rng, neighbours)
        self.shares = FairShare(params.max_judged_per_second, params.judged_burst)
        self.watch = Watch(params)
        self.topics = self.meshes.topics
        self.subscribers = neighbours.subscribers
        self.fanouts: dict[str, Fanout] = {}
        self.turn = 0
        """Heartbeats so far in which there was something to speak about."""

    # ------------------------------------------------------------------------------------------------------------ peers

    def peer_up(self, event: PeerUp, now: float) -> None:
        place = self._locate(event.ip)
        known = self._neighbours.peers.get(event.peer)
        if known is not None:
            known.outbound = event.outbound
            known.says_backoff = known.says_backoff and event.protocol != MESHSUB_1_0
            known.share.weight = self._weight(known.static, event.outbound)
            if event.ip:
                self.meshes.located += bool(place.subnet) - bool(known.subnet)
                known.subnet = place.subnet
                self._neighbours.scores.move(known.standing, place.host)
            return
        static = event.peer in self._static
        peer = Peer(
            event.peer,
            event.outbound,
            event.protocol != MESHSUB_1_0,
            self._params,
            place=place,
            static=static,
            standing=self._neighbours.scores.came(event.peer, place.host, now),
            share=self.shares.join(self._weight(static, event.outbound)),
            now=now,
        )
        self._neighbours.peers[event.peer] = peer
        self.meshes.located += bool(peer.subnet)
        self.watch.came(peer, now)
        for name in self.topics:
            self._neighbours.announce(peer, name, True)

    def peer_down(self, peer: Peer, now: float) -> None:
        del self._neighbours.peers[peer.id]
        for name in peer.topics:
            self.unsubscribe(peer, name, now)
        for topic in self.topics.values():
            topic.bringers.pop(peer, None)
        self.meshes.located -= bool(peer.subnet)
        self.shares.leave(peer.share)
        self.watch.went(peer)
        self._neighbours.scores.went(peer.standing, now)

    def _weight(self, static: bool, outbound: bool) -> float:
        if static:
            return self._params.share_static
        return self._params.share_outbound if outbound else self._params.share_inbound

    def is_ours(self, name: str) -> bool:
        return len(name) <= self._params.max_topic_bytes and self._allow(name)

    def subscribe(self, peer: Peer, name: str, now: float) -> bool:
        """The peer carries a topic of ours. False: it is in more topics than a peer may be."""
        if name in peer.topics:
            return True
        if len(peer.topics) >= self._params.max_peer_topics:
            self._neighbours.counts["subscription.over_cap"] += 1
            return False
        name = intern(name)  # many peers name the same topic
        peer.topics += (name,)
        subscribers = self.subscribers.get(name)
        if subscribers is None:
            subscribers = self.subscribers[name] = {}
        subscribers[peer] = self.turn
        self._neighbours.effects.append(PeerSubscribed(peer.id, name))
        topic = self.topics.get(name)
        if topic is not None:
            topic.newcomers[peer] = None
            if len(topic.mesh) < self._params.d_low and self.meshes.may_graft(peer, name, now):
                self.meshes.graft(topic, peer, now)  # a small network need not wait for the heartbeat
        elif name in self.fanouts:
            self.fanouts[name].newcomers[peer] = None
        return True

    def unsubscribe(self, peer: Peer, name: str, now: float) -> None:
        if name not in peer.topics:
            return
        peer.topics = tuple([other for other in peer.topics if other != name])
        subscribers = self.subscribers[name]
        del subscribers[peer]
        if not subscribers:
            del self.subscribers[name]
        topic = self.topics.get(name)
        if topic is not None:
            self.meshes.exit(topic, peer, now)
            topic.newcomers.pop(peer, None)
        fanout = self.fanouts.get(name)
        if fanout is not None:
            fanout.peers.pop(peer, None)
            fanout.newcomers.pop(peer, None)
        self._neighbours.effects.append(PeerUnsubscribed(peer.id, name))

    # ------------------------------------------------------------------------------------------------------- own topics

    def join(self, name: str, now: float) -> None:
        if name in self.topics:
            return
        self.check_own_topic(name)
        if len(self.topics) >= self._params.max_topics:
            raise ValueError(f"at most {self._params.max_topics} topics")
        topic = self.topics[name] = Topic(name)
        for peer in self._neighbours.peers.values():
            self._neighbours.announce(peer, name, True)
        fanout = self.fanouts.pop(name, None)
        if fanout is not None:
            for peer in list(fanout.peers)[: self._params.d]:
                if self.meshes.may_graft(peer, name, now):
                    self.meshes.graft(topic, peer, now)
        self.meshes.fill(topic, self._params.d - len(topic.mesh), now)

    def leave(self, name: str, now: float) -> None:
        topic = self.topics.get(name)
        if topic is None:
            return
        for peer in list(topic.mesh):
            self.meshes.exit(topic, peer, now)
            self.meshes.prune(peer, name, self._params.unsubscribe_backoff, now)
        del self.topics[name]
        for peer in self._neighbours.peers.values():
            self._neighbours.announce(peer, name, False)

    def check_own_topic(self, name: str) -> None:
        if len(name.encode()) > self._params.max_topic_bytes or not self._allow(name):
            raise ValueError(f"not a topic of this network: {name!r}")

    def hear_graft(self, peer: Peer, name: str, now: float) -> None:
        counts = self._neighbours.counts
        if not self.is_ours(name):
            counts["graft.foreign"] += 1
            return
        topic = self.topics.get(name)
        if topic is None:
            counts["graft.not_joined"] += 1
            self.meshes.say_prune(peer, name, self._params.unsubscribe_backoff)
        elif peer not in topic.mesh and self.subscribe(peer, name, now) and peer not in topic.mesh:
            # Whoever grafts is in the topic, also when its subscription got lost; and subscribing may graft.
            self.meshes.hear_graft(topic, peer, now)

    # ---------------------------------------------------------------------------------------------------------- tending

    def beat(self, now: float) -> None:
        """A heartbeat: meshes and fan-outs, and a look around."""
        self.meshes.beat(now)
        if self.fanouts:
            self._tend_fanouts(now)
        for alarm in self.watch.look(self._neighbours.peers.values(), now):
            self._neighbours.counts[f"alarm.{alarm.kind}"] += 1
            self._neighbours.effects.append(alarm)

    def next_beat(self, now: float) -> float:
        """As in the router."""
        if self.fanouts or self.watch.has_news or any(topic.newcomers for topic in self.topics.values()):
            return now
        return self.meshes.next_beat(now)

    def _tend_fanouts(self, now: float) -> None:
        for name, fanout in list(self.fanouts.items()):
            if now - fanout.last > self._params.fanout_ttl:
                del self.fanouts[name]
            else:
                self._fill_fanout(name, fanout, now)

    # ----------------------------------------------------------------------------------------- choosing whom to send to

    def publish_targets(self, name: str, now: float) -> list[Peer]:
        """Those we agreed with, mesh or fan-out, and more of the subscribers: all of them, or a random few."""
        params = self._params
        topic = self.topics.get(name)
        chosen: Iterable[Peer] = topic.mesh if topic is not None else self._refresh_fanout(name, now)
        subscribers: Iterable[Peer] = self.subscribers.get(name, {})
        if self._neighbours.scores.suspects:
            subscribers = [peer for peer in subscribers if self._neighbours.may_get_own(peer, now)]
        if params.flood_publish:
            return list(subscribers)
        near = [peer for peer in subscribers if peer.static]
        near += [peer for peer in chosen if self._neighbours.may_get_own(peer, now)]
        taken = set(near)
        others = [peer for peer in subscribers if peer not in taken]
        return near + draw(others, max(params.publish_extra, params.d - len(near)), self._rng)

    def forward_targets(self, topic: Topic) -> list[Peer]:
        """The mesh, and those we agreed with."""
        if not self._static:
            return list(topic.mesh)
        agreed = [self._neighbours.peers.get(peer_id) for peer_id in self._static]
        return [*topic.mesh, *[peer for peer in agreed if peer is not None and topic.name in peer.topics]]

    def _refresh_fanout(self, name: str, now: float) -> dict[Peer, None]:
        fanout = self.fanouts.get(name)
        if fanout is None:
            fanout = self.fanouts[name] = Fanout(now)
        fanout.last = now
        self._fill_fanout(name, fanout, now)
        return fanout.peers

    def _fill_fanout(self, name: str, fanout: Fanout, now: float) -> None:
        if self._neighbours.scores.suspects:
            for peer in [peer for peer in fanout.peers if not self._neighbours.may_get_own(peer, now)]:
                del fanout.peers[peer]
        missing = self._params.d - len(fanout.peers)
        if missing > 0:
            others = [
                peer
                for peer in self.subscribers.get(name, ())
                if peer not in fanout.peers and not peer.static and self._neighbours.may_get_own(peer, now)
            ]
            for peer in draw(others, missing, self._rng):
                fanout.peers[peer] = None

    def whom_to_tell(self, name: str, now: float) -> list[Peer]:
        """Who hears of a topic's messages in this heartbeat: some outside the mesh, in turns, whoever would miss one by
        waiting for his turn, and all newcomers."""
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
        others = [peer for peer in self._outside(name, near, now) if peer not in newcomers]
        part = max(params.gossip_factor, 1 / params.history_gossip)
        count = max(params.d_lazy, math.ceil(part * len(others)))
        overdue = self.turn - params.history_gossip
        told = others[:count]
        told += takewhile(lambda peer: subscribers[peer] <= overdue, others[count:])
        told += [peer for peer in newcomers if self._neighbours.may_gossip(peer, now)]
        for peer in told:  # to the end of the line
            del subscribers[peer]
            subscribers[peer] = self.turn
        return told

    def all_outside(self, topic: Topic, now: float) -> list[Peer]:
        """Everybody who is told what there is to be had rather than sent it."""
        return self._outside(topic.name, topic.mesh, now)

    def _outside(self, name: str, near: Mapping[Peer, object], now: float) -> list[Peer]:
        others = [peer for peer in self.subscribers.get(name, ()) if peer not in near and not peer.static]
        if self._neighbours.scores.suspects:
            others = [peer for peer in others if self._neighbours.may_gossip(peer, now)]
        return others

    def forget_newcomers(self) -> None:
        """They were told."""
        places: list[Topic | Fanout] = [*self.topics.values(), *self.fanouts.values()]
        for place in places:
            if place.newcomers:
                place.newcomers.clear()
