"""What a peer is worth to us: the score of GossipSub 1.1, from what only a forwarder can do right or wrong.

    min(topic_cap, sum over topics of weight * (P1 + P2 + P3 + P3b + P4)) + P5 + P6 + P7        each times its weight

P1 time in the mesh, P2 messages it brought first, P3 and P3b what it should have brought and did not (squared), P4
messages that were rejected (squared), P5 what the application says, P6 peers behind the same address (the surplus,
squared), P7 behaviour: broken promises, early GRAFTs, floods, RPCs that were refused (squared).

Counters decay by the clock, not by a beat: each remembers the interval it was touched in, and loses the powers of its
factor when it is touched again. So a peer that does nothing costs nothing, and heartbeats may be late or left out.
Only a peer that may be below zero is a *suspect*; of all others nobody asks for the score except to compare the good.
A score is reckoned once an interval, and anew when something bad happens: what is earned counts a moment later.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from .events import PeerId
from .params import ScoreParams, TopicScore

AppScore: TypeAlias = Callable[[PeerId], float]
"""P5: what the application thinks of a peer, any number. Pure and cheap: asked once an interval and peer."""


@dataclass(frozen=True, slots=True)
class Score:
    """A score taken apart, each term weighed already: for people, tests and logs."""

    total: float
    time_in_mesh: float = 0.0
    first: float = 0.0
    deficit: float = 0.0
    failures: float = 0.0
    invalid: float = 0.0
    application: float = 0.0
    colocation: float = 0.0
    behaviour: float = 0.0


class _Rules(NamedTuple):
    """A topic's parameters with the decay factors worked out."""

    params: TopicScore
    first: float
    mesh: float
    failures: float
    invalid: float


class TopicStanding:
    """What a peer did in one topic."""

    __slots__ = ("failures", "first", "grafted", "invalid", "mesh", "tick")

    def __init__(self, tick: int) -> None:
        self.tick = tick
        self.grafted: float | None = None
        self.first = self.mesh = self.failures = self.invalid = 0.0


class Standing:
    """What a peer did, over all its links within `retain_score`."""

    __slots__ = ("behaviour", "behaviour_tick", "host", "peer", "suspect", "tick", "topics", "total")

    def __init__(self, peer: PeerId) -> None:
        self.peer = peer
        self.host = ""
        self.topics: dict[str, TopicStanding] = {}
        self.behaviour = 0.0
        self.behaviour_tick = 0
        self.suspect = False
        """Its score may be below zero. False: it is not."""
        self.total = 0.0
        self.tick = -1
        """The interval `total` was reckoned in."""


class Scores:
    """The scores of all peers. Without parameters everybody has zero, and nothing is kept."""

    __slots__ = (
        "_app_score",
        "_behaviour_decay",
        "_hosts",
        "_kept",
        "_near",
        "_params",
        "_rules",
        "_window",
        "counts_copies",
        "news",
        "on",
        "suspects",
    )

    def __init__(self, params: ScoreParams | None, app_score: AppScore | None = None) -> None:
        self.on = params is not None
        self._params = params = params or ScoreParams()
        self._app_score = app_score
        self._behaviour_decay = self._factor(params.behaviour_half_life)
        self._rules: dict[str, _Rules | None] = {}
        every = [*params.topics.values(), *([params.default_topic] if params.default_topic else [])]
        self.counts_copies = self.on and any(topic.mesh_weight or topic.failure_weight for topic in every)
        """P3 is in use somewhere: `brought_copy` wants to be told of duplicates."""
        self._window = max([topic.mesh_window for topic in every], default=0.0)
        self._hosts: dict[str, dict[Standing, None]] = {}
        self._near: dict[bytes, tuple[float, set[PeerId]]] = {}  # lately accepted, and who has been credited for it
        self._kept: tuple[dict[PeerId, tuple[float, Standing]], ...] = ({}, {})  # of peers that left: good, bad
        self.suspects: dict[Standing, None] = {}
        self.news: dict[str, None] = {}
        """Topics in which somebody brought something, until the meshes are looked over."""

    # ------------------------------------------------------------------------------------------------ coming and going

    def came(self, peer: PeerId, host: str, now: float) -> Standing:
        """A peer is up. If it was here lately, it is who it was."""
        standing = Standing(peer)
        if not self.on:
            return standing
        for kept in self._kept:
            since, known = kept.pop(peer, (0.0, standing))
            if known is not standing and now - since <= self._params.retain_score:
                standing = known
        self.move(standing, host)
        if self._app_score is not None or standing.topics or standing.behaviour:
            self._suspect(standing)  # what it earned may have faded faster than what it owes
        return standing

    def move(self, standing: Standing, host: str) -> None:
        """The peer is seen behind this address; empty: behind none that counts."""
        if not self.on or standing.host == host:
            return
        self._leave_host(standing)
        standing.host = host
        if host:
            self._hosts.setdefault(host, {})[standing] = None
            self._recount(host)

    def went(self, standing: Standing, now: float) -> None:
        """A peer is down. Its score stays for a while, or a new link would be a new life."""
        if not self.on:
            return
        for name, topic in standing.topics.items():
            if topic.grafted is not None:
                self.left_mesh(standing, name, now)
        self._leave_host(standing)
        is_bad = self._reckon(standing, now).total < 0
        self.suspects.pop(standing, None)
        for kept in self._kept:
            while kept and now - next(iter(kept.values()))[0] > self._params.retain_score:
                del kept[next(iter(kept))]
        if standing.topics or standing.behaviour:
            kept = self._kept[is_bad]
            if len(kept) >= self._params.max_retained:
                del kept[next(iter(kept))]
            kept[standing.peer] = (now, standing)

    @property
    def kept(self) -> int:
        """Scores of peers that left."""
        return sum([len(kept) for kept in self._kept])

    def _leave_host(self, standing: Standing) -> None:
        others = self._hosts.get(standing.host)
        if others is not None:
            del others[standing]
            if not others:
                del self._hosts[standing.host]
            self._recount(standing.host)
        standing.host = ""

    def _recount(self, host: str) -> None:
        """Peers behind an address came or went: their scores change when there are too many, or just were."""
        here = self._hosts.get(host, {})
        if len(here) >= self._params.colocation_threshold:
            for standing in here:
                self._suspect(standing)

    # ------------------------------------------------------------------------------------------------------ what it did

    def entered_mesh(self, standing: Standing, name: str, now: float) -> None:
        topic = self._topic(standing, name, now)
        if topic is not None:
            topic.grafted = now
            if self.counts_copies:
                self._suspect(standing)

    def left_mesh(self, standing: Standing, name: str, now: float) -> None:
        """P3b: who leaves the mesh with a deficit, on whose initiative ever, keeps the square of it."""
        topic = self._topic(standing, name, now)
        rules = self._rules_of(name)
        if topic is None or rules is None:
            return
        if self.counts_copies:
            topic.failures += _deficit(topic, rules.params, now) ** 2
            self._suspect(standing)
        topic.grafted = None

    def brought_first(self, standing: Standing, name: str, message_id: bytes, now: float) -> None:
        topic = self._topic(standing, name, now)
        rules = self._rules_of(name)
        if topic is None or rules is None:
            return
        topic.first = min(topic.first + 1, rules.params.first_cap)
        self.news[name] = None
        if self.counts_copies:
            while self._near and now - next(iter(self._near.values()))[0] > self._window:
                del self._near[next(iter(self._near))]
            self._near[message_id] = (now, {standing.peer})
            if topic.grafted is not None:
                topic.mesh = min(topic.mesh + 1, rules.params.mesh_cap)

    def brought_copy(self, standing: Standing, name: str, message_id: bytes, now: float) -> None:
        """Counts for P3 when it comes right behind the first, and once: replaying what we said is no delivery."""
        near = self._near.get(message_id)
        rules = self._rules_of(name)
        if near is None or rules is None or now - near[0] > rules.params.mesh_window or standing.peer in near[1]:
            return
        near[1].add(standing.peer)
        topic = self._topic(standing, name, now)
        if topic is not None and topic.grafted is not None:
            topic.mesh = min(topic.mesh + 1, rules.params.mesh_cap)

    def brought_invalid(self, standing: Standing, name: str, now: float) -> None:
        topic = self._topic(standing, name, now)
        if topic is not None:
            topic.invalid += 1
            self._suspect(standing)

    def misbehaved(self, standing: Standing, amount: float, now: float) -> None:
        if self.on and amount > 0:
            standing.behaviour = self._behaviour(standing, self._tick(now)) + amount
            self._suspect(standing)

    # ------------------------------------------------------------------------------------------------- what it is worth

    def score(self, standing: Standing, now: float) -> float:
        if not self.on:
            return 0.0
        return standing.total if standing.tick == self._tick(now) else self._reckon(standing, now).total

    def is_below(self, standing: Standing, threshold: float, now: float) -> bool:
        """`threshold` at most zero."""
        return standing.suspect and self.score(standing, now) < threshold

    def explain(self, standing: Standing, now: float) -> Score:
        return self._reckon(standing, now) if self.on else Score(0.0)

    def news_of(self, names: Iterable[str]) -> list[str]:
        """Of these topics, those about which there is something to learn since the last call: where all was silent,
        nobody is better than anybody else, unless the application knows more."""
        if not self.on:
            return []
        told = [name for name in names if self._app_score is not None or name in self.news]
        self.news.clear()
        return told

    def clear(self, now: float) -> None:
        """A heartbeat: those whose sins are forgotten are no suspects any more."""
        tick = self._tick(now)
        for standing in list(self.suspects):
            if standing.tick != tick:
                self._reckon(standing, now)

    def _reckon(self, standing: Standing, now: float) -> Score:
        params, tick = self._params, self._tick(now)
        p1 = p2 = p3 = p3b = p4 = 0.0
        watched = self._app_score is not None
        for name, topic in list(standing.topics.items()):
            rules = self._rules_of(name)
            assert rules is not None, "nothing is kept about a topic that does not count"
            self._age(topic, rules, tick)
            own = rules.params
            deficit = 0.0
            if topic.grafted is not None:
                quanta = min((now - topic.grafted) // own.time_in_mesh_quantum, own.time_in_mesh_cap)
                p1 += own.weight * own.time_in_mesh_weight * quanta
                deficit = _deficit(topic, own, now)
                watched = watched or self.counts_copies
            elif not (topic.first or topic.mesh or topic.failures or topic.invalid):
                del standing.topics[name]
                continue
            p2 += own.weight * own.first_weight * topic.first
            p3 += own.weight * own.mesh_weight * deficit * deficit
            p3b += own.weight * own.failure_weight * topic.failures
            p4 += own.weight * own.invalid_weight * topic.invalid * topic.invalid
            watched = watched or topic.invalid > 0 or topic.failures > 0
        p5 = 0.0 if self._app_score is None else params.application_weight * self._app_score(standing.peer)
        crowd = len(self._hosts.get(standing.host, ())) - params.colocation_threshold
        p6 = params.colocation_weight * crowd * crowd if crowd > 0 else 0.0
        over = self._behaviour(standing, tick) - params.behaviour_tolerance
        p7 = params.behaviour_weight * over * over if over > 0 else 0.0
        total = min(p1 + p2 + p3 + p3b + p4, params.topic_cap) + p5 + p6 + p7
        standing.total, standing.tick = total, tick
        if not (watched or crowd > 0 or standing.behaviour):
            standing.suspect = False
            self.suspects.pop(standing, None)
        return Score(total, p1, p2, p3, p3b, p4, p5, p6, p7)

    # --------------------------------------------------------------------------------------------------------- counters

    def _suspect(self, standing: Standing) -> None:
        standing.suspect = True
        standing.tick = -1
        self.suspects[standing] = None

    def _tick(self, now: float) -> int:
        return int(now / self._params.decay_interval)

    def _factor(self, half_life: float) -> float:
        return float(0.5 ** (self._params.decay_interval / half_life))

    def _rules_of(self, name: str) -> _Rules | None:
        if name not in self._rules:
            topic = self._params.topics.get(name, self._params.default_topic)
            self._rules[name] = None if topic is None else self._work_out(topic)
        return self._rules[name]

    def _work_out(self, topic: TopicScore) -> _Rules:
        return _Rules(
            topic,
            self._factor(topic.first_half_life),
            self._factor(topic.mesh_half_life),
            self._factor(topic.failure_half_life),
            self._factor(topic.invalid_half_life),
        )

    def _topic(self, standing: Standing, name: str, now: float) -> TopicStanding | None:
        """The peer's counters in a topic, as they are now. Asked only of topics we carry, so they are few."""
        if not self.on:
            return None
        rules = self._rules_of(name)
        if rules is None:
            return None
        tick = self._tick(now)
        topic = standing.topics.get(name)
        if topic is None:
            topic = standing.topics[name] = TopicStanding(tick)
        elif topic.tick != tick:
            self._age(topic, rules, tick)
        return topic

    def _age(self, topic: TopicStanding, rules: _Rules, tick: int) -> None:
        passed = tick - topic.tick
        if passed == 0:
            return
        topic.tick = tick
        topic.first = self._decayed(topic.first, rules.first, passed)
        topic.mesh = self._decayed(topic.mesh, rules.mesh, passed)
        topic.failures = self._decayed(topic.failures, rules.failures, passed)
        topic.invalid = self._decayed(topic.invalid, rules.invalid, passed)

    def _behaviour(self, standing: Standing, tick: int) -> float:
        passed = tick - standing.behaviour_tick
        if passed:
            standing.behaviour_tick = tick
            standing.behaviour = self._decayed(standing.behaviour, self._behaviour_decay, passed)
        return standing.behaviour

    def _decayed(self, value: float, factor: float, passed: int) -> float:
        if not value:
            return 0.0
        value *= factor**passed
        return value if value >= self._params.decay_to_zero else 0.0


def _deficit(topic: TopicStanding, params: TopicScore, now: float) -> float:
    """P3: what a mesh peer should have brought and did not, once it had time to."""
    if topic.grafted is None or now - topic.grafted <= params.mesh_activation:
        return 0.0
    return max(0.0, params.mesh_threshold - topic.mesh)
