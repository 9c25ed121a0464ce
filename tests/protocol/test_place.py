"""Cells are boxes on a ball; distances between them are the true smallest ones, also at the poles and the date line."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from protocol.place import (
    BASE32,
    EARTH_RADIUS_KM,
    bounds,
    cell_at,
    cells_within,
    centre,
    distance_km,
    gap_km,
    near,
    same_code,
)
from protocol.terms import Place

HALF_ROUND = math.pi * EARTH_RADIUS_KM
LYON_AIRPORT = (45.7256, 5.0811)
LYON = (45.7640, 4.8357)
PARIS = (48.8566, 2.3522)

cells = st.text(alphabet=BASE32, min_size=1, max_size=8)
latitudes = st.floats(-90, 90, allow_nan=False)
longitudes = st.floats(-180, 180, allow_nan=False)
fractions = st.floats(0, 1, allow_nan=False)


class TestCells:
    def test_agree_with_the_published_example(self) -> None:
        """57.64911, 10.40744 is u4pruydqqvj: the example everybody checks geohash with."""
        assert cell_at(57.64911, 10.40744, 11) == "u4pruydqqvj"
        assert cell_at(42.605, -5.603, 5) == "ezs42"

    @given(latitudes, longitudes, st.integers(1, 12))
    def test_hold_the_point_they_were_made_for(self, latitude: float, longitude: float, length: int) -> None:
        box = bounds(cell_at(latitude, longitude, length))
        assert box.south <= latitude <= box.north
        assert box.west <= longitude <= box.east

    @given(cells)
    def test_come_back_from_their_centre(self, cell: str) -> None:
        assert cell_at(*centre(cell), len(cell)) == cell

    @given(cells, st.sampled_from(BASE32))
    def test_lie_within_the_cell_of_one_character_less(self, cell: str, more: str) -> None:
        outer, inner = bounds(cell), bounds(cell + more)
        assert outer.south <= inner.south < inner.north <= outer.north
        assert outer.west <= inner.west < inner.east <= outer.east

    @pytest.mark.parametrize("text", ["", "a", "u0i", "U05", "u05 ", "0" * 13, "ü"])
    def test_are_refused_when_they_are_none(self, text: str) -> None:
        with pytest.raises(ValueError, match="a cell is"):
            bounds(text)

    @pytest.mark.parametrize("point", [(91, 0, 5), (0, 181, 5), (math.nan, 0, 5), (0, 0, 0), (0, 0, 13)])
    def test_are_not_made_for_points_beyond_the_earth(self, point: tuple[float, float, int]) -> None:
        with pytest.raises(ValueError, match="latitude"):
            cell_at(*point)


class TestDistances:
    def test_are_those_of_the_map(self) -> None:
        assert distance_km(*LYON, *PARIS) == pytest.approx(392, abs=2)
        assert distance_km(*LYON, *LYON_AIRPORT) == pytest.approx(19.5, abs=0.5)
        assert distance_km(90, 0, -90, 123) == pytest.approx(HALF_ROUND)
        assert distance_km(0, 179.5, 0, -179.5) == pytest.approx(111.2, abs=0.1)

    @given(latitudes, longitudes, latitudes, longitudes)
    def test_are_the_same_both_ways_and_never_over_half_the_world(self, a: float, b: float, c: float, d: float) -> None:
        assert distance_km(a, b, c, d) == pytest.approx(distance_km(c, d, a, b))
        assert 0 <= distance_km(a, b, c, d) <= HALF_ROUND + 1e-6


class TestGaps:
    @given(cells, cells, fractions, fractions, fractions, fractions)
    def test_are_not_over_the_distance_of_any_two_points(
        self, a: str, b: str, p: float, q: float, r: float, s: float
    ) -> None:
        box_a, box_b = bounds(a), bounds(b)
        from_a = (box_a.south + p * (box_a.north - box_a.south), box_a.west + q * (box_a.east - box_a.west))
        from_b = (box_b.south + r * (box_b.north - box_b.south), box_b.west + s * (box_b.east - box_b.west))
        assert gap_km(a, b) <= distance_km(*from_a, *from_b) + 1e-6

    @given(cells, cells)
    def test_are_reached_by_two_points_of_the_edges(self, a: str, b: str) -> None:
        """Walk both boxes' edges in small steps: the closest pair found is not much further than the gap."""
        box_a, box_b = bounds(a), bounds(b)
        gap = gap_km(a, b)
        assume(gap > 0)
        steps = [step / 24 for step in range(25)]

        def edges(box: object) -> list[tuple[float, float]]:
            south, west, north, east = box.south, box.west, box.north, box.east  # type: ignore[attr-defined]
            return [
                *((south + step * (north - south), side) for step in steps for side in (west, east)),
                *((side, west + step * (east - west)) for step in steps for side in (south, north)),
            ]

        closest = min(distance_km(*p, *q) for p in edges(box_a) for q in edges(box_b))
        size = max(box.north - box.south + box.east - box.west for box in (box_a, box_b))
        assert closest <= gap + EARTH_RADIUS_KM * math.radians(size / 24) + 1e-6

    @given(cells, cells)
    def test_are_the_same_both_ways(self, a: str, b: str) -> None:
        assert gap_km(a, b) == pytest.approx(gap_km(b, a))

    @given(cells, cells)
    def test_are_none_within_a_cell(self, cell: str, more: str) -> None:
        assert gap_km(cell, (cell + more)[:12]) == 0

    def test_are_short_across_the_date_line(self) -> None:
        east, west = cell_at(0, 179.9, 5), cell_at(0, -179.9, 5)
        assert 0 < gap_km(east, west) < 25
        assert gap_km(cell_at(10, 179.999, 3), cell_at(10, -179.999, 3)) == 0

    def test_are_short_across_the_pole(self) -> None:
        assert gap_km(cell_at(89.99, 0, 5), cell_at(89.99, 180, 5)) < 10

    def test_lead_to_the_foot_on_a_long_edge(self) -> None:
        """From 60 N, 0 E the nearest point of the meridian 45 E lies north of it, at sin(gap) = cos 60 sin 45."""
        expected = EARTH_RADIUS_KM * math.asin(math.cos(math.radians(60)) * math.sin(math.radians(45)))
        assert gap_km(cell_at(60, 0.001, 8), "v") == pytest.approx(expected, rel=1e-4)

    def test_tell_the_city_from_the_next(self) -> None:
        lyon, airport, paris = (cell_at(*point) for point in (LYON, LYON_AIRPORT, PARIS))
        assert cells_within(lyon, airport, 20)
        assert not cells_within(lyon, airport, 10)
        assert not cells_within(lyon, paris, 300)


class TestPlaces:
    def test_meet_by_code_whatever_its_case(self) -> None:
        assert same_code("iata:LYS", "IATA:lys")
        assert near(Place(code="iata:LYS"), Place(code="iata:lys"), None)
        assert near(Place(code="country:FR"), Place(code="country:FR"), 5)
        assert not near(Place(code="iata:LYS"), Place(code="iata:GVA"), 20_000)

    def test_meet_by_cells_within_the_radius(self) -> None:
        lyon, airport = Place(cells=(cell_at(*LYON),)), Place(cells=(cell_at(*LYON_AIRPORT),))
        assert near(lyon, airport, 20)
        assert not near(lyon, airport, 10)

    def test_meet_without_a_radius_only_if_one_holds_the_other(self) -> None:
        assert near(Place(cells=("u05",)), Place(cells=("u05kq",)), None)
        assert near(Place(cells=("u05kq",)), Place(cells=("u05",)), None)
        assert not near(Place(cells=("u05kq",)), Place(cells=("u05kr",)), None)
        assert near(Place(cells=("u05kq",)), Place(cells=("u05kr",)), 0)

    def test_given_in_ways_that_do_not_compare_do_not_meet(self) -> None:
        assert not near(Place(code="iata:LYS"), Place(cells=(cell_at(*LYON_AIRPORT),)), 20_000)

    def test_given_both_ways_meet_either_way(self) -> None:
        both = Place(code="iata:LYS", cells=(cell_at(*LYON_AIRPORT),))
        assert near(both, Place(code="iata:LYS"), None)
        assert near(both, Place(cells=(cell_at(*LYON_AIRPORT, 4),)), None)
