"""The scenarios of the GossipSub 1.1 evaluation (Vyzovitis et al., arXiv 2007.02754, and the test plans in
libp2p/gossipsub-hardening): who is there, who attacks whom and when, and what is measured.

The honest nodes know one another: each dials `dials` others. Sybils are four times as many, dial 20 honest nodes each
(all of them the victim, where there is one) and want to be in every mesh. A tenth of the nodes are authors.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from protocol.gossip import Params, ScoreParams

from .figures import (
    ENOUGH,
    IN_TIME,
    MEMORY,
    SOON,
    Figures,
    Measured,
    Wish,
    cpu_alone,
    memory_now,
    mesh_pace,
    moments_of,
    part_within,
    prompt_again_of,
    quantile,
    recovery_of,
    sorted_delays,
)
from .sybils import Conduct, Sybils

RECOVERY: Final = 60.0
"""Seconds after a covert flash within which all must be as it was: in time, and as soon as before."""
_TICK: Final = 5.0
"""Seconds between two looks, and of the intervals in which messages are reported."""
_WEIGHED: Final = 50
"""Nodes from which on the memory of each can be told from that of the process."""
_LAST: Final = IN_TIME + 1.0
"""Seconds the world goes on after the last message."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    scenario: str
    honest: int
    sybils: int
    scores: bool = True
    rate: float = 1.0
    """Messages a second, of all authors together."""
    seed: int = 1
    dials: int = 10
    """Honest nodes each of them dials: with those that dial it, 20 honest links, as in the evaluation."""
    sybil_links: int = 20
    """Honest nodes each sybil dials, as in the evaluation: so 80 such links at every honest node."""
    flood_publish: bool = True
    full: bool = False
    """Sign and judge as nodes do."""
    skip_idle: bool = True
    tapes: int = 0
    """Nodes whose events are kept, to be told again alone."""
    time_scale: float = 1.0
    """Below 1: a shorter story, for tests of the simulation itself."""


@dataclass(slots=True)
class Story:
    """A world in the making, and what a scenario does to it."""

    plan: Plan
    world: Measured
    names: list[str]
    authors: list[str]
    sybils: Sybils
    attack: float = 0.0
    """When it begins."""
    begin: float = 5.0
    """When the first message is said,"""
    measured: float = 5.0
    """and from when they count."""
    end: float = 60.0
    """Until when they are said."""
    target: str | None = None
    targets_own: bool = False
    """Counted are the messages of the target, not those to it."""
    meet: float = 0.0
    """When the honest nodes dial one another."""
    turns: Callable[[int], str | None] = field(default=lambda number: None)
    """Who says the next message; None: whoever's turn it is."""

    def surround(self, victims: list[str], links: int, since: float, within: float) -> None:
        """The sybils come one after the other."""
        many = len(self.sybils.names)
        for number, name in enumerate(self.sybils.names):
            chosen = self.sybils.rng.sample(victims, min(links, len(victims)))
            self.world.at(since + within * number / max(1, many), partial(self._dial, name, chosen))

    def _dial(self, name: str, victims: list[str]) -> None:
        for victim in victims:
            self.sybils.connect(name, victim)

    def turn_at(self, when: float, conduct: Conduct) -> None:
        def turn() -> None:
            self.sybils.conduct = conduct

        self.world.at(when, turn)


def baseline(story: Story) -> None:
    """Nobody attacks."""
    story.end = 65.0


def eclipse_one(story: Story) -> None:
    """All sybils dial one node within a minute, and pass on nothing."""
    story.target = story.names[-1]
    story.attack = story.measured = 30.0
    story.end = 120.0
    story.surround([story.target], 1, story.attack, 60.0)


def eclipse_network(story: Story) -> None:
    """They dial everybody within ten seconds, and pass on nothing."""
    story.attack = story.measured = 30.0
    story.end = 120.0
    story.surround(story.names, story.plan.sybil_links, story.attack, 10.0)


def eclipse_publishers(story: Story) -> None:
    """They dial those who speak, within ten seconds, and pass on nothing."""
    story.attack = story.measured = 30.0
    story.end = 120.0
    story.surround(story.authors, story.plan.sybil_links, story.attack, 10.0)


def censor_one(story: Story) -> None:
    """They are there from the beginning, all of them at one author, and pass on everything but what he says. He says
    every other message."""
    story.target = victim = story.authors[0]
    story.targets_own = True
    story.turns = lambda number: victim if number % 2 else None
    number = story.world.nodes[victim].number
    story.sybils.conduct = Conduct.CENSOR
    story.sybils.is_censored = lambda data: story.world.author_of(data) == number
    story.measured, story.end = 20.0, 110.0
    story.surround([victim], 1, 0.0, 5.0)
    story.surround(story.names, story.plan.sybil_links, 0.0, 5.0)


def degrade(story: Story) -> None:
    """They are there from the beginning and pass on half of what they hear."""
    story.sybils.conduct = Conduct.HALF
    story.measured, story.end = 20.0, 110.0
    story.surround(story.names, story.plan.sybil_links, 0.0, 5.0)


def cold_boot(story: Story) -> None:
    """Everybody comes at the same moment, and the sybils pass on nothing."""
    story.begin = story.measured = 2.0
    story.end = 92.0
    story.surround(story.names, story.plan.sybil_links, 0.0, 1.0)


def covert_flash(story: Story) -> None:
    """They come first and behave for two minutes, better than honest nodes could; then they all fall silent."""
    story.sybils.conduct = Conduct.BEHAVE
    story.attack = story.measured = 120.0
    story.end = 270.0
    story.surround(story.names, story.plan.sybil_links, 0.0, 1.0)
    story.meet = 3.0
    story.turn_at(story.attack, Conduct.DROP)


def attack_at_dawn(story: Story) -> None:
    """They wait at every door when the honest nodes come up, ten seconds before these find one another."""
    story.meet = 10.0
    story.begin = story.measured = 12.0
    story.end = 132.0
    story.surround(story.names, story.plan.sybil_links, 0.0, 1.0)


def colocation(story: Story) -> None:
    """An eclipse of the network out of a few machines: 25 for 1,000 honest nodes, at least 10. Everybody else has a
    subnet of his own."""
    for number, name in enumerate(story.names):
        story.world.ips[name] = f"{20 + number // 65536}.{number // 256 % 256}.{number % 256}.1"
    machines = max(10, len(story.names) // 40)
    for number, name in enumerate(story.sybils.names):
        story.world.ips[name] = f"9.9.{number % machines}.9"
    eclipse_network(story)


SCENARIOS: Final[dict[str, Callable[[Story], None]]] = {
    "baseline": baseline,
    "eclipse-one": eclipse_one,
    "eclipse-network": eclipse_network,
    "eclipse-publishers": eclipse_publishers,
    "censor-one": censor_one,
    "degrade": degrade,
    "cold-boot": cold_boot,
    "covert-flash": covert_flash,
    "attack-at-dawn": attack_at_dawn,
    "colocation": colocation,
}


def tell_story(plan: Plan) -> Story:
    """The world as it is before the first moment."""
    params = Params(score=ScoreParams() if plan.scores else None, flood_publish=plan.flood_publish)
    world = Measured(plan.seed, params, full=plan.full, skip_idle=plan.skip_idle)
    world.tapes = {f"n{number * plan.honest // plan.tapes}": [] for number in range(plan.tapes)}
    names = world.populate(plan.honest)
    authors = names[: max(1, min(plan.honest, max(5, plan.honest // 10)))]
    sybils = Sybils(world, 0 if plan.scenario == "baseline" else plan.sybils)
    story = Story(plan, world, names, authors, sybils)
    SCENARIOS[plan.scenario](story)
    if plan.time_scale != 1.0:
        story.end = story.measured + (story.end - story.measured) * plan.time_scale
    return story


def run(plan: Plan) -> Figures:
    """A whole run, and what it came to."""
    memory = memory_now()
    began = time.process_time()
    story = tell_story(plan)
    play(story)
    cpu = time.process_time() - began
    grown = memory_now() - memory
    return _figures(story, cpu, grown)


def play(story: Story) -> None:
    """From the first moment to the last."""
    plan, world = story.plan, story.world
    world.at(story.meet, lambda: world.random_graph(story.names, min(2 * plan.dials, plan.honest - 1)))
    _plan_messages(story)
    world.run(story.begin)
    gc.freeze()  # what is there now stays; no collection needs to look at it
    while world.now < story.end + _LAST:
        world.run(min(_TICK, story.end + _LAST - world.now))
        world.sample(story.names)
    gc.unfreeze()


def _plan_messages(story: Story) -> None:
    every = 1 / story.plan.rate
    number = 0
    while (when := story.begin + number * every) < story.end:
        author = story.turns(number) or story.authors[number % len(story.authors)]
        story.world.at(when, partial(story.world.say, author))
        number += 1


def _figures(story: Story, cpu: float, grown: int) -> Figures:
    plan, world = story.plan, story.world
    counted = [wish for wish in world.wishes if wish.at >= story.measured]
    delays = sorted_delays(counted)
    hops = [hop for wish in counted for hop in wish.hops if 0 < hop < 255]
    moments = moments_of(world.wishes, _TICK, mesh_pace(plan.honest, world.delay[1]))
    attacked = story.attack > 0
    everybody = len(world.nodes)
    received = sum([node.router.statistics().counters.get("message.duplicate", 0) for node in world.nodes.values()])
    first = sum([node.router.statistics().counters.get("message.accepted", 0) for node in world.nodes.values()])
    assert world.strayed == 0, "a node believed what nobody said"
    return Figures(
        name=plan.scenario,
        honest=plan.honest,
        sybils=len(story.sybils.names),
        scores=plan.scores,
        rate=plan.rate,
        messages=len(counted),
        in_time=part_within(delays, IN_TIME),
        good=sum([wish.is_good for wish in counted]) / max(1, len(counted)),
        soon=part_within(delays, SOON),
        p50=quantile(delays, 0.5),
        p99=quantile(delays, 0.99),
        slowest=delays[-1] if delays else 0.0,
        hops_mean=sum(hops) / max(1, len(hops)),
        hops_most=max(hops, default=0),
        target=_target(story, counted),
        recovery=recovery_of(world.wishes, story.attack) if attacked else None,
        prompt_again=prompt_again_of(moments, story.attack) if attacked else None,
        bytes_per_second=sum([node.sent for node in world.nodes.values()]) / everybody / world.now,
        copies=(received + first) / max(1, len(world.wishes)) / max(1, everybody - 1),
        honest_part=world.samples[-1].honest_part,
        cpu=cpu,
        cpu_per_node=1000 * cpu / everybody / world.now,
        cpu_alone=cpu_alone(world),
        memory_per_node=grown / everybody,
        seconds=world.now,
        steps=world.steps,
        trace=world.trace,
        moments=moments,
        samples=world.samples,
    )


def _target(story: Story, counted: list[Wish]) -> float | None:
    """The part of what the attack was to suppress that arrived in time."""
    if story.target is None:
        return None
    number = story.world.nodes[story.target].number
    if story.targets_own:
        own = [wish for wish in counted if wish.author == number]
        return sum([wish.is_good for wish in own]) / max(1, len(own))
    to_it = [wish.delays[number] for wish in counted if wish.author != number]
    return part_within(to_it, IN_TIME)


def missed(figures: Figures) -> list[str]:
    """The goals that this run misses. Without scores it is there to be compared with, and has none."""
    if not figures.scores:
        return []
    found = []
    if figures.good < ENOUGH:
        found.append(f"{figures.good:.1%} of the messages reached {ENOUGH:.0%} within {IN_TIME:.0f} s")
    if figures.target is not None and figures.target < ENOUGH:
        found.append(f"the node under attack: {figures.target:.1%} within {IN_TIME:.0f} s")
    if figures.name == "covert-flash":
        for what, after in (("recovered", figures.recovery), ("prompt again", figures.prompt_again)):
            if after is not None and after > RECOVERY:
                found.append(f"{what} after {after:.0f} s, wanted {RECOVERY:.0f}")
    if figures.name == "baseline" and figures.honest >= _WEIGHED and figures.memory_per_node > MEMORY:
        found.append(f"{figures.memory_per_node / 1000:.0f} kB a node, wanted {MEMORY / 1000:.0f}")
    return found


def variants(plan: Plan) -> list[Plan]:
    """With scores and without."""
    return [plan, replace(plan, scores=False)]
