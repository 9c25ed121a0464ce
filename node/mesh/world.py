"""A whole network of routers in one calendar of moments: no task, no clock, no thread, one seed.

A link is a FIFO each way, with delays and losses of its own generator, so that what happens on one link does not depend
on what happens on another. Time is the time of the next moment; nothing ever waits for it. The routers are those that
run in a node (`protocol.gossip`), fed with the same events; only the streams between them are missing.
"""

import hashlib
import heapq
import math
import random
import struct
from collections.abc import Callable, Collection
from typing import Final, TypeAlias

from protocol.gossip import (
    Effect,
    Event,
    Heartbeat,
    Join,
    Judge,
    Judgement,
    Params,
    PeerDown,
    PeerUp,
    Publish,
    Router,
    RpcReceived,
    Verdict,
    Wake,
)

TOPIC: Final = "intentcast/1/test/intent/mobility"

Stranger: TypeAlias = Callable[[Event], None]
"""Somebody without a router: what it is told, and nothing more."""

_LENGTH_BYTES: Final = 2
"""Of the length before an RPC on a stream, for nearly all of them."""


def is_ours(topic: str) -> bool:
    return topic.startswith("intentcast/1/test/intent/")


def accept_all(topic: str, data: bytes, via: str, now: float) -> Judgement:
    return Judgement(Verdict.ACCEPT)


class Chance:
    """A random generator of one number: `random.Random` has 2.5 kB of state, and a network has many links."""

    __slots__ = ("_state",)

    def __init__(self, name: str) -> None:
        self._state = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big")

    def draw(self) -> float:
        """At least 0, below 1. Knuth's MMIX generator, of which only the upper bits are any good."""
        self._state = state = (self._state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        return (state >> 11) * 2.0**-53


class Pipe(Chance):
    """One direction of a link, with a chance of its own."""

    __slots__ = ("goal", "is_up", "last", "source", "source_number", "target", "target_number")

    def __init__(self, source: str, target: str, numbers: tuple[int, int], seed: int, goal: "Node | Stranger") -> None:
        super().__init__(f"{seed}/{source}/{target}")
        self.source = source
        self.target = target
        self.goal = goal
        """Who hears what arrives: looked up once, for among 10,000 a look-up is a walk through cold memory."""
        self.source_number, self.target_number = numbers
        self.last = 0.0
        """When the newest RPC on the way will arrive; none overtakes it."""
        self.is_up = True


class Node:
    """A router and where it stands."""

    __slots__ = ("beat", "name", "number", "phase", "pipes", "received", "router", "sent", "stalled")

    def __init__(
        self, name: str, number: int, params: Params, judge: Judge, seed: int, static: Collection[str] = ()
    ) -> None:
        self.name = name
        self.number = number
        """In the order in which they were added."""
        self.router = Router(params, judge, random.Random(f"{seed}/{name}"), is_ours, static=static)
        self.pipes: dict[str, Pipe] = {}
        self.phase = Chance(f"{seed}/{name}/phase").draw() * params.heartbeat_interval
        self.beat = 0
        """Number of the heartbeat that comes next, counted in intervals since the beginning of the world."""
        self.stalled: Collection[str] = ()
        """Peers this node cannot write to at the moment."""
        self.sent = self.received = 0
        """Bytes of RPCs with their lengths."""


_Moment: TypeAlias = tuple[float, int, Pipe | Node | Callable[[], object], bytes | int | None]
"""When, the how manieth that was planned, and what: bytes that arrive, a heartbeat and its number, something to do."""


class Calendar:
    """Moments, the earliest first; of those at the same time, the one that was planned first.

    On pages of a hundredth of a second: what lies ahead is only written down, and sorted when its page is turned up. So
    it is sorted among few others, which the caches of a computer hold; they do not hold all that 10,000 nodes plan."""

    __slots__ = ("_ahead", "_count", "_now", "_open", "_pages")

    def __init__(self) -> None:
        self._open: list[_Moment] = []  # a heap
        self._now = 0  # the page that is turned up
        self._ahead: dict[int, list[_Moment]] = {}  # by page
        self._pages: list[int] = []  # of these, a heap
        self._count = 0

    def plan(self, when: float, who: Pipe | Node | Callable[[], object], what: bytes | int | None) -> None:
        self._count += 1
        moment: _Moment = (when, self._count, who, what)
        page = int(when * 100)
        if page <= self._now:
            heapq.heappush(self._open, moment)
        elif page in self._ahead:
            self._ahead[page].append(moment)
        else:
            self._ahead[page] = [moment]
            heapq.heappush(self._pages, page)

    def next_time(self) -> float:
        """Of the next moment; infinite when nothing is planned."""
        if not self._open:
            if not self._pages:
                return math.inf
            self._now = heapq.heappop(self._pages)
            self._open = self._ahead.pop(self._now)
            heapq.heapify(self._open)
        return self._open[0][0]

    def take(self) -> _Moment:
        """The next moment, of which `next_time` spoke."""
        return heapq.heappop(self._open)


class World:
    """To be subclassed for what shall be known about it (`observe`)."""

    def __init__(self, seed: int = 1, params: Params | None = None, *, skip_idle: bool = False) -> None:
        """`skip_idle`: leave out the heartbeats that would do nothing. The history is the same, and cheaper."""
        self.seed = seed
        self.params = params or Params()
        self.now = 0.0
        self.nodes: dict[str, Node] = {}
        self.strangers: dict[str, Stranger] = {}
        self.ears: dict[str, Callable[[bytes], bool]] = {}
        """Of strangers: which RPCs they care about. Others are sent, and forgotten at once, which is cheap."""
        self.ips: dict[str, str] = {}
        self.delay = (0.02, 0.10)
        """Seconds one RPC is on its way, at least and at most."""
        self.loss = 0.0
        """Part of all RPCs that vanish."""
        self.tapes: dict[str, list[tuple[float, Event]]] = {}
        """Of nodes whose events are to be kept."""
        self.steps = 0
        """Moments so far: arrivals, heartbeats, and what was planned."""
        self._skip_idle = skip_idle
        self._stranger_pipes: dict[str, dict[str, Pipe]] = {}
        self._numbers: dict[str, int] = {}
        self._calendar = Calendar()
        self._trace = hashlib.blake2b(digest_size=16)

    # ------------------------------------------------------------------------------------------------- who there is

    def add(
        self,
        name: str,
        *,
        judge: Judge = accept_all,
        params: Params | None = None,
        join: bool = True,
        static: Collection[str] = (),
    ) -> Node:
        node = self.nodes[name] = self.make_node(name, len(self.nodes), params or self.params, judge, static)
        self._plan_beat(node, self._next_beat(node))
        if join:
            self.tell(name, Join(TOPIC))
        return node

    def make_node(self, name: str, number: int, params: Params, judge: Judge, static: Collection[str]) -> Node:
        return Node(name, number, params, judge, self.seed, static)

    def connect(self, dialler: str, dialled: str) -> None:
        for one, two in ((dialler, dialled), (dialled, dialler)):
            goal = self.nodes.get(two) or self.strangers[two]
            self._pipes_of(one)[two] = Pipe(one, two, (self._number(one), self._number(two)), self.seed, goal)
        self.tell(dialler, PeerUp(dialled, outbound=True, ip=self.ips.get(dialled, "")))
        self.tell(dialled, PeerUp(dialler, outbound=False, ip=self.ips.get(dialler, "")))

    def disconnect(self, one: str, two: str) -> None:
        for source, target in ((one, two), (two, one)):
            self._pipes_of(source).pop(target).is_up = False
            self.tell(source, PeerDown(target))

    def is_connected(self, one: str, two: str) -> bool:
        return two in self._pipes_of(one)

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

    def _pipes_of(self, name: str) -> dict[str, Pipe]:
        node = self.nodes.get(name)
        return self._stranger_pipes.setdefault(name, {}) if node is None else node.pipes

    def _number(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    # ----------------------------------------------------------------------------------------------------- happening

    def tell(self, name: str, event: Event) -> None:
        node = self.nodes.get(name)
        if node is None:
            self.strangers[name](event)
        else:
            self._tell(node, event)

    def _tell(self, node: Node, event: Event) -> None:
        if self._skip_idle:
            soon = self._next_beat(node)
            if node.beat > soon:
                self._plan_beat(node, soon)  # it may have something to do again
        self._handle(node, event)

    def _handle(self, node: Node, event: Event) -> None:
        if self.tapes and node.name in self.tapes:
            self.tapes[node.name].append((self.now, event))
        for effect in node.router.handle(event, self.now):
            if type(effect) is Wake:
                if effect.peer not in node.stalled:
                    self._write(node, effect.peer)
            else:
                self.observe(node, effect)

    def observe(self, node: Node, effect: Effect) -> None:
        """What a router wants done beside being written for."""

    def publish_now(self, name: str, data: bytes, topic: str = TOPIC) -> None:
        self.tell(name, Publish(topic, data))

    def flush(self, name: str, peer: str) -> None:
        """Write what waits for a peer, unless the node is stalled there."""
        node = self.nodes[name]
        if peer not in node.stalled:
            self._write(node, peer)

    def send(self, name: str, peer: str, rpc: bytes) -> None:
        """Put bytes on a link, whoever made them."""
        pipe = self._pipes_of(name).get(peer)
        if pipe is not None:
            self._send(pipe, rpc)

    def _write(self, node: Node, peer: str) -> None:
        pipe = node.pipes.get(peer)
        next_rpc = node.router.next_rpc
        while (rpc := next_rpc(peer)) is not None:
            node.sent += len(rpc) + _LENGTH_BYTES
            if pipe is not None:
                self._send(pipe, rpc)

    def _send(self, pipe: Pipe, rpc: bytes) -> None:
        if self.ears:
            cares = self.ears.get(pipe.target)
            if cares is not None and not cares(rpc):
                return
        least, most = self.delay
        arrival = self.now + least + (most - least) * pipe.draw()
        if self.loss and pipe.draw() < self.loss:
            return
        if arrival < pipe.last:
            arrival = pipe.last
        pipe.last = arrival
        self._calendar.plan(arrival, pipe, rpc)

    def _arrive(self, pipe: Pipe, rpc: bytes) -> None:
        if not pipe.is_up:
            return  # the link it travelled on is gone
        self._trace.update(struct.pack("<dII", self.now, pipe.source_number, pipe.target_number) + rpc)
        heard = RpcReceived(pipe.source, rpc)
        if isinstance(pipe.goal, Node):
            pipe.goal.received += len(rpc) + _LENGTH_BYTES
            self._tell(pipe.goal, heard)
        else:
            pipe.goal(heard)

    # ---------------------------------------------------------------------------------------------------- heartbeats

    def _next_beat(self, node: Node) -> int:
        """The first heartbeat behind now."""
        return max(0, math.floor((self.now - node.phase) / self.params.heartbeat_interval) + 1)

    def _plan_beat(self, node: Node, beat: int) -> None:
        node.beat = beat
        self._calendar.plan(node.phase + beat * self.params.heartbeat_interval, node, beat)

    def _beat(self, node: Node, beat: int) -> None:
        if node.beat != beat:
            return  # planned for an earlier time since
        self._handle(node, Heartbeat())
        following = beat + 1
        if self._skip_idle:
            due = node.router.next_beat(self.now)
            following = max(following, math.ceil((due - node.phase) / self.params.heartbeat_interval))
        self._plan_beat(node, following)

    # ----------------------------------------------------------------------------------------------------------- time

    def at(self, when: float, act: Callable[[], object]) -> None:
        self._calendar.plan(when, act, None)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._calendar.next_time() <= end:
            self._step()
        self.now = end

    def run_until(self, condition: Callable[[], bool], within: float) -> float:
        """Seconds it took. Fails when the condition does not come true in time."""
        start = self.now
        while not condition():
            assert self._calendar.next_time() <= start + within, f"not within {within} s"
            self._step()
        return self.now - start

    def _step(self) -> None:
        self.now, _, who, what = self._calendar.take()
        self.steps += 1
        if isinstance(who, Pipe):
            assert isinstance(what, bytes)
            self._arrive(who, what)
        elif isinstance(who, Node):
            assert isinstance(what, int)
            self._beat(who, what)
        else:
            who()

    @property
    def trace(self) -> str:
        """A hash of all that arrived anywhere, and when."""
        return self._trace.hexdigest()
