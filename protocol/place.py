"""Places as coarse as their author wants: public codes, which are compared, and geohash cells, which have distances.

A geohash cell is a box of latitudes and longitudes; each further character cuts it into 32. Five characters are about
5 km across, four about 30 km. Distances are great-circle ones on a ball, within 0.6 % of the real Earth: cells are
far coarser than that. Source: Niemeyer's geohash (2008).
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from .terms import Place

BASE32: Final = "0123456789bcdefghjkmnpqrstuvwxyz"
EARTH_RADIUS_KM: Final = 6371.0088
"""Mean radius (IUGG)."""

_VALUE: Final = {character: value for value, character in enumerate(BASE32)}


@dataclass(frozen=True, slots=True)
class Box:
    """The bounds of a cell, in degrees."""

    south: float
    west: float
    north: float
    east: float


def cell_at(latitude: float, longitude: float, length: int = 5) -> str:
    """The cell of `length` characters (1 to 12) that holds a point. Raises ValueError for a point not on Earth."""
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180 and 1 <= length <= 12):
        raise ValueError("latitude -90 to 90, longitude -180 to 180, 1 to 12 characters")
    south, north, west, east = -90.0, 90.0, -180.0, 180.0
    cell, value = "", 0
    for bit in range(5 * length):
        if bit % 2 == 0:
            middle = (west + east) / 2
            upper = longitude >= middle
            west, east = (middle, east) if upper else (west, middle)
        else:
            middle = (south + north) / 2
            upper = latitude >= middle
            south, north = (middle, north) if upper else (south, middle)
        value = 2 * value + upper
        if bit % 5 == 4:
            cell, value = cell + BASE32[value], 0
    return cell


@lru_cache(maxsize=4096)
def bounds(cell: str) -> Box:
    """The box of a cell. Raises ValueError for text that is none."""
    if not 1 <= len(cell) <= 12 or any(character not in _VALUE for character in cell):
        raise ValueError("a cell is 1 to 12 of 0-9 and b-z without i, l, o")
    south, north, west, east = -90.0, 90.0, -180.0, 180.0
    for bit in range(5 * len(cell)):
        upper = _VALUE[cell[bit // 5]] >> (4 - bit % 5) & 1
        if bit % 2 == 0:
            middle = (west + east) / 2
            west, east = (middle, east) if upper else (west, middle)
        else:
            middle = (south + north) / 2
            south, north = (middle, north) if upper else (south, middle)
    return Box(south, west, north, east)


def centre(cell: str) -> tuple[float, float]:
    """(latitude, longitude) of a cell's middle. Raises ValueError for text that is no cell."""
    box = bounds(cell)
    return (box.south + box.north) / 2, (box.west + box.east) / 2


def distance_km(latitude_a: float, longitude_a: float, latitude_b: float, longitude_b: float) -> float:
    """Great-circle distance of two points given in degrees."""
    a, b = math.radians(latitude_a), math.radians(latitude_b)
    return _arc_km(a, b, math.radians(longitude_a - longitude_b))


def gap_km(cell_a: str, cell_b: str) -> float:
    """The smallest distance between any two points of two cells; 0 if they touch."""
    a, b = bounds(cell_a), bounds(cell_b)
    turn = _longitude_gap(a, b)
    if turn == 0:
        # Same longitude somewhere: the way along that meridian is the shortest there is.
        return EARTH_RADIUS_KM * math.radians(max(0.0, a.south - b.north, b.south - a.north))
    # Otherwise the shortest way joins the two facing edges, which are pieces of meridians. On such a pair the distance
    # has no minimum inside the rectangle of latitudes, so one end of the way is an end of an edge, and its other end
    # is the foot on the other edge or an end of it.
    delta = math.radians(turn)
    edge_a, edge_b = _latitudes(a), _latitudes(b)
    return min(
        *(_to_edge_km(latitude, edge_b, delta) for latitude in edge_a),
        *(_to_edge_km(latitude, edge_a, delta) for latitude in edge_b),
    )


def cells_within(cell_a: str, cell_b: str, radius_km: int) -> bool:
    """Is some point of one cell within the radius of some point of the other?"""
    return gap_km(cell_a, cell_b) <= radius_km


def same_code(code_a: str, code_b: str) -> bool:
    """Codes name one place if they are equal but for case: iata:LYS is IATA:lys."""
    return code_a.casefold() == code_b.casefold()


def near(wanted: Place, offered: Place, radius_km: int | None) -> bool:
    """Do two places meet: by code, or by cells within the radius? Without a radius one cell must hold the other.

    A code and cells cannot be compared: who wants both ways to be found gives both.
    """
    if wanted.code is not None and offered.code is not None and same_code(wanted.code, offered.code):
        return True
    if radius_km is None:
        return any(a.startswith(b) or b.startswith(a) for a in wanted.cells for b in offered.cells)
    return any(cells_within(a, b, radius_km) for a in wanted.cells for b in offered.cells)


def _latitudes(box: Box) -> tuple[float, float]:
    return math.radians(box.south), math.radians(box.north)


def _longitude_gap(a: Box, b: Box) -> float:
    """Degrees between two boxes the shorter way round; 0 if they share a longitude. No box crosses the date line."""
    if a.west <= b.east and b.west <= a.east:
        return 0.0
    apart = max(a.west, b.west) - min(a.east, b.east)
    around = 360.0 - (max(a.east, b.east) - min(a.west, b.west))
    return max(0.0, min(apart, around))


def _to_edge_km(latitude: float, edge: tuple[float, float], delta: float) -> float:
    """The shortest way from a point to a piece of a meridian `delta` away (radians)."""
    foot = math.atan2(math.sin(latitude), math.cos(latitude) * math.cos(delta))
    ways = [_arc_km(latitude, end, delta) for end in edge]
    if edge[0] <= foot <= edge[1]:
        ways.append(_arc_km(latitude, foot, delta))
    return min(ways)


def _arc_km(latitude_a: float, latitude_b: float, delta: float) -> float:
    """Haversine: exact for small distances, where the cosine rule is not. Radians."""
    half = (
        math.sin((latitude_a - latitude_b) / 2) ** 2
        + math.cos(latitude_a) * math.cos(latitude_b) * math.sin(delta / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(half)))
