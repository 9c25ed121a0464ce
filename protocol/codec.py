"""One encoding per value: a strict subset of msgpack. The only file that imports msgpack.

Why canonical: an id is a hash of bytes and a signature covers bytes, so two encodings of one wish would be two wishes.
Decoding is bounded before it starts (bytes, then lengths in headers) and judged after: types, depth, keys, text; then
the value is encoded again and compared, which leaves no second spelling of anything.
"""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import TypeAlias

import msgpack

from .errors import Reason, Refused
from .limits import INT_MAX, INT_MIN, MAX_DEPTH, MAX_ITEM, MAX_ITEMS, MAX_KEY_CHARS, MAX_KEYS

Value: TypeAlias = int | str | bytes | bool | Sequence["Value"] | Mapping[str, "Value"]
Map = dict[str, Value]

_unpack = partial(
    msgpack.unpackb, raw=False, strict_map_key=False, max_array_len=MAX_ITEMS, max_map_len=MAX_KEYS, max_ext_len=0
)

_KEY = re.compile(f"[a-z0-9_.-]{{1,{MAX_KEY_CHARS}}}")

_CONTROL = "\x00-\x1f\x7f-\x9f"
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # they make a text read differently from what it says
_FORBIDDEN = re.compile(f"[{_CONTROL}{_BIDI}]")
_FORBIDDEN_IN_PROSE = re.compile(f"[{_CONTROL.replace(chr(10), '')}{_BIDI}]".replace("\x00-\x1f", "\x00-\x09\x0b-\x1f"))
_PROSE_KEYS = frozenset({"note", "chat"})  # the only values in which a line may end


def encode(value: Value) -> bytes:
    """The canonical bytes of a value. Maps may be given in any order.

    Raises Refused if the value has none (a float, a bad key, too deep): what we could not read, we do not write.
    """
    _check(value, 1, prose=False)
    return _pack(value)


def decode(data: bytes, max_bytes: int = MAX_ITEM) -> Value:
    """The value of canonical bytes. Raises Refused, and nothing else, for any other bytes."""
    if len(data) > max_bytes:
        raise Refused(Reason.SIZE, f"{len(data)} bytes, at most {max_bytes}")
    try:
        value: Value = _unpack(data, max_str_len=max_bytes, max_bin_len=max_bytes)
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException) as error:
        raise Refused(Reason.NOT_MSGPACK, type(error).__name__) from None
    _check(value, 1, prose=False, ordered=True)
    if msgpack.packb(value, use_bin_type=True) != data:  # the keys are known to be in order here
        raise Refused(Reason.NOT_CANONICAL, "another encoding of the same value")
    return value


def decode_map(data: bytes, max_bytes: int = MAX_ITEM) -> Map:
    value = decode(data, max_bytes)
    if not isinstance(value, dict):
        raise Refused(Reason.TYPE, "a map was expected")
    return value


def text_is_clean(text: str, *, prose: bool = False) -> bool:
    """True if the text may travel: no control characters and none that turn the direction of reading."""
    if text.isascii() and text.isprintable():
        return True
    return (_FORBIDDEN_IN_PROSE if prose else _FORBIDDEN).search(text) is None


def _pack(value: Value) -> bytes:
    packed: bytes = msgpack.packb(_sorted(value), use_bin_type=True)
    return packed


def _sorted(value: Value) -> Value:
    if isinstance(value, Mapping):
        return {key: _sorted(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_sorted(item) for item in value]
    return value


def _check(value: object, depth: int, *, prose: bool, ordered: bool = False) -> None:
    kind = type(value)
    if kind is int:
        if not INT_MIN <= value <= INT_MAX:  # type: ignore[operator]
            raise Refused(Reason.RANGE, "an integer outside int64")
    elif kind is str:
        _check_text(value, prose)  # type: ignore[arg-type]
    elif kind is bytes or kind is bool:
        pass
    elif isinstance(value, dict):
        _check_map(value, depth, ordered)
    elif kind is list or kind is tuple:
        items: Sequence[object] = value  # type: ignore[assignment]
        if depth > MAX_DEPTH:
            raise Refused(Reason.DEPTH, f"deeper than {MAX_DEPTH}")
        if len(items) > MAX_ITEMS:
            raise Refused(Reason.COUNT, f"{len(items)} items, at most {MAX_ITEMS}")
        for item in items:
            _check(item, depth + 1, prose=False, ordered=ordered)
    else:
        raise Refused(Reason.TYPE, f"{kind.__name__} does not travel")


def _check_map(value: dict[object, object], depth: int, ordered: bool) -> None:
    if depth > MAX_DEPTH:
        raise Refused(Reason.DEPTH, f"deeper than {MAX_DEPTH}")
    if len(value) > MAX_KEYS:
        raise Refused(Reason.COUNT, f"{len(value)} keys, at most {MAX_KEYS}")
    last = ""
    for key, item in value.items():
        if type(key) is not str:
            raise Refused(Reason.TYPE, "a map key that is not text")
        if not _is_key(key):
            raise Refused(Reason.KEY, "a map key outside [a-z0-9_.-]{1,64}")
        if ordered and key <= last:
            raise Refused(Reason.KEY, "map keys out of order")
        last = key
        kind = type(item)
        # Most of what travels is fine at first sight; the rest is looked at one by one.
        if kind is str:
            if item.isascii() and item.isprintable():  # type: ignore[attr-defined]
                continue
        elif kind is int:
            if INT_MIN <= item <= INT_MAX:  # type: ignore[operator]
                continue
        elif kind is bytes:
            continue
        _check(item, depth + 1, prose=key in _PROSE_KEYS, ordered=ordered)


@lru_cache(maxsize=1024)
def _is_key(key: str) -> bool:
    """Remembered, because the same few words come in every message."""
    return _KEY.fullmatch(key) is not None


def _check_text(text: str, prose: bool) -> None:
    if text.isascii() and text.isprintable():
        return
    if not text_is_clean(text, prose=prose):
        raise Refused(Reason.TEXT, "a control or direction character")
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates: not text
        raise Refused(Reason.TEXT, "not Unicode text") from None
