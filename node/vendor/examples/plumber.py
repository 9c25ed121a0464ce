"""A plumber with a calendar: working hours, one visit at a time, half an hour on the road between two.

    python -m node.vendor.examples.plumber

The calendar is a list of what is taken; put your own in its place (an iCal file, a database). The first free time is
offered, and it is put into the calendar when the deal is made.
"""

from datetime import datetime, time, timedelta

from node.vendor import Context, Deal, Decision, Decline, Quote, Vendor, Wish

shop = Vendor("Pia Plumber", categories=["home.plumbing"], contact="Pia, +33 6 11 22 33 44")

OPEN, CLOSE, VISIT, ROAD = time(8), time(17), timedelta(hours=2), timedelta(minutes=30)
taken: list[tuple[datetime, datetime]] = []


def is_free(start: datetime) -> bool:
    return all(start + VISIT + ROAD <= other or end + ROAD <= start for other, end in taken)


def first_free(wish: Wish, now: datetime) -> datetime | None:
    """The first visit that fits into the time asked for, on the hour, on a working day, three hours from now on."""
    assert wish.span is not None
    start, end = wish.span
    at = max(start, now + timedelta(hours=3)).replace(minute=0, second=0, microsecond=0)
    for _ in range(14 * 24):
        fits = at >= start and at >= now + timedelta(hours=3) and at + VISIT <= end
        working = at.weekday() < 5 and OPEN <= at.time() and (at + VISIT).time() <= CLOSE
        if fits and working and is_free(at):
            return at
        at += timedelta(hours=1)
    return None


@shop.on_intent(action=("repair", "hire"), place="u05kq", radius=30)
async def quote(wish: Wish, ctx: Context) -> Quote | Decline:
    if wish.when is None or wish.span is None:
        return ctx.decline("timing_deferred")
    at = first_free(wish, datetime.fromtimestamp(ctx.now, wish.span[0].tzinfo))
    if at is None:
        return ctx.decline("capacity", "nothing free in that time")
    words = "%Y-%m-%dT%H:%M"
    return ctx.offer(
        lines=[("Find and mend a leak, two hours", 1, "job", "140 EUR")],
        fees={"Travel": "25 EUR"},
        options=[("disposal", "Taking the old parts away", "15 EUR")],
        when={"start": at.strftime(words), "end": (at + VISIT).strftime(words), "tz": wish.when.tz},
        props={"certified": True, "insured": True, "invoice": True},
        note="Larger damage is shown to you and priced before anything is opened.",
        stock="Pia",
        of=1,
        away=True,
        turnaround="30m",
        per_stranger=1,
    )


@shop.on_accept
async def decide(deal: Deal, ctx: Context) -> Decision:
    """The node holds the time already; the calendar may know better."""
    zone = deal.wish.span[0].tzinfo if deal.wish.span is not None else None
    start, end = (datetime.fromisoformat(deal.offer["when"][name]).replace(tzinfo=zone) for name in ("start", "end"))
    if not is_free(start):
        return ctx.reject("sold_out", "Somebody rang in the meantime.")
    taken.append((start, end))
    return ctx.confirm(reference=f"visit {len(taken)}", note="I ring half an hour before.")


if __name__ == "__main__":
    shop.run()
