"""How many days, nights or hours a wish takes, and which time of it is to be had."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from protocol.span import span
from protocol.terms import When, local_time

_DAY = timedelta(days=1)


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
