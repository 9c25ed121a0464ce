"""A car rental with seasons and a fleet.

    python -m node.vendor.examples.car_rental          # beside a running node: intentcast up

The node counts the fleet: it never promises a car that is out, and gets each back at the end of its deal.
"""

from dataclasses import dataclass
from datetime import date, timedelta

from node.vendor import Context, Decline, Quote, Vendor, Wish

shop = Vendor("Alpine Cars", categories=["mobility.car.**"], contact="+33 4 00 00 00 00, desk 4, Lyon Airport")


@dataclass(frozen=True)
class Model:
    key: str
    title: str
    category: str
    fleet: int
    price: int
    """Euro cents a day in summer."""
    props: dict[str, object]


CARS = (
    Model("duster", "Dacia Duster 4x4", "mobility.car.suv", 3, 4800,
          {"drive": "4x4", "body": "suv", "seats": 5, "winter_tyres": True, "transmission": "manual"}),
    Model("clio", "Renault Clio", "mobility.car.city", 5, 2900,
          {"drive": "fwd", "body": "small", "seats": 5, "winter_tyres": False, "transmission": "manual"}),
)  # fmt: skip


def price_on(car: Model, day: date) -> int:
    """Half as much again in the ski season, a fifth more at weekends."""
    winter = (day.month, day.day) >= (12, 15) or (day.month, day.day) < (4, 15)
    weekend = day.weekday() >= 4
    return car.price * (150 if winter else 100) * (120 if weekend else 100) // 10_000


@shop.on_intent(action="rent", place="iata:LYS", radius=30)
def quote(wish: Wish, ctx: Context) -> Quote | Decline | None:
    days = wish.count("day")
    if wish.span is None or not 1 <= days <= 60:
        return ctx.decline("timing_deferred", "no dates, or more than 60 days")
    for car in CARS:
        if not _suits(car, wish):
            continue
        lines = []
        for price in sorted({price_on(car, day) for day in _days(wish, days)}):
            count = sum(price_on(car, day) == price for day in _days(wish, days))
            lines.append((car.title, count * wish.quantity, "day", price))
        return ctx.offer(
            lines=lines,
            currency="EUR",
            fees={"Airport fee": "15 EUR"},
            options=[("snow_chains", "Snow chains", "20 EUR"), ("ski_rack", "Ski rack", days * 500)],
            props=car.props,
            category=car.category,
            policies={"Fuel": "Full to full."},
            stock=car.key,
            of=car.fleet,
            away=True,
            turnaround="2h",
        )
    return ctx.decline("product_fit")


def _suits(car: Model, wish: Wish) -> bool:
    """Only what the wish insists on: a wish for winter tyres is answered, and the deviation is listed."""
    drive, seats = wish.prop("drive"), wish.prop("seats")
    if drive is not None and drive.need == "must" and drive.value != ("awd" if car.key == "duster" else "fwd"):
        return False
    if seats is not None and seats.need == "must" and isinstance(seats.value, int) and seats.value > 5:
        return False
    return wish.is_in("mobility.car") and (wish.category in ("mobility.car", car.category))


def _days(wish: Wish, count: int) -> list[date]:
    assert wish.span is not None
    return [(wish.span[0] + timedelta(days=number)).date() for number in range(count)]


if __name__ == "__main__":
    shop.run()
