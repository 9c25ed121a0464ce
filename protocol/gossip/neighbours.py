"""The peers that are up, who carries what, and how we speak to them. Overlay and meshes decide; this remembers."""

from collections import defaultdict

from .events import Effect, PeerId
from .mesh import Peer
from .params import Params, ScoreParams
from .score import AppScore, Scores


class Neighbours:
    __slots__ = ("counts", "effects", "peers", "scores", "subscribers", "thresholds")

    def __init__(self, params: Params, app_score: AppScore | None) -> None:
        self.peers: dict[PeerId, Peer] = {}
        self.subscribers: dict[str, dict[Peer, int]] = {}
        """Of each topic, with the turn (`Overlay.turn`) in which they last heard our IHAVE: longest ago comes first."""
        self.scores = Scores(params.score, app_score)
        self.thresholds = params.score or ScoreParams()
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.effects: list[Effect] = []
        """Of the event that is being handled."""

    # ------------------------------------------------------------------------------------------------------- speaking

    def announce(self, peer: Peer, name: str, subscribe: bool) -> None:
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

    # -------------------------------------------------------------------------------------------- what we think of them

    def may_mesh(self, peer: Peer, now: float) -> bool:
        """A score below zero has no place in a mesh, and whom we agreed with needs none."""
        return not peer.static and not self.scores.is_below(peer.standing, 0.0, now)

    def may_gossip(self, peer: Peer, now: float) -> bool:
        """IHAVE and IWANT, both ways."""
        return peer.static or not self.scores.is_below(peer.standing, self.thresholds.gossip_threshold, now)

    def may_get_own(self, peer: Peer, now: float) -> bool:
        return peer.static or not self.scores.is_below(peer.standing, self.thresholds.publish_threshold, now)

    def may_speak(self, peer: Peer, now: float) -> bool:
        """False: graylisted."""
        return peer.static or not self.scores.is_below(peer.standing, self.thresholds.graylist_threshold, now)

    def blame(self, peer: Peer, amount: float, now: float) -> None:
        """P7: what no honest peer does, or not often."""
        self.scores.misbehaved(peer.standing, amount, now)
