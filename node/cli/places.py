"""Places as people type them: a public code, a point that is made coarse, or cells; with a label if they like."""

import re
from typing import Any, Final

from node.trouble import Trouble, usage

CELL_LENGTH: Final = 5
"""Characters of the cell that stands for a point: about 5 km across. What is broadcast is where you are, roughly."""

_CODE: Final = re.compile(r"([A-Za-z0-9-]{1,20}):([A-Za-z0-9._-]{1,19})")
_LABELLED: Final = re.compile(
    r"\s*(?:(.*\S)\s*[(\[]\s*(\S[^()\[\]]*?)\s*[)\]]|(\S+:\S+)\s+(\S.*)|(.*\S)\s+(\S+:\S+))\s*"
)
_POINT: Final = re.compile(r"\s*(-?\d{1,3}(?:\.\d+)?)\s*,\s*(-?\d{1,3}(?:\.\d+)?)\s*(?:,\s*(\d{1,5})\s*(?:km)?\s*)?")
_CELL: Final = re.compile(r"[0-9b-hjkmnp-z]{1,8}")
_HINT: Final = (
    "Forms: iata:LYS, country:FR, geo:45.72,5.08 (or geo:45.72,5.08,30 with km), cell:u05k, 'Lyon (iata:LYS)'."
)


def parse_where(at: str | None, to: str | None, radius: str | None) -> dict[str, Any] | None:
    """What --where, --return-to and --radius say together. Raises Trouble."""
    if at is None:
        if to is not None or radius is not None:
            raise usage("bad_place", f"{'--return-to' if to is not None else '--radius'} needs --where", _HINT)
        return None
    place, near = parse_place(at, "--where")
    where: dict[str, Any] = {"at": place}
    if to is not None:
        where["to"], _ = parse_place(to, "--return-to")
    if radius is not None:
        near = _radius(radius)
    if near is not None:
        where["radius"] = near
    return where


def parse_place(text: str, where: str) -> tuple[dict[str, Any], int | None]:
    """({code or cells, perhaps label}, radius in km or None). Raises Trouble."""
    if (whole := _code_or_cells(text.strip(), where)) is not None:
        return whole
    if (found := _LABELLED.fullmatch(text)) is not None:
        label = found[1] or found[4] or found[5]
        code = found[2] or found[3] or found[6]
        if (inner := _code_or_cells(code, where)) is not None:
            place, near = inner
            return {**place, "label": label}, near
    raise _wrong(where, text, "a place needs a code or cells, so that others can compare it")


def _code_or_cells(text: str, where: str) -> tuple[dict[str, Any], int | None] | None:
    kind, colon, rest = text.partition(":")
    if not colon:
        return None
    if kind.lower() == "geo":
        return _point(text, rest, where)
    if kind.lower() in ("cell", "cells"):
        cells = [cell.strip().lower() for cell in rest.split(",")]
        if not 1 <= len(cells) <= 16 or not all(_CELL.fullmatch(cell) for cell in cells):
            raise _wrong(where, text, "a cell is 1 to 8 of 0-9 and b-z without i, l, o; up to 16 cells, with commas")
        return {"cells": cells}, None
    found = _CODE.fullmatch(text)
    if found is None:
        return None
    return {"code": f"{found[1].lower()}:{found[2]}"}, None


def _point(text: str, rest: str, where: str) -> tuple[dict[str, Any], int | None]:
    found = _POINT.fullmatch(rest)
    if found is None:
        raise _wrong(where, text, "a point is latitude,longitude in degrees")
    from protocol.place import cell_at

    try:
        cell = cell_at(float(found[1]), float(found[2]), CELL_LENGTH)
    except ValueError:
        raise _wrong(where, text, "latitude is -90 to 90, longitude -180 to 180") from None
    return {"cells": [cell]}, None if found[3] is None else _radius(found[3])


def _radius(text: str) -> int:
    plain = text.strip().lower().removesuffix("km").strip()
    if not plain.isascii() or not plain.isdigit() or int(plain) > 20_000:
        raise usage("bad_place", f"--radius: {text!r} is no distance", "Write whole kilometres: 30 or 30km.")
    return int(plain)


def _wrong(where: str, text: str, message: str) -> Trouble:
    return usage("bad_place", f"{where} {text!r}: {message}", _HINT)
