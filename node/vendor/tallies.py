"""What a vendor did and what became of it, in names that are counted by day (`tallies` in the store)."""

from typing import Final

SLOWNESS: Final = ((1, "took:1s"), (10, "took:10s"), (60, "took:1m"), (600, "took:10m"))
"""Seconds an answer took at most, and the name it is counted under."""


def slowness(seconds: float) -> str:
    """The name under which an answer after so many seconds is counted."""
    return next((name for most, name in SLOWNESS if seconds <= most), "took:more")


def matched(reason: str) -> bool:
    """Was a wish of our kind, though it was passed over for this reason?"""
    return reason not in ("category", "late", "old")
