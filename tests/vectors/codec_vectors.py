"""codec.json: values with their only bytes, and bytes that are nobody's."""

from typing import Any

from protocol.codec import encode
from protocol.errors import Reason

from .tagged import to_json

GOOD: dict[str, Any] = {
    "zero": 0,
    "largest fixint": 127,
    "smallest uint8": 128,
    "largest uint8": 255,
    "smallest uint16": 256,
    "largest uint16": 65_535,
    "smallest uint32": 65_536,
    "largest uint32": 2**32 - 1,
    "smallest uint64": 2**32,
    "largest integer": 2**63 - 1,
    "minus one": -1,
    "smallest negative fixint": -32,
    "largest int8": -33,
    "smallest int8": -128,
    "largest int16": -129,
    "smallest int16": -32_768,
    "largest int32": -32_769,
    "smallest int32": -(2**31),
    "largest int64": -(2**31) - 1,
    "smallest integer": -(2**63),
    "false": False,
    "true": True,
    "empty text": "",
    "largest fixstr": "a" * 31,
    "smallest str8": "a" * 32,
    "largest str8": "a" * 255,
    "smallest str16": "a" * 256,
    "text of several scripts": "Zürich – 東京 – قاهرة – 🏔",
    "decomposed text is kept as it is": "Zu\u0308rich",
    "line and paragraph separator are text": "a\u2028b\u2029c",
    "empty binary": b"",
    "binary": bytes(range(32)),
    "largest bin8": b"\xa5" * 255,
    "smallest bin16": b"\xa5" * 256,
    "empty array": [],
    "largest fixarray": [1] * 15,
    "smallest array16": [1] * 16,
    "most items": [1] * 256,
    "empty map": {},
    "largest fixmap": {f"k{i:02}": i for i in range(15)},
    "smallest map16": {f"k{i:02}": i for i in range(16)},
    "most keys": {f"k{i:02}": i for i in range(64)},
    "keys in bytewise order": {"-": 1, ".": 2, "0": 3, "_": 4, "a": 5, "a.b": 6, "aa": 7, "b": 8},
    "longest key": {"k" * 64: 1},
    "line feed in a note": {"note": "first\nsecond"},
    "line feed in a chat": {"chat": "first\nsecond"},
    "deepest": {"a": [{"b": [{"c": [{"d": []}]}]}]},
}


def _nested(depth: int) -> bytes:
    return b"\x91" * (depth - 1) + b"\x90"


def _key(key: bytes) -> bytes:
    return b"\x81" + bytes([0xA0 | len(key)]) + key + b"\x01"


def _text(text: str) -> bytes:
    raw = text.encode()
    return bytes([0xA0 | len(raw)]) + raw


REFUSED: dict[str, tuple[bytes, Reason]] = {
    "nothing": (b"", Reason.NOT_MSGPACK),
    "a byte behind": (b"\x01\x01", Reason.NOT_MSGPACK),
    "cut text": (b"\xa3ab", Reason.NOT_MSGPACK),
    "cut array": (b"\x92\x01", Reason.NOT_MSGPACK),
    "never used byte": (b"\xc1", Reason.NOT_MSGPACK),
    "text that is not UTF-8": (b"\xa1\xff", Reason.NOT_MSGPACK),
    "overlong UTF-8": (b"\xa2\xc0\xaf", Reason.NOT_MSGPACK),
    "surrogate in UTF-8": (b"\xa3\xed\xa0\x80", Reason.NOT_MSGPACK),
    "array that claims 257 items": (b"\xdc\x01\x01" + b"\x01" * 257, Reason.NOT_MSGPACK),
    "array that claims four billion items": (b"\xdd\xff\xff\xff\xff", Reason.NOT_MSGPACK),
    "map that claims 65 keys": (
        b"\xde\x00\x41" + b"".join(_text(f"k{i:02}") + b"\x01" for i in range(65)),
        Reason.NOT_MSGPACK,
    ),
    "map that claims four billion keys": (b"\xdf\xff\xff\xff\xff", Reason.NOT_MSGPACK),
    "binary that claims four gigabytes": (b"\xc6\xff\xff\xff\xff", Reason.NOT_MSGPACK),
    "a map as a key": (b"\x81\x80\x01", Reason.NOT_MSGPACK),
    "a thousand arrays": (_nested(1000), Reason.DEPTH),
    "nine arrays": (_nested(9), Reason.DEPTH),
    "nine maps": (b"\x81\xa1a" * 8 + b"\x80", Reason.DEPTH),
    "nil": (b"\xc0", Reason.TYPE),
    "float32": (b"\xca\x3f\x80\x00\x00", Reason.TYPE),
    "float64": (b"\xcb\x3f\xf0" + bytes(6), Reason.TYPE),
    "extension": (b"\xd4\x01\x00", Reason.NOT_MSGPACK),
    "extension without bytes": (b"\xc7\x00\x01", Reason.TYPE),
    "timestamp": (b"\xd6\xff" + bytes(4), Reason.NOT_MSGPACK),
    "integer key": (b"\x81\x01\x01", Reason.TYPE),
    "binary key": (b"\x81\xc4\x01a\x01", Reason.TYPE),
    "one over the largest integer": (b"\xcf\x80" + bytes(7), Reason.RANGE),
    "fixint as uint8": (b"\xcc\x01", Reason.NOT_CANONICAL),
    "uint8 as uint16": (b"\xcd\x00\x80", Reason.NOT_CANONICAL),
    "uint16 as uint32": (b"\xce\x00\x00\x01\x00", Reason.NOT_CANONICAL),
    "uint32 as uint64": (b"\xcf\x00\x00\x00\x00\x00\x01\x00\x00", Reason.NOT_CANONICAL),
    "non-negative as int8": (b"\xd0\x01", Reason.NOT_CANONICAL),
    "non-negative as int64": (b"\xd3" + bytes(7) + b"\x01", Reason.NOT_CANONICAL),
    "negative fixint as int8": (b"\xd0\xff", Reason.NOT_CANONICAL),
    "int8 as int16": (b"\xd1\xff\x80", Reason.NOT_CANONICAL),
    "fixstr as str8": (b"\xd9\x01a", Reason.NOT_CANONICAL),
    "str8 as str16": (b"\xda\x00\x20" + b"a" * 32, Reason.NOT_CANONICAL),
    "str8 as str32": (b"\xdb\x00\x00\x00\x20" + b"a" * 32, Reason.NOT_CANONICAL),
    "bin8 as bin16": (b"\xc5\x00\x01a", Reason.NOT_CANONICAL),
    "bin8 as bin32": (b"\xc6\x00\x00\x00\x01a", Reason.NOT_CANONICAL),
    "fixarray as array16": (b"\xdc\x00\x01\x01", Reason.NOT_CANONICAL),
    "fixarray as array32": (b"\xdd\x00\x00\x00\x01\x01", Reason.NOT_CANONICAL),
    "fixmap as map16": (b"\xde\x00\x01\xa1a\x01", Reason.NOT_CANONICAL),
    "fixmap as map32": (b"\xdf\x00\x00\x00\x01\xa1a\x01", Reason.NOT_CANONICAL),
    "key as str8": (b"\x81\xd9\x01a\x01", Reason.NOT_CANONICAL),
    "the same key twice": (b"\x82\xa1a\x01\xa1a\x01", Reason.NOT_CANONICAL),
    "keys out of order": (b"\x82\xa1b\x01\xa1a\x01", Reason.KEY),
    "empty key": (b"\x81\xa0\x01", Reason.KEY),
    "capital in a key": (_key(b"Title"), Reason.KEY),
    "space in a key": (_key(b"a b"), Reason.KEY),
    "line feed behind a key": (_key(b"note\n"), Reason.KEY),
    "letter outside ASCII in a key": (_key("é".encode()), Reason.KEY),
    "key of 65 characters": (b"\x81\xd9\x41" + b"k" * 65 + b"\x01", Reason.KEY),
    "zero character": (_text("a\x00b"), Reason.TEXT),
    "tab": (_text("a\tb"), Reason.TEXT),
    "line feed": (_text("a\nb"), Reason.TEXT),
    "line feed in a title": (b"\x81" + _text("title") + _text("a\nb"), Reason.TEXT),
    "line feed in a list called note": (b"\x81" + _text("note") + b"\x91" + _text("a\nb"), Reason.TEXT),
    "carriage return in a note": (b"\x81" + _text("note") + _text("a\r\nb"), Reason.TEXT),
    "escape": (_text("\x1b[2J"), Reason.TEXT),
    "delete": (_text("a\x7f"), Reason.TEXT),
    "C1 control": (_text("a\x9f"), Reason.TEXT),
    "Arabic letter mark": (_text("a\u061c"), Reason.TEXT),
    "left-to-right mark": (_text("a\u200e"), Reason.TEXT),
    "right-to-left mark": (_text("a\u200f"), Reason.TEXT),
    "right-to-left override": (_text("a\u202e"), Reason.TEXT),
    "first embedding": (_text("a\u202a"), Reason.TEXT),
    "first isolate": (_text("a\u2066"), Reason.TEXT),
    "last isolate": (_text("a\u2069"), Reason.TEXT),
    "one byte too many": (b"\xc5\xea\x5e" + bytes(59_998), Reason.SIZE),
}


def build() -> dict[str, Any]:
    return {
        "about": "value -> its only bytes; and bytes no receiver accepts. The reason is this implementation's word.",
        "good": [{"name": name, "value": to_json(value), "hex": encode(value).hex()} for name, value in GOOD.items()],
        "refused": [
            {"name": name, "hex": _short(data), "reason": reason.value} for name, (data, reason) in REFUSED.items()
        ],
    }


def _short(data: bytes) -> str | dict[str, Any]:
    """Hex; for long runs of zeros, what they follow and how many they are."""
    bare = data.rstrip(b"\0")
    if len(data) - len(bare) > 1000:
        return {"hex": bare.hex(), "zeros": len(data) - len(bare)}
    return data.hex()


def bytes_of(short: str | dict[str, Any]) -> bytes:
    if isinstance(short, str):
        return bytes.fromhex(short)
    return bytes.fromhex(short["hex"]) + bytes(short["zeros"])
