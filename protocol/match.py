"""Does this offer answer that wish, and why (not)? The same code on both sides, so nobody has to be believed.

- An unmet `must`, the wrong category, action, place or time: it does not answer, and `unmet` says why. What is not
  stated is not met: silence is no promise.
- An unmet `want`, or an `avoid` that is so: it answers, and the deviation is listed.
- Facts are judged first. Where there is none, what the vendor signed in `deviates` and `meets` is taken at its word.
  What it says deviates is listed in any case.

An offer and an item of a vendor's catalogue both become `Facts`, and one path judges them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from .categories import canonical, is_below
from .intent import Intent
from .limits import MAX_LABEL
from .offer import Deviation, Offer
from .place import near
from .properties import PropertyError, canonical_name, canonical_value, fulfils, property_def, show_all, show_value
from .span import names_day_only, span
from .terms import Fact, Money, Place, Property, PropertyValue, When, Where

WHOLE_TIME: Final = ("rent", "book")
"""Actions that want the whole time asked for, a car or a room for five days; the others want something to happen
within it."""

DEFAULT_WEIGHT: Final = 50
"""Of a deviation to which the person gave no weight: half of the most it can have."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is offered, by an offer or by an item of a catalogue."""

    category: str
    action: str | None = None
    """None: whatever the wish asks for (an offer answers one wish)."""
    props: tuple[Fact, ...] = ()
    at: tuple[Place, ...] = ()
    to: tuple[Place, ...] = ()
    """Where it may end; none: where it began."""
    radius: int | None = None
    """Kilometres around `at` that the vendor serves."""
    anywhere: bool = False
    """Place is no matter: comes, or is sent, to where it is wanted."""
    when: tuple[When, ...] = ()
    """Times it is to be had; one of them must fit."""
    any_time: bool = False
    total: Money | None = None
    claims: frozenset[str] = frozenset()
    """Properties the vendor says are met, without a fact."""
    admits: tuple[Deviation, ...] = ()
    """Properties the vendor says are not met."""


@dataclass(frozen=True, slots=True)
class Unmet:
    """One reason why it does not answer. `name` is a property, or category, action, where, to, when."""

    name: str
    wanted: str
    offered: str | None
    """None: not stated."""

    def __str__(self) -> str:
        return f"{self.name}: must be {self.wanted}, " + (
            "not stated" if self.offered is None else f"is {self.offered}"
        )


@dataclass(frozen=True, slots=True)
class Match:
    meets: tuple[str, ...]
    """Properties of the wish that are fulfilled, in its order."""
    deviates: tuple[Deviation, ...]
    """What is not as wished though it answers; complete as far as anything is stated."""
    unmet: tuple[Unmet, ...]
    comparable: bool
    """False: the total is in another currency than the limit. It is shown so, and never converted."""
    over_limit: bool
    """The total is above the limit the wish names."""

    @property
    def answers(self) -> bool:
        return not self.unmet


def match(intent: Intent, offer: Offer) -> Match:
    """Judge an offer. Pure but for reading the system's time zones; never raises on what peers can say."""
    return match_facts(intent, facts_of(offer))


def facts_of(offer: Offer) -> Facts:
    where = offer.where
    return Facts(
        category=offer.category,
        props=offer.props,
        at=(where.at,) if where else (),
        to=(where.to,) if where and where.to else (),
        radius=where.radius if where else None,
        when=(offer.when,) if offer.when else (),
        total=offer.total,
        claims=frozenset(offer.meets),
        admits=offer.deviates,
    )


def match_facts(intent: Intent, facts: Facts) -> Match:
    """Judge anything that can be stated as facts: what a vendor's catalogue could answer with, say."""
    unmet = [*_judge_action(intent, facts)]
    deviates: dict[str, Deviation] = {}
    for verdict in (*_judge_category(intent, facts), *_judge_where(intent, facts), *_judge_when(intent, facts)):
        if isinstance(verdict, Unmet):
            unmet.append(verdict)
        else:
            deviates[verdict.name] = verdict
    judge = _PropertyJudge(intent, facts)
    asked_as: dict[str, str] = {}  # a wish may ask twice for one property, even under two of its names
    meets: set[str] = set()
    failed: set[str] = set()
    for prop in intent.props:
        name = judge.name(prop.name)
        first = asked_as.setdefault(name, prop.name)
        ill = judge.missing(prop)
        if ill is not None and prop.need == "must":
            failed.add(name)
            unmet.append(ill)
        elif ill is not None:
            deviates.setdefault(name, Deviation(first, ill.offered))
        elif judge.speaks_of(name):
            meets.add(name)
    for name, admitted in judge.admits.items():
        deviates.setdefault(name, replace(admitted, name=asked_as.get(name, admitted.name)))
    comparable = intent.limit is None or facts.total is None or intent.limit.currency == facts.total.currency
    return Match(
        meets=tuple(first for name, first in asked_as.items() if name in meets - failed - deviates.keys()),
        deviates=tuple(deviation for name, deviation in deviates.items() if name not in failed),
        unmet=tuple(unmet),
        comparable=comparable,
        over_limit=comparable
        and intent.limit is not None
        and facts.total is not None
        and facts.total.minor > intent.limit.minor,
    )


def rank_key(
    intent: Intent, found: Match, total: Money | None, weights: Mapping[str, int] | None = None
) -> tuple[bool, bool, int, bool, str, int]:
    """Sort offers by this, best first: what answers, within the limit, with the least deviations, then the cheapest.

    `weights` (0 to 100 by property name) are the person's own and stay here; they go before those of the wish. Totals
    of different currencies are grouped, never compared.
    """
    own = {prop.name: prop.weight for prop in intent.props if prop.weight is not None} | dict(weights or {})
    penalty = sum(own.get(deviation.name, DEFAULT_WEIGHT) for deviation in found.deviates)
    currency, minor = (total.currency, total.minor) if total else ("", 0)
    return (not found.answers, found.over_limit, penalty, not found.comparable, currency, minor)


# ------------------------------------------------------------------------------------------- category and action


def _judge_action(intent: Intent, facts: Facts) -> Iterator[Unmet]:
    if facts.action is not None and facts.action != intent.action:
        yield Unmet("action", intent.action, facts.action)


def _judge_category(intent: Intent, facts: Facts) -> Iterator[Unmet | Deviation]:
    wanted, offered = canonical(intent.category), canonical(facts.category)
    if is_below(offered, wanted):
        return
    if is_below(wanted, offered):
        yield Deviation("category", _clip(offered))  # a broader word: perhaps it is such a one, perhaps not
    else:
        yield Unmet("category", wanted, offered)


# ---------------------------------------------------------------------------------------------------- properties


class _PropertyJudge:
    """Compares the properties of a wish with facts, each under the names and values of their common category."""

    def __init__(self, intent: Intent, facts: Facts) -> None:
        wanted, offered = canonical(intent.category), canonical(facts.category)
        # The narrower of the two has all the properties of the other, and more.
        self._category = offered if is_below(offered, wanted) else wanted
        self._action = intent.action
        self.admits = {self.name(admitted.name): admitted for admitted in facts.admits}
        self._claims = {self.name(name) for name in facts.claims}
        self._facts: dict[str, list[Fact]] = {}
        for fact in facts.props:
            self._facts.setdefault(self.name(fact.name), []).append(fact)

    def missing(self, prop: Property) -> Unmet | None:
        """Why the wish for this property is not fulfilled, or None."""
        name = self.name(prop.name)
        avoid = prop.need == "avoid"
        wanted = ("not " if avoid else "") + self._show_wanted(prop)
        stated = self._facts.get(name)
        if stated is None and name in self.admits:
            return Unmet(prop.name, wanted, self.admits[name].offered or "otherwise")
        if stated is None:
            return None if avoid or name in self._claims else Unmet(prop.name, wanted, None)
        # Said twice, with different values: whichever of them speaks against it counts.
        for fact in stated:
            if self._holds(prop, fact) == avoid:
                return Unmet(prop.name, wanted, self._show_fact(fact))
        return None

    def speaks_of(self, name: str) -> bool:
        """Is anything said about it? What is avoided and not mentioned is neither met nor a deviation."""
        return name in self._facts or name in self._claims

    def name(self, name: str) -> str:
        return canonical_name(self._category, self._action, name)

    def _holds(self, prop: Property, fact: Fact) -> bool:
        found = property_def(self._category, self._action, prop.name)
        if found is None and prop.unit is not None and fact.unit is not None and prop.unit != fact.unit:
            return False
        try:
            offered = self._value(fact.name, fact.value, fact.unit)
            wanted = [self._value(prop.name, value, prop.unit) for value in _alternatives(prop)]
        except PropertyError:
            return False  # not comparable is not met
        if prop.op in ("eq", "in"):
            # "full cover" is more than "partial cover"; but who avoids partial cover does not mind full cover.
            return any(fulfils(found, offered, value, exceed=prop.need != "avoid") for value in wanted)
        if type(offered) is not int:
            return False
        bounds = [value for value in wanted if type(value) is int]
        if len(bounds) < len(wanted):
            return False
        return (prop.op == "max" or bounds[0] <= offered) and (prop.op == "min" or offered <= bounds[-1])

    def _value(self, name: str, value: PropertyValue, unit: str | None) -> PropertyValue:
        return canonical_value(self._category, self._action, name, value, unit)

    def _show_fact(self, fact: Fact) -> str:
        found = property_def(self._category, self._action, fact.name)
        try:
            shown = show_value(found, self._value(fact.name, fact.value, fact.unit), fact.unit)
        except PropertyError:
            shown = _clip(f"{fact.value} {fact.unit or ''}".strip())
        return shown or "blank"

    def _show_wanted(self, prop: Property) -> str:
        found = property_def(self._category, self._action, prop.name)
        try:
            values = [self._value(prop.name, value, prop.unit) for value in _alternatives(prop)]
        except PropertyError:
            return _clip(f"{prop.value} {prop.unit or ''}".strip())
        shown = show_all(found, values, prop.unit)
        if prop.op == "range":
            shown = f"{show_value(found, values[0])} to {show_value(found, values[-1], prop.unit)}"
        before = {"in": "one of ", "min": "at least ", "max": "at most "}.get(prop.op, "")
        return _clip(before + shown)


def _alternatives(prop: Property) -> tuple[PropertyValue, ...]:
    return prop.value if isinstance(prop.value, tuple) else (prop.value,)


# --------------------------------------------------------------------------------------------------------- place


def _judge_where(intent: Intent, facts: Facts) -> Iterator[Unmet]:
    where = intent.where
    if where is None or facts.anywhere:
        return
    # Both circles: how far the person goes and how far the vendor comes.
    radius = None if where.radius is None and facts.radius is None else (where.radius or 0) + (facts.radius or 0)
    started = [place for place in facts.at if near(where.at, place, radius)]
    if not started:
        yield Unmet("where", _show_where(where.at, where), _show_places(facts.at))
        return
    if where.to is None:
        return
    ends = facts.to or tuple(started)
    if not any(near(where.to, place, radius) for place in ends):
        yield Unmet("to", _show_where(where.to, where), _show_places(ends))


def _show_where(place: Place, where: Where) -> str:
    shown = _show_places((place,)) or ""
    return _clip(f"within {where.radius} km of {shown}" if where.radius else shown)


def _show_places(places: tuple[Place, ...]) -> str | None:
    return _clip(", ".join(place.code or " ".join(place.cells) for place in places)) if places else None


# ---------------------------------------------------------------------------------------------------------- time


def _judge_when(intent: Intent, facts: Facts) -> Iterator[Unmet | Deviation]:
    when = intent.when
    if when is None:
        return
    wanted = span(when)
    if wanted is None:
        yield Unmet("when", "a time we can read", _show_when(when))
        return
    if facts.any_time:
        return
    flex = when.flex or 0
    known = [(offered, found) for offered in facts.when if (found := span(offered)) is not None]
    met = [(offered, found) for offered, found in known if found[0] < wanted[1] + flex and wanted[0] - flex < found[1]]
    if not met:
        if facts.when and not known:
            yield Unmet("when", "a time we can read", _show_when(facts.when[0]))
        else:
            yield Unmet("when", _show_when(when), _show_when(facts.when[0]) if facts.when else None)
        return
    # Who names only the day leaves the hour open.
    latest_start = wanted[0] + flex + (86_399 if names_day_only(when.start) else 0)
    if intent.action in WHOLE_TIME and not any(
        start <= latest_start and end >= wanted[1] - flex for _, (start, end) in met
    ):
        yield Deviation("when", _show_when(met[0][0]))


def _show_when(when: When) -> str:
    return _clip(f"{when.start} to {when.end} {when.tz}")


def _clip(text: str) -> str:
    return text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 3] + "..."
