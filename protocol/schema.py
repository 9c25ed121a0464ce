"""From maps to typed values and back, driven by the annotations of frozen dataclasses.

A field says its own limits where it is declared:

    title: Annotated[str, Text(MAX_TITLE)]
    props: Annotated[tuple[Property, ...], Many(32)] = ()
    limit: Money | None = None

A field without a default is required. Unknown keys are ignored (the signed bytes keep them): so later minor versions
can add fields. `None` and `()` are never written: absent is the only way to say nothing.
"""

import re
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, TypeVar, get_args, get_origin

from .codec import Map, Value, text_is_clean
from .errors import Reason, Refused
from .limits import INT_MAX, INT_MIN

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Text:
    """Text of min_chars to max_chars code points; of one pattern if given."""

    max_chars: int
    pattern: str | None = None
    min_chars: int = 1

    def check(self, value: object) -> str | None:
        if type(value) is not str:
            return "text was expected"
        if not self.min_chars <= len(value) <= self.max_chars:
            return f"{len(value)} characters, {self.min_chars} to {self.max_chars} are allowed"
        if self.pattern is not None and not _compiled(self.pattern).fullmatch(value):
            return f"does not look like {self.pattern}"
        return None


@dataclass(frozen=True, slots=True)
class Int:
    """A whole number, low and high included."""

    low: int = INT_MIN
    high: int = INT_MAX

    def check(self, value: object) -> str | None:
        if type(value) is not int:
            return "a whole number was expected"
        if not self.low <= value <= self.high:
            return f"{value} is not between {self.low} and {self.high}"
        return None


@dataclass(frozen=True, slots=True)
class Bin:
    """Exactly so many bytes."""

    size: int

    def check(self, value: object) -> str | None:
        if type(value) is not bytes:
            return "bytes were expected"
        if len(value) != self.size:
            return f"{len(value)} bytes, exactly {self.size} are expected"
        return None


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a closed list of words."""

    words: tuple[str, ...]

    def check(self, value: object) -> str | None:
        if type(value) is not str or value not in self.words:
            return "one of " + ", ".join(self.words)
        return None


@dataclass(frozen=True, slots=True)
class Many:
    """A list of at most so many (and at least so few) of what the tuple holds."""

    most: int
    least: int = 0


Reader = Callable[[Any], Any]
"""Raises _Ill. Where the value stands is said by those the error passes on its way up: a good value has no path."""


def read(cls: type[T], value: object, path: str = "body", reason: Reason = Reason.BODY) -> T:
    """Build `cls` from a decoded map. Raises Refused(reason) that names the path of what is wrong."""
    try:
        result: T = _record_reader(cls)(value)  # type: ignore[arg-type]
    except _Ill as ill:
        raise Refused(ill.reason or reason, f"{path}{ill.path}: {ill.what}") from None
    return result


def write(value: object) -> Map:
    """The map of a dataclass, ready to encode. The value is read back first, so we never say what we would refuse."""
    written = _write(value)
    assert isinstance(written, dict)
    read(type(value), written)
    return written


class Invalid(ValueError):
    """Raised by a dataclass' own `check()` when fields that are fine alone do not fit together."""

    def __init__(self, text: str, reason: Reason | None = None) -> None:
        super().__init__(text)
        self.reason = reason


class _Ill(Exception):
    def __init__(self, what: str, reason: Reason | None = None) -> None:
        super().__init__(what)
        self.path = ""
        self.what = what
        self.reason = reason


def _write(value: object) -> Value:
    if is_dataclass(value):
        found: Map = {}
        for field in fields(value):
            item = getattr(value, field.name)
            if item is None or item == ():
                continue
            found[field.name] = _write(item)
        return found
    if isinstance(value, list | tuple):
        return [_write(item) for item in value]
    if isinstance(value, dict):
        return {key: _write(item) for key, item in value.items()}
    assert isinstance(value, str | int | bytes | bool), f"{type(value).__name__} does not travel"
    return value


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


@cache
def _record_reader(cls: type) -> Reader:
    hints = typing.get_type_hints(cls, include_extras=True)
    plan = [
        (field.name, _reader(hints[field.name]), field.default is MISSING and field.default_factory is MISSING)
        for field in fields(cls)
    ]
    check = getattr(cls, "check", None)

    def read_record(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _Ill("a map was expected")
        found = {}
        name = ""
        try:
            for name, reader, required in plan:
                if name in value:
                    found[name] = reader(value[name])
                elif required:
                    raise _Ill("is missing")
        except _Ill as ill:
            ill.path = f".{name}{ill.path}"
            raise
        record = cls(**found)
        if check is not None:
            try:
                check(record)
            except Invalid as invalid:
                raise _Ill(str(invalid), invalid.reason) from None
        return record

    return read_record


def _reader(hint: Any) -> Reader:
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *notes = get_args(hint)
        return _annotated_reader(inner, notes)
    if origin in (typing.Union, types.UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not type(None)]
        if len(kinds) == 1:
            return _reader(kinds[0])
    if hint is bool:
        return _read_bool
    if isinstance(hint, type) and is_dataclass(hint):
        return _record_reader(hint)
    raise TypeError(f"no rule for reading {hint!r}: annotate it")


def _annotated_reader(inner: Any, notes: list[Any]) -> Reader:
    many = next((note for note in notes if isinstance(note, Many)), None)
    rule = next((note for note in notes if hasattr(note, "check")), None)
    if many is not None:
        item_hint = get_args(inner)[0]
        return _many_reader(many, _rule_reader(rule) if rule is not None else _reader(item_hint))
    if rule is None:
        raise TypeError(f"no rule for reading {inner!r}")
    return _rule_reader(rule)


def _rule_reader(rule: Any) -> Reader:
    match rule:  # the frequent ones without a call; what they do not pass, the rule itself explains
        case Text():
            return _text_reader(rule)
        case Int():
            return _int_reader(rule)
        case Bin():
            return _bin_reader(rule)
        case Choice():
            return _choice_reader(rule)
        case _:
            return _any_reader(rule)


def _any_reader(rule: Any) -> Reader:
    def read_value(value: Any) -> Any:
        wrong = rule.check(value)
        if wrong is not None:
            raise _Ill(wrong)
        return tuple(value) if isinstance(value, list) else value

    return read_value


def _text_reader(rule: Text) -> Reader:
    least, most = rule.min_chars, rule.max_chars
    matches = _compiled(rule.pattern).fullmatch if rule.pattern is not None else bool

    def read_text(value: Any) -> Any:
        if type(value) is str and least <= len(value) <= most and (matches is bool or matches(value)):
            return value
        raise _Ill(str(rule.check(value)))

    return read_text


def _int_reader(rule: Int) -> Reader:
    low, high = rule.low, rule.high

    def read_int(value: Any) -> Any:
        if type(value) is int and low <= value <= high:
            return value
        raise _Ill(str(rule.check(value)))

    return read_int


def _choice_reader(rule: Choice) -> Reader:
    words = frozenset(rule.words)

    def read_choice(value: Any) -> Any:
        if type(value) is str and value in words:
            return value
        raise _Ill(str(rule.check(value)))

    return read_choice


def _bin_reader(rule: Bin) -> Reader:
    size = rule.size

    def read_bin(value: Any) -> Any:
        if type(value) is bytes and len(value) == size:
            return value
        raise _Ill(str(rule.check(value)))

    return read_bin


def _many_reader(many: Many, item: Reader) -> Reader:
    def read_many(value: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise _Ill("a list was expected")
        if not many.least <= len(value) <= many.most:
            raise _Ill(f"{len(value)} entries, {many.least} to {many.most} are allowed")
        found: list[Any] = []
        try:
            for entry in value:
                found.append(item(entry))
        except _Ill as ill:
            ill.path = f"[{len(found)}]{ill.path}"
            raise
        return tuple(found)

    return read_many


def _read_bool(value: Any) -> Any:
    if type(value) is not bool:
        raise _Ill("true or false was expected")
    return value


__all__ = ["Bin", "Choice", "Int", "Invalid", "Many", "Text", "read", "text_is_clean", "write"]
