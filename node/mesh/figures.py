"""What is measured in a world, and what it comes to."""

import math
import os
import time
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from protocol.gossip import Deliver, Effect, Params, Wake

from .admission import Admission, Full, Light
from .world import TOPIC, Node, World

IN_TIME = 10.0
"""Seconds within which a message has to arrive."""
SOON = 1.0
"""Seconds within which it arrives when meshes carry it, rather than hearsay; in small networks hearsay can do that, too
(see `mesh_pace`)."""
ENOUGH = 0.99
"""The part of the messages that has to reach this part of the honest subscribers in time."""
SPARE_HOPS = 2.0
"""Links on the mean way beyond log N."""
MEMORY = 50_000
"""Bytes a node that nobody attacks may take of this process, with what it has to do with others."""
_UNKNOWN = 255
_LOOKED_AT = 20
"""Nodes whose meshes and scores are sampled."""


class Wish:
    """One message of the simulation, and when it reached whom."""

    __slots__ = ("at", "author", "by_strangers", "delays", "hops")

    def __init__(self, author: int, at: float, nodes: int) -> None:
        self.author = author
        self.at = at
        self.delays = array("f", [math.inf]) * nodes
        """Seconds, by the number of the node; the author's own is never set."""
        self.hops = bytearray([_UNKNOWN]) * nodes
        """Links it took; not known of what came through a sybil."""
        self.hops[author] = 0
        self.by_strangers = 0
        """Nodes that had it first from who is none of them: a sybil."""

    def reached(self, within: float) -> float:
        """The part of the others that had it in time."""
        return sum([delay <= within for delay in self.delays]) / max(1, len(self.delays) - 1)

    @property
    def is_good(self) -> bool:
        return self.reached(IN_TIME) >= ENOUGH


@dataclass(frozen=True, slots=True)
class Sample:
    """A look at the world."""

    at: float
    mesh: float
    """Peers in a mesh, mean."""
    honest_part: float
    """Of those, mean over nodes."""
    honest_score: float
    """What an honest peer is worth to an honest node, mean."""
    sybil_score: float
    bytes_per_second: float
    """Sent by a node since the last look, mean."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What became of the messages said in an interval."""

    at: float
    messages: int
    in_time: float
    soon: float
    prompt: float
    """The part that arrived at the pace of a mesh."""
    p50: float
    p99: float


class Measured(World):
    """A world in which wishes are followed. Its nodes are named n0, n1, ..."""

    def __init__(self, seed: int, params: Params, *, full: bool = False, skip_idle: bool = True) -> None:
        super().__init__(seed, params, skip_idle=skip_idle)
        self.wishes: list[Wish] = []
        self.samples: list[Sample] = []
        self.strayed = 0
        """Deliveries of what nobody said."""
        self._said: dict[bytes, Wish] = {}
        self.admission: Admission = Full() if full else Light(self._said.__contains__)
        self._sent = 0
        self._sampled = 0.0

    def populate(self, count: int) -> list[str]:
        names = [f"n{number}" for number in range(len(self.nodes), len(self.nodes) + count)]
        for name in names:
            self.add(name, judge=self.admission.judge())
        return names

    def say(self, author: str) -> Wish:
        data = self.admission.frame(len(self.wishes), self.now)
        wish = Wish(self.nodes[author].number, self.now, len(self.nodes))
        self._said[data] = wish
        self.wishes.append(wish)
        self.publish_now(author, data)
        return wish

    def author_of(self, data: bytes) -> int | None:
        wish = self._said.get(data)
        return None if wish is None else wish.author

    def observe(self, node: Node, effect: Effect) -> None:
        if not isinstance(effect, Deliver):
            return
        wish = self._said.get(effect.data)
        if wish is None:
            self.strayed += 1
            return
        wish.delays[node.number] = self.now - wish.at
        via = self.nodes.get(effect.via)
        wish.by_strangers += via is None
        if via is not None and wish.hops[via.number] != _UNKNOWN:
            wish.hops[node.number] = wish.hops[via.number] + 1

    def sample(self, names: Sequence[str]) -> None:
        """Look at some nodes."""
        looked = [self.nodes[name] for name in names[:: max(1, len(names) // _LOOKED_AT)]]
        sizes: list[int] = []
        honest: list[float] = []
        scores: dict[bool, list[float]] = {True: [], False: []}
        for node in looked:
            mesh = node.router.mesh(TOPIC)
            sizes.append(len(mesh))
            honest.append(sum([peer in self.nodes for peer in mesh]) / max(1, len(mesh)))
            for peer, score in node.router.scores(self.now).items():
                scores[peer in self.nodes].append(score.total)
        sent = sum([node.sent for node in self.nodes.values()])
        passed = max(1e-9, self.now - self._sampled)
        self.samples.append(
            Sample(
                self.now,
                _mean(sizes),
                _mean(honest),
                _mean(scores[True]),
                _mean(scores[False]),
                (sent - self._sent) / len(self.nodes) / passed,
            )
        )
        self._sent, self._sampled = sent, self.now


@dataclass(slots=True)
class Figures:
    """What a run came to. Parts are between 0 and 1, times in seconds, of the simulated clock unless said otherwise."""

    name: str
    honest: int
    sybils: int
    scores: bool
    rate: float
    """Messages a second, of all authors together."""
    messages: int
    """Of which the following speaks."""
    in_time: float
    """Of all that was to arrive, what did within IN_TIME."""
    good: float
    """Messages that reached at least ENOUGH of the honest subscribers within IN_TIME. The goal: at least ENOUGH."""
    soon: float
    """Of all that was to arrive, what did within SOON."""
    p50: float
    p99: float
    slowest: float
    hops_mean: float
    hops_most: int
    target: float | None
    """Of what was to reach (or to come from) the node under attack, what did in time. The same goal."""
    recovery: float | None
    """After the attack began: from then on every message was good. The goal: at most 60."""
    prompt_again: float | None
    """After the attack began: from then on ENOUGH arrived at the pace of a mesh, in every interval. Infinite: not in
    this run. The same goal: it tells meshes that were mended from hearsay that does their work."""
    bytes_per_second: float
    """Sent by a node, mean."""
    copies: float
    """Of a message, received by a node, mean."""
    honest_part: float
    """Of the meshes, at the end."""
    cpu: float
    """Seconds of this computer, of which the world took all."""
    cpu_per_node: float
    """Milliseconds of this computer for a node and a second of the world."""
    cpu_alone: float
    """The same of a router that is alone on a core: what a few of them were told, told again. In the world each waits
    for its memory, which the others have pushed out of the caches; a node does not."""
    memory_per_node: float
    """Bytes that the process grew by, for each honest node: with its links to sybils, and their end of them."""
    seconds: float
    steps: int
    """What happened: RPCs that arrived, heartbeats that were not idle."""
    trace: str
    moments: list[Moment] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


def log_hops(nodes: int) -> float:
    """Links to the farthest in a random graph in which everybody tells d - 1 others: log N / log (d - 1)."""
    return math.log(nodes) / math.log(5)


def mesh_pace(nodes: int, slowest_link: float) -> float:
    """Seconds a message is under way in a mesh at most: as many links as growth allows the mean way, each as slow as a
    link can be. Hearsay takes longer, for it asks before it is given."""
    return (log_hops(nodes) + SPARE_HOPS) * slowest_link


def moments_of(wishes: Sequence[Wish], every: float, pace: float) -> list[Moment]:
    """Wishes by the interval in which they were said. `pace`: seconds, see `mesh_pace`."""
    found: list[Moment] = []
    groups: dict[int, list[Wish]] = {}
    for wish in wishes:
        groups.setdefault(int(wish.at // every), []).append(wish)
    for number, group in groups.items():
        delays = sorted_delays(group)
        found.append(
            Moment(
                number * every,
                len(group),
                part_within(delays, IN_TIME),
                part_within(delays, SOON),
                part_within(delays, pace),
                quantile(delays, 0.5),
                quantile(delays, 0.99),
            )
        )
    return found


def sorted_delays(wishes: Sequence[Wish]) -> Sequence[float]:
    """Of everybody but the authors; infinite where nothing arrived."""
    found = array("f")
    for wish in wishes:
        found.extend(wish.delays[: wish.author])
        found.extend(wish.delays[wish.author + 1 :])
    return sorted(found)


def part_within(delays: Sequence[float], within: float) -> float:
    return sum([delay <= within for delay in delays]) / max(1, len(delays))


def quantile(values: Iterable[float], part: float) -> float:
    """The least of the values that this part of all does not exceed (the nearest rank); infinite when there is none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(part * len(ordered)) - 1)] if ordered else math.inf


def recovery_of(wishes: Sequence[Wish], since: float) -> float:
    """Seconds after `since` behind which every wish was good."""
    bad = [wish.at for wish in wishes if wish.at >= since and not wish.is_good]
    if not bad:
        return 0.0
    later = [wish.at for wish in wishes if wish.at > bad[-1]]
    return later[0] - since if later else math.inf


def prompt_again_of(moments: Sequence[Moment], since: float) -> float:
    """Seconds after `since` behind which ENOUGH was prompt."""
    bad = [moment.at for moment in moments if moment.at >= since and moment.prompt < ENOUGH]
    if not bad:
        return 0.0
    later = [moment.at for moment in moments if moment.at > bad[-1]]
    return later[0] - since if later else math.inf


def cpu_alone(world: Measured) -> float:
    """Milliseconds of this computer for a second of the world, of a router whose events were kept. 0: none was."""
    best: list[float] = []
    for name, tape in world.tapes.items():
        times = []
        for _ in range(3):
            router = world.make_node(name, 0, world.params, world.admission.judge(), ()).router
            began = time.process_time()
            for now, event in tape:
                for effect in router.handle(event, now):
                    if isinstance(effect, Wake):
                        while router.next_rpc(effect.peer) is not None:
                            pass
            times.append(time.process_time() - began)
        best.append(min(times))
    return 1000 * _mean(best) / world.now if best else 0.0


def memory_now() -> int:
    """Bytes of this process in memory; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
