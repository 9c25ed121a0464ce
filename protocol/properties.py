"""What a wish may ask of a thing, and how people's words for it become values that can be compared.

The packs in categories.toml say, for some categories and actions, which properties there are. They help; they forbid
nothing: a property nobody has described is compared as it stands. So two nodes with different packs still agree
about every property that both know, and about every one that neither knows.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Any, Final

from .categories import data, matches_pattern
from .limits import MAX_LABEL
from .terms import PROPERTY_NAME, PropertyValue

TRUE: Final = ("yes", "true", "y", "on", "with", "included")
FALSE: Final = ("no", "false", "n", "off", "without", "none")
_TRUTH: Final = dict.fromkeys(TRUE, True) | dict.fromkeys(FALSE, False)

_NAME = re.compile(PROPERTY_NAME)
_NUMBER = re.compile(r"([0-9]{1,15})(?:[.,]([0-9]{1,6}))?\s*(\D.*)?")
_GROUPED = re.compile(r"(?<=[0-9])[ '_\u00a0\u202f](?=[0-9]{3}(?![0-9]))")
_WHOLE = re.compile(r"-?[0-9]{1,15}")


class PropertyError(ValueError):
    """A value the property cannot have; the text names what it can."""


class UnknownProperty(PropertyError):
    """No pack describes this name, but one describes `suggestion`, which looks much like it."""

    def __init__(self, name: str, suggestion: str) -> None:
        super().__init__(f"no property {name!r} here; did you mean {suggestion!r}?")
        self.name = name
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class PropertyDef:
    """One property of a pack."""

    pack: str
    name: str
    label: str
    type: str
    """int (not negative), bool, choice, text or gtin (the number under a bar code, as 13 or 14 digits of text)."""
    op: str
    """What `name=value` means when a person says no more: eq, min or max."""
    unit: str | None
    """What an int counts."""
    names: tuple[str, ...]
    """Other names people use for it."""
    categories: tuple[str, ...]
    """Patterns; one of them must match."""
    actions: tuple[str, ...]
    """None listed: any."""
    values: tuple[str, ...]
    """Canonical values of a choice."""
    spellings: Mapping[str, str]
    """What people write, folded, to the canonical value."""
    units: Mapping[str, int]
    """Folded name of a unit to how many of `unit` it is."""
    words: Mapping[str, int]
    """Words that stand for a number: unlimited."""
    kind_of: Mapping[str, str]
    """A value to the wider one it is a case of: fwd to 2wd."""
    more_than: Mapping[str, str]
    """A value to the one it exceeds, so that it fulfils it too: full cover to partial cover."""

    def applies(self, category: str, action: str) -> bool:
        return (not self.actions or action in self.actions) and any(
            matches_pattern(pattern, category) for pattern in self.categories
        )

    def allowed(self) -> str:
        """What may be written, for an error or a form."""
        if self.type == "choice":
            return "one of " + ", ".join(self.values)
        if self.type == "bool":
            return "yes or no"
        if self.type == "text":
            return f"a text of 1 to {MAX_LABEL} characters"
        if self.type == "gtin":
            return "the number under the bar code (GTIN, EAN, UPC or ISBN), whose last digit must be right"
        units = f", in {self.unit}" if self.unit else ""
        words = "".join(f", or {word}" for word in self.words)
        return f"a whole number{units}{words}"


@cache
def definitions() -> tuple[PropertyDef, ...]:
    """Every property of every pack, in the order of the file."""
    return tuple(
        _definition(pack_name, pack, name, row)
        for pack_name, pack in data()["pack"].items()
        for name, row in pack["property"].items()
    )


def _definition(pack_name: str, pack: Mapping[str, Any], name: str, row: Mapping[str, Any]) -> PropertyDef:
    unit = row.get("unit")
    values: Mapping[str, list[str]] = row.get("values", {})
    return PropertyDef(
        pack=pack_name,
        name=name,
        label=row["label"],
        type=row["type"],
        op=row.get("op", "eq"),
        unit=unit,
        names=tuple(row.get("names", ())),
        categories=tuple(row.get("categories", pack["categories"])),
        actions=tuple(row.get("actions", pack["actions"])),
        values=tuple(values),
        spellings=MappingProxyType({_hyphens(text): value for value in values for text in (value, *values[value])}),
        units=MappingProxyType(
            {_fold(text): times for text, times in ({unit: 1} if unit else {}).items()}
            | {_fold(text): times for text, times in row.get("units", {}).items()}
        ),
        words=MappingProxyType(dict(row.get("words", {}))),
        kind_of=MappingProxyType(dict(row.get("kind_of", {}))),
        more_than=MappingProxyType(dict(row.get("more_than", {}))),
    )


@lru_cache(maxsize=1024)
def properties_for(category: str, action: str) -> tuple[PropertyDef, ...]:
    """The properties described for a category and an action; none is fine."""
    return tuple(found for found in definitions() if found.applies(category, action))


@lru_cache(maxsize=1024)
def _names(category: str, action: str) -> Mapping[str, PropertyDef]:
    return {name: found for found in properties_for(category, action) for name in (found.name, *found.names)}


def property_def(category: str, action: str, name: str) -> PropertyDef | None:
    """The description of a property under this or another of its names, or None."""
    return _names(category, action).get(name)


# ------------------------------------------------------------------------------------------- from people's words


def normalise_property(
    category: str, action: str, name: str, text: str, *, custom: bool = False
) -> tuple[str, PropertyValue]:
    """What somebody wrote as (canonical name, typed value): ("Drive", "4x4") is ("drive", "awd").

    Numbers come in the property's unit: "2 years" of warranty_months is 24. A name no pack describes is the person's
    own: its value becomes a number, a truth value or a text by its looks. If it looks much like a described one,
    UnknownProperty says which, unless `custom` insists. Raises PropertyError for a value that cannot be.
    """
    name = _underscores(name)
    if not _NAME.fullmatch(name):
        raise PropertyError(f"property {name!r}: a name is 1 to 32 of a-z, 0-9 and _")
    found = property_def(category, action, name)
    if found is None:
        near = None if custom else suggest_name(category, action, name)
        if near is not None:
            raise UnknownProperty(name, near)
        return name, _guess(_text(name, text))
    return found.name, read_value(found, text)


def suggest_name(category: str, action: str, name: str) -> str | None:
    """The described property whose name looks most like this one, if any does."""
    known = _names(category, action)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return known[near[0]].name if near else None


def read_value(found: PropertyDef, text: str) -> PropertyValue:
    """The typed value of a text. Raises PropertyError that names what is allowed."""
    folded = _fold(text)
    if found.type == "text":
        return _text(found.name, text)
    if found.type == "bool":
        if folded in _TRUTH:
            return _TRUTH[folded]
    elif found.type == "gtin":
        number = read_gtin(text)
        if number is not None:
            return number
    elif found.type == "choice":
        value = found.spellings.get(_hyphens(text))
        if value is not None:
            return value
        near = difflib.get_close_matches(_hyphens(text), found.spellings, n=1, cutoff=0.75)
        if near:
            raise PropertyError(
                f"{found.name}: {_clip(text)!r} is not allowed; did you mean {found.spellings[near[0]]!r}? "
                f"Allowed is {found.allowed()}"
            )
    elif folded in found.words:
        return found.words[folded]
    else:
        count = _number(found, folded)
        if count is not None:
            return count
    raise PropertyError(f"{found.name}: {_clip(text)!r} is not allowed, but {found.allowed()}")


def read_gtin(text: str) -> str | None:
    """The 13 digits (14 for a pack) of a GTIN, EAN, UPC or ISBN, however it is spaced; None if its last digit does not
    fit the others. Source: GS1 General Specifications, 7.9; ISBN-10 as ISO 2108 had it until 2007."""
    digits = re.sub(r"[\s-]", "", text).upper()
    if re.fullmatch(r"[0-9]{9}[0-9X]", digits):
        values = [10 if digit == "X" else int(digit) for digit in digits]
        if sum(value * (10 - index) for index, value in enumerate(values)) % 11:
            return None
        digits = "978" + digits[:9]
        return digits + _check_digit(digits)
    if not re.fullmatch(r"[0-9]{8}|[0-9]{12,14}", digits) or _check_digit(digits[:-1]) != digits[-1]:
        return None
    return digits[1:] if len(digits) == 14 and digits[0] == "0" else digits.zfill(13)


def _check_digit(digits: str) -> str:
    total = sum(int(digit) * (3 if index % 2 == 0 else 1) for index, digit in enumerate(reversed(digits)))
    return str(-total % 10)


def _number(found: PropertyDef, folded: str) -> int | None:
    parts = _NUMBER.fullmatch(_GROUPED.sub("", folded))
    if parts is None:
        return None
    whole, fraction, unit = parts[1], parts[2] or "", (parts[3] or "").strip()
    if len(fraction) == 3:
        raise PropertyError(f"{found.name}: {folded!r} can be read two ways; write thousands without a mark")
    own_name = _underscores(unit) in (found.name, *found.names)  # "5 seats", "2 bedrooms"
    times = 1 if not unit or own_name else found.units.get(unit)
    if times is None:
        units = ", ".join(found.units)
        raise PropertyError(
            f"{found.name}: the unit {_clip(unit)!r} is not known" + (f", but {units}" if units else "")
        )
    value, rest = divmod(int(whole + fraction) * times, 10 ** len(fraction))
    return value if rest == 0 else None


def _guess(text: str) -> PropertyValue:
    folded = _fold(text)
    if _WHOLE.fullmatch(folded):
        return int(folded)
    if folded in ("yes", "true"):
        return True
    if folded in ("no", "false"):
        return False
    return text


def _text(name: str, text: str) -> str:
    text = " ".join(text.split())
    if not 1 <= len(text) <= MAX_LABEL:
        raise PropertyError(f"{name}: {len(text)} characters, 1 to {MAX_LABEL} are allowed")
    return text


# ---------------------------------------------------------------------------------------------- for the matcher


def canonical_name(category: str, action: str, name: str) -> str:
    """The name both sides compare; one that nobody has described stands for itself."""
    found = property_def(category, action, name)
    return found.name if found is not None else name


def canonical_value(
    category: str, action: str, name: str, value: PropertyValue, unit: str | None = None
) -> PropertyValue:
    """The value both sides compare: awd for 4x4, 24 for 2 with unit "years".

    A choice nobody has described stands for itself, so newer values still meet themselves. Raises PropertyError when
    the value cannot be compared at all: another unit, or words where a number belongs.
    """
    found = property_def(category, action, name)
    if found is None:
        return _fold_text(_guess(value)) if isinstance(value, str) else value
    if type(value) is int and found.type == "int":
        times = 1 if unit is None else found.units.get(_fold(unit))
        if times is None:
            raise PropertyError(f"{name}: the unit {unit!r} is not known")
        return value * times
    text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
    if found.type == "choice":
        return found.spellings.get(_hyphens(text), _hyphens(text))
    if found.type == "text":
        return _fold(text)
    bare_number = found.type == "int" and unit is not None and _WHOLE.fullmatch(text) is not None
    return read_value(found, f"{text} {unit}" if bare_number else text)


def fulfils(found: PropertyDef | None, offered: PropertyValue, wanted: PropertyValue, *, exceed: bool = True) -> bool:
    """Is the canonical value the wanted one, a case of it, or (if it may `exceed`) more than it?"""
    if type(offered) is type(wanted) and offered == wanted:
        return True
    if found is None or not isinstance(offered, str):
        return False
    return wanted in _chain(found.kind_of, offered) or (exceed and wanted in _chain(found.more_than, offered))


def _chain(steps: Mapping[str, str], value: str) -> list[str]:
    chain = []
    while value in steps:
        value = steps[value]
        chain.append(value)
    return chain


def show_value(found: PropertyDef | None, value: PropertyValue, unit: str | None = None) -> str:
    """A value as people read it: yes for True, unlimited for its number, 250 km."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return _clip(value)
    if found is not None:
        word = next((word for word, number in found.words.items() if number == value and number > 1), None)
        if word is not None:
            return word
        unit = found.unit
    return f"{value} {unit}" if unit else str(value)


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _fold_text(value: PropertyValue) -> PropertyValue:
    return _fold(value) if isinstance(value, str) else value


def _hyphens(text: str) -> str:
    return "-".join(text.casefold().replace("_", " ").replace("-", " ").split())


def _underscores(text: str) -> str:
    return "_".join(text.casefold().replace("-", " ").replace("_", " ").split())


def _clip(text: str, length: int = MAX_LABEL) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


def show_all(found: PropertyDef | None, values: Iterable[PropertyValue], unit: str | None = None) -> str:
    """Several values, as one of a list."""
    return ", ".join(show_value(found, value, unit) for value in values)
