"""A whole network of routers in one heap of moments: no task, no clock, one seed.

A link is a FIFO each way with its own delay and its own loss, drawn from a generator of its own, so that what happens
on one link does not depend on the others.
"""

import hashlib
import heapq
import random
from collections.abc import Callable, Collection

from protocol.gossip import (
    Deliver,
    Event,
    Heartbeat,
    Join,
    Judge,
    Judgement,
    Misbehaved,
    Params,
    PeerDown,
    PeerUp,
    Publish,
    Published,
    Router,
    RpcReceived,
    Verdict,
    Wake,
)

TOPIC = "intentcast/1/test/intent/mobility"
OTHER = "intentcast/1/test/intent/lodging"


def is_ours(topic: str) -> bool:
    return topic.startswith("intentcast/1/test/intent/")


def accept_all(topic: str, data: bytes, via: str, now: float) -> Judgement:
    return Judgement(Verdict.ACCEPT)


class Node:
    def __init__(self, name: str, params: Params, judge: Judge, seed: int, static: Collection[str] = ()) -> None:
        self.name = name
        self.router = Router(params, judge, random.Random(f"{seed}/{name}"), is_ours, static=static)
        self.heard: list[bytes] = []
        self.heard_at: dict[bytes, float] = {}
        self.published: list[Published] = []
        self.misbehaved: list[Misbehaved] = []
        self.stalled: set[str] = set()
        """Peers this node cannot write to at the moment."""


class World:
    def __init__(self, seed: int = 1, params: Params | None = None) -> None:
        self.seed = seed
        self.params = params or Params()
        self.now = 0.0
        self.nodes: dict[str, Node] = {}
        self.strangers: dict[str, Callable[[Event], None]] = {}
        """Those who have no router: what they are told, and nothing more."""
        self.ips: dict[str, str] = {}
        self.loss = 0.0
        """Part of all RPCs that vanish."""
        self.deliveries = 0
        self._links: dict[tuple[str, str], random.Random] = {}
        self._last: dict[tuple[str, str], float] = {}
        self._moments: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._trace = hashlib.sha256()

    def add(
        self,
        name: str,
        *,
        judge: Judge = accept_all,
        params: Params | None = None,
        join: bool = True,
        static: Collection[str] = (),
    ) -> Node:
        node = self.nodes[name] = Node(name, params or self.params, judge, self.seed, static)
        phase = random.Random(f"{self.seed}/{name}/phase").random() * self.params.heartbeat_interval
        self.at(self.now + phase, lambda: self._beat(node))
        if join:
            self.tell(name, Join(TOPIC))
        return node

    def connect(self, dialler: str, dialled: str) -> None:
        for one, two in ((dialler, dialled), (dialled, dialler)):
            self._links[one, two] = random.Random(f"{self.seed}/{one}/{two}")
        self.tell(dialler, PeerUp(dialled, outbound=True, ip=self.ips.get(dialled, "")))
        self.tell(dialled, PeerUp(dialler, outbound=False, ip=self.ips.get(dialler, "")))

    def disconnect(self, one: str, two: str) -> None:
        for pair in ((one, two), (two, one)):
            del self._links[pair]
            self._last.pop(pair, None)
            self.tell(pair[0], PeerDown(pair[1]))

    def is_connected(self, one: str, two: str) -> bool:
        return (one, two) in self._links

    def publish(self, name: str, data: bytes, topic: str = TOPIC) -> Published:
        self.tell(name, Publish(topic, data))
        return self.nodes[name].published[-1]

    def tell(self, name: str, event: Event) -> None:
        if name in self.strangers:
            self.strangers[name](event)
            return
        node = self.nodes[name]
        for effect in node.router.handle(event, self.now):
            match effect:
                case Wake(peer):
                    self.flush(name, peer)
                case Deliver():
                    node.heard.append(effect.data)
                    node.heard_at[effect.data] = self.now
                    self.deliveries += 1
                case Published():
                    node.published.append(effect)
                case Misbehaved():
                    node.misbehaved.append(effect)

    def flush(self, name: str, peer: str) -> None:
        """Write what waits for a peer, unless the node is stalled there."""
        node = self.nodes[name]
        if peer in node.stalled:
            return
        while (rpc := node.router.next_rpc(peer)) is not None:
            self.send(name, peer, rpc)

    def send(self, name: str, peer: str, rpc: bytes) -> None:
        """Put bytes on a link, whoever made them."""
        link = self._links.get((name, peer))
        if link is None:
            return
        delay = 0.02 + 0.08 * link.random()
        if self.loss and link.random() < self.loss:
            return
        arrival = max(self.now + delay, self._last.get((name, peer), 0.0))
        self._last[name, peer] = arrival
        self.at(arrival, lambda: self._arrive(name, peer, rpc, link))

    def _arrive(self, name: str, peer: str, rpc: bytes, link: random.Random) -> None:
        if self._links.get((name, peer)) is not link:
            return  # the link it travelled on is gone
        self._trace.update(f"{self.now:.9f} {name} {peer} ".encode() + hashlib.sha256(rpc).digest())
        self.tell(peer, RpcReceived(name, rpc))

    def _beat(self, node: Node) -> None:
        self.tell(node.name, Heartbeat())
        self.at(self.now + self.params.heartbeat_interval, lambda: self._beat(node))

    def at(self, when: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._moments, (when, self._count, act))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._moments and self._moments[0][0] <= end:
            self.now, _, act = heapq.heappop(self._moments)
            act()
        self.now = end

    def run_until(self, condition: Callable[[], bool], within: float) -> float:
        """Seconds it took. Fails when the condition does not come true in time."""
        start = self.now
        while not condition():
            assert self._moments
            assert self._moments[0][0] <= start + within, f"not within {within} s"
            self.now, _, act = heapq.heappop(self._moments)
            act()
        return self.now - start

    @property
    def trace(self) -> str:
        """A hash of all that arrived anywhere, and when."""
        return self._trace.hexdigest()

    def random_graph(self, names: list[str], degree: int) -> None:
        """A ring, so that it hangs together, and random links until the mean degree is reached."""
        rng = random.Random(f"{self.seed}/graph")
        for one, two in zip(names, names[1:] + names[:1], strict=True):
            self.connect(one, two)
        links = len(names)
        while links < len(names) * degree // 2:
            one, two = rng.sample(names, 2)
            if not self.is_connected(one, two):
                self.connect(one, two)
                links += 1
