"""The meshes of the topics we carry: GRAFT and PRUNE, who may come in, who stays, who is fetched.

Nobody whose score is below zero is in a mesh; when one has grown too large the best stay; a poor one gets better
peers; one subnet has few places in it, and those who dial us never all of them.
"""

import math
import random

from .mesh import Backoffs, Peer, Topic, choose_survivors, draw
from .neighbours import Neighbours
from .params import Params
from .rpc import Prune

_SWEEP_EVERY = 15
"""Heartbeats between two sweeps of the back-offs; they are compared with the clock whenever they matter."""


class Meshes:
    __slots__ = (
        "_beats",
        "_counts",
        "_neighbours",
        "_next_look",
        "_next_offer",
        "_params",
        "_rng",
        "_scores",
        "backoffs",
        "located",
        "topics",
    )

    def __init__(self, params: Params, rng: random.Random, neighbours: Neighbours) -> None:
        self._params = params
        self._rng = rng
        self._neighbours = neighbours
        self._scores = neighbours.scores
        self._counts = neighbours.counts
        self._beats = 0
        self._next_offer: float | None = None
        self._next_look = 0.0
        self.topics: dict[str, Topic] = {}  # that we carry
        self.backoffs = Backoffs(params.max_backoffs)
        self.located = 0
        """Peers that are up in a subnet that counts. Without any, nobody needs to count subnets."""

    # ---------------------------------------------------------------------------------------------------- going in, out

    def enter(self, topic: Topic, peer: Peer, now: float) -> None:
        topic.mesh[peer] = now
        topic.newcomers[peer] = None
        self._scores.entered_mesh(peer.standing, topic.name, now)

    def exit(self, topic: Topic, peer: Peer, now: float) -> None:
        topic.silent.pop(peer, None)
        topic.active.pop(peer, None)
        if topic.mesh.pop(peer, None) is not None:
            self._scores.left_mesh(peer.standing, topic.name, now)

    def may_graft(self, peer: Peer, name: str, now: float) -> bool:
        """Whether we may ask this peer into the mesh. A heartbeat of slack, so that we are never early on its clock."""
        return self._neighbours.may_mesh(peer, now) and not self.backoffs.blocks(
            name, peer.id, now - self._params.heartbeat_interval
        )

    def has_room(self, topic: Topic, peer: Peer) -> bool:
        """Whether its subnet has a place left."""
        if not peer.subnet:
            return True
        return sum([other.subnet == peer.subnet for other in topic.mesh]) < self._params.mesh_per_subnet

    def graft(self, topic: Topic, peer: Peer, now: float) -> bool:
        if not self.has_room(topic, peer):
            return False
        if not peer.outbox.put_graft(topic.name):
            self._counts["dropped.control"] += 1
            return False
        self.enter(topic, peer, now)
        self._counts["graft.sent"] += 1
        self._neighbours.wake(peer)
        return True

    def prune(self, peer: Peer, name: str, backoff: float, now: float) -> None:
        """Say so and keep the back-off ourselves, too. The caller takes the peer out of the mesh."""
        self.backoffs.add(name, peer.id, now + backoff, now)
        self.say_prune(peer, name, backoff)

    def say_prune(self, peer: Peer, name: str, backoff: float) -> None:
        if peer.outbox.put_prune(name, math.ceil(backoff) if peer.says_backoff else None):
            self._counts["prune.sent"] += 1
            self._neighbours.wake(peer)
        else:
            self._counts["dropped.control"] += 1

    # ----------------------------------------------------------------------------------------------- what peers ask for

    def hear_graft(self, topic: Topic, peer: Peer, now: float) -> None:
        """Of a subscriber that is not in the mesh."""
        refusal = self._refusal(topic, peer, now)
        if refusal is None:
            self._counts["graft.received"] += 1
            self.enter(topic, peer, now)
            return
        self._counts[f"graft.{refusal}"] += 1
        if refusal == "early":
            peer.early_grafts += 1
            self._blame_early(peer, topic.name, now)
        wait = self._params.full_backoff if refusal == "full" else self._params.prune_backoff
        self.prune(peer, topic.name, wait, now)

    def _refusal(self, topic: Topic, peer: Peer, now: float) -> str | None:
        if peer.static:
            return "static"
        if self.backoffs.blocks(topic.name, peer.id, now):
            return "early"
        if not self._neighbours.may_mesh(peer, now):
            return "low_score"
        if len(topic.mesh) >= self._params.d_high and not peer.outbound and not self._is_better(topic, peer, now):
            if not (self._lags(topic) and peer in topic.bringers and self._make_room(topic, peer, now)):
                return "full"
        return None if self.has_room(topic, peer) else "subnet"

    def _blame_early(self, peer: Peer, name: str, now: float) -> None:
        age = self.backoffs.age(name, peer.id, now)
        if not peer.says_backoff:
            # 1.0 knows no back-off: it asks again every heartbeat, and only more than that is a flood.
            self._neighbours.blame(peer, 1.0 if age < self._params.heartbeat_interval / 2 else 0.0, now)
        else:
            self._neighbours.blame(peer, 2.0 if age < self._params.graft_flood else 1.0, now)

    def hear_prune(self, peer: Peer, prune: Prune, now: float) -> None:
        topic = self.topics.get(prune.topic)
        if topic is None:
            self._counts["prune.not_joined"] += 1
            return
        self._counts["prune.received"] += 1
        self.exit(topic, peer, now)
        backoff = self._params.prune_backoff if not prune.backoff else min(prune.backoff, self._params.max_backoff)
        self.backoffs.add(topic.name, peer.id, now + backoff, now)

    # ---------------------------------------------------------------------------------------------------------- tending

    def beat(self, now: float) -> None:
        self._beats += 1
        if self._beats % _SWEEP_EVERY == 0:
            self.backoffs.sweep(now - self._params.heartbeat_interval)  # see may_graft
        if self._scores.suspects:
            self._scores.clear(now)
        for topic in self.topics.values():
            self._tend(topic, now)
        if self._scores.on and now >= self._next_look:
            self._next_look = now + self._params.lag_interval
            for topic in self.topics.values():
                self._look_for_lag(topic, now)
        if self._next_offer is None:
            self._next_offer = now + self._params.opportunistic_interval
        elif now >= self._next_offer:
            self._next_offer = now + self._params.opportunistic_interval
            for name in self._scores.news_of(self.topics):
                self._graft_better(self.topics[name], now)

    def next_beat(self, now: float) -> float:
        """As in the router: now, if somebody is to be judged, pruned or fetched; else when we look for better peers."""
        if self._scores.suspects or self._next_offer is None:
            return now
        params = self._params
        for topic in self.topics.values():
            outbound = sum([peer.outbound for peer in topic.mesh])
            if len(topic.mesh) > params.d_high:
                return now
            if len(topic.mesh) < params.d_low or outbound < params.d_out:
                outbound_only = len(topic.mesh) >= params.d_low
                subscribers = self._neighbours.subscribers.get(topic.name, ())
                if any(peer not in topic.mesh and (peer.outbound or not outbound_only) for peer in subscribers):
                    return now  # else there is nobody to fetch: whoever comes is an event
        if any(topic.heard >= params.lag_messages for topic in self.topics.values()):
            return min(self._next_offer, self._next_look)
        return self._next_offer

    def _tend(self, topic: Topic, now: float) -> None:
        params, mesh = self._params, topic.mesh
        if self._scores.suspects:
            for peer in [peer for peer in mesh if not self._neighbours.may_mesh(peer, now)]:
                self._counts["prune.low_score"] += 1
                self.exit(topic, peer, now)
                self.prune(peer, topic.name, params.prune_backoff, now)
        if len(mesh) < params.d_low:
            self.fill(topic, params.d - len(mesh), now)
        elif len(mesh) > params.d_high:
            score = (lambda peer: self._score_of(peer, now)) if self._scores.on else None
            stay = choose_survivors(mesh, params, self._rng, score)
            for peer in [peer for peer in mesh if peer not in stay]:
                self.exit(topic, peer, now)
                self.prune(peer, topic.name, params.prune_backoff, now)
        if len(mesh) >= params.d_low:
            missing = params.d_out
            for peer in mesh:
                if missing <= 0:
                    break
                missing -= peer.outbound
            if missing > 0:
                self.fill(topic, missing, now, outbound_only=True)

    def fill(self, topic: Topic, missing: int, now: float, *, outbound_only: bool = False) -> None:
        candidates = [
            peer
            for peer in self._neighbours.subscribers.get(topic.name, ())
            if peer not in topic.mesh and (peer.outbound or not outbound_only) and self.may_graft(peer, topic.name, now)
        ]
        self._graft_some(topic, candidates, missing, now)

    def _graft_better(self, topic: Topic, now: float) -> None:
        """Opportunistic grafting: where half of the mesh brings next to nothing, try those who bring more."""
        poor = self._poor_median(topic, now)
        if poor is None:
            return
        better = [
            peer
            for peer in self._neighbours.subscribers.get(topic.name, ())
            if peer not in topic.mesh and self._score_of(peer, now) > poor and self.may_graft(peer, topic.name, now)
        ]
        before = len(topic.mesh)
        self._graft_some(topic, better, self._params.opportunistic_peers, now)
        self._counts["graft.opportunistic"] += len(topic.mesh) - before

    def _look_for_lag(self, topic: Topic, now: float) -> None:
        """Hearsay brings everything, late. Where it brings most of it first, the mesh has failed, be it that its peers
        all fell silent at once with the best of scores: those who answered us take the places of those who brought
        nothing. A few at a time: a peer that always hears from us first is silent, too."""
        if topic.heard < self._params.lag_messages:
            return
        topic.lags = 2 * topic.late > topic.heard
        active, topic.active = topic.active, {}
        if topic.lags:
            topic.silent = {peer: None for peer in topic.mesh if peer not in active}
            fresh = [
                peer
                for peer in topic.bringers
                if peer not in topic.mesh
                and topic.name in peer.topics
                and self.may_graft(peer, topic.name, now)
                and self.has_room(topic, peer)
            ]
            for peer in draw(fresh, self._params.opportunistic_peers, self._rng):
                if len(topic.mesh) < self._params.d_high or self._make_room(topic, peer, now):
                    self._counts["graft.lag"] += self.graft(topic, peer, now)
        else:
            topic.silent.clear()
            topic.bringers.clear()
        topic.heard = topic.late = 0

    def _lags(self, topic: Topic) -> bool:
        """As of the last look, or by what was heard since."""
        if not self._scores.on:
            return False
        return topic.lags or (topic.heard >= self._params.lag_messages and 2 * topic.late > topic.heard)

    def _make_room(self, topic: Topic, comer: Peer, now: float) -> bool:
        """One of those who bring nothing goes, if that lets the comer in. Of those we dialled d_out stay, whatever is
        said: who speaks first and by hearsay alone makes any mesh look late, and must not get all of its places."""
        if not self.has_room(topic, comer):
            return False
        suspected = topic.silent if topic.lags else topic.mesh
        outbound = sum([peer.outbound for peer in topic.mesh])
        silent = [
            peer
            for peer in suspected
            if peer not in topic.active and (outbound > self._params.d_out or not peer.outbound)
        ]
        for peer in draw(silent, 1, self._rng):
            self._counts["prune.silent"] += 1
            self.exit(topic, peer, now)
            self.prune(peer, topic.name, self._params.prune_backoff, now)
            return True
        return False

    def _is_better(self, topic: Topic, peer: Peer, now: float) -> bool:
        """The other end of opportunistic grafting: a full but poor mesh takes in who is better than half of it. Else
        two nodes whose meshes are both full of silent peers, each the other's best, could never come together."""
        poor = self._poor_median(topic, now)
        return poor is not None and self._score_of(peer, now) > poor

    def _poor_median(self, topic: Topic, now: float) -> float | None:
        """The median score of the mesh when it is below the threshold; None: good enough, or too few to tell."""
        if not self._scores.on or len(topic.mesh) < 2:
            return None
        values = sorted([self._score_of(peer, now) for peer in topic.mesh])
        median = values[len(values) // 2]
        return median if median < self._neighbours.thresholds.opportunistic_threshold else None

    def _graft_some(self, topic: Topic, candidates: list[Peer], count: int, now: float) -> None:
        """By lot; a subnet that is full makes room for the next in line."""
        if self.located:
            line = self._rng.sample(candidates, len(candidates))
        else:
            line = draw(candidates, count, self._rng)
        for peer in line:
            if count > 0 and self.graft(topic, peer, now):
                count -= 1

    def _score_of(self, peer: Peer, now: float) -> float:
        return self._scores.score(peer.standing, now)
