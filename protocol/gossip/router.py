"""The router: events in, effects out. No task, no clock, no chance and no stream of its own.

The same object runs over libp2p streams, in the in-memory network and, thousands of times, in the simulator. What
follows is what happens to events and messages; `overlay` and `meshes` know with whom we speak, `hearsay` does IHAVE and
IWANT, `score` says what a peer is worth and `share` how much of our time it gets. The theory is in README.md.
"""

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import assert_never

from ..errors import Reason, Refused
from .cache import SeenIds
from .events import (
    Deliver,
    Effect,
    Event,
    Forward,
    Heartbeat,
    Join,
    Judge,
    Leave,
    Misbehaved,
    Outcome,
    PeerDown,
    PeerId,
    PeerUp,
    Publish,
    Published,
    RpcReceived,
    Verdict,
)
from .hearsay import Hearsay
from .mesh import Ledger, Peer, Topic
from .neighbours import Neighbours
from .overlay import Overlay
from .params import Params
from .place import Locate, public_place
from .rpc import Message, decode_rpc, encode_publish, message_id
from .score import AppScore, Score


@dataclass(frozen=True, slots=True)
class Statistics:
    """A picture of the router, for people and tests. The names of the counters are listed in README.md."""

    counters: Mapping[str, int]
    mesh_sizes: Mapping[str, int]
    """Of each topic we carry."""
    subscribers: Mapping[str, int]
    """Peers known to carry a topic, whether or not we do."""
    peers: int
    cached_messages: int
    cached_bytes: int
    seen_ids: int
    backoffs: int
    queued_bytes: int
    """Messages that wait for peers; bytes that wait for several count several times."""
    suspects: int = 0
    """Peers whose score may be below zero."""
    scores_kept: int = 0
    """Of peers that left."""


class Router:
    __slots__ = (
        "_asking",
        "_cache",
        "_counts",
        "_hearsay",
        "_judge",
        "_neighbours",
        "_overlay",
        "_params",
        "_peers",
        "_rejected",
        "_scores",
        "_seen",
        "_shares",
        "_topics",
        "work",
    )

    def __init__(
        self,
        params: Params,
        judge: Judge,
        rng: random.Random,
        allow: Callable[[str], bool],
        *,
        app_score: AppScore | None = None,
        static: Collection[PeerId] = (),
        locate: Locate = public_place,
    ) -> None:
        """`allow` says whether a topic is one of our network; of others nothing is kept. Pure and cheap.

        `app_score` says what the application thinks of a peer (P5). `static` are peers with whom it is agreed, on both
        sides, that everything is exchanged, whatever the scores; keeping the links to them is the node's. `locate`
        makes places of addresses."""
        self._params = params
        self._judge = judge
        self._seen = SeenIds(params.seen_ttl, params.seen_max)
        self._rejected = SeenIds(params.seen_ttl, params.rejected_max)
        self._neighbours = Neighbours(params, app_score)
        self._overlay = Overlay(params, rng, allow, self._neighbours, static=static, locate=locate)
        self._hearsay = Hearsay(params, rng, self._overlay, self._neighbours, self._seen, self._rejected)
        self._scores = self._neighbours.scores
        self._shares = self._overlay.shares
        self._peers = self._neighbours.peers
        self._topics = self._overlay.topics
        self._counts = self._neighbours.counts
        self._cache = self._hearsay.cache
        self._asking = self._hearsay.asking
        self.work = 0
        """RPCs received and what was in them, message by message and topic by topic: what reading them costs, whoever
        it is. What is judged and the ids that are named or asked for have limits of their own, apart from this."""

    def handle(self, event: Event, now: float) -> list[Effect]:
        """What is to be done about `event`, which happened at `now` (seconds, monotonic, never going back).

        No bytes from a peer make it raise. Raises ValueError for a mistake of this program: joining or publishing on
        a topic that is not allowed, a message that is too large.
        """
        effects: list[Effect] = []
        self._neighbours.effects = effects
        match event:
            case RpcReceived():
                self._on_rpc(event.peer, event.data, now)
            case Heartbeat():
                self._on_heartbeat(now)
            case PeerUp():
                self._overlay.peer_up(event, now)
            case PeerDown():
                self._on_peer_down(event.peer, now)
            case Publish():
                self._on_publish(event.topic, event.data, now)
            case Forward():
                self._on_forward(event.topic, event.data)
            case Join():
                self._overlay.join(event.topic, now)
            case Leave():
                self._overlay.leave(event.topic, now)
            case _:
                assert_never(event)
        return effects

    def _on_heartbeat(self, now: float) -> None:
        self._overlay.beat(now)
        self._hearsay.beat(now)
        self._seen.sweep(now)
        self._rejected.sweep(now)

    def _on_peer_down(self, peer_id: PeerId, now: float) -> None:
        peer = self._peers.get(peer_id)
        if peer is None:
            self._counts["unknown_peer"] += 1
            return
        self._hearsay.forget(peer, now)  # first: what it is blamed for, it takes along
        self._overlay.peer_down(peer, now)

    def next_rpc(self, peer: PeerId) -> bytes | None:
        """The next RPC for a peer, without its length; at most Params.max_rpc_bytes. None: nothing waits, or the peer
        is not up. Taking it out is final: what the stream then loses is lost."""
        known = self._peers.get(peer)
        return None if known is None else known.next_rpc()

    def admit(self, peer: PeerId, now: float) -> bool:
        """May one more message be judged that this peer brought some other way, by catch-up say? It counts against the
        same share. A peer that is not up has none."""
        known = self._peers.get(peer)
        return known is not None and self._shares.admit(known.share, now)

    # ---------------------------------------------------------------------------------------------------- looking

    def next_beat(self, now: float) -> float:
        """When the next Heartbeat matters, if nothing comes in before: those until then would do nothing. `now`, or
        earlier: the very next one does. For simulators that skip idle heartbeats; the result is the same."""
        return now if self._hearsay.is_busy else self._overlay.next_beat(now)

    @property
    def topics(self) -> tuple[str, ...]:
        """What we carry."""
        return tuple(self._topics)

    def subscribers(self, topic: str) -> tuple[PeerId, ...]:
        """Peers known to carry a topic, whether or not we do."""
        return tuple([peer.id for peer in self._overlay.subscribers.get(topic, ())])

    def mesh(self, topic: str) -> tuple[PeerId, ...]:
        """Peers we exchange whole messages with on a topic."""
        carried = self._topics.get(topic)
        return () if carried is None else tuple([peer.id for peer in carried.mesh])

    def ledger(self, peer: PeerId) -> Ledger | None:
        known = self._peers.get(peer)
        return None if known is None else known.ledger()

    def score(self, peer: PeerId, now: float) -> Score | None:
        """What a peer that is up is worth to us, term by term. `now` as in `handle`."""
        known = self._peers.get(peer)
        return None if known is None else self._scores.explain(known.standing, now)

    def scores(self, now: float) -> dict[PeerId, Score]:
        """Of all peers that are up."""
        return {peer.id: self._scores.explain(peer.standing, now) for peer in self._peers.values()}

    def statistics(self) -> Statistics:
        counts = dict(self._counts)
        counts["seen.forgotten_early"] = self._seen.early + self._rejected.early
        counts["cache.evicted"] = self._cache.evicted
        counts["backoff.dropped"] = self._overlay.meshes.backoffs.dropped
        return Statistics(
            counters=MappingProxyType(counts),
            mesh_sizes=MappingProxyType({name: len(topic.mesh) for name, topic in self._topics.items()}),
            subscribers=MappingProxyType({name: len(peers) for name, peers in self._overlay.subscribers.items()}),
            peers=len(self._peers),
            cached_messages=len(self._cache),
            cached_bytes=self._cache.size,
            seen_ids=len(self._seen) + len(self._rejected),
            backoffs=len(self._overlay.meshes.backoffs),
            queued_bytes=sum([peer.queued_bytes for peer in self._peers.values()]),
            suspects=len(self._scores.suspects),
            scores_kept=self._scores.kept,
        )

    # ----------------------------------------------------------------------------------------- own and learned messages

    def _on_publish(self, name: str, data: bytes, now: float) -> None:
        self._overlay.check_own_topic(name)
        self._check_own_size(data)
        mid = message_id(name, data)
        wire = encode_publish(name, data)
        self._seen.add(mid)
        self._cache.put(mid, name, wire)
        self._counts["message.published"] += 1
        targets = self._overlay.publish_targets(name, now)
        reached = [peer.id for peer in targets if self._neighbours.send_own(peer, wire)]
        if reached:
            outcome = Outcome.QUEUED
        elif targets:
            outcome = Outcome.QUEUES_FULL
        elif self._peers:
            outcome = Outcome.NO_SUBSCRIBERS
        else:
            outcome = Outcome.NO_PEERS
        self._neighbours.effects.append(Published(name, mid, tuple(reached), outcome))

    def _on_forward(self, name: str, data: bytes) -> None:
        self._check_own_size(data)
        mid = message_id(name, data)
        topic = self._topics.get(name)
        reached: list[PeerId] = []
        if topic is None:
            outcome = Outcome.NOT_JOINED
        elif mid in self._seen:
            outcome = Outcome.SEEN
        else:
            self._counts["message.learned"] += 1
            targets = self._overlay.forward_targets(topic)
            reached = self._spread(topic, mid, encode_publish(name, data), None)
            if reached:
                outcome = Outcome.QUEUED
            elif targets:
                outcome = Outcome.QUEUES_FULL
            elif name in self._overlay.subscribers:
                outcome = Outcome.ONLY_GOSSIP
            else:
                outcome = Outcome.NO_SUBSCRIBERS if self._peers else Outcome.NO_PEERS
        self._neighbours.effects.append(Published(name, mid, tuple(reached), outcome))

    def _check_own_size(self, data: bytes) -> None:
        if len(data) > self._params.max_message_bytes:
            raise ValueError(f"a message of {len(data)} bytes, at most {self._params.max_message_bytes}")

    # --------------------------------------------------------------------------------------------------- receiving

    def _on_rpc(self, peer_id: PeerId, data: bytes, now: float) -> None:
        self.work += 1
        peer = self._peers.get(peer_id)
        if peer is None:
            self._counts["unknown_peer"] += 1
            return
        if peer.standing.suspect and not self._neighbours.may_speak(peer, now):
            self._counts["rpc.graylisted"] += 1
            return
        try:
            rpc = decode_rpc(data)
        except Refused as refused:
            peer.refused_rpcs += 1
            self._neighbours.blame(peer, 1.0, now)
            self._counts[f"rpc.refused.{refused.reason}"] += 1
            self._neighbours.effects.append(Misbehaved(peer_id, refused.reason, refused.detail))
            return
        self._counts["rpc.received"] += 1
        self.work += len(rpc.subscriptions) + len(rpc.messages) + len(rpc.ihave) + len(rpc.graft) + len(rpc.prune)
        for subscribe, name in rpc.subscriptions:
            if not self._overlay.is_ours(name):
                self._counts["subscription.foreign"] += 1
            elif subscribe:
                self._overlay.subscribe(peer, name, now)
            else:
                self._overlay.unsubscribe(peer, name, now)
        for message in rpc.messages:
            self._on_message(peer, message, data, now)
        self._hearsay.pass_on_late(peer, now)
        for name in rpc.graft:
            self._overlay.hear_graft(peer, name, now)
        for prune in rpc.prune:
            self._overlay.meshes.hear_prune(peer, prune, now)
        if rpc.ihave:
            self._hearsay.hear_ihave(peer, rpc.ihave, now)
        if rpc.iwant:
            self._hearsay.hear_iwant(peer, rpc.iwant, now)

    def _on_message(self, peer: Peer, message: Message, rpc: bytes, now: float) -> None:
        """`rpc`: what it came in."""
        topic = self._topics.get(message.topic)
        if topic is None:
            self._counts["message.not_joined"] += 1
            return
        name, data = topic.name, message.data
        # These two are seen before the id is known, and must not be remembered by it: the id covers neither, so
        # whoever dresses up a good message would mute it.
        if message.signed:
            self._reject(peer, name, Reason.RPC_SIGNED, now)
            return
        if len(data) > self._params.max_message_bytes:
            self._reject(peer, name, Reason.SIZE, now)
            return
        mid = message_id(name, data)
        # When it was asked for: the promise is kept, whatever the message is worth.
        was_asked = peer in self._asking and self._asking[peer].ids.pop(mid, None) is not None
        if not was_asked and peer in topic.mesh:
            topic.active[peer] = None
        if mid in self._seen:
            peer.duplicates += 1
            self._counts["message.duplicate"] += 1
            kept = self._cache.get(mid) if peer.awake else None
            if kept is not None and peer.outbox.withdraw_forwarded(kept.wire):
                self._counts["sent.withdrawn"] += 1
            if self._scores.counts_copies:
                self._scores.brought_copy(peer.standing, name, mid, now)
            return
        if mid in self._rejected:
            self._reject(peer, name, "again", now)
            return
        if not self._shares.admit(peer.share, now):
            peer.ignored += 1
            peer.over_share += 1
            self._count_message("ignored", Reason.OVER_SHARE)
            return
        judgement = self._judge(name, data, peer.id, now)
        if judgement.verdict is Verdict.ACCEPT:
            peer.first += 1
            topic.heard += 1
            if was_asked:
                topic.late += 1
                topic.bringers[peer] = None
                self._hearsay.came_late(topic, mid)
            self._scores.brought_first(peer.standing, name, mid, now)
            self._counts["message.accepted"] += 1
            self._neighbours.effects.append(Deliver(name, data, peer.id, mid))
            wire = encode_publish(name, data)
            self._spread(topic, mid, rpc if rpc == wire else wire, peer)  # rather than keep the same bytes twice
        elif judgement.verdict is Verdict.REJECT:
            self._rejected.add(mid)
            self._reject(peer, name, judgement.reason, now)
        else:
            peer.ignored += 1
            self._count_message("ignored", judgement.reason)
            if judgement.remember:
                self._seen.add(mid)

    def _spread(self, topic: Topic, mid: bytes, wire: bytes, source: Peer | None) -> list[PeerId]:
        """A message of somebody else goes to the mesh and into the cache; gives the peers it is queued for."""
        self._seen.add(mid)
        self._cache.put(mid, topic.name, wire)
        targets = self._overlay.forward_targets(topic)
        return [peer.id for peer in targets if peer is not source and self._neighbours.send_forwarded(peer, wire)]

    def _reject(self, peer: Peer, name: str, reason: str, now: float) -> None:
        peer.rejected += 1
        self._scores.brought_invalid(peer.standing, name, now)
        self._count_message("rejected", reason)

    def _count_message(self, what: str, reason: str) -> None:
        self._counts[f"message.{what}.{reason}" if reason else f"message.{what}"] += 1
