"""What judging a frame costs beside its signature. `python -m tests.bench.admission [frames]`: one line of JSON."""

import json
import sys
import time
from statistics import median

from nacl.signing import VerifyKey

from node import garbage
from protocol.board import Board
from protocol.envelope import read_frame

from .phases import Authors
from .plan import DIVISION, NET, plan_for

_BATCH = 100


def measure(frames: int) -> dict[str, float]:
    """Seconds per frame, medians of batches: the raw signature check, and the board's whole verdict on a new wish.
    The two take turns on the same frames, so that both meet the same machine; and the processor's seconds are counted,
    because on a busy machine the longer of two batches is interrupted more often."""
    garbage.settle()
    authors = Authors(plan_for(2, authors=frames))
    board = Board(NET)
    now = int(time.time())
    raw, whole = [], []
    for begin in range(0, frames, _BATCH):
        batch = [authors.frame(number) for number in range(begin, min(frames, begin + _BATCH))]
        parts = [read_frame(frame) for frame in batch]
        signed = [
            (part.key, b"intentcast/1\0gossip\0" + NET.encode() + b"\0" + part.payload, part.signature)
            for part in parts
        ]
        start = time.thread_time()
        for key, message, signature in signed:
            VerifyKey(key).verify(message, signature)
        raw.append((time.thread_time() - start) / len(batch))
        start = time.thread_time()
        for frame in batch:
            assert board.hear(frame, DIVISION, "somebody", now).accepted
        whole.append((time.thread_time() - start) / len(batch))
    return {
        "verify_seconds": median(raw),
        "admit_seconds": median(whole),
        # Of neighbours in time: what slows the machine for a moment slows both.
        "share": median(one / other for one, other in zip(raw, whole, strict=True)),
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 4_000)))
