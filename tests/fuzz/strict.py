"""The encoding rules of protocol/README.md a second time, written from the book and byte by byte, without msgpack.

Slow and plain on purpose: it shares no line with protocol/codec.py, so that a mistake has to be made twice.
"""

import unicodedata

_KEY = set(b"abcdefghijklmnopqrstuvwxyz0123456789_.-")
_BIDI = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}


class NotCanonical(Exception):
    pass


def is_canonical(data: bytes, max_bytes: int) -> bool:
    """Whether a receiver accepts these bytes as one value."""
    if len(data) > max_bytes:
        return False
    try:
        return _value(data, 0, 1, prose=False) == len(data)
    except NotCanonical:
        return False


def _need(condition: bool) -> None:
    if not condition:
        raise NotCanonical


def _number(data: bytes, at: int, size: int, signed: bool = False) -> int:
    _need(at + size <= len(data))
    return int.from_bytes(data[at : at + size], "big", signed=signed)


def _value(data: bytes, at: int, depth: int, *, prose: bool) -> int:
    """The position behind the value that starts at `at`."""
    head = _number(data, at, 1)
    at += 1
    if head < 0x80 or head >= 0xE0 or head in (0xC2, 0xC3):
        return at
    if head < 0x90:
        return _map(data, at, head & 0x0F, depth)
    if head < 0xA0:
        return _array(data, at, head & 0x0F, depth)
    if head < 0xC0:
        return _text(data, at, head & 0x1F, prose)
    if head in (0xC4, 0xC5, 0xC6):
        size, at = _length(data, at, (0xC4, 0xC5, 0xC6).index(head), smallest=0)
        _need(at + size <= len(data))
        return at + size
    if 0xCC <= head <= 0xCF:
        return _unsigned(data, at, 1 << (head - 0xCC))
    if 0xD0 <= head <= 0xD3:
        return _negative(data, at, 1 << (head - 0xD0))
    if head in (0xD9, 0xDA, 0xDB):
        size, at = _length(data, at, head - 0xD9, smallest=32)
        return _text(data, at, size, prose)
    if head == 0xDC:
        size = _number(data, at, 2)
        _need(16 <= size <= 256)
        return _array(data, at + 2, size, depth)
    if head == 0xDE:
        size = _number(data, at, 2)
        _need(16 <= size <= 64)
        return _map(data, at + 2, size, depth)
    raise NotCanonical  # nil, float, extension, the never used byte, and lengths of 32 bits for arrays and maps


def _length(data: bytes, at: int, step: int, smallest: int) -> tuple[int, int]:
    width = 1 << step
    size = _number(data, at, width)
    _need(size >= (smallest, 256, 65_536)[step])
    return size, at + width


def _unsigned(data: bytes, at: int, width: int) -> int:
    number = _number(data, at, width)
    _need(number >= {1: 128, 2: 256, 4: 65_536, 8: 2**32}[width])
    _need(number < 2**63)
    return at + width


def _negative(data: bytes, at: int, width: int) -> int:
    number = _number(data, at, width, signed=True)
    _need(number < {1: -32, 2: -128, 4: -32_768, 8: -(2**31)}[width])
    return at + width


def _text(data: bytes, at: int, size: int, prose: bool) -> int:
    _need(at + size <= len(data))
    try:
        text = data[at : at + size].decode("utf-8", "strict")
    except UnicodeDecodeError:
        raise NotCanonical from None
    for character in text:
        if character == "\n" and prose:
            continue
        _need(unicodedata.category(character) != "Cc" and ord(character) not in _BIDI)
    return at + size


def _array(data: bytes, at: int, count: int, depth: int) -> int:
    _need(depth <= 8)
    for _ in range(count):
        at = _value(data, at, depth + 1, prose=False)
    return at


def _map(data: bytes, at: int, count: int, depth: int) -> int:
    _need(depth <= 8)
    last = b""
    for _ in range(count):
        start = at
        head = _number(data, at, 1)
        _need(0xA0 <= head < 0xC0 or head == 0xD9)
        at = _value(data, at, depth + 1, prose=False)
        key = data[start + (1 if head < 0xC0 else 2) : at]
        _need(1 <= len(key) <= 64 and set(key) <= _KEY and key > last)
        last = key
        at = _value(data, at, depth + 1, prose=key in (b"note", b"chat"))
    return at
