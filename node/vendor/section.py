"""Reading a TOML table strictly: every value has a kind and bounds, an unknown key names the nearest one, and whatever
is wrong says where (a path that becomes a line) and how to mend it.
"""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from node.money import BadMoney, money_of, parse_money
from protocol.codec import text_is_clean
from protocol.terms import Money, local_time

from .lines import Path

_DURATION_PART: Final = re.compile(r"([0-9]{1,6})\s*(minutes?|mins?|m|hours?|h|days?|d|weeks?|w)")
_DURATION_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_PERCENT: Final = re.compile(r"([0-9]{1,3})(?:[.,]([0-9]))?\s*%?")


class Wrong(Exception):
    """Something in a catalogue cannot be so. `path` says where, `hint` how to mend it."""

    def __init__(self, path: Path, what: str, hint: str = "") -> None:
        super().__init__(what)
        self.path = path
        self.what = what
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Section:
    """One table of the file."""

    values: Mapping[str, Any]
    path: Path = ()

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def wrong(self, name: str, what: str, hint: str = "") -> Wrong:
        return Wrong((*self.path, name), what, hint)

    def knows(self, *names: str) -> None:
        """Raises Wrong for a key that is none of these."""
        for name in self.values:
            if name not in names:
                raise self.wrong(name, f"there is no setting {shown(name)}", nearest(name, names))

    def need(self, name: str, example: str) -> Any:
        if name not in self.values:
            raise Wrong(self.path, f"{name} is missing", f"Add a line: {name} = {example}")
        return self.values[name]

    # -------------------------------------------------------------------------------------------- kinds of value

    def text(self, name: str, most: int, example: str, *, prose: bool = False) -> str:
        """Text of 1 to `most` characters, without control characters (a note, `prose`, may have lines)."""
        value = self.need(name, f'"{example}"')
        if not isinstance(value, str):
            raise self.wrong(name, f"{shown(value)} is no text", f'Write it in quotes: {name} = "{example}"')
        value = unicodedata.normalize("NFC", value.strip())
        if not 1 <= len(value) <= most:
            raise self.wrong(name, f"{len(value)} characters, 1 to {most} are allowed")
        if not text_is_clean(value, prose=prose):
            raise self.wrong(name, "a control character, or one that turns the direction of text", "Type it anew.")
        return value

    def word(self, name: str, words: Iterable[str], example: str) -> str:
        value = self.need(name, f'"{example}"')
        known = tuple(words)
        if not isinstance(value, str) or value not in known:
            raise self.wrong(name, f"{shown(value)} is not allowed, but {', '.join(known)}", nearest(value, known))
        return value

    def whole(self, name: str, low: int, high: int, default: int) -> int:
        value = self.values.get(name, default)
        if type(value) is not int:
            raise self.wrong(name, f"{shown(value)} is no whole number", f"Write {name} = {max(low, default)}")
        if not low <= value <= high:
            raise self.wrong(name, f"{value} is not between {low} and {high}")
        return value

    def flag(self, name: str) -> bool:
        value = self.values.get(name, False)
        if type(value) is not bool:
            raise self.wrong(name, f"{shown(value)} is neither true nor false", f"Write {name} = true, without quotes")
        return value

    def duration(self, name: str, low: int, high: int, default: str | None) -> int:
        """Seconds of `90m`, `2h`, `1d 12h`."""
        value = self.values.get(name, default)
        plain = value.strip().lower() if isinstance(value, str) else ""
        parts = _DURATION_PART.findall(plain)
        if not parts or _DURATION_PART.sub("", plain).strip():
            raise self.wrong(
                name, f"{shown(value)} is no length of time", f'Write {name} = "{default or "2h"}" (m, h, d or w)'
            )
        seconds = sum(int(number) * _DURATION_UNITS[unit[0]] for number, unit in parts)
        if not low <= seconds <= high:
            raise self.wrong(name, f"{value} is not between {show_duration(low)} and {show_duration(high)}")
        return seconds

    def money(self, name: str, currency: str | None) -> Money:
        """`"48.00 EUR"`, or without the currency if one stands at the top; a bare number works too, exactly."""
        value = self.need(name, f'"48.00 {currency or "EUR"}"')
        if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
            raise self.wrong(name, f"{shown(value)} is no price", f'Write {name} = "48.00 {currency or "EUR"}"')
        if not isinstance(value, str) and currency is None:
            raise self.wrong(
                name,
                f"{value} has no currency",
                f'Write {name} = "{value} EUR", or one currency = "EUR" at the top of the file',
            )
        try:
            return parse_money(value, currency) if isinstance(value, str) else money_of(value, currency or "")
        except BadMoney as bad:
            raise self.wrong(name, str(bad), bad.hint) from None

    def moment(self, name: str) -> str:
        """A local date or date and hour, in quotes or without."""
        value = self.need(name, '"2027-03-20"')
        if isinstance(value, datetime):
            value = value.replace(tzinfo=None).isoformat(timespec="minutes") if value.tzinfo is None else None
        elif isinstance(value, date):
            value = value.isoformat()
        if not isinstance(value, str) or local_time(value) is None:
            raise self.wrong(
                name,
                f"{shown(self.values[name])} is no day of the calendar",
                f'Write {name} = "2027-03-20", or "2027-03-20T08:00"; the time zone is tz at the top of the file',
            )
        return value

    def per_mille(self, name: str) -> int:
        """`10`, `7.5` or `"7.5 %"` in thousandths: 100 and 75."""
        value = self.need(name, "10")
        found = None if isinstance(value, bool) else _PERCENT.fullmatch(str(value).strip())
        share = int(found[1]) * 10 + int(found[2] or 0) if found else 0
        if not 0 < share <= 1000:
            raise self.wrong(name, f"{shown(value)} is no percentage", f"Write {name} = 10, from 0.1 to 100")
        return share

    # -------------------------------------------------------------------------------------------- tables and lists

    def sections(self, name: str, most: int) -> list["Section"]:
        """A list of tables; a single one may stand without the list."""
        value = self.values.get(name, [])
        rows = [value] if isinstance(value, dict) else value
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise self.wrong(name, f"{shown(value)} is no list of tables", f"Write [[{dotted((*self.path, name))}]]")
        if len(rows) > most:
            raise self.wrong(name, f"{len(rows)} entries, at most {most} are allowed")
        within: Path = (*self.path, name)
        return [Section(row, within if rows is not value else (*within, index)) for index, row in enumerate(rows)]

    def table(self, name: str) -> "Section":
        value = self.values.get(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, f"{shown(value)} is no table", f"Write [{dotted((*self.path, name))}]")
        return Section(value, (*self.path, name))

    def listed(self, name: str, example: str) -> list[tuple[Path, Any]]:
        """A list of values, or one alone, each with its path."""
        value = self.need(name, example)
        if not isinstance(value, list):
            return [((*self.path, name), value)]
        if not value:
            raise self.wrong(name, "the list is empty", f"Write {name} = {example}")
        return [((*self.path, name, index), one) for index, one in enumerate(value)]


def nearest(name: object, known: Iterable[str]) -> str:
    """A hint: the known word that looks most like this one, or all of them."""
    words = sorted(known)
    near = difflib.get_close_matches(str(name).lower(), words, n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else f"Known are {', '.join(words)}."


def dotted(path: Path) -> str:
    """A path as people read it, places in lists counted from 1: items.duster.fees[2].amount."""
    text = ""
    for part in path:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def show_duration(seconds: int) -> str:
    """7200 as `2h`: the largest unit that is exact."""
    for unit in ("w", "d", "h", "m"):
        if seconds and seconds % _DURATION_UNITS[unit] == 0:
            return f"{seconds // _DURATION_UNITS[unit]}{unit}"
    return "0m" if seconds == 0 else f"{seconds}s"


def shown(value: object) -> str:
    text = repr(str(value) if isinstance(value, Decimal | date) else value)
    return text if len(text) <= 60 else text[:57] + "..."
