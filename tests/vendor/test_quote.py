"""Alice wishes; Bob's catalogue answers with the best it has, exactly priced, or says why not."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.vendor.catalogue import load_catalogue, template
from node.vendor.counting import count_of, time_to_offer
from node.vendor.quote import REASONS, Pass, Quote, quote
from node.vendor.shelf import Cancelling, Catalogue, Discount, Item, ItemFee, ItemOption, Left, Spot, all_left
from protocol.intent import ACTIONS, Intent
from protocol.limits import MAX_LIFE
from protocol.match import facts_of, match, match_facts
from protocol.offer import Cancellation, Deviation, Fee, Line, Offer, Option, Vendor
from protocol.place import cell_at
from protocol.schema import read, write
from protocol.span import span
from protocol.terms import MAX_MINOR, Fact, Money, Place, Policy, Property, When, Where

PARIS = "Europe/Paris"
LYS, GVA = Place(code="iata:LYS"), Place(code="iata:GVA")
FIVE_DAYS = When("2027-03-20T10:00", "2027-03-25T10:00", PARIS)
HOUR, DAY = 3600, 86_400


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(PARIS)).timestamp())


NOW = instant("2027-03-01T12:00")

DUSTER = Item(
    key="duster",
    title="Dacia Duster 4x4",
    category="mobility.car.suv",
    actions=("rent",),
    currency="EUR",
    minor=4800,
    per="day",
    props=(Fact("drive", "awd"), Fact("body", "suv"), Fact("seats", 5), Fact("winter_tyres", True)),
    spots=(Spot(LYS),),
)
CLIO = replace(
    DUSTER,
    key="clio",
    title="Renault Clio",
    category="mobility.car.city",
    minor=2900,
    props=(Fact("drive", "fwd"), Fact("body", "small"), Fact("seats", 5), Fact("winter_tyres", False)),
)
ALICE = Intent("rent", "mobility.car", "a car", bytes(32), when=FIVE_DAYS, where=Where(LYS))


def shop(*items: Item, **changes: object) -> Catalogue:
    bare = Catalogue(Vendor("Bob's Cars"), "Bob, desk 4", ("mobility.car.**",), items or (DUSTER, CLIO), 2 * HOUR)
    return replace(bare, **changes)  # type: ignore[arg-type]


def wish(*props: Property, **changes: object) -> Intent:
    return replace(ALICE, props=props, **changes)  # type: ignore[arg-type]


def must(name: str, value: object, op: str = "eq") -> Property:
    return Property(name, op, value, "must")


def want(name: str, value: object, op: str = "eq", weight: int | None = None) -> Property:
    return Property(name, op, value, "want", weight=weight)


def asked(catalogue: Catalogue, intent: Intent, now: int = NOW, left: Left = all_left) -> Quote | Pass:
    return quote(catalogue, intent, wish_at=now - 60, now=now, left=left)


def quoted(catalogue: Catalogue, intent: Intent, now: int = NOW) -> Quote:
    found = asked(catalogue, intent, now)
    assert isinstance(found, Quote), found
    assert read(Offer, write(found.offer)) == found.offer
    return found


def item_quoted(intent: Intent, **changes: object) -> Quote:
    return quoted(shop(replace(DUSTER, **changes)), intent)  # type: ignore[arg-type]


def passed(intent: Intent, **changes: object) -> str:
    found = asked(shop(replace(DUSTER, **changes)), intent)  # type: ignore[arg-type]
    assert isinstance(found, Pass), found
    return found.reason


class TestTheFoundingStory:
    def test_the_template_answers_it_as_it_is(self, tmp_path: Path) -> None:
        """`vendor init`, nothing changed, and Alice's 4x4 from Lyon airport is offered, snow chains beside."""
        file = tmp_path / "catalogue.toml"
        file.write_text(template(["mobility.car.**"], "Alpine Cars", "+33 4 00 00 00 00"), encoding="utf-8")
        alice = wish(must("drive", "awd"), must("body", "suv"), want("child_seats", 2, "min"))
        found = quoted(load_catalogue(file), alice)
        offer = found.offer
        assert (found.item, found.count, found.valid_for) == ("duster", 1, 2 * HOUR)
        assert offer.lines == (Line("Dacia Duster 4x4", 5, "day", 4800, 24000),)
        assert (offer.fees, offer.total) == ((Fee("Airport fee", 1500),), Money(25500, "EUR"))
        assert (offer.meets, offer.deviates) == (("drive", "body"), (Deviation("child_seats"),))
        assert offer.options == (
            Option("snow_chains", "Snow chains", 2000),
            Option("ski_rack", "Ski rack for four pairs", 2500),
        )
        assert (offer.when, offer.where) == (FIVE_DAYS, Where(LYS))
        assert offer.cancellation == (
            Cancellation(instant("2027-03-18T10:00"), 0),
            Cancellation(instant("2027-03-20T10:00"), 12750),
        )
        assert not match(alice, offer).unmet


class TestCounting:
    @pytest.mark.parametrize(
        ("per", "start", "end", "count"),
        [
            ("day", "2027-03-20T10:00", "2027-03-25T10:00", 5),
            ("day", "2027-03-20T10:00", "2027-03-25T10:01", 6),
            ("day", "2027-03-20T10:00", "2027-03-20T11:00", 1),
            ("day", "2027-03-20", "2027-03-25", 5),
            ("day", "2027-03-27T12:00", "2027-03-29T12:00", 2),  # 47 hours: the clocks skip one
            ("night", "2027-03-20T15:00", "2027-03-25T10:00", 5),
            ("night", "2027-03-20", "2027-03-25", 5),
            ("night", "2027-03-20T23:30", "2027-03-21T00:30", 1),
            ("night", "2027-03-20T00:30", "2027-03-20T10:00", 1),
            ("hour", "2027-03-20T10:00", "2027-03-20T12:00", 2),
            ("hour", "2027-03-20T10:00", "2027-03-20T12:01", 3),
            ("hour", "2027-03-28T01:00", "2027-03-28T04:00", 2),  # the clocks skip an hour
            ("hour", "2027-10-31T01:00", "2027-10-31T04:00", 4),  # and repeat one
            ("hour", "2027-03-28T02:30", "2027-03-28T03:00", 1),
        ],
    )
    def test_days_nights_and_hours(self, per: str, start: str, end: str, count: int) -> None:
        assert count_of(per, When(start, end, PARIS)) == count

    def test_quantity_multiplies(self) -> None:
        found = item_quoted(wish(quantity=2))
        assert found.offer.lines == (Line("Dacia Duster 4x4 (2 x 5 days)", 10, "day", 4800, 48000),)
        assert found.count == 2

    @pytest.mark.parametrize(("quantity", "amount"), [(1, 4800), (3, 14400)])
    @pytest.mark.parametrize("per", ["piece", "job"])
    def test_pieces_and_jobs_are_counted_by_the_wish(self, per: str, quantity: int, amount: int) -> None:
        found = item_quoted(wish(quantity=quantity), per=per)
        assert found.offer.lines == (Line("Dacia Duster 4x4", quantity, per, 4800, amount),)


class TestPrice:
    @pytest.mark.parametrize(
        ("days", "off"),
        [(2, None), (3, ("7.5 % off from 3 days", 1080)), (7, ("10 % off from 7 days", 3360))],
    )
    def test_the_highest_discount_reached_counts_alone(self, days: int, off: tuple[str, int] | None) -> None:
        when = When("2027-03-20T10:00", f"2027-03-{20 + days}T10:00", PARIS)
        offer = item_quoted(wish(when=when), discounts=(Discount(7, 100), Discount(3, 75))).offer
        lines = (Line("Dacia Duster 4x4", days, "day", 4800, days * 4800),)
        assert offer.lines == (lines if off is None else (*lines, Line(off[0], 1, "offer", -off[1], -off[1])))
        assert offer.total == Money(days * 4800 - (off[1] if off else 0), "EUR")

    def test_a_discount_is_rounded_down_to_the_cent(self) -> None:
        assert item_quoted(wish(), minor=33, discounts=(Discount(1, 75),)).offer.total.minor == 165 - 12
        assert len(item_quoted(wish(), minor=1, discounts=(Discount(1, 75),)).offer.lines) == 1

    def test_fees_and_options_once_each_and_by_the_day(self) -> None:
        fees = tuple(ItemFee(per, 100, per) for per in ("once", "piece", "day"))
        options = tuple(ItemOption(per, per, 100, per) for per in ("once", "piece", "day"))
        offer = item_quoted(wish(quantity=2), fees=fees, options=options).offer
        assert [fee.amount for fee in offer.fees] == [100, 200, 1000]
        assert [option.amount for option in offer.options] == [100, 200, 1000]
        assert offer.total.minor == 48000 + 1300

    def test_what_is_free_is_free(self) -> None:
        assert item_quoted(wish(), minor=0).offer.total == Money(0, "EUR")

    @pytest.mark.parametrize(
        ("changes", "intent", "reason"),
        [
            ({"minor": MAX_MINOR}, wish(), "maximum"),
            ({"minor": MAX_MINOR // 5, "fees": (ItemFee("x", 1, "once"),)}, wish(), "maximum"),
            ({"options": (ItemOption("x", "x", MAX_MINOR, "day"),)}, wish(), "maximum"),
            ({"minor": 0}, wish(quantity=1_000_000), "maximum"),
            ({"minor": 0}, wish(when=When("0001-01-02", "9999-12-30", PARIS)), "time"),
            ({"maximum": 4}, wish(), "maximum"),
            ({"minimum": 6}, wish(), "minimum"),
            ({"per": "piece", "minimum": 6}, wish(quantity=5), "minimum"),
            ({"per": "piece", "maximum": 4}, wish(quantity=5), "maximum"),
        ],
    )
    def test_too_much_and_too_little(self, changes: dict[str, object], intent: Intent, reason: str) -> None:
        assert passed(intent, **changes) == reason

    def test_above_the_limit_of_the_wish_nothing_is_offered(self) -> None:
        assert passed(wish(limit=Money(23999, "EUR"))) == "limit"
        assert item_quoted(wish(limit=Money(24000, "EUR"))).offer.total.minor == 24000

    def test_a_limit_in_another_currency_cannot_be_compared_and_is_no_reason(self) -> None:
        assert item_quoted(wish(limit=Money(1, "CHF"))).offer.total == Money(24000, "EUR")


class TestCancelling:
    def test_is_free_and_then_costs(self) -> None:
        offer = item_quoted(wish(), cancelling=Cancelling(48 * HOUR, minor=5000)).offer
        start = instant("2027-03-20T10:00")
        assert offer.cancellation == (Cancellation(start - 48 * HOUR, 0), Cancellation(start, 5000))

    def test_what_is_over_is_not_promised(self) -> None:
        late = instant("2027-03-19T12:00")
        offer = quoted(shop(replace(DUSTER, cancelling=Cancelling(48 * HOUR, per_mille=500))), wish(), late).offer
        assert offer.cancellation == (Cancellation(instant("2027-03-20T10:00"), 12000),)

    def test_never_costs_more_than_the_whole(self) -> None:
        offer = item_quoted(wish(), cancelling=Cancelling(None, minor=99_999)).offer
        assert offer.cancellation == (Cancellation(instant("2027-03-20T10:00"), 24000),)

    def test_is_said_in_words_when_there_is_no_start(self) -> None:
        offer = item_quoted(wish(when=None), per="job", cancelling=Cancelling(48 * HOUR, minor=4800)).offer
        assert offer.cancellation == ()
        assert offer.policies == (Policy("Cancellation", "Free until 2d before the start, then 48.00 EUR."),)


class TestChoosing:
    def test_the_cheapest_of_what_fits(self) -> None:
        assert quoted(shop(), wish()).item == "clio"

    def test_what_fails_a_must_is_never_offered(self) -> None:
        assert quoted(shop(), wish(must("drive", "4x4"))).item == "duster"
        assert asked(shop(CLIO), wish(must("drive", "4x4"))) == Pass("must:drive")

    def test_the_least_weighted_deviations_before_the_price(self) -> None:
        tyres, small = want("winter_tyres", True, weight=60), want("body", "small", weight=40)
        assert quoted(shop(), wish(tyres, small)).item == "duster"
        assert quoted(shop(), wish(replace(tyres, weight=30), small)).item == "clio"

    def test_the_first_of_equals(self) -> None:
        twin = replace(DUSTER, key="twin")
        assert quoted(shop(DUSTER, twin), wish()).item == "duster"
        assert quoted(shop(twin, DUSTER), wish()).item == "twin"

    def test_another_one_when_the_best_is_gone_or_too_dear(self) -> None:
        best = wish(want("drive", "awd"), limit=Money(20000, "EUR"))
        assert quoted(shop(), best).item == "clio"
        gone = asked(shop(), wish(want("drive", "awd")), left=lambda item, _span: {"duster": 0, "clio": 1}[item.key])
        assert isinstance(gone, Quote)
        assert gone.item == "clio"
        assert gone.offer.deviates == (Deviation("drive", "fwd"),)

    def test_what_can_be_had_either_way_is_as_the_wish_likes(self) -> None:
        both = {"choices": ((Fact("fuel", "petrol"), Fact("fuel", "diesel")),)}
        for fuel in ("petrol", "diesel"):
            offer = item_quoted(wish(must("fuel_type", fuel)), **both).offer
            assert Fact("fuel", fuel) in offer.props
            assert sum(fact.name == "fuel" for fact in offer.props) == 1
        avoided = item_quoted(wish(Property("fuel", "eq", "petrol", "avoid")), **both).offer
        assert avoided.deviates == ()
        assert passed(wish(must("fuel", "electric")), **both) == "must:fuel"

    def test_must_and_want_about_one_thing_are_never_half_kept(self) -> None:
        """Five seats at least, and rather no more: seven deviate, and the offer that says so still answers."""
        both = wish(must("seats", 5, "min"), want("seats", 5, "max"))
        offer = item_quoted(both, props=(Fact("seats", 7),)).offer
        assert (offer.meets, offer.deviates) == ((), (Deviation("seats", "7"),))
        assert match(both, offer).answers
        assert passed(both, props=(Fact("seats", 4),)) == "must:seats"


class TestPassing:
    @pytest.mark.parametrize(
        ("intent", "reason"),
        [
            (wish(offers_by=NOW), "late"),
            (wish(category="home.plumbing"), "category"),
            (wish(category="mobility.car.estate"), "category"),
            (wish(action="buy"), "action"),
            (wish(must("drive", "fwd")), "must:drive"),
            (wish(must("wheel_drive", "fwd")), "must:drive"),
            (wish(must("sauna", True)), "must:other"),
            (wish(must("winter_tyres", False), where=Where(GVA)), "must:winter_tyres"),
            (wish(where=Where(GVA)), "place"),
            (wish(where=Where(LYS, GVA)), "place"),
            (wish(when=None), "time"),
            (wish(when=replace(FIVE_DAYS, tz="Mars/Base")), "time"),
            (wish(when=When("2027-02-01", "2027-04-01", PARIS)), "time"),
            (wish(quantity=4), "stock"),
            (wish(limit=Money(1, "EUR")), "limit"),
        ],
    )
    def test_has_a_name(self, intent: Intent, reason: str) -> None:
        assert passed(intent, stock=3) == reason

    def test_names_what_came_closest(self) -> None:
        far = replace(CLIO, spots=(Spot(GVA),))
        assert asked(shop(far, DUSTER), wish(must("seats", 7, "min"))) == Pass("must:seats")
        assert asked(shop(replace(DUSTER, stock=0), far), wish()) == Pass("stock")
        assert asked(shop(far, replace(DUSTER, stock=0)), wish()) == Pass("stock")

    def test_old_wishes_are_left_alone_only_if_the_vendor_says_so(self) -> None:
        for answer_within, answered in ((None, True), (2 * DAY, True), (DAY, False)):
            found = quote(shop(answer_within=answer_within), wish(), wish_at=NOW - 2 * DAY, now=NOW, left=all_left)
            assert isinstance(found, Quote) is answered
            assert answered or found == Pass("old")

    def test_what_is_left_goes_before_what_the_catalogue_says(self) -> None:
        three = shop(replace(DUSTER, stock=3))
        assert asked(three, wish(), left=lambda item, _span: 0) == Pass("stock")
        assert isinstance(asked(three, wish(quantity=2)), Quote)
        assert asked(three, wish(quantity=3)) == Pass("share")

    def test_more_deviations_than_can_be_listed(self) -> None:
        many = tuple(want(f"wish_{number}", True) for number in range(32))
        assert asked(shop(), wish(*many[:31], category="mobility.car.suv.huge")).offer.deviates != ()  # type: ignore[union-attr]
        assert asked(shop(), wish(*many, category="mobility.car.suv.huge")) == Pass("deviations")


class TestCategory:
    @pytest.mark.parametrize(
        ("patterns", "category", "answered"),
        [
            (("mobility.car.**",), "mobility.car.suv", True),
            (("mobility.car.**",), "mobility", True),  # any vehicle: a car is one
            (("mobility.car.suv",), "mobility.car", True),
            (("mobility.car.suv",), "mobility.vehicle.car", True),  # an alias
            (("mobility.car.suv",), "vehicles", True),
            (("mobility.car.**",), "mobility.car.suv.huge", True),
            (("mobility.car.suv",), "mobility.car.suv.huge", False),
            (("home.**", "mobility.car.**"), "mobility.car", True),
            (("mobility.car.**",), "mobility.van", False),
        ],
    )
    def test_is_what_the_vendor_listens_to(self, patterns: tuple[str, ...], category: str, answered: bool) -> None:
        found = asked(shop(DUSTER, categories=patterns), wish(category=category))
        assert (found == Pass("category")) is not answered


class TestPlace:
    LYON = Place(cells=(cell_at(45.764, 4.836),))

    def test_is_the_one_that_matched(self) -> None:
        assert item_quoted(wish(), spots=(Spot(GVA), Spot(LYS))).offer.where == Where(LYS)

    def test_within_the_radius_of_who_comes(self) -> None:
        near = Place(cells=(cell_at(45.726, 5.081),))
        assert passed(wish(where=Where(near)), spots=(Spot(self.LYON, 5),)) == "place"
        found = item_quoted(wish(where=Where(near)), spots=(Spot(self.LYON, 5), Spot(self.LYON, 30)))
        assert found.offer.where == Where(self.LYON, None, 30)

    def test_anywhere_is_where_it_is_wanted(self) -> None:
        assert item_quoted(wish(where=Where(GVA, LYS, 9)), spots=()).offer.where == Where(GVA, LYS)
        assert item_quoted(wish(where=None), spots=()).offer.where is None

    def test_is_said_also_when_nobody_asked(self) -> None:
        assert item_quoted(wish(where=None)).offer.where == Where(LYS)

    def test_back_elsewhere_for_a_fee(self) -> None:
        fee = ItemFee("One way", 9000, "once", return_elsewhere=True)
        both = {"spots": (Spot(LYS), Spot(GVA)), "return_elsewhere": True, "fees": (fee,)}
        there = item_quoted(wish(where=Where(LYS, GVA)), **both).offer
        assert (there.where, there.fees) == (Where(LYS, GVA), (Fee("One way", 9000),))
        back = item_quoted(wish(where=Where(LYS, LYS)), **both).offer
        assert (back.where, back.fees) == (Where(LYS), ())
        assert passed(wish(where=Where(LYS, GVA)), spots=(Spot(LYS), Spot(GVA))) == "place"


class TestTime:
    SEASON = (When("2027-03-22T09:00", "2027-05-01", PARIS),)

    def test_is_as_asked_when_it_is_to_be_had(self) -> None:
        assert item_quoted(wish(), periods=(When("2027-03-20", "2027-03-26", PARIS),)).offer.when == FIVE_DAYS

    def test_only_in_part_is_a_deviation_and_priced_by_the_part(self) -> None:
        offer = item_quoted(wish(), periods=self.SEASON).offer
        assert offer.when == When("2027-03-22T09:00", "2027-03-25T10:00", PARIS)
        assert offer.deviates == (Deviation("when", "2027-03-22T09:00 to 2027-03-25T10:00 Europe/Paris"),)
        assert offer.lines[0].count == 4

    def test_in_part_keeps_the_words_of_the_end_that_is_as_asked(self) -> None:
        days = wish(when=When("2027-03-20", "2027-03-25", PARIS))
        offer = item_quoted(days, periods=(When("2027-03-01", "2027-03-22T09:00", PARIS),)).offer
        assert offer.when == When("2027-03-20", "2027-03-22T09:00", PARIS)

    def test_moves_as_far_as_the_wish_can(self) -> None:
        offer = item_quoted(wish(when=replace(FIVE_DAYS, flex=2 * DAY)), periods=self.SEASON).offer
        assert offer.when == When("2027-03-22T09:00", "2027-03-27T09:00", PARIS)
        assert (offer.deviates, offer.lines[0].count) == ((), 5)

    def test_in_another_zone_is_the_same_time(self) -> None:
        tokyo = When("2027-03-20T18:00", "2027-03-25T18:00", "Asia/Tokyo")
        offer = item_quoted(wish(when=tokyo), periods=(When("2027-03-20T11:00", "2027-03-29", PARIS),)).offer
        assert offer.when == When("2027-03-20T19:00", "2027-03-25T18:00", "Asia/Tokyo")

    def test_not_at_all_is_no_offer(self) -> None:
        assert passed(wish(), periods=(When("2027-04-01", "2027-05-01", PARIS),)) == "time"

    def test_half_an_evening_is_not_hired(self) -> None:
        """To the matcher it is one, as something may happen within; but who is hired by the hour must be there."""
        sitter = replace(
            DUSTER, actions=("hire",), per="hour", periods=(When("2027-03-20T12:00", "2027-03-21", PARIS),)
        )
        evening = wish(action="hire", when=When("2027-03-20T11:00", "2027-03-20T14:00", PARIS))
        assert asked(shop(sitter), evening) == Pass("time")
        later = replace(evening, when=When("2027-03-20T12:00", "2027-03-20T14:00", PARIS))
        assert quoted(shop(sitter), later).offer.lines[0].count == 2

    def test_needs_notice(self) -> None:
        start = instant("2027-03-20T10:00")
        early = shop(replace(DUSTER, notice=3 * HOUR))
        assert asked(early, wish(), now=start - 3 * HOUR) == Pass("notice")
        assert quoted(early, wish(), now=start - 3 * HOUR - 60).valid_for == 60
        assert quoted(early, wish(), now=start - 6 * HOUR).valid_for == 2 * HOUR
        assert asked(shop(DUSTER), wish(), now=start) == Pass("time")

    def test_who_names_the_day_only_can_still_come_that_day(self) -> None:
        today = wish(when=When("2027-03-20", "2027-03-22", PARIS))
        assert quoted(shop(), today, now=instant("2027-03-20T12:00")).offer.when == today.when

    def test_of_a_job_is_a_window(self) -> None:
        mend = replace(DUSTER, actions=("repair",), per="job")
        week = wish(action="repair", when=When("2027-03-20", "2027-03-27", PARIS))
        assert quoted(shop(mend), week, now=instant("2027-03-24T12:00")).offer.when == week.when
        part = (When("2027-03-22T08:00", "2027-03-22T18:00", PARIS),)
        assert quoted(shop(replace(mend, periods=part)), week).offer.when == part[0]

    def test_the_hour_that_comes_twice_is_not_named(self) -> None:
        """02:30 on the last Sunday of October: the second one cannot be said, so it is not offered as the first."""
        second = (When("2027-10-31T01:30", "2027-11-01", "UTC"),)
        night = When("2027-10-30T12:00", "2027-10-31T12:00", PARIS)
        assert time_to_offer(night, second, part=True) is None
        assert time_to_offer(night, (replace(second[0], start="2027-10-31T02:00"),), part=True) == When(
            "2027-10-31T03:00", "2027-10-31T12:00", PARIS
        )


# ------------------------------------------------------------------------------------ any shop and any wish

names = st.sampled_from(("drive", "wheel_drive", "seats", "winter_tyres", "fuel", "mileage", "own", "when", "category"))
values = st.sampled_from(("awd", "4x4", "fwd", "diesel", "petrol", "yes", 4, 5, 7, 250, True, False))
needs = st.sampled_from(("must", "want", "want", "avoid"))
props_said = st.one_of(
    st.builds(Property, names, st.just("eq"), values, needs, st.none(), st.none() | st.integers(0, 100)),
    st.builds(Property, names, st.just("in"), st.lists(values, min_size=1, max_size=3).map(tuple), needs),
    st.builds(Property, names, st.sampled_from(("min", "max")), st.integers(0, 9), needs),
)
places = st.sampled_from((LYS, GVA, TestPlace.LYON, Place(cells=(cell_at(45.726, 5.081), "u0"))))
moments = st.sampled_from(
    ("2027-03-01", "2027-03-20", "2027-03-20T10:00", "2027-03-24T18:30", "2027-03-28T02:30", "2027-10-31T02:30",
     "2027-10-31T12:00", "2028-02-29T23:59", "0001-01-01", "9999-12-31")
)  # fmt: skip
whens = st.builds(
    When,
    moments,
    moments,
    st.sampled_from((PARIS, "UTC", "Asia/Tokyo", "Nowhere")),
    st.none() | st.integers(0, 9 * DAY),
).filter(lambda when: datetime.fromisoformat(when.start) < datetime.fromisoformat(when.end))
categories = st.sampled_from(("mobility", "mobility.car", "mobility.car.suv", "mobility.car.suv.huge", "home"))
wishes = st.builds(
    Intent,
    action=st.sampled_from(ACTIONS[1:3]),
    category=categories,
    title=st.just("a wish"),
    box=st.just(bytes(32)),
    props=st.lists(props_said, max_size=4).map(tuple),
    quantity=st.sampled_from((1, 1, 2, 1_000_000)),
    when=st.none() | whens | st.just(FIVE_DAYS),
    where=st.none() | st.builds(Where, places, st.none() | places, st.none() | st.integers(0, 60)),
    limit=st.none() | st.builds(Money, st.integers(0, 10**6), st.sampled_from(("EUR", "CHF"))),
)
amounts = st.sampled_from((0, 1, 99, 4800, 10**9))
pers = st.sampled_from(("once", "piece"))
facts = st.builds(Fact, names, values)
items = st.builds(
    Item,
    key=st.just("x"),
    title=st.just("thing"),
    category=st.sampled_from(("mobility.car", "mobility.car.suv", "mobility.car.city")),
    actions=st.sampled_from((("rent",), ("hire", "rent"))),
    currency=st.just("EUR"),
    minor=amounts,
    per=st.sampled_from(("day", "night", "hour", "piece", "job")),
    props=st.lists(facts, max_size=4).map(tuple),
    choices=st.sampled_from(((), ((Fact("fuel", "diesel"), Fact("fuel", "petrol")),))),
    spots=st.lists(st.builds(Spot, places, st.none() | st.integers(0, 30)), max_size=2).map(tuple),
    return_elsewhere=st.booleans(),
    periods=st.lists(st.builds(lambda when: replace(when, flex=None), whens), max_size=2).map(tuple),
    notice=st.sampled_from((0, 0, 5 * DAY)),
    discounts=st.lists(st.builds(Discount, st.integers(1, 9), st.integers(1, 1000)), max_size=2).map(tuple),
    fees=st.lists(st.builds(ItemFee, st.just("fee"), amounts, pers, st.booleans()), max_size=2).map(tuple),
    options=st.lists(st.builds(ItemOption, st.just("more"), st.just("More"), amounts, pers), max_size=1).map(tuple),
    cancelling=st.none()
    | st.builds(Cancelling, st.none() | st.integers(0, 9 * DAY), amounts, st.integers(0, 1000)),
    stock=st.sampled_from((None, None, 1)),
)  # fmt: skip


class TestAnyShopAndAnyWish:
    @given(st.lists(items, min_size=1, max_size=3), wishes)
    def test_meet_in_an_offer_that_holds_or_in_a_reason(self, shelf: list[Item], intent: Intent) -> None:
        """What is offered answers the wish for whoever judges it, adds up, hides nothing, and can be sent."""
        stocked = [replace(item, key=f"item-{number}") for number, item in enumerate(shelf)]
        found = asked(shop(*stocked), intent)
        if isinstance(found, Pass):
            assert found.reason.partition(":")[0] in REASONS
            return
        offer = found.offer
        assert read(Offer, write(offer)) == offer
        assert offer.total.minor == sum(line.amount for line in offer.lines) + sum(fee.amount for fee in offer.fees)
        assert match(intent, offer).answers
        # Without what the vendor says of itself: the facts alone make the person's node find the same.
        alone = match_facts(intent, replace(facts_of(offer), claims=frozenset(), admits=()))
        assert alone.answers
        assert (alone.meets, alone.deviates) == (offer.meets, offer.deviates)
        assert not alone.over_limit
        assert 60 <= found.valid_for <= MAX_LIFE
        assert found.count == intent.quantity
        instants = span(offer.when) if offer.when else None
        assert all(NOW < step.until and step.fee <= offer.total.minor for step in offer.cancellation)
        item = next(item for item in stocked if item.key == found.item)
        if item.timed and item.periods:
            assert instants is not None
            inside = [period for period in map(span, item.periods) if period is not None]
            assert any(first <= instants[0] and instants[1] <= last for first, last in inside)

    @given(items, items, wishes)
    def test_more_to_choose_from_is_never_worse(self, one: Item, other: Item, intent: Intent) -> None:
        alone = asked(shop(one), intent)
        both = asked(shop(one, replace(other, key="y")), intent)
        if isinstance(alone, Quote):
            assert isinstance(both, Quote)
            if both.item == "x":
                assert both == alone
