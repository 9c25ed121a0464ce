"""Spans of wall-clock time as instants, so that two of them can be compared across zones."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from .terms import When, local_time

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_NOT_ZONES: Final = ("localtime", "posixrules", "Factory")
"""Files beside the zones that mean something else on every machine."""


def span(when: When) -> tuple[int, int] | None:
    """Start and end in seconds since 1970 UTC, half-open; None if the zone or a date is not one.

    An hour that the clocks skip in spring is read as if they had not yet been changed, one they repeat in autumn as
    the first of the two.
    """
    zone = _zone(when.tz)
    start, end = local_time(when.start), local_time(when.end)
    if zone is None or start is None or end is None:
        return None
    try:
        return _instant(start, zone), _instant(end, zone)
    except (OverflowError, ValueError):
        return None  # the first and the last day of the calendar, in some zones


def names_day_only(text: str) -> bool:
    """Is the local time a date without an hour?"""
    return "T" not in text


def is_zone(name: str) -> bool:
    """Is the time zone known to this node?"""
    return _zone(name) is not None


def _instant(moment: datetime, zone: ZoneInfo) -> int:
    return (moment.replace(tzinfo=zone).astimezone(UTC) - _EPOCH) // timedelta(seconds=1)


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    if name in _NOT_ZONES or name.startswith(("posix/", "right/")):
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None  # not known here, a path that climbs, or a folder of zones
