"""From a wish to the best offer a catalogue has for it, or to one named reason why there is none.

Pure: the time and what is left of the stock are arguments. Whether an item answers is judged by `protocol.match` on
the very offer that would be sent, so vendor and person see the same.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from node.money import format_minor
from protocol.categories import canonical, is_below, matches_pattern
from protocol.intent import Intent
from protocol.match import WHOLE_TIME, Facts, Match, Unmet, match, match_facts, rank_key
from protocol.offer import Cancellation, Fee, Line, Offer, Option
from protocol.properties import canonical_name, property_def
from protocol.span import names_day_only, span
from protocol.terms import MAX_MINOR, Fact, Money, Policy, When, Where

from .counting import count_of, time_to_offer
from .section import show_duration
from .shelf import MIN_VALID, Cancelling, Catalogue, Item, Spot

MAX_LINE: Final = 1_000_000
"""Units in a line of an offer."""

MAX_DEVIATIONS: Final = 32
"""An offer cannot list more, and one that hides some is not made."""

REASONS: Final = (
    "late",  # the wish no longer collects offers
    "old",  # older than the catalogue's answer_within
    "category",  # nothing of that kind here
    "action",  # of that kind, but not to rent (buy, ...)
    "must",  # `must:<property>`: the closest item fails it; `must:other` for a property nobody described
    "place",
    "time",  # not to be had then, or the wish does not say when and the price is per day
    "notice",  # too soon to get it ready
    "minimum",
    "maximum",
    "stock",
    "deviations",  # more of them than an offer can list
    "limit",  # the price would be above what the wish names
)
"""Why no offer is made: the wish first, then in the order an item is judged. Of several items the one that came
furthest gives the reason."""


@dataclass(frozen=True, slots=True)
class Quote:
    """An offer, complete but for the ways back (`reply`)."""

    offer: Offer
    item: str
    """Key of the item."""
    count: int
    """How many of it the wish wants: what to hold of its stock."""
    valid_for: int
    """Seconds; at most what the catalogue says, and never past the last moment it could still begin."""


@dataclass(frozen=True, slots=True)
class Pass:
    """No offer."""

    reason: str
    """One of REASONS; for a must with its property: `must:drive`."""


def quote(
    catalogue: Catalogue, intent: Intent, *, wish_at: int, now: int, stock_left: Callable[[str], int | None]
) -> Quote | Pass:
    """The best offer: what matches with the least weighted deviations, then the cheapest, then the first in the file.

    `wish_at` and `now` are instants (seconds UTC); `stock_left` says how many of an item are not held or sold (None:
    what the catalogue says). Never raises on what a wish can say.
    """
    if intent.offers_by is not None and now >= intent.offers_by:
        return Pass("late")
    if catalogue.answer_within is not None and now - wish_at > catalogue.answer_within:
        return Pass("old")
    listens = any(matches_pattern(pattern, intent.category) for pattern in catalogue.categories)
    found: list[_Candidate] = []
    closest = Pass("category")
    for item in catalogue.items:
        # A wish for any vehicle is answered by who has cars: the category of the item is what it asks for.
        if not listens and not is_below(item.category, canonical(intent.category)):
            continue
        try:
            found.append(_Attempt(catalogue, item, intent, now, stock_left).candidate())
        except _No as no:
            closest = max(closest, Pass(no.reason), key=_progress)
    if not found:
        return closest
    return min(found, key=lambda one: rank_key(intent, one.found, one.quote.offer.total)).quote


@dataclass(frozen=True, slots=True)
class _Candidate:
    quote: Quote
    found: Match


def _progress(passed: Pass) -> int:
    return REASONS.index(passed.reason.partition(":")[0])


class _No(Exception):
    """This item is not for this wish."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Attempt:
    """One item held against one wish."""

    def __init__(
        self, catalogue: Catalogue, item: Item, intent: Intent, now: int, stock_left: Callable[[str], int | None]
    ) -> None:
        self._catalogue = catalogue
        self._item = item
        self._intent = intent
        self._now = now
        self._stock_left = stock_left

    def candidate(self) -> _Candidate:
        """Raises _No."""
        item, intent = self._item, self._intent
        if intent.action not in item.actions:
            # Another action says nothing about how close it is otherwise, but the category may already be wrong.
            self._judge(match_facts(replace(intent, props=(), where=None, when=None), Facts(item.category)).unmet)
            raise _No("action")
        props = _chosen_props(item, intent)
        self._judge(match_facts(replace(intent, where=None, when=None), Facts(item.category, props=props)).unmet)
        where = self._where()
        bare = Offer(
            vendor=self._catalogue.vendor,
            category=item.category,
            lines=(Line(item.title, 1, item.per, 0, 0),),
            total=Money(0, item.currency),
            props=props,
            where=where,
            note=item.note,
        )
        when, valid_for = self._when()
        priced = self._priced(replace(bare, when=when))
        found = match(intent, priced)
        self._judge(found.unmet)
        left = self._stock_left(item.key)
        left = item.stock if left is None else left
        if left is not None and intent.quantity > left:
            raise _No("stock")
        if len(found.deviates) > MAX_DEVIATIONS:
            raise _No("deviations")
        if found.over_limit:
            raise _No("limit")
        offer = replace(priced, meets=found.meets, deviates=found.deviates)
        return _Candidate(Quote(offer, item.key, intent.quantity, valid_for), found)

    def _judge(self, unmet: tuple[Unmet, ...]) -> None:
        if unmet:
            raise _No(_reason(self._item, self._intent, unmet))

    # ------------------------------------------------------------------------------------------- place and time

    def _where(self) -> Where | None:
        item, wanted = self._item, self._intent.where
        if not item.spots:
            return None if wanted is None else Where(wanted.at, wanted.to)
        if wanted is None:
            return _at(item.spots[0])
        ways = [Where(spot.place, None, spot.radius) for spot in item.spots]
        if wanted.to is not None and item.return_elsewhere:
            ways += [Where(spot.place, end.place, spot.radius) for spot in item.spots for end in item.spots]
        asked = replace(self._intent, props=(), when=None)
        for way in ways:
            if match_facts(asked, _facts_at(item, way)).answers:
                return way
        raise _No("place")

    def _when(self) -> tuple[When | None, int]:
        """The time to offer, and for how many seconds the offer may stand."""
        item, asked, valid_for = self._item, self._intent.when, self._catalogue.valid_for
        if asked is None:
            if item.timed:
                raise _No("time")
            return None, valid_for
        whole = self._intent.action in WHOLE_TIME
        # Who hires somebody by the hour wants all of these hours, though the matcher would not list the missing ones.
        when = time_to_offer(asked, item.periods, part=whole or not item.timed)
        instants = None if when is None else span(when)
        if when is None or instants is None:
            raise _No("time")
        last_start = instants[0] + (86_399 if names_day_only(when.start) else 0) if whole or item.timed else instants[1]
        if last_start <= self._now:
            raise _No("time")
        valid_for = min(valid_for, last_start - item.notice - self._now)
        if valid_for < MIN_VALID:
            raise _No("notice")
        return when, valid_for

    # --------------------------------------------------------------------------------------------------- price

    def _priced(self, bare: Offer) -> Offer:
        """Lines, fees, total, options and cancellation. Raises _No for more than can be had or written down."""
        item, quantity = self._item, self._intent.quantity
        times = count_of(item.per, bare.when) if item.timed and bare.when is not None else 1
        counted = times if item.timed else quantity
        if item.per != "job" and counted < item.minimum:
            raise _No("minimum")
        if times * quantity > MAX_LINE or (item.maximum is not None and counted > item.maximum):
            raise _No("maximum")
        many = f" ({quantity} x {_units(times, item.per)})" if item.timed and quantity > 1 else ""
        amount = times * quantity * item.minor
        lines = [Line(item.title + many, times * quantity, item.per, item.minor, amount)]
        discount = next((one for one in item.discounts if one.at_least <= counted), None)
        off = amount * discount.per_mille // 1000 if discount else 0
        if discount and off:
            share = format_minor(discount.per_mille * 10, "EUR").rstrip("0").rstrip(".")  # 75 per mille: 7.5
            title = f"{share} % off from {_units(discount.at_least, item.per)}"
            lines.append(Line(title, 1, "offer", -off, -off))
        elsewhere = bare.where is not None and bare.where.to is not None
        fees = tuple(
            Fee(fee.name, fee.minor * self._factor(fee.per, times))
            for fee in item.fees
            if elsewhere or not fee.return_elsewhere
        )
        total = amount - off + sum(fee.amount for fee in fees)
        options = tuple(
            Option(option.name, option.title, option.minor * self._factor(option.per, times)) for option in item.options
        )
        if max(amount, total, *(option.amount for option in options)) > MAX_MINOR:  # a fee is a part of the total
            raise _No("maximum")
        cancellation, policies = self._cancellation(bare, total)
        return replace(
            bare,
            lines=tuple(lines),
            fees=fees,
            total=Money(total, item.currency),
            options=options,
            cancellation=cancellation,
            policies=(*self._catalogue.policies, *policies),
        )

    def _factor(self, per: str, times: int) -> int:
        if per == "once":
            return 1
        return self._intent.quantity * (1 if per == "piece" else times)

    def _cancellation(self, bare: Offer, total: int) -> tuple[tuple[Cancellation, ...], tuple[Policy, ...]]:
        terms = self._item.cancelling
        if terms is None:
            return (), ()
        fee = min(total, total * terms.per_mille // 1000 if terms.per_mille else terms.minor)
        start = None if bare.when is None else span(bare.when)
        if start is None:
            return (), (Policy("Cancellation", _cancel_words(terms, fee, self._item.currency)),)
        steps = [] if terms.free_until is None else [Cancellation(max(0, start[0] - terms.free_until), 0)]
        steps.append(Cancellation(max(0, start[0]), fee))
        return tuple(step for step in steps if step.until > self._now), ()


def _chosen_props(item: Item, intent: Intent) -> tuple[Fact, ...]:
    """What it is, and of what it can be, for each property the first that does what the wish says about it."""
    chosen = list(item.props)
    for alternatives in item.choices:
        name = alternatives[0].name
        asked = tuple(prop for prop in intent.props if canonical_name(item.category, intent.action, prop.name) == name)
        if not asked:
            chosen.append(alternatives[0])
            continue
        about = replace(intent, props=asked, where=None, when=None)
        found = [match_facts(about, Facts(item.category, props=(fact,))) for fact in alternatives]
        best = min(range(len(found)), key=lambda index: _failures(found[index]))
        chosen.append(alternatives[best])
    return tuple(chosen)


def _failures(found: Match) -> tuple[int, int]:
    return len(found.unmet), len(found.deviates)


def _facts_at(item: Item, where: Where) -> Facts:
    return Facts(item.category, at=(where.at,), to=(where.to,) if where.to else (), radius=where.radius, any_time=True)


def _at(spot: Spot) -> Where:
    return Where(spot.place, None, spot.radius)


def _reason(item: Item, intent: Intent, unmet: Iterable[Unmet]) -> str:
    """The first of what is unmet, in the order of REASONS."""
    musts = {prop.name for prop in intent.props if prop.need == "must"}
    return min((_reason_of(item, intent, musts, one.name) for one in unmet), key=lambda reason: _progress(Pass(reason)))


def _reason_of(item: Item, intent: Intent, musts: set[str], name: str) -> str:
    whole = {"category": "category", "action": "action", "where": "place", "to": "place", "when": "time"}
    if name in whole and name not in musts:
        return whole[name]
    # Names of properties come from strangers; only described ones become names of counters.
    if property_def(item.category, intent.action, name) is None:
        return "must:other"
    return f"must:{canonical_name(item.category, intent.action, name)}"


def _units(count: int, per: str) -> str:
    return f"{count} {per}{'' if count == 1 else 's'}"


def _cancel_words(terms: Cancelling, fee: int, currency: str) -> str:
    then = f"{format_minor(fee, currency)} {currency}"
    if terms.free_until is None:
        return f"Cancelling costs {then}."
    return f"Free until {show_duration(terms.free_until)} before the start, then {then}."
