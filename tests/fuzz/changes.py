"""Changes to bytes and to values, blind or knowing: what mutants are made by."""

import random
from typing import Any, Final

import msgpack

from protocol.codec import decode, encode
from protocol.errors import Refused
from protocol.kinds import KINDS
from tests.protocol.people import DAY, NET, NOW

_ODD_VALUES: Final[tuple[Any, ...]] = (
    0, 1, -1, 127, 128, 255, 256, 2**31, 2**32, 2**40, 2**40 + 1, 2**63 - 1, -(2**63), True, False, "", "a", "A",
    "x" * 81, "x" * 201, "x" * 1001, "\u202e", "é", "e\u0301", "\n", "\x00", b"", bytes(8), bytes(16), bytes(31),
    bytes(32), [], [1], [[]], {}, {"a": 1}, [0] * 257, "2027-02-06", "EUR", "mobility",
    "mobility.car", "home", NET, "main", NOW, NOW + 1,
    NOW + DAY, NOW - DAY, NOW + 30 * DAY, NOW + 30 * DAY + 1, NOW + 121, *KINDS, "eq", "range", "one", "direct",
)  # fmt: skip
_FOREIGN: Final[tuple[Any, ...]] = (None, 1.5, float("inf"), msgpack.Timestamp(1), msgpack.ExtType(5, b"x"), 2**64 - 1)


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """One blow at the bytes themselves."""
    changed = bytearray(data)
    at = rng.randrange(len(changed)) if changed else 0
    match rng.randrange(7):
        case 0 if changed:
            changed[at] ^= 1 << rng.randrange(8)
        case 1 if changed:
            changed[at] = rng.randrange(256)
        case 2:
            changed[at:at] = rng.randbytes(rng.randint(1, 4))
        case 3:
            del changed[at : at + rng.randint(1, 8)]
        case 4:
            del changed[at:]
        case 5:
            size = rng.randint(1, 40)
            changed[at:at] = changed[at : at + size]
        case _:
            changed += rng.randbytes(rng.choice((1, 2, 100, 9000, 60_000)))
    return bytes(changed)


def change_value(value: Any, rng: random.Random, foreign: float) -> Any:
    """One change somewhere inside a value: another value, a lost or new key, a longer list."""
    if isinstance(value, dict) and value and rng.random() < 0.97:
        key = "body" if "body" in value and rng.random() < 0.5 else rng.choice(list(value))
        match rng.randrange(8):
            case 0:
                return {name: item for name, item in value.items() if name != key}
            case 1:
                return value | {rng.choice(_NAMES): rng.choice(_ODD_VALUES)}
            case 2:
                other = rng.choice(list(value))
                return value | {key: value[other], other: value[key]}
            case _:
                return value | {key: change_value(value[key], rng, foreign)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        match rng.randrange(4):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return value + value * rng.choice((1, 2, 40))
            case _:
                return [*value[:at], change_value(value[at], rng, foreign), *value[at + 1 :]]
    if rng.random() < foreign:
        return rng.choice(_FOREIGN)
    if type(value) is int and rng.random() < 0.6:
        return value + rng.choice((-1, 1, 60, -121, 121, DAY, -DAY))
    if isinstance(value, bytes) and value and rng.random() < 0.6:
        return change_bytes(value, rng)[: len(value)].ljust(len(value), b"\0")
    if isinstance(value, str) and value and rng.random() < 0.5:
        at = rng.randrange(len(value))
        return value[:at] + rng.choice("aZ0 .-é\n\u202e") + value[at + 1 :]
    return rng.choice(_ODD_VALUES)


_NAMES: Final = (
    "v", "net", "kind", "at", "exp", "seq", "salt", "ref", "root", "to", "tkey", "stamp", "body", "ext", "later",
    "note", "title", "category", "limit", "when", "where", "crit", "Bad", "", "k" * 65, "a b", "chat", "reply", "props",
)  # fmt: skip


def packed(value: Any, rng: random.Random, sloppy: float) -> bytes:
    """Canonical where it can be; now and then as a careless sender would write it."""
    if rng.random() >= sloppy:
        try:
            return encode(value)
        except Refused:
            pass
    if isinstance(value, dict) and rng.random() < 0.5:
        value = dict(sorted(value.items(), key=lambda _: rng.random()))
    try:
        data: bytes = msgpack.packb(value, use_bin_type=rng.random() < 0.8, use_single_float=False)
    except (OverflowError, ValueError):
        return b"\xc1"
    return data


def change_payload(payload: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.12:
        return change_bytes(payload, rng)
    value: Any = decode(payload)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        value = change_value(value, rng, foreign=0.03)
    return packed(value, rng, sloppy=0.04)
