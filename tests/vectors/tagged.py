"""Values of the wire as JSON, without loss: bytes are {"$bin": hex}, integers beyond 2**53 are {"$int": digits}."""

from collections.abc import Mapping
from typing import Any

_EXACT = 2**53


def to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$bin": value.hex()}
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if type(value) is int and abs(value) > _EXACT:
        return {"$int": str(value)}
    return value


def from_json(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"$bin"}:
            return bytes.fromhex(value["$bin"])
        if set(value) == {"$int"}:
            return int(value["$int"])
        return {key: from_json(item) for key, item in value.items()}
    return [from_json(item) for item in value] if isinstance(value, list) else value
