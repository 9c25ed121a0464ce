"""Alice wishes, Bob offers, and both see the same reasons why it fits or not."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.categories import is_below
from protocol.intent import ACTIONS, Intent
from protocol.match import DEFAULT_WEIGHT, Facts, facts_of, match, match_facts, rank_key
from protocol.offer import Deviation, Line, Offer, Vendor
from protocol.place import cell_at
from protocol.properties import canonical_name
from protocol.schema import read, write
from protocol.span import is_zone, span
from protocol.terms import Fact, Money, Place, Property, PropertyValue, When, Where

LYON = Place(cells=(cell_at(45.764, 4.836),))
AIRPORT = Place(code="iata:LYS")
GENEVA = Place(code="iata:GVA")
FIVE_DAYS = When("2027-03-20T10:00", "2027-03-25T18:00", "Europe/Paris")

ALICE_WANTS = Intent(action="rent", category="mobility.car", title="4x4 from Lyon airport", box=bytes(32))
BOB_HAS = Facts(category="mobility.car.suv", at=(AIRPORT,), any_time=True)


def wish(*props: Property, **changes: object) -> Intent:
    return replace(ALICE_WANTS, props=props, **changes)  # type: ignore[arg-type]


def item(*props: Fact, **changes: object) -> Facts:
    return replace(BOB_HAS, props=props, **changes)  # type: ignore[arg-type]


def must(name: str, value: object, op: str = "eq", unit: str | None = None) -> Property:
    return Property(name, op, value, "must", unit)


def want(name: str, value: object, op: str = "eq", weight: int | None = None) -> Property:
    return Property(name, op, value, "want", weight=weight)


def avoid(name: str, value: object, op: str = "eq") -> Property:
    return Property(name, op, value, "avoid")


def reasons(intent: Intent, facts: Facts) -> list[str]:
    return [str(reason) for reason in match_facts(intent, facts).unmet]


def offer(**changes: object) -> Offer:
    bare = Offer(Vendor("Bob's Cars"), "mobility.car.suv", (Line("car", 5, "day", 4800, 24000),), Money(24000, "EUR"))
    return replace(bare, **changes)  # type: ignore[arg-type]


class TestProperties:
    @pytest.mark.parametrize(
        ("prop", "fact", "meets"),
        [
            (must("drive", "awd"), Fact("drive", "4x4"), True),
            (must("drive", "4x4"), Fact("drive", "awd"), True),
            (must("wheel_drive", "Quattro"), Fact("drive", "four-wheel drive"), True),
            (must("drive", "awd"), Fact("drive", "fwd"), False),
            (must("drive", "2wd"), Fact("drive", "fwd"), True),
            (must("drive", ("rwd", "4wd"), "in"), Fact("drive", "awd"), True),
            (must("drive", ("rwd", "fwd"), "in"), Fact("drive", "awd"), False),
            (must("seats", 4, "min"), Fact("seats", 5), True),
            (must("seats", 4, "min"), Fact("seats", 4), True),
            (must("seats", 4, "min"), Fact("seats", 2), False),
            (must("seats", 4, "min"), Fact("seats", "5"), True),
            (must("seats", 4, "min"), Fact("seats", True), False),
            (must("seats", 4, "min"), Fact("seats", "plenty"), False),
            (must("min_driver_age", 23, "max"), Fact("min_driver_age", 21), True),
            (must("min_driver_age", 23, "max"), Fact("driver_age", 25), False),
            (must("doors", (3, 5), "range"), Fact("doors", 5), True),
            (must("doors", (3, 5), "range"), Fact("doors", 3), True),
            (must("doors", (3, 5), "range"), Fact("doors", 2), False),
            (must("mileage", 250, "min"), Fact("mileage_per_day", "unlimited"), True),
            (must("mileage", 250, "min", "km"), Fact("mileage_per_day", 250), True),
            (must("mileage", 250, "min", "km"), Fact("mileage_per_day", 999, "mi"), False),
            (must("winter_tyres", True), Fact("winter_tires", "yes"), True),
            (must("winter_tyres", True), Fact("winter_tyres", 1), False),
            (must("winter_tyres", False), Fact("winter_tyres", False), True),
            (must("insurance", "partial"), Fact("insurance", "full"), True),
            (must("brand", "acme"), Fact("make", "ACME"), True),
            (must("own_thing", "Blue  sky"), Fact("own_thing", "blue sky"), True),
            (must("own_thing", 5, "min", "kg"), Fact("own_thing", 6, "kg"), True),
            (must("own_thing", 5, "min", "kg"), Fact("own_thing", 6, "g"), False),
            (must("own_thing", 1), Fact("own_thing", True), False),
            (must("drive", 4, "min"), Fact("drive", "awd"), False),
        ],
    )
    def test_meet_by_meaning(self, prop: Property, fact: Fact, meets: bool) -> None:
        found = match_facts(wish(prop), item(fact))
        assert found.answers is meets
        assert found.meets == ((prop.name,) if meets else ())

    @pytest.mark.parametrize(
        ("prop", "facts", "says"),
        [
            (must("drive", "4x4"), (Fact("drive", "fwd"),), "drive: must be awd, is fwd"),
            (must("drive", "4x4"), (), "drive: must be awd, not stated"),
            (must("drive", ("fwd", "rwd"), "in"), (), "drive: must be one of fwd, rwd, not stated"),
            (must("seats", 5, "min"), (Fact("seats", 4),), "seats: must be at least 5, is 4"),
            (
                must("mileage", 999_999, "min"),
                (Fact("mileage", 250),),
                "mileage: must be at least unlimited, is 250 km",
            ),
            (must("excess", 500, "max"), (Fact("excess", 900),), "excess: must be at most 500 EUR, is 900 EUR"),
            (must("doors", (4, 5), "range"), (Fact("doors", 3),), "doors: must be 4 to 5, is 3"),
            (must("winter_tyres", True), (Fact("winter_tyres", False),), "winter_tyres: must be yes, is no"),
            (must("mileage", 9, "min"), (Fact("mileage", 9, "mi"),), "mileage: must be at least 9 km, is 9 mi"),
            (must("drive", "awd"), (Fact("drive", "_"),), "drive: must be awd, is blank"),
            (must("seats", 4, "min"), (Fact("seats", " "),), "seats: must be at least 4, is blank"),
        ],
    )
    def test_say_why_an_unmet_must_is_unmet(self, prop: Property, facts: tuple[Fact, ...], says: str) -> None:
        assert reasons(wish(prop), item(*facts)) == [says]

    def test_list_an_unmet_want_and_still_answer(self) -> None:
        found = match_facts(
            wish(want("winter_tyres", True), want("seats", 7, "min"), want("drive", "awd")),
            item(Fact("winter_tyres", False), Fact("drive", "awd")),
        )
        assert found.answers
        assert found.deviates == (Deviation("winter_tyres", "no"), Deviation("seats", None))
        assert found.meets == ("drive",)

    def test_list_what_was_to_be_avoided(self) -> None:
        found = match_facts(wish(avoid("fuel", "diesel")), item(Fact("fuel", "Diesel")))
        assert found.answers
        assert found.deviates == (Deviation("fuel", "diesel"),)

    def test_count_what_is_not_so_as_avoided_but_silence_as_nothing(self) -> None:
        asked = wish(avoid("fuel", "diesel"))
        said = match_facts(asked, item(Fact("fuel", "petrol")))
        assert (said.answers, said.deviates, said.meets) == (True, (), ("fuel",))
        silent = match_facts(asked, item())
        assert (silent.answers, silent.deviates, silent.meets) == (True, (), ())

    def test_are_one_under_two_names(self) -> None:
        """Met under one name and not under the other is not met, whatever it is called."""
        asked = wish(must("drive", "awd"), avoid("wheel_drive", "awd"))
        found = match_facts(asked, item(Fact("drivetrain", "4x4")))
        assert (found.answers, found.meets, found.deviates) == (True, (), (Deviation("drive", "awd"),))

    def test_take_full_cover_for_more_than_partial_but_not_for_a_kind_of_it(self) -> None:
        assert match_facts(wish(avoid("insurance", "partial")), item(Fact("insurance", "full"))).deviates == ()
        assert match_facts(wish(avoid("drive", "2wd")), item(Fact("drive", "fwd"))).deviates != ()

    def test_said_twice_must_hold_both_times(self) -> None:
        """Mallory says awd and fwd at once and hopes that one of them is read."""
        both = item(Fact("drive", "awd"), Fact("drivetrain", "fwd"))
        assert reasons(wish(must("drive", "awd")), both) == ["drive: must be awd, is fwd"]
        assert match_facts(wish(avoid("drive", "fwd")), both).deviates == (Deviation("drive", "fwd"),)

    def test_asked_twice_must_be_met_both_times(self) -> None:
        asked = wish(must("seats", 4, "min"), want("seats", 5, "max"))
        assert match_facts(asked, item(Fact("seats", 5))).meets == ("seats",)
        seven = match_facts(asked, item(Fact("seats", 7)))
        assert (seven.answers, seven.meets, seven.deviates) == (True, (), (Deviation("seats", "7"),))
        two = match_facts(asked, item(Fact("seats", 2)))
        assert (two.answers, two.meets, two.deviates) == (False, (), ())

    def test_use_the_pack_of_the_action(self) -> None:
        """To rent, mileage is what a day includes; to buy, what the car has driven."""
        driven = Facts("mobility.car", props=(Fact("odometer", 60_000),))
        asked = wish(must("mileage", 80_000, "max"))
        assert match_facts(replace(asked, action="buy"), driven).answers
        assert not match_facts(asked, driven).answers


class TestStatements:
    def test_claims_count_where_there_is_no_fact(self) -> None:
        asked = wish(must("drive", "awd"), want("seats", 4, "min"))
        claimed = match(asked, offer(meets=("drive",)))
        assert (claimed.answers, claimed.meets, claimed.deviates) == (True, ("drive",), (Deviation("seats"),))

    def test_facts_go_before_claims(self) -> None:
        found = match(wish(must("drive", "awd")), offer(meets=("drive",), props=(Fact("drive", "fwd"),)))
        assert [str(reason) for reason in found.unmet] == ["drive: must be awd, is fwd"]

    def test_admissions_are_listed_whatever_else_is_said(self) -> None:
        asked = wish(want("winter_tyres", True))
        admitted = offer(
            meets=("winter_tyres",),
            props=(Fact("winter_tyres", True),),
            deviates=(Deviation("winter_tires", "only from April"),),
        )
        found = match(asked, admitted)
        assert (found.meets, found.deviates) == ((), (Deviation("winter_tyres", "only from April"),))

    def test_a_deviation_from_a_want_is_none_from_a_must_of_the_same_name(self) -> None:
        """At least four seats, better seven: Bob has five, says so, and still answers."""
        asked = wish(must("seats", 4, "min"), want("seats", 7, "min"))
        found = match(asked, offer(props=(Fact("seats", 5),), deviates=(Deviation("seats", "5"),)))
        assert (found.answers, found.deviates) == (True, (Deviation("seats", "5"),))

    def test_an_admitted_must_does_not_answer(self) -> None:
        found = match(wish(must("drive", "awd")), offer(deviates=(Deviation("drive", "fwd"),)))
        assert [str(reason) for reason in found.unmet] == ["drive: must be awd, is fwd"]
        assert found.deviates == ()

    def test_admissions_nobody_asked_about_are_listed_too(self) -> None:
        found = match(wish(), offer(deviates=(Deviation("smell", "of dog"),)))
        assert (found.answers, found.deviates) == (True, (Deviation("smell", "of dog"),))


class TestCategoryAndAction:
    @pytest.mark.parametrize(
        ("wanted", "offered", "answers", "deviates"),
        [
            ("mobility.car", "mobility.car", True, ()),
            ("mobility.car", "mobility.car.suv", True, ()),
            ("mobility.car.suv", "mobility.car", True, (Deviation("category", "mobility.car"),)),
            ("mobility.car.suv", "mobility.car.estate", False, ()),
            ("mobility.car", "mobility.cart", False, ()),
            ("mobility.car", "mobility.van", False, ()),
            ("mobility.bike", "mobility.bicycle.electric", True, ()),
            ("mobility.bicycle.electric", "mobility.bike.electric", True, ()),
            ("mobility.car.flying", "mobility.car.flying.fast", True, ()),
        ],
    )
    def test_the_category_is_the_same_or_below(
        self, wanted: str, offered: str, answers: bool, deviates: tuple[Deviation, ...]
    ) -> None:
        found = match_facts(wish(category=wanted), item(category=offered))
        assert (found.answers, found.deviates) == (answers, deviates)

    def test_another_category_is_said(self) -> None:
        assert reasons(wish(), item(category="mobility.van")) == ["category: must be mobility.car, is mobility.van"]

    def test_a_narrower_item_has_its_own_properties(self) -> None:
        """Storage is described for electronics only; a wish one level up meets it all the same."""
        asked = Intent("buy", "electronics", "something with room", bytes(32), props=(must("ssd", 500, "min"),))
        assert match_facts(asked, Facts("electronics.computer.laptop", props=(Fact("storage", 1, "TB"),))).answers

    def test_the_action_is_the_same(self) -> None:
        assert reasons(wish(), item(action="buy")) == ["action: must be rent, is buy"]
        assert match_facts(wish(), item(action="rent")).answers


class TestPlace:
    @pytest.mark.parametrize(
        ("where", "facts", "says"),
        [
            (None, {"at": ()}, []),
            (None, {"at": (GENEVA,)}, []),
            (Where(AIRPORT), {"at": (AIRPORT,)}, []),
            (Where(Place(code="iata:lys")), {"at": (GENEVA, AIRPORT)}, []),
            (Where(AIRPORT), {"at": (GENEVA,)}, ["where: must be iata:LYS, is iata:GVA"]),
            (Where(AIRPORT), {"at": ()}, ["where: must be iata:LYS, not stated"]),
            (Where(AIRPORT), {"at": (), "anywhere": True}, []),
            (Where(LYON, radius=0), {"at": (LYON,)}, []),
            (Where(LYON, radius=30), {"at": (Place(cells=(cell_at(45.726, 5.081),)),)}, []),
            (Where(LYON), {"at": (Place(cells=(cell_at(45.726, 5.081),)),), "radius": 30}, []),
            (Where(LYON, radius=8), {"at": (Place(cells=(cell_at(45.726, 5.081),)),), "radius": 10}, []),
            (
                Where(LYON, radius=5),
                {"at": (Place(cells=("u09",)),)},
                ["where: must be within 5 km of u05kq, is u09"],
            ),
            (Where(AIRPORT, to=GENEVA), {"at": (AIRPORT,), "to": (AIRPORT, GENEVA)}, []),
            (Where(AIRPORT, to=GENEVA), {"at": (AIRPORT,)}, ["to: must be iata:GVA, is iata:LYS"]),
            (Where(AIRPORT, to=GENEVA), {"at": (AIRPORT, GENEVA)}, ["to: must be iata:GVA, is iata:LYS"]),
            (Where(AIRPORT, to=AIRPORT), {"at": (AIRPORT,)}, []),
        ],
    )
    def test_is_judged(self, where: Where | None, facts: dict[str, object], says: list[str]) -> None:
        assert reasons(wish(where=where), item(**facts)) == says


def judged_at(when: When, *offered: When, action: str = "rent") -> tuple[list[str], tuple[Deviation, ...]]:
    found = match_facts(wish(when=when, action=action), item(when=offered, any_time=False))
    return [str(reason) for reason in found.unmet], found.deviates


class TestTime:
    def test_the_same_time_fits(self) -> None:
        assert judged_at(FIVE_DAYS, FIVE_DAYS) == ([], ())

    def test_longer_fits(self) -> None:
        assert judged_at(FIVE_DAYS, When("2027-03-01", "2027-04-01", "Europe/Paris")) == ([], ())

    def test_shorter_is_a_deviation_when_the_whole_time_is_wanted(self) -> None:
        short = When("2027-03-21T10:00", "2027-03-25T18:00", "Europe/Paris")
        listed = (Deviation("when", "2027-03-21T10:00 to 2027-03-25T18:00 Europe/Paris"),)
        assert judged_at(FIVE_DAYS, short) == ([], listed)
        assert judged_at(FIVE_DAYS, short, action="book") == ([], listed)

    def test_within_is_fine_when_something_is_to_happen_in_that_time(self) -> None:
        one_hour = When("2027-03-21T10:00", "2027-03-21T11:00", "Europe/Paris")
        assert judged_at(FIVE_DAYS, one_hour, action="repair") == ([], ())

    def test_flex_moves_either_end(self) -> None:
        later = When("2027-03-20T12:00", "2027-03-25T16:00", "Europe/Paris")
        assert judged_at(replace(FIVE_DAYS, flex=7200), later) == ([], ())
        assert judged_at(replace(FIVE_DAYS, flex=7199), later)[1] != ()

    def test_ends_are_open(self) -> None:
        """What begins when the wish ends does not overlap it."""
        after = When("2027-03-25T18:00", "2027-03-26", "Europe/Paris")
        assert judged_at(FIVE_DAYS, after)[0] != []
        assert judged_at(replace(FIVE_DAYS, flex=60), after)[0] == []

    def test_another_time_does_not_answer_and_says_so(self) -> None:
        after = When("2027-04-01", "2027-04-02", "Europe/Paris")
        assert judged_at(FIVE_DAYS, after)[0] == [
            "when: must be 2027-03-20T10:00 to 2027-03-25T18:00 Europe/Paris, is 2027-04-01 to 2027-04-02 Europe/Paris"
        ]

    def test_no_time_does_not_answer_unless_it_is_any(self) -> None:
        assert judged_at(FIVE_DAYS)[0] == [
            "when: must be 2027-03-20T10:00 to 2027-03-25T18:00 Europe/Paris, not stated"
        ]
        assert match_facts(wish(when=FIVE_DAYS), item(any_time=True)).answers

    def test_one_of_several_times_is_enough(self) -> None:
        assert judged_at(FIVE_DAYS, When("2026-01-01", "2026-02-01", "Europe/Paris"), FIVE_DAYS) == ([], ())

    def test_zones_are_compared_as_instants(self) -> None:
        same_in_new_york = When("2027-03-20T05:00", "2027-03-25T13:00", "America/New_York")
        assert judged_at(FIVE_DAYS, same_in_new_york) == ([], ())
        assert judged_at(FIVE_DAYS, replace(same_in_new_york, tz="America/Los_Angeles"))[1] != ()

    def test_who_names_only_the_day_leaves_the_hour_open(self) -> None:
        days = When("2027-03-20", "2027-03-25", "Europe/Paris")
        stay = When("2027-03-20T15:00", "2027-03-25T10:00", "Europe/Paris")
        assert judged_at(days, stay, action="book") == ([], ())
        assert judged_at(days, replace(stay, start="2027-03-21T00:00"), action="book")[1] != ()

    @pytest.mark.parametrize(
        "zone",
        ["Mars/Base", "America", "../etc/passwd", "/etc/localtime", "localtime", "posix/Europe/Paris", "-", "x" * 64],
    )
    def test_an_unknown_zone_is_a_reason_and_no_error(self, zone: str) -> None:
        assert not is_zone(zone)
        assert judged_at(replace(FIVE_DAYS, tz=zone), FIVE_DAYS)[0][0].startswith("when: must be a time we can read")
        assert judged_at(FIVE_DAYS, replace(FIVE_DAYS, tz=zone))[0][0].startswith("when: must be a time we can read")

    @pytest.mark.parametrize(("start", "end"), [("0001-01-01", "0001-01-02"), ("9999-12-31", "9999-12-31T23:59")])
    @pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "UTC"])
    def test_the_ends_of_the_calendar_are_no_error(self, start: str, end: str, zone: str) -> None:
        far = When(start, end, zone)
        assert match_facts(wish(when=FIVE_DAYS), item(when=(far,), any_time=False)).unmet
        assert zone != "UTC" or span(far) is not None


class TestMoney:
    @pytest.mark.parametrize(
        ("limit", "total", "comparable", "over"),
        [
            (None, Money(99, "EUR"), True, False),
            (Money(40000, "EUR"), Money(40000, "EUR"), True, False),
            (Money(40000, "EUR"), Money(40001, "EUR"), True, True),
            (Money(40000, "EUR"), Money(99999, "CHF"), False, False),
            (Money(40000, "EUR"), None, True, False),
        ],
    )
    def test_is_compared_only_in_one_currency(
        self, limit: Money | None, total: Money | None, comparable: bool, over: bool
    ) -> None:
        found = match_facts(wish(limit=limit), item(total=total))
        assert (found.answers, found.comparable, found.over_limit) == (True, comparable, over)


class TestRank:
    def test_is_answers_first_then_limit_then_deviations_then_price(self) -> None:
        asked = wish(
            must("drive", "awd"),
            want("winter_tyres", True, weight=90),
            want("seats", 5, "min", weight=10),
            limit=Money(40000, "EUR"),
        )
        awd, tyres, seats = Fact("drive", "awd"), Fact("winter_tyres", True), Fact("seats", 5)
        offered = {
            "all": item(awd, tyres, seats, total=Money(39000, "EUR")),
            "all, cheaper": item(awd, tyres, seats, total=Money(30000, "EUR")),
            "no seats": item(awd, tyres, total=Money(10000, "EUR")),
            "no tyres": item(awd, seats, total=Money(10000, "EUR")),
            "over": item(awd, tyres, seats, total=Money(50000, "EUR")),
            "francs": item(awd, tyres, seats, total=Money(100, "CHF")),
            "no drive": item(tyres, seats, total=Money(1, "EUR")),
        }

        def ranked(weights: dict[str, int]) -> list[str]:
            return sorted(
                offered,
                key=lambda name: rank_key(asked, match_facts(asked, offered[name]), offered[name].total, weights),
            )

        assert ranked({}) == ["all, cheaper", "all", "francs", "no seats", "no tyres", "over", "no drive"]
        assert ranked({"winter_tyres": 5})[3:5] == ["no tyres", "no seats"]

    def test_a_deviation_without_a_weight_counts_half(self) -> None:
        asked = wish(want("winter_tyres", True))
        assert rank_key(asked, match_facts(asked, item()), None)[2] == DEFAULT_WEIGHT


class TestTheFoundingStory:
    def test_bob_answers_alice_and_both_see_the_same(self) -> None:
        """A 4x4 SUV from Lyon airport, 20 to 25 March, winter tyres welcome, at most 400 euros."""
        asked = Intent(
            "rent",
            "mobility.car.suv",
            "4x4 SUV",
            bytes(32),
            props=(must("drive", "4x4"), want("seats", 4, "min", 60), want("winter_tyres", True, weight=90)),
            when=FIVE_DAYS,
            where=Where(AIRPORT),
            limit=Money(40000, "EUR"),
        )
        bobs = item(Fact("drive", "awd"), Fact("seats", 5), Fact("winter_tyres", False))
        before = match_facts(asked, bobs)
        sent = offer(
            props=bobs.props, when=FIVE_DAYS, where=Where(AIRPORT), meets=before.meets, deviates=before.deviates
        )
        received = read(Offer, write(sent))
        after = match(asked, received)
        assert before.answers
        assert after.answers
        assert (after.meets, after.deviates) == (before.meets, before.deviates)
        assert after.meets == ("drive", "seats")
        assert after.deviates == (Deviation("winter_tyres", "no"),)
        assert not after.over_limit


# ------------------------------------------------------------------------------------ anything peers could say

names = st.sampled_from(("drive", "wheel_drive", "seats", "winter_tyres", "mileage", "brand", "own", "excess"))
scalars: st.SearchStrategy[PropertyValue] = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.sampled_from(("awd", "4x4", "fwd", "yes", "no", "5", "unlimited", " ", "9" * 80, "1.000", "ß" * 80)),
    st.text(min_size=1, max_size=80),
)
units = st.sampled_from((None, "km", "years", "EUR", "%", "x"))
facts_said = st.builds(Fact, names, scalars, units)
numbers = st.integers(-(2**63), 2**63 - 1)
needs = st.sampled_from(("must", "want", "avoid"))
props_said = st.one_of(
    st.builds(Property, names, st.just("eq"), scalars, needs, units),
    st.builds(Property, names, st.just("in"), st.lists(scalars, min_size=1, max_size=16).map(tuple), needs, units),
    st.builds(Property, names, st.sampled_from(("min", "max")), numbers, needs, units),
    st.builds(Property, names, st.just("range"), st.tuples(numbers, numbers).map(sorted).map(tuple), needs, units),
)
places_said = st.one_of(
    st.builds(Place, st.sampled_from(("iata:LYS", "iata:lys", "country:FR"))),
    st.builds(
        Place,
        st.none(),
        st.lists(st.text("0123456789bcdefghjkmnpqrstuvwxyz", min_size=1, max_size=8), min_size=1, max_size=3).map(
            tuple
        ),
    ),
)
wheres_said = st.builds(Where, places_said, st.none() | places_said, st.none() | st.integers(0, 20_000))
times_said = st.sampled_from(("0001-01-01", "2027-03-20", "2027-03-20T10:00", "2027-03-28T02:30", "9999-12-31T23:59"))
whens_said = st.builds(
    When,
    times_said,
    times_said,
    st.one_of(
        st.sampled_from(("UTC", "Europe/Paris", "Asia/Tokyo", "Nowhere")),
        st.from_regex(r"[A-Za-z0-9_+/-]{1,64}", fullmatch=True),
    ),
    st.none() | st.integers(0, 14 * 86_400),
)
categories_said = st.sampled_from(("mobility.car", "mobility.car.suv", "mobility", "lodging.hotel", "x.y"))
wishes_said = st.builds(
    Intent,
    action=st.sampled_from(ACTIONS),
    category=categories_said,
    title=st.just("a wish"),
    box=st.just(bytes(32)),
    props=st.lists(props_said, max_size=6).map(tuple),
    when=st.none() | whens_said,
    where=st.none() | wheres_said,
    limit=st.none() | st.builds(Money, st.integers(0, 10**15), st.sampled_from(("EUR", "CHF"))),
)
offers_said = st.builds(
    offer,
    category=categories_said,
    props=st.lists(facts_said, max_size=6).map(tuple),
    meets=st.lists(names, max_size=3).map(tuple),
    deviates=st.lists(st.builds(Deviation, names, st.none() | st.text(min_size=1, max_size=80)), max_size=2).map(tuple),
    when=st.none() | whens_said,
    where=st.none() | wheres_said,
)


class TestAnythingSaid:
    @given(wishes_said, offers_said)
    def test_is_judged_and_never_an_error(self, asked: Intent, said: Offer) -> None:
        """Whatever is asked for is met, deviates or is unmet; nothing is two of these."""
        found = match(asked, said)
        narrower = said.category if is_below(said.category, asked.category) else asked.category

        def names_of(names: Iterable[str]) -> set[str]:
            return {canonical_name(narrower, asked.action, name) for name in names}

        met = names_of(found.meets)
        deviating = names_of(deviation.name for deviation in found.deviates)
        failed = names_of(reason.name for reason in found.unmet)
        assert names_of(prop.name for prop in asked.props if prop.need != "avoid") <= met | deviating | failed
        assert not met & (deviating | failed)
        assert not deviating & failed
        assert found.answers is not bool(failed)
        for shown in (
            *(reason.offered for reason in found.unmet),
            *(deviation.offered for deviation in found.deviates),
        ):
            assert shown is None or 1 <= len(shown) <= 80
        rank_key(asked, found, said.total)

    @given(wishes_said, st.lists(facts_said, max_size=4))
    def test_saying_more_of_other_things_changes_nothing(self, asked: Intent, more: list[Fact]) -> None:
        others = tuple(replace(fact, name="other_" + fact.name) for fact in more)
        assert match_facts(asked, item()) == match_facts(asked, item(*others))

    @given(wishes_said, offers_said)
    def test_an_offer_that_repeats_what_was_found_is_found_the_same(self, asked: Intent, said: Offer) -> None:
        """The vendor lists what it computed; the person computes again, and nothing moves."""
        found = match_facts(asked, replace(facts_of(said), claims=frozenset(), admits=()))
        told = replace(said, meets=found.meets, deviates=found.deviates)
        again = match(asked, told)
        assert again.answers is found.answers
        assert {deviation.name for deviation in again.deviates} == {deviation.name for deviation in found.deviates}
