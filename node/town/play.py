"""Plays a scenario in a town: who comes, what they do, and whether at the end what must hold holds.

Everything goes through desks, as people's commands do: the same scenario plays in virtual time, in a mesh on the
screen, and on nodes in processes of their own.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import trio
import trio.testing

from node.api.desk import View
from node.money import format_money, parse_money
from node.network.groups import raise_single
from node.network.memory import MemoryWorld
from node.trouble import Trouble
from protocol.terms import Money

from . import scenario as say
from .samples import SKIING, by_hand, car_hire_text, catalogue_of
from .scenario import Condition, NodeSpec, Scenario
from .town import Neighbour, Town, let_pass, open_town

REACH_SECONDS = 30.0
"""How long a wish may take to reach somebody; nobody there is no error, it waits."""


class PlayDesk(Protocol):
    """What a play asks of a node: part of `node.api.desk.Desk`, which tells more."""

    async def ask(self, wish: Mapping[str, Any], reach_wait: float) -> View: ...

    async def heard(self) -> list[View]: ...

    async def offers_for(self, intent_id: str, include_hidden: bool = False) -> View: ...

    async def offers_made(self) -> list[View]: ...

    async def show(self, id_text: str) -> View: ...

    async def make_offer(self, intent_id: str, offer: Mapping[str, Any]) -> View: ...

    async def accept(self, offer_id: str, contact: str, note: str | None, options: list[str], wait: float) -> View: ...

    async def decline(self, offer_id: str, reason: str | None) -> View: ...

    async def withdraw(self, id_text: str, reason: str | None = None) -> View: ...

    async def status(self) -> View: ...


class Actor(Protocol):
    """A node of the play, over all its lives."""

    @property
    def desk(self) -> PlayDesk: ...

    @property
    def peer_id(self) -> str: ...

    @property
    def is_up(self) -> bool: ...

    async def stop(self) -> None: ...

    async def crash(self) -> None: ...

    async def start(self, **changed: Any) -> Any: ...


class Stage(Protocol):
    """Where it is played."""

    @property
    def actors(self) -> Mapping[str, Actor]:
        """Those that have come."""

    @property
    def world(self) -> MemoryWorld | None:
        """Whose weather can be made; None: there is none."""

    async def enter(self, name: str, spec: NodeSpec, join: Sequence[str]) -> None:
        """A node of the scenario comes for the first time, and starts from these."""

    def set_clock(self, name: str, skew: float) -> None: ...

    def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Moment:
    """Something was done."""

    at: float
    """Seconds since the beginning."""
    words: str


@dataclass(slots=True)
class Outcome:
    """How it went. Nothing in `wrong`: all that must hold holds."""

    story: str
    done: list[Moment] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    seconds: float = 0.0
    wishes: dict[str, str] = field(default_factory=dict)
    """name -> id"""


Told = Callable[[Moment], None]


class Play:
    def __init__(self, scenario: Scenario, stage: Stage, told: Told = lambda _moment: None) -> None:
        self._scenario = scenario
        self._stage = stage
        self._told = told
        self._began = trio.current_time()
        self._authors: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        """name -> what it signs offers with, as others see it"""
        self.outcome = Outcome(scenario.story)

    async def run(self) -> Outcome:
        """Play all of it. Raises Trouble at the first step that does not go as it is written."""
        await self.enter_all()
        self._began = trio.current_time()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_steps, self._scenario.meanwhile)
                await self._run_steps(self._scenario.steps)
        except BaseExceptionGroup as group:
            raise_single(group)
        await self._check_end()
        self.outcome.seconds = trio.current_time() - self._began
        return self.outcome

    async def _run_steps(self, steps: Sequence[say.Does]) -> None:
        for number, step in enumerate(steps, 1):
            if step.at is not None:
                await trio.sleep_until(self._began + step.at)
            try:
                await self._do(step)
            except Trouble as trouble:
                if trouble.code != step.refused:
                    raise _failed(number, step, f"{trouble.message} ({trouble.code})") from None
            else:
                if step.refused is not None:
                    raise _failed(number, step, f"was not refused; {step.refused} was expected")
            self._tell(_words(step))

    async def enter_all(self) -> None:
        """Those come who are there from the beginning, if they have not come yet: one after the other, so that in
        virtual time they come alike each time."""
        for name, spec in self._scenario.nodes.items():
            if not spec.absent and name not in self._stage.actors:
                await self._enter(name)

    async def enter_side_by_side(self, at_once: int, came: Callable[[str], None]) -> None:
        """The same, so many at a time, each as soon as those are there whom it starts from. `came` is told of each.
        Raises Trouble: the first, and nobody else comes then."""
        here = {name: trio.Event() for name, spec in self._scenario.nodes.items() if not spec.absent}
        limit = trio.CapacityLimiter(at_once)
        failed: list[Trouble] = []

        async def enter(name: str) -> None:
            spec = self._scenario.nodes[name]
            for other in (*self._scenario.starts_from(name), *spec.mailboxes):
                if other in here:
                    await here[other].wait()
            try:
                async with limit:
                    await self._enter(name)
            except Trouble as trouble:
                failed.append(trouble)
                nursery.cancel_scope.cancel()
                return
            here[name].set()
            came(name)

        async with trio.open_nursery() as nursery:
            for name in here:
                nursery.start_soon(enter, name)
        if failed:
            raise failed[0]

    def _tell(self, words: str) -> None:
        moment = Moment(trio.current_time() - self._began, words)
        self.outcome.done.append(moment)
        self._told(moment)

    async def _enter(self, name: str) -> None:
        await self._stage.enter(name, self._scenario.nodes[name], self._scenario.starts_from(name))
        status = await self._stage.actors[name].desk.status()
        self._keys[name] = status["vendor"]

    # -------------------------------------------------------------------------------------------------- one step

    async def _do(self, step: say.Does) -> None:
        match step:
            case say.Ask():
                asked = await self._desk(step.who).ask({**SKIING, **await self._said(step)}, REACH_SECONDS)
                self._authors[step.wish] = step.who
                self.outcome.wishes[step.wish] = asked["intent"]["id"]
            case say.Update():
                said = {**await self._said(step), "update": self._wish(step.wish)}
                await self._desk(step.who).ask(said, REACH_SECONDS)
            case say.Offer():
                wish, money = await self._wait_heard(step), parse_money(step.price)
                offer = {**by_hand(money.minor, name=step.who), **step.say}
                offer["total"] = {"minor": money.minor, "currency": money.currency}
                await self._desk(step.who).make_offer(wish, offer)
            case say.Accept():
                offer = await self._wait_offer(step.who, step.wish, step.by, step.within)
                contact = f"{step.who}@example.org"
                await self._desk(step.who).accept(offer["id"], contact, None, list(step.options), step.wait)
            case say.Decline():
                offer = await self._wait_offer(step.who, step.wish, step.by, step.within)
                await self._desk(step.who).decline(offer["id"], step.reason)
            case say.Withdraw():
                await self._withdraw(step)
            case say.Stop():
                actor = self._actor(step.who)
                await (actor.crash() if step.does == "crash" else actor.stop())
            case say.Start():
                if step.who in self._stage.actors:
                    changed = {} if step.address is None else {"address": step.address}
                    await self._actor(step.who).start(**changed)
                else:
                    await self._enter(step.who)
            case say.Partition():
                groups = [[self._actor(name).peer_id for name in group] for group in step.groups]
                self._world().partition(*groups, notice=step.notice)
            case say.Heal():
                self._world().heal()
            case say.Change():
                self._change_weather(step)
            case say.SetClock():
                self._stage.set_clock(step.who, step.skew)
            case say.Pass():
                await trio.sleep(step.time)
            case say.Sleep():
                self._stage.sleep(step.time)
            case say.Wait():
                await self._wait(step)

    async def _said(self, step: say.Ask | say.Update) -> dict[str, Any]:
        """What a step says of a wish, with the hour it means by its span."""
        if "offers_by" not in step.say:
            return step.say
        now = (await self._desk(step.who).status())["now"]
        return {**step.say, "offers_by": round(now + step.say["offers_by"])}

    async def _withdraw(self, step: say.Withdraw) -> None:
        if self._authors[step.wish] == step.who:
            await self._desk(step.who).withdraw(self._wish(step.wish), step.reason)
            return
        offer = await self._offer(step.who, self._wish(step.wish), step.who)
        if offer is None:
            raise Trouble("not_found", f"{step.who} has made no offer for {step.wish}")
        await self._desk(step.who).withdraw(offer["id"], step.reason)

    def _change_weather(self, step: say.Change) -> None:
        peers = [actor.peer_id for actor in self._stage.actors.values()]
        pairs = [(one, other) for one in peers for other in peers if one < other]
        if step.between is not None:
            one, other = (self._actor(name).peer_id for name in step.between)
            pairs = [(one, other)]
        for one, other in pairs:
            self._world().set_conditions(one, other, step.conditions)

    def _world(self) -> MemoryWorld:
        if self._stage.world is None:
            raise Trouble("no_weather", "faults of the network need the network in memory", "Leave out --process.")
        return self._stage.world

    def _actor(self, name: str) -> Actor:
        if name not in self._stage.actors:
            raise Trouble("absent", f"{name} has not come yet", "Start it first.")
        return self._stage.actors[name]

    def _desk(self, name: str) -> PlayDesk:
        actor = self._actor(name)
        if not actor.is_up:
            raise Trouble("down", f"{name} is down", "Start it first.")
        return actor.desk

    def _wish(self, name: str) -> str:
        return self.outcome.wishes[name]

    # ------------------------------------------------------------------------------------------------ what is so

    async def _wait(self, condition: Condition) -> None:
        missing: list[str] = []

        async def holds() -> bool:
            nonlocal missing
            missing = await self._missing(condition)
            return not missing

        if not await _until(holds, condition.within):
            raise Trouble("not_so", f"{condition.words}: after {condition.within:g} s {'; '.join(missing)}")

    async def _wait_heard(self, step: say.Offer) -> str:
        wish = self._wish(step.wish)

        async def heard() -> bool:
            view = await self._heard(step.who, wish)
            return view is not None and view["state"] == "open"

        if not await _until(heard, step.within):
            raise Trouble("unheard", f"{step.who} has not heard {step.wish} within {step.within:g} s")
        return wish

    async def _wait_offer(self, who: str, wish: str, by: str, within: float) -> View:
        found: View = {}

        async def here() -> bool:
            found.update(await self._offer(who, self._wish(wish), by) or {})
            return bool(found)

        if not await _until(here, within):
            raise Trouble("no_offer", f"no offer of {by} has come to {who} within {within:g} s")
        return found

    async def _offer(self, who: str, wish: str, by: str) -> View | None:
        """The newest offer of a vendor for a wish, as a node sees it."""
        desk = self._desk(who)
        if who == by:
            views = [view for view in await desk.offers_made() if view["intent"] == wish]
        else:
            views = (await desk.offers_for(wish, include_hidden=True))["offers"]
            views = [view for view in views if view["vendor"]["key"] == self._keys.get(by)]
        return max(views, key=lambda view: int(view["at"]), default=None)

    async def _missing(self, condition: Condition) -> list[str]:
        """What is not as the condition says, in words."""
        wrong = []
        for fact in say.FACTS:
            wanted = getattr(condition, fact)
            if wanted is None:
                continue
            try:
                found = await self._fact(condition, fact)
            except Trouble as trouble:
                found = trouble.message
            if not _is_so(fact, wanted, found):
                wrong.append(f"{fact} is {found}, not {wanted}")
        return wrong

    async def _fact(self, condition: Condition, fact: str) -> Any:
        who, desk = condition.who, self._desk(condition.who)
        match fact:
            case "offers_made":
                made = await desk.offers_made()
                wish = self._wish(condition.wish) if condition.wish is not None else None
                return sum(wish is None or view["intent"] == wish for view in made)
            case "contracts":
                return len(await self._contracts(who))
            case "settled":
                return (await desk.status())["outbox"] == 0
            case "warned":
                return "advice" in (await desk.status())["clock"]
            case "peers":
                return (await desk.status())["peers"]
        assert condition.wish is not None  # checked when the file was read
        wish = self._wish(condition.wish)
        match fact:
            case "state":
                if self._authors[condition.wish] == who:
                    return (await desk.show(wish))["intent"]["state"]
                view = await self._heard(who, wish)
                return view["state"] if view is not None else "unheard"
            case "heard":
                return await self._heard(who, wish) is not None
            case "why":
                return (await self._heard(who, wish) or {}).get("why", "")
            case "offers":
                return len((await desk.offers_for(wish))["offers"])
            case "hidden":
                return (await desk.offers_for(wish))["hidden"]
            case "sealed":
                return (await desk.offers_for(wish)).get("sealed", 0)
            case "best":
                offers = (await desk.offers_for(wish))["offers"]
                names = {key: name for name, key in self._keys.items()}
                return names.get(offers[0]["vendor"]["key"], "a stranger") if offers else "nobody"
        assert condition.by is not None
        offer = await self._offer(who, wish, condition.by)
        if offer is None:
            return "none"
        match fact:
            case "offer":
                return offer["state"]
            case "price":
                return format_money(Money(**offer["total"]))
            case "total":
                if "contract" not in offer:
                    return "none"
                contract = (await desk.show(offer["contract"]))["contract"]
                return format_money(Money(**contract["total_with_options"]))
            case "reason":
                return offer.get("reason", "none")
            case "told":
                return offer.get("wish", "nothing")
            case "delivery":
                said = (await desk.show(offer["id"]))["messages"]
                return said[-1]["state"] if said else "nothing was said"
        raise AssertionError(fact)

    async def _heard(self, who: str, wish: str) -> View | None:
        return next((view for view in await self._desk(who).heard() if view["id"] == wish), None)

    async def _contracts(self, who: str) -> list[str]:
        """Ids of the confirmed contracts of a node, on either side."""
        desk = self._desk(who)
        offers = await desk.offers_made()
        for wish, author in self._authors.items():
            if author == who:
                offers += (await desk.offers_for(self._wish(wish), include_hidden=True))["offers"]
        return [offer["contract"] for offer in offers if offer["state"] == "confirmed"]

    # ------------------------------------------------------------------------------------------------ at the end

    async def _check_end(self) -> None:
        """All that must hold, at one moment; each may take its time to become so."""
        for condition in self._scenario.holds:
            try:
                await self._wait(condition)
            except Trouble as trouble:
                self.outcome.wrong.append(trouble.message)
        if not self.outcome.wrong:
            for condition in self._scenario.holds:
                self.outcome.wrong += [f"{condition.words}: {what}" for what in await self._missing(condition)]
        self.outcome.wrong += await self._disagreements()

    async def _disagreements(self) -> list[str]:
        """Whatever happened: a wish has one contract at most, and whoever is there holds the same of it."""
        wrong = []
        holders: dict[str, list[str]] = {}
        for name, actor in self._stage.actors.items():
            for contract in await self._contracts(name) if actor.is_up else ():
                holders.setdefault(contract, []).append(name)
        for wish, author in self._authors.items():
            if self._stage.actors[author].is_up:
                offers = (await self._desk(author).offers_for(self._wish(wish), include_hidden=True))["offers"]
                confirmed = [offer for offer in offers if offer["state"] == "confirmed"]
                if len(confirmed) > 1:
                    wrong.append(f"{author} has {len(confirmed)} contracts for one wish, {wish}")
                for offer in confirmed:
                    vendor = next((n for n, key in self._keys.items() if key == offer["vendor"]["key"]), None)
                    is_there = vendor is not None and self._stage.actors[vendor].is_up
                    if is_there and vendor not in holders[offer["contract"]]:
                        wrong.append(f"{author} holds a contract for {wish} that {vendor} does not hold")
        return wrong


def _is_so(fact: str, wanted: Any, found: Any) -> bool:
    if fact == "why":
        return str(wanted) in str(found)
    if fact == "peers":
        return isinstance(found, int) and found >= wanted
    return bool(found == wanted)


async def _until(holds: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Looked at again and again, ever less often: in virtual time that costs nothing but the looks."""
    pause, deadline = 0.02, trio.current_time() + seconds
    while not await holds():
        left = deadline - trio.current_time()
        if left <= 0:
            return False
        await trio.sleep(min(pause, left))
        pause = min(1.3 * pause, max(0.02, seconds / 100))
    return True


def _words(step: say.Does) -> str:
    said = step.model_dump(exclude_unset=True, exclude={"at", "refused", "say", "within"})
    does, who = said.pop("does"), said.pop("who", None)
    if isinstance(step, say.Wait):
        return f"waited for {step.words}"
    if isinstance(step, say.Partition):
        return f"parted {' | '.join(', '.join(group) for group in step.groups)} | the others"
    rest = " ".join(f"{name} {value}" for name, value in said.items())
    words = " ".join(filter(None, (who, does, rest)))
    return f"{words}: refused ({step.refused})" if step.refused else words


def _failed(number: int, step: say.Does, what: str) -> Trouble:
    return Trouble("scenario", f"step {number} ({_words(step)}): {what}")


# ------------------------------------------------------------------------------------------------ a town as a stage


class TownStage:
    """A town of nodes in this process."""

    def __init__(self, town: Town) -> None:
        self.town = town

    @property
    def actors(self) -> Mapping[str, Neighbour]:
        return self.town.neighbours

    @property
    def world(self) -> MemoryWorld | None:
        return self.town.world

    async def enter(self, name: str, spec: NodeSpec, join: Sequence[str]) -> None:
        await self._open(name, spec, join)

    async def _open(self, name: str, spec: NodeSpec, join: Sequence[str], **more: Any) -> None:
        neighbours = self.town.neighbours
        text = catalogue_text(name, spec)
        await self.town.open(
            name,
            join=tuple(neighbours[other] for other in join),
            meeting=spec.meeting,
            mailbox=spec.mailbox,
            mailboxes=tuple(neighbours[other].address for other in spec.mailboxes),
            divisions=tuple(spec.divisions),
            catalogue=catalogue_of(text, spec.lists) if text is not None else None,
            skew=round(spec.skew),
            **more,
        )

    def set_clock(self, name: str, skew: float) -> None:
        clock = self.town.neighbours[name].clock
        if clock is None:
            raise Trouble("no_clock", "clocks can be set on the network in memory only")
        clock.skew = round(skew)

    def sleep(self, seconds: float) -> None:
        let_pass(self.town, round(seconds))


def catalogue_text(name: str, spec: NodeSpec) -> str | None:
    """What a node of a scenario sells; None: nothing."""
    if spec.sells is not None:
        return car_hire_text(spec.sells.price, spec.sells.stock, name)
    return spec.catalogue


@asynccontextmanager
async def open_stage(
    scenario: Scenario, open_here: Callable[..., AbstractAsyncContextManager[Town]] = open_town
) -> AsyncIterator[TownStage]:
    """An empty town with the scenario's seed and weather."""
    async with open_here(scenario.seed, scenario.weather.conditions) as town:
        yield TownStage(town)


async def play(scenario: Scenario, told: Told = lambda _moment: None) -> Outcome:
    """Play a scenario in a town of its own, in the time of whoever runs it. Raises Trouble."""
    async with open_stage(scenario) as stage:
        return await Play(scenario, stage, told).run()


def play_fast(scenario: Scenario, told: Told = lambda _moment: None) -> Outcome:
    """The same from outside trio, in time that jumps: days take as long as their work. Raises Trouble."""
    try:
        return trio.run(play, scenario, told, clock=trio.testing.MockClock(autojump_threshold=0))
    except BaseExceptionGroup as group:
        raise_single(group)
