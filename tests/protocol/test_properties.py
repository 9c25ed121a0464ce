"""People's words become values that can be compared, and what cannot be is said with what can."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.categories import data, matches_pattern, tree
from protocol.intent import ACTIONS
from protocol.properties import (
    PropertyDef,
    PropertyError,
    UnknownProperty,
    canonical_name,
    canonical_value,
    definitions,
    fulfils,
    normalise_property,
    properties_for,
    property_def,
    read_value,
    show_value,
)
from protocol.terms import PROPERTY_NAME, UNIT, PropertyValue

CAR = ("mobility.car", "rent")
every_def = pytest.mark.parametrize("found", definitions(), ids=lambda found: f"{found.pack}.{found.name}")


class TestPacks:
    def test_are_there(self) -> None:
        assert {"car-hire", "home-services", "lodging", "second-hand"} <= set(data()["pack"])

    @pytest.mark.parametrize(
        ("category", "action", "names"),
        [
            (
                *CAR,
                "body drive seats doors transmission fuel winter_tyres snow_chains child_seats roof_box ski_rack "
                "mileage_per_day min_driver_age luggage air_conditioning insurance excess one_way",
            ),
            (
                "home.plumbing",
                "repair",
                "property_type urgency access materials certified warranty_months call_out_free emergency",
            ),
            (
                "lodging.chalet",
                "book",
                "guests bedrooms beds bathrooms board kitchen parking pets_allowed ski_in_out "
                "wifi sauna stars check_in",
            ),
            (
                "electronics.phone",
                "buy",
                "brand model condition size colour storage year warranty_months original_packaging delivery",
            ),
        ],
    )
    def test_are_complete(self, category: str, action: str, names: str) -> None:
        assert set(names.split()) <= {found.name for found in properties_for(category, action)}

    @every_def
    def test_are_well_formed(self, found: PropertyDef) -> None:
        assert found.type in ("int", "bool", "choice", "text", "gtin")
        assert found.op in (("eq", "min", "max") if found.type == "int" else ("eq",))
        assert all(re.fullmatch(PROPERTY_NAME, name) for name in (found.name, *found.names))
        assert bool(found.values) == (found.type == "choice")
        assert found.type == "int" or not (found.unit or found.words)
        assert found.unit is None or re.fullmatch(UNIT, found.unit)
        assert all(times >= 1 for times in found.units.values())
        assert set(found.actions) <= set(ACTIONS)
        for pattern in found.categories:
            assert any(matches_pattern(pattern, slug) for slug in tree()), pattern

    @every_def
    def test_lead_from_narrower_to_wider_values_without_a_circle(self, found: PropertyDef) -> None:
        for steps in (found.kind_of, found.more_than):
            assert set(steps) | set(steps.values()) <= set(found.values)
            for value in steps:
                seen = {value}
                while value in steps:
                    value = steps[value]
                    assert value not in seen
                    seen.add(value)

    @every_def
    def test_read_every_spelling_as_its_value(self, found: PropertyDef) -> None:
        row = data()["pack"][found.pack]["property"][found.name]
        for value, spellings in row.get("values", {}).items():
            for text in (value, value.upper(), *spellings):
                assert read_value(found, text) == value
        for text, number in row.get("words", {}).items():
            assert read_value(found, text) == number

    def test_have_no_misspelt_key(self) -> None:
        known = {
            "label",
            "type",
            "op",
            "unit",
            "units",
            "names",
            "categories",
            "actions",
            "values",
            "words",
            "kind_of",
            "more_than",
        }
        for pack in data()["pack"].values():
            assert set(pack) == {"label", "categories", "actions", "property"}
            for row in pack["property"].values():
                assert set(row) <= known

    def test_mean_one_property_by_a_name(self) -> None:
        for category in tree():
            for action in ACTIONS:
                names = [name for found in properties_for(category, action) for name in {found.name, *found.names}]
                twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
                assert not twice, (category, action)


class TestReading:
    @pytest.mark.parametrize(
        ("where", "name", "text", "expected"),
        [
            (CAR, "drive", "4x4", ("drive", "awd")),
            (CAR, "Drive", "4WD", ("drive", "awd")),
            (CAR, "drive-train", "Four wheel drive", ("drive", "awd")),
            (CAR, "winter tires", "yes", ("winter_tyres", True)),
            (CAR, "ac", "without", ("air_conditioning", False)),
            (CAR, "seats", "5", ("seats", 5)),
            (CAR, "seats", "5 seats", ("seats", 5)),
            (CAR, "mileage", "250 km", ("mileage_per_day", 250)),
            (CAR, "mileage", "250km/day", ("mileage_per_day", 250)),
            (CAR, "mileage", "Unlimited", ("mileage_per_day", 999_999)),
            (CAR, "mileage", "1 000 km", ("mileage_per_day", 1000)),
            (CAR, "mileage", "1'000", ("mileage_per_day", 1000)),
            (CAR, "child_seat", "yes", ("child_seats", 1)),
            (CAR, "excess", "none", ("excess", 0)),
            (("lodging.chalet", "book"), "lift_distance", "1.5 km", ("lift_distance", 1500)),
            (("lodging.chalet", "book"), "lift_distance", "0,2 km", ("lift_distance", 200)),
            (("lodging.chalet", "book"), "parking", "yes", ("parking", "free")),
            (("lodging.hotel", "book"), "stars", "4 stars", ("stars", 4)),
            (("home.plumbing", "repair"), "warranty", "2 years", ("warranty_months", 24)),
            (("electronics.phone", "buy"), "storage", "1 TB", ("storage", 1000)),
            (("electronics.phone", "buy"), "model", "  Pixel   9 ", ("model", "Pixel 9")),
            (("electronics.phone", "buy"), "color", "Space Gray", ("colour", "grey")),
            (("furniture.sofa", "buy"), "width", "2.2 m", ("width", 2200)),
            (("finance.loan", "hire"), "rate_fixed", "yes", ("rate_fixed", True)),
            (("finance.loan", "hire"), "years", "-10", ("years", -10)),
            (("finance.loan", "hire"), "purpose", "A house", ("purpose", "A house")),
        ],
    )
    def test_makes_typed_canonical_values(
        self, where: tuple[str, str], name: str, text: str, expected: tuple[str, PropertyValue]
    ) -> None:
        name_and_value = normalise_property(*where, name, text)
        assert name_and_value == expected
        assert type(name_and_value[1]) is type(expected[1])

    @pytest.mark.parametrize(
        ("name", "text", "says"),
        [
            ("drive", "caterpillar", "one of awd, fwd, rwd, 2wd"),
            ("drive", "quatro", "did you mean 'awd'"),
            ("winter_tyres", "maybe", "yes or no"),
            ("seats", "many", "a whole number"),
            ("seats", "4.5", "a whole number"),
            ("seats", "-4", "a whole number"),
            ("seats", "", "a whole number"),
            ("mileage", "250 miles", "the unit 'miles' is not known, but km"),
            ("mileage", "1.000 km", "two ways"),
            ("mileage", "9" * 400, "a whole number"),
            ("brand", "x" * 81, "1 to 80"),
            ("brand", " ", "1 to 80"),
            ("no such name!", "1", "a-z, 0-9 and _"),
            ("", "1", "a-z, 0-9 and _"),
        ],
    )
    def test_says_what_is_allowed(self, name: str, text: str, says: str) -> None:
        with pytest.raises(PropertyError, match=re.escape(says)):
            normalise_property(*CAR, name, text)

    def test_asks_back_about_a_near_miss_and_lets_the_person_insist(self) -> None:
        with pytest.raises(UnknownProperty) as asked:
            normalise_property(*CAR, "winter_tyre", "yes")
        assert asked.value.suggestion == "winter_tyres"
        assert normalise_property(*CAR, "winter_tyre", "yes", custom=True) == ("winter_tyre", True)

    @given(st.sampled_from(definitions()), st.text(max_size=30))
    def test_gives_a_value_or_a_reason(self, found: PropertyDef, text: str) -> None:
        try:
            value = read_value(found, text)
        except PropertyError:
            return
        assert type(value) is {"int": int, "bool": bool, "choice": str, "text": str}[found.type]
        if found.type == "choice":
            assert value in found.values

    @given(st.sampled_from(definitions()), st.integers(0, 10**9))
    def test_reads_back_what_it_shows(self, found: PropertyDef, number: int) -> None:
        if found.type == "int":
            assert read_value(found, show_value(found, number)) == number
        for value in found.values:
            assert read_value(found, show_value(found, value)) == value


class TestComparing:
    @pytest.mark.parametrize(
        ("where", "name", "value", "unit", "expected"),
        [
            (CAR, "drive", "4x4", None, "awd"),
            (CAR, "wheel_drive", "Quattro", None, "awd"),
            (CAR, "drive", "levitation", None, "levitation"),
            (CAR, "seats", "5", None, 5),
            (CAR, "winter_tyres", "yes", None, True),
            (CAR, "mileage", "unlimited", "km", 999_999),
            (CAR, "mileage", "250", "km", 250),
            (CAR, "child_seat", True, None, 1),
            (("home.plumbing", "repair"), "warranty_months", 2, "years", 24),
            (("lodging.hotel", "book"), "parking", True, None, "free"),
            (("electronics.phone", "buy"), "model", 13, None, "13"),
            (("electronics.phone", "buy"), "brand", "ACME", None, "acme"),
            (("finance.loan", "hire"), "purpose", "House", None, "house"),
            (("finance.loan", "hire"), "years", "10", None, 10),
        ],
    )
    def test_uses_one_value_for_one_thing(
        self, where: tuple[str, str], name: str, value: PropertyValue, unit: str | None, expected: PropertyValue
    ) -> None:
        found = canonical_value(*where, name, value, unit)
        assert found == expected
        assert type(found) is type(expected)

    @pytest.mark.parametrize(
        ("name", "value", "unit"), [("seats", "lots", None), ("mileage", 9, "mi"), ("ac", 1, None)]
    )
    def test_refuses_what_cannot_be_compared(self, name: str, value: PropertyValue, unit: str | None) -> None:
        with pytest.raises(PropertyError):
            canonical_value(*CAR, name, value, unit)

    def test_names_have_aliases_only_where_they_are_described(self) -> None:
        assert canonical_name(*CAR, "mileage") == "mileage_per_day"
        assert canonical_name("mobility.car", "buy", "mileage") == "odometer"
        assert canonical_name("finance.loan", "hire", "mileage") == "mileage"

    @pytest.mark.parametrize(
        ("name", "offered", "wanted", "plain", "exact"),
        [
            ("drive", "fwd", "2wd", True, True),
            ("drive", "2wd", "fwd", False, False),
            ("drive", "awd", "2wd", False, False),
            ("insurance", "full", "liability", True, False),
            ("insurance", "liability", "full", False, False),
        ],
    )
    def test_a_narrower_or_greater_value_fulfils_a_wider_or_lesser(
        self, name: str, offered: str, wanted: str, plain: bool, exact: bool
    ) -> None:
        found = property_def(*CAR, name)
        assert fulfils(found, offered, wanted) is plain
        assert fulfils(found, offered, wanted, exceed=False) is exact

    def test_new_is_better_than_good_but_not_used(self) -> None:
        found = property_def("electronics.phone", "buy", "condition")
        assert fulfils(found, "new", "good")
        assert fulfils(found, "refurbished", "used")
        assert not fulfils(found, "new", "used")
        assert not fulfils(found, "for-parts", "used")

    def test_one_is_not_true(self) -> None:
        assert not fulfils(None, True, 1)
        assert not fulfils(None, 0, False)
