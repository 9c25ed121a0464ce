"""What every contestant of a mesh measurement is told: the same nodes, links, messages, loads and deadlines."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from protocol import categories

NET = "bench"
DIVISION = "mobility"
LINKS_PER_NODE = 12


def circulant(nodes: int, degree: int) -> tuple[tuple[int, int], ...]:
    """Who dials whom: every node has `degree` links, spread evenly, and dialled half of them."""
    links = [(a, (a + step) % nodes) for step in range(1, degree // 2 + 1) for a in range(nodes)]
    if degree % 2:
        links += [(a, a + nodes // 2) for a in range(nodes // 2)]
    return tuple(links)


def most_hops(nodes: int, links: Iterable[tuple[int, int]]) -> int:
    """From any node to the one farthest from it, by the shortest way: what no router can do without."""
    near: dict[int, set[int]] = {node: set() for node in range(nodes)}
    for a, b in links:
        near[a].add(b)
        near[b].add(a)
    most = 0
    for start in near:
        reached, edge, hops = {start}, {start}, 0
        while edge := {node for there in edge for node in near[there]} - reached:
            reached |= edge
            hops += 1
        assert len(reached) == nodes, "the graph is in pieces"
        most = max(most, hops)
    return most


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Times in seconds, all else counts."""

    nodes: int
    links: tuple[tuple[int, int], ...]
    d: int = 6
    d_low: int = 5
    d_high: int = 12
    heartbeat: float = 1.0
    topic: str = categories.topic(NET, DIVISION)
    net: str = NET
    bytes: int = 512
    authors: int = 4_000
    """Keys made before the clock starts. A message takes the next one: wishes never share a key."""
    signed: bool = False
    """js only: gossipsub signs and verifies, rather than the validator."""
    delay: float = 0.0
    """Ours only, over libp2p: how late bytes arrive on every link, each way."""
    settle: float = 3.0
    settle_garbage: bool = True
    """Ours only: with the collector as a node of ours sets it."""
    deadline: float = 20.0
    warm_messages: int = 60
    idle_messages: int = 60
    idle_pause: float = 0.03
    load_rate: float = 10.0
    load_seconds: float = 6.0
    window: int = 4
    flow_seconds: float = 6.0

    def text(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def parse(text: str) -> "Plan":
        fields = json.loads(text)
        return Plan(**fields | {"links": tuple(tuple(link) for link in fields["links"])})


def plan_for(nodes: int, *, quick: bool = False, authors: int = 4_000) -> Plan:
    links = circulant(nodes, min(nodes - 1, LINKS_PER_NODE))
    # What every contestant can carry, at about a third of what the slowest one can.
    rate = {10: 20.0, 20: 8.0, 50: 2.5}.get(nodes, 100.0 / nodes)
    if quick:
        return Plan(
            nodes=nodes,
            links=links,
            authors=authors,
            load_rate=rate,
            settle=1.5,
            warm_messages=15,
            idle_messages=12,
            load_seconds=1.5,
            flow_seconds=2.0,
        )
    return Plan(nodes=nodes, links=links, authors=authors, load_rate=rate)


def far_plan(nodes: int, delay: float, *, quick: bool = False) -> Plan:
    """Nodes far from each other, and one message after the other: what is measured is the way, not the machine."""
    return replace(
        plan_for(nodes, quick=quick),
        delay=delay,
        warm_messages=15,
        idle_messages=40 if quick else 200,
        load_seconds=0.0,
        flow_seconds=0.0,
    )
