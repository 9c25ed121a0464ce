"""The vectors of others, and our rule in the words of their flags. LICENSES.md says whose they are."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE = Path(__file__).parent

REFUSED: Final = frozenset({"low_order_A", "low_order_R", "non_canonical_A", "non_canonical_R", "low_order_residue"})
"""Flags of CCTV. A signature that has one of them is refused, any other is accepted: so also a key or an R of mixed
order (`low_order_component_*`), as long as the equation holds without a cofactor."""


@dataclass(frozen=True)
class Signed:
    name: str
    public: bytes
    signature: bytes
    message: bytes
    flags: frozenset[str]
    right: bool
    """Whether every node accepts it: for RFC 8032 and Wycheproof as they say, for CCTV by the flags."""


@dataclass(frozen=True)
class Agreed:
    """X25519 of Wycheproof."""

    name: str
    public: bytes
    private: bytes
    shared: bytes
    flags: frozenset[str]


@dataclass(frozen=True)
class Made:
    """RFC 8032: a secret, and the one signature it makes."""

    name: str
    secret: bytes
    public: bytes
    signature: bytes
    message: bytes


def rfc_8032() -> list[Made]:
    return [Made(name, *map(bytes.fromhex, rest)) for name, *rest in _load("rfc8032")]


def wycheproof() -> list[Signed]:
    return [
        Signed(str(number), *map(bytes.fromhex, (key, sig, msg)), frozenset(flags), result == "valid")
        for number, key, sig, msg, flags, result in _load("wycheproof")
    ]


def cctv() -> list[Signed]:
    return [
        Signed(
            str(number),
            bytes.fromhex(key),
            bytes.fromhex(sig),
            msg.encode(),
            frozenset(flags),
            not REFUSED & set(flags),
        )
        for number, key, sig, msg, flags in _load("cctv")
    ]


def x25519() -> list[Agreed]:
    return [
        Agreed(str(number), *map(bytes.fromhex, keys), frozenset(flags))
        for number, *keys, flags in _load("wycheproof_x25519")
    ]


def _load(name: str) -> list[Any]:
    loaded: list[Any] = json.loads((HERE / f"{name}.json").read_text("ascii"))["vectors"]
    return loaded
