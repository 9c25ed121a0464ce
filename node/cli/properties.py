"""Properties as people type them: `drive=awd`, `seats>=5`, `mileage<=80000 km`, `doors=3..5`, `fuel=diesel|petrol`.

Only the form is read here. What a value means ("4x4" is "awd") is known to the node, by the wish's category.
"""

import re
from typing import Any, Final

from node.trouble import Trouble, usage

_FORM: Final = re.compile(r"\s*([A-Za-z][A-Za-z0-9_ -]*?)\s*(>=|<=|==|=|≥|≤|>|<|:)\s*(.+?)\s*")
_NUMBER: Final = re.compile(r"(-?[0-9]{1,15}(?:[.,][0-9]+)?)\s*([A-Za-z%/][A-Za-z0-9%/_.-]{0,15})?")
_RANGE: Final = re.compile(r"(-?[0-9]{1,15})\s*\.\.\s*(-?[0-9]{1,15})\s*([A-Za-z%/][A-Za-z0-9%/_.-]{0,15})?")
_WEIGHT: Final = re.compile(r"(.*\S)\s+\*([0-9]{1,3})")
_HINT: Final = "Forms: drive=awd, seats>=5, age<=3, doors=3..5, fuel=diesel|petrol."
_PRICES: Final = frozenset({"price", "total", "cost", "budget"})


def parse_property(text: str, need: str, where: str) -> dict[str, Any]:
    """One property of a wish: {name, op, value, need} and perhaps unit and weight (`drive=awd *80`). Raises Trouble."""
    weight = None
    if (weighted := _WEIGHT.fullmatch(text.strip())) is not None:
        text, weight = weighted[1], int(weighted[2])
        if need != "want" or weight > 100:
            raise _wrong(where, text, "a weight is 0 to 100, and only for what you would like", "Use it with --want.")
    name, sign, value = _parts(text, where)
    if name in _PRICES:
        hint = "Use --max-price (stays on this computer) or --public-price (everybody sees it)."
        raise _wrong(where, text, "the price is no property", hint)
    found: dict[str, Any] = {"name": name, **_comparison(text, sign, value, where), "need": need}
    if weight is not None:
        found["weight"] = weight
    return found


def parse_fact(text: str, where: str) -> dict[str, Any]:
    """What an offer says of the thing: `name=value`. Raises Trouble."""
    name, sign, value = _parts(text, where)
    if sign != "=":
        raise _wrong(where, text, "an offer says what is", "Write name=value, for example drive=awd.")
    return {"name": name, "value": value}


def _parts(text: str, where: str) -> tuple[str, str, str]:
    found = _FORM.fullmatch(text)
    if found is None:
        raise _wrong(where, text, "a property is a name and a value", _HINT)
    name = re.sub(r"[ -]+", "_", found[1].lower())
    if len(name) > 32:
        raise _wrong(where, text, "its name is longer than 32 characters", _HINT)
    sign = {"≥": ">=", "≤": "<=", "==": "="}.get(found[2], found[2])
    if sign in (">", "<", ":"):
        hint = f"Write {name}={found[3]}." if sign == ":" else "Write >= or <=; both include the number itself."
        raise _wrong(where, text, f"{sign} is not known", hint)
    return name, sign, found[3]


def _comparison(text: str, sign: str, value: str, where: str) -> dict[str, Any]:
    if sign in (">=", "<="):
        number = _NUMBER.fullmatch(value)
        if number is None:
            raise _wrong(where, text, f"{sign} takes a number", _HINT)
        return {"op": "min" if sign == ">=" else "max", "value": number[1], **_unit(number[2])}
    if (span := _RANGE.fullmatch(value)) is not None:
        if int(span[1]) > int(span[2]):
            raise _wrong(where, text, f"{span[1]} is more than {span[2]}", f"Write {span[2]}..{span[1]}.")
        return {"op": "range", "value": [span[1], span[2]], **_unit(span[3])}
    if "|" in value:
        values = [part.strip() for part in value.split("|")]
        if not all(values) or len(values) > 16:
            raise _wrong(where, text, "alternatives are 2 to 16 values between |", _HINT)
        return {"op": "in", "value": values}
    return {"op": "eq", "value": value}


def _unit(unit: str | None) -> dict[str, str]:
    return {} if unit is None else {"unit": unit}


def _wrong(where: str, text: str, message: str, hint: str) -> Trouble:
    return usage("bad_property", f"{where} {text!r}: {message}", hint)
