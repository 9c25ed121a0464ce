"""How many days, nights or hours a wish takes, and which time of it is to be had."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from protocol.span import span
from protocol.terms import When, local_time

from .shelf import SlotRule, Slots

_DAY = timedelta(days=1)

SLOT_DAYS: Final = 62
"""Days of a calendar that are looked through for one wish: who asks for any time this year is offered the first."""


def count_of(per: str, when: When) -> int:
    """Days, nights or hours of a span, at least 1. `when` must be readable (`span`).

    - day: 24 hours by the clock on the wall from the start, begun ones count, as car hire has it;
    - night: midnights between start and end, whatever the hours;
    - hour: hours that pass, begun ones count; the hour the clocks skip or repeat is counted as it passes.
    """
    start, end, instants = local_time(when.start), local_time(when.end), span(when)
    assert start is not None
    assert end is not None
    assert instants is not None
    if per == "day":
        return max(1, -((start - end) // _DAY))
    if per == "night":
        return max(1, (end.date() - start.date()).days)
    assert per == "hour", per
    return max(1, -((instants[0] - instants[1]) // 3600))


def days_of(per: str, when: When, times: int) -> Iterator[date]:
    """The day on which each of `times` units begins: what a season is asked about."""
    start, instants = local_time(when.start), span(when)
    assert start is not None
    assert instants is not None
    if per == "hour":
        zone = ZoneInfo(when.tz)
        for hour in range(times):
            yield datetime.fromtimestamp(instants[0] + 3600 * hour, zone).date()
    else:
        for number in range(times):
            yield (start + number * _DAY).date()


def slots_within(slots: Slots, first: int, last: int) -> Iterator[When]:
    """The slots of a calendar that lie between two instants, in order."""
    try:
        yield from _slots_within(slots, first, last)
    except (OverflowError, ValueError, OSError):
        return  # beyond the calendar


def _slots_within(slots: Slots, first: int, last: int) -> Iterator[When]:
    zone = ZoneInfo(slots.tz)
    closed = [found for period in slots.off if (found := span(period)) is not None]
    day = datetime.fromtimestamp(first, zone).date()
    for _ in range(SLOT_DAYS):
        for start, end in _times_of(slots.rules, day):
            slot = When(start.isoformat(timespec="minutes"), end.isoformat(timespec="minutes"), slots.tz)
            found = span(slot)
            if found is None or found[0] < first or found[1] > last or found[1] <= found[0]:
                continue
            if not any(found[0] < off[1] and off[0] < found[1] for off in closed):
                yield slot
        day += _DAY
        if datetime.combine(day, time(), zone).timestamp() >= last:
            return


def _times_of(rules: tuple[SlotRule, ...], day: date) -> list[tuple[datetime, datetime]]:
    found = set()
    for rule in rules:
        if day != rule.day if rule.day is not None else day.weekday() not in rule.days:
            continue
        midnight = datetime.combine(day, time())
        for start in range(rule.start, rule.end - rule.length + 1, rule.length):
            found.add((midnight + timedelta(minutes=start), midnight + timedelta(minutes=start + rule.length)))
    return sorted(found)


def time_to_offer(asked: When, periods: tuple[When, ...], *, part: bool) -> When | None:
    """The span to offer: as asked; else moved by what `flex` allows, the least first; else, if a `part` will do, the
    longest piece of it that is to be had. None if there is none, or the time cannot be read. No periods: always.
    """
    wanted = span(asked)
    if wanted is None:
        return None
    start, end = wanted
    plain = When(asked.start, asked.end, asked.tz)
    free = [found for period in periods if (found := span(period)) is not None]
    if not periods or any(first <= start and end <= last for first, last in free):
        return plain
    flex = asked.flex or 0
    moves = [max(first - start, min(0, last - end)) for first, last in free if last - first >= end - start]
    for move in sorted((move for move in moves if abs(move) <= flex), key=abs):
        moved = _span_in(start + move, end + move, asked.tz)
        if moved is not None:
            return moved
    if not part:
        return None
    pieces = [(max(start, first), min(end, last)) for first, last in free]
    for first, last in sorted(pieces, key=lambda piece: piece[0] - piece[1]):
        if first < last and (piece := _piece(asked, wanted, first, last)) is not None:
            return piece
    return None


def _piece(asked: When, wanted: tuple[int, int], first: int, last: int) -> When | None:
    """A piece of the asked time; an end that is as asked keeps its words."""
    piece = _span_in(first, last, asked.tz)
    if piece is None:
        return None
    start = asked.start if first == wanted[0] else piece.start
    end = asked.end if last == wanted[1] else piece.end
    return _checked(When(start, end, asked.tz), first, last)


def _span_in(start: int, end: int, tz: str) -> When | None:
    """Two instants as local time; None if they cannot be said to the minute, as in the hour the clocks repeat."""
    zone = ZoneInfo(tz)
    try:
        first, last = (
            datetime.fromtimestamp(instant, UTC).astimezone(zone).replace(tzinfo=None).isoformat(timespec="minutes")
            for instant in (start, end)
        )
    except (OverflowError, ValueError, OSError):
        return None
    return _checked(When(first, last, tz), start, end)


def _checked(when: When, start: int, end: int) -> When | None:
    """The words, if they are read back as what they stand for."""
    first, last = local_time(when.start), local_time(when.end)
    if first is None or last is None or first >= last:
        return None
    return when if span(when) == (start, end) else None
