"""From a wish to the best offer a catalogue has for it, or to one named reason why there is none.

Pure: the time and what is left of the stock are arguments. Whether an item answers is judged by `protocol.match` on
the very offer that would be sent, so vendor and person see the same.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from node.money import format_minor
from protocol.categories import canonical, is_below, matches_pattern
from protocol.intent import Intent
from protocol.match import WHOLE_TIME, Facts, Match, Unmet, match, match_facts, rank_key
from protocol.offer import Cancellation, Fee, Line, Offer, Option
from protocol.properties import canonical_name, property_def
from protocol.span import names_day_only, span
from protocol.terms import MAX_MINOR, Fact, Money, Policy, When, Where, local_time

from .counting import count_of, days_of, slots_within, time_to_offer
from .section import show_duration
from .shelf import MIN_VALID, Cancelling, Catalogue, Counted, Item, Left, Spot

MAX_LINE: Final = 1_000_000
"""Units in a line of an offer."""

MAX_DEVIATIONS: Final = 32
"""An offer cannot list more, and one that hides some is not made."""

MOST_DAYS_PRICED: Final = 1100
"""Days or nights (and 24 times as many hours) that are priced one by one where there are seasons: three years."""

MOST_SLOTS: Final = 8
"""Other free slots that stand beside the one offered: what is read at a glance."""

REASONS: Final = (
    "late",  # the wish no longer collects offers
    "old",  # older than the catalogue's answer_within
    "category",  # nothing of that kind here
    "action",  # of that kind, but not to rent (buy, ...)
    "words",  # nothing in a long list is called like that
    "must",  # `must:<property>`: the closest item fails it; `must:other` for a property nobody described
    "place",
    "time",  # not to be had then, or the wish does not say when and the price is per day
    "notice",  # too soon to get it ready
    "minimum",
    "maximum",
    "stock",  # sold, or promised to others
    "booked",  # all of the fleet is away then, or no slot is free
    "share",  # more than one stranger gets at once, though there are as many
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
    """Seconds from when it is opened (`opened_at`); at most what the catalogue says, and never past the last moment it
    could still begin."""


@dataclass(frozen=True, slots=True)
class Pass:
    """No offer."""

    reason: str
    """One of REASONS; for a must with its property: `must:drive`."""


def opened_at(wish: Intent, now: int) -> int:
    """When an offer made now can first be accepted: those to a wish that collects them until an hour are sealed till
    then."""
    return max(now, wish.offers_by or 0)


def quote(catalogue: Catalogue, intent: Intent, *, wish_at: int, now: int, left: Left) -> Quote | Pass:
    """The best offer: what matches with the least weighted deviations, then (in long lists) what is most called as the
    wish says, then the cheapest, then the first in the file.

    `wish_at` and `now` are instants (seconds UTC). Never raises on what a wish can say.
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
            found.append(_Attempt(catalogue, item, intent, now, left).candidate())
        except _No as no:
            closest = max(closest, Pass(no.reason), key=_progress)
    for lines in catalogue.lists:
        near, reason = lines.candidates(intent, listens)
        closest = max(closest, Pass(reason), key=_progress)
        just_so = 0.0
        for item, likeness in near:
            if likeness < just_so:
                break  # what is less like the wish than a line without deviations is never offered before it
            try:
                one = replace(_Attempt(catalogue, item, intent, now, left).candidate(), likeness=likeness)
            except _No as no:
                closest = max(closest, Pass(no.reason), key=_progress)
            else:
                found.append(one)
                just_so = just_so if one.found.deviates else likeness
    if not found:
        return closest
    return min(found, key=lambda one: _rank(intent, one)).quote


@dataclass(frozen=True, slots=True)
class _Candidate:
    quote: Quote
    found: Match
    likeness: float = 1.0
    """How much of the wish's words a line of a long list has."""


def _rank(intent: Intent, one: _Candidate) -> tuple[object, ...]:
    answers, over, penalty, *price = rank_key(intent, one.found, one.quote.offer.total)
    return (answers, over, penalty, -one.likeness, *price)


def _progress(passed: Pass) -> int:
    return REASONS.index(passed.reason.partition(":")[0])


class _No(Exception):
    """This item is not for this wish."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Attempt:
    """One item held against one wish."""

    def __init__(self, catalogue: Catalogue, item: Item, intent: Intent, now: int, left: Left) -> None:
        self._catalogue = catalogue
        self._item = item
        self._intent = intent
        self._now = now
        self._opened = opened_at(intent, now)
        self._left = left
        self._other_slots: tuple[When, ...] = ()

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
        self._check_left(when)
        if len(found.deviates) > MAX_DEVIATIONS:
            raise _No("deviations")
        if found.over_limit:
            raise _No("limit")
        offer = replace(priced, meets=found.meets, deviates=found.deviates)
        return _Candidate(Quote(offer, item.key, intent.quantity, valid_for), found)

    def _judge(self, unmet: tuple[Unmet, ...]) -> None:
        if unmet:
            raise _No(_reason(self._item, self._intent, unmet))

    def _check_left(self, when: When | None) -> None:
        item, wanted = self._item, self._intent.quantity
        left = self._left(item, taken_span(item, when))
        if left is not None and wanted > left:
            raise _No("booked" if item.comes_back else "stock")
        if item.share is not None and wanted > item.share:
            raise _No("share")

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
        if item.slots is not None:
            return self._slot()
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
        valid_for = min(valid_for, last_start - item.notice - self._opened)
        if valid_for < MIN_VALID:
            raise _No("notice")
        return when, valid_for

    def _slot(self) -> tuple[When, int]:
        """The first free slot in the time asked for; others that are free become options without a price."""
        item, asked = self._item, self._intent.when
        assert item.slots is not None
        first, last = self._now, self._now + 30 * 86_400
        if asked is not None:
            wanted = span(asked)
            if wanted is None:
                raise _No("time")
            flex = asked.flex or 0
            first, last = max(self._now, wanted[0] - flex), wanted[1] + flex
        ready = self._opened + item.notice + MIN_VALID
        reason, free = "time", []
        for slot in slots_within(item.slots, first, last):
            start = span(slot)
            if start is None or start[0] < ready:
                reason = "notice" if reason == "time" else reason
                continue
            left = self._left(item, taken_span(item, slot))
            if left is not None and left < self._intent.quantity:
                reason = "booked"
                continue
            free.append(slot)
            if len(free) > MOST_SLOTS:
                break
        if not free:
            raise _No(reason)
        start = span(free[0])
        assert start is not None
        self._other_slots = tuple(free[1:])
        return free[0], min(self._catalogue.valid_for, start[0] - item.notice - self._opened)

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
        lines = self._lines(bare.when, times)
        amount = sum(line.amount for line in lines)
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
        room = 32 - len(options)
        options += tuple(Option(slot_option(slot), _slot_words(slot), 0) for slot in self._other_slots[:room])
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

    def _lines(self, when: When | None, times: int) -> list[Line]:
        """The item's price: one line, or one for each season it reaches into."""
        item, quantity = self._item, self._intent.quantity
        counts: dict[tuple[int, str | None], int] = {}
        if item.seasons and item.timed and when is not None:
            if times > MOST_DAYS_PRICED * (24 if item.per == "hour" else 1):
                raise _No("maximum")
            for day in days_of(item.per, when, times):
                price = item.price_on(day)
                counts[price] = counts.get(price, 0) + 1
        elif item.seasons:
            counts[item.price_on(self._day(when))] = times
        else:
            counts[item.minor, None] = times
        lines = []
        for (minor, season), units in counts.items():
            many = f" ({quantity} x {_units(units, item.per)})" if item.timed and quantity > 1 else ""
            title = f"{item.title}, {season}{many}" if season else item.title + many
            lines.append(Line(title, units * quantity, item.per, minor, units * quantity * minor))
        return lines

    def _day(self, when: When | None) -> date:
        """The day a job or a piece is for: that of its time, or else today."""
        start = local_time(when.start) if when is not None else None
        if start is not None:
            return start.date()
        zone = ZoneInfo(self._item.tz) if self._item.tz is not None else UTC
        return datetime.fromtimestamp(self._now, zone).date()

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


def taken_span(item: Counted, when: When | None) -> tuple[int, int] | None:
    """The instants for which a deal about this time takes one of what comes back; None: for good."""
    if not item.comes_back or when is None:
        return None
    found = span(when)
    return None if found is None else (found[0], found[1] + item.turnaround)


def slot_option(slot: When) -> str:
    """The name of the option that chooses this slot: slot_20270320_1000_1200 (the end may be 2400)."""
    start, end = local_time(slot.start), local_time(slot.end)
    assert start is not None
    assert end is not None
    closing = "2400" if end.date() > start.date() else f"{end:%H%M}"
    return f"slot_{start:%Y%m%d_%H%M}_{closing}"


def slot_of(option: str, tz: str) -> When | None:
    """The slot an option of ours chooses; None for another option."""
    found = _SLOT.fullmatch(option)
    if found is None:
        return None
    day, start, end = found.groups()
    first = datetime.strptime(f"{day}{start}", "%Y%m%d%H%M")
    last = first.replace(hour=0, minute=0) + timedelta(hours=int(end[:2]), minutes=int(end[2:]))
    return When(first.isoformat(timespec="minutes"), last.isoformat(timespec="minutes"), tz)


_SLOT: Final = re.compile(r"slot_([0-9]{8})_([0-9]{4})_([0-9]{4})")


def _slot_words(slot: When) -> str:
    return f"Instead: {slot.start.replace('T', ' ')} to {slot.end[-5:]}"


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
