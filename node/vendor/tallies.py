"""What a vendor did and what became of it, in names that are counted by day (`tallies` in the store)."""

from typing import TYPE_CHECKING, Any, Final

from protocol.message import Message

if TYPE_CHECKING:
    from ..store import Tx

SLOWNESS: Final = ((1, "took:1s"), (10, "took:10s"), (60, "took:1m"), (600, "took:10m"))
"""Seconds an answer took at most, and the name it is counted under."""


def slowness(seconds: float) -> str:
    """The name under which an answer after so many seconds is counted."""
    return next((name for most, name in SLOWNESS if seconds <= most), "took:more")


def matched(reason: str) -> bool:
    """Was a wish of our kind, though it was passed over for this reason?"""
    return reason not in ("category", "late", "old")


def tally_end(tx: "Tx", wish: Message, now: int) -> None:
    """A wish of somebody else has ended: if nothing here decided about it, it was heard all the same."""
    if not tx.is_answered(wish.id):
        tx.tally(now, "heard", "passed:unanswered")


ENDS: Final = ("confirmed", "rejected", "declined", "withdrawn", "lapsed", "void")
"""What becomes of offers."""


def summary(counts: dict[str, int]) -> dict[str, Any]:
    """What a vendor reads: how many wishes were heard, were of its kind, were answered, and what became of it."""

    def group(prefix: str) -> dict[str, int]:
        found = {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix)}
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))

    kept = counts.get("confirmed", 0) - counts.get("confirmed:late", 0)  # said, but not before the accept lapsed
    broken = counts.get("rejected", 0) + counts.get("lapsed", 0)
    return {
        "heard": counts.get("heard", 0),
        "matched": counts.get("matched", 0),
        "offered": counts.get("offered", 0),
        "accepted": counts.get("accepted", 0),
        **{name: counts.get(name, 0) for name in ENDS},
        "confirmed": kept,
        "honoured": round(kept / (kept + broken), 3) if kept + broken else None,
        "took": {name.removeprefix("took:"): counts.get(name, 0) for name in (*(n for _, n in SLOWNESS), "took:more")},
        "declined_because": group("declined:"),
        "rejected_because": group("rejected:"),
        "passed_because": group("passed:"),
    }


_WHY: Final = {
    "unanswered": "it ended before anything here decided about it",
    "late": "it no longer collected offers when it was looked at",
    "old": "it is older than your answer_within",
    "category": "you have nothing of that kind",
    "action": "you have that, but not to {action}",
    "words": "nothing in your lists is called like that",
    "place": "not at that place",
    "time": "not to be had at that time, or it does not say when",
    "notice": "too soon for the notice you need",
    "minimum": "less than your minimum",
    "maximum": "more than your maximum",
    "stock": "sold, or promised to others",
    "booked": "nothing is free at that time",
    "share": "more than one stranger gets at once (per_stranger)",
    "deviations": "it differs in more ways than an offer can list",
    "limit": "your price is above the limit it names",
}


def why_line(why: str, action: str) -> str:
    """In one line, why a wish was not answered."""
    if why.startswith("must:"):
        name = why.removeprefix("must:")
        return f"it insists on {'a property nobody described' if name == 'other' else name}, which you do not state so"
    if why.startswith("program:"):
        rest = why.removeprefix("program:")
        if rest == "gave_up":
            return "your program failed over it three times"
        name, _, reason = rest.partition(":")
        return f"your program {name} answered {reason or 'nothing'}".replace("declined:", "no: ")
    return _WHY.get(why, why).format(action=action)
