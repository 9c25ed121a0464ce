"""Builds every vector file from the code, with fixed keys, salts, nonces and times.

Good vectors are what the code says; refused ones are malformed by hand here, and the reason written beside each is what
the code is asked to give. Rebuilding must change nothing: `scripts/vectors --check`, and a test.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import (
    codec_vectors,
    evidence_vectors,
    exchange_vectors,
    frame_vectors,
    id_vectors,
    item_vectors,
    sync_vectors,
)

HERE = Path(__file__).parent

FILES: dict[str, Callable[[], dict[str, Any]]] = {
    "codec.json": codec_vectors.build,
    "frames.json": frame_vectors.build_good,
    "refused_frames.json": frame_vectors.build_refused,
    "items.json": item_vectors.build,
    "exchange.json": exchange_vectors.build,
    "evidence.json": evidence_vectors.build,
    "ids.json": id_vectors.build,
    "sync.json": sync_vectors.build,
}


def text_of(name: str) -> str:
    return json.dumps(FILES[name](), indent=1, ensure_ascii=True) + "\n"


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((HERE / name).read_text("ascii"))
    return loaded
