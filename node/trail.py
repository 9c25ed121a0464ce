"""What this node saw of each wish lately, to the millisecond: for `intentcast trace`.

The store has the events, and keeps them; here is what no store needs: from whom each text of a wish came first, what
was refused and why, to whom ours was written. Bounded, in memory, gone with the process.
"""

import threading
from collections import deque
from collections.abc import Collection
from typing import Any, Final

from protocol.envelope import read_frame
from protocol.errors import Refused
from protocol.limits import MAX_GOSSIP_FRAME

from .clock import Clock
from .policy import Shares

MAX_STEPS: Final = 4_000
"""Of all wishes together, the oldest forgotten first: 2 MB at most."""

LOOKS_PER_SECOND, LOOK_BURST = 20.0, 100.0
"""Refused frames that are read once more, for the wish they claim to be of: reading costs some 20 microseconds, and
who floods us must not make us pay twice."""

Step = dict[str, Any]
"""{"at": seconds UTC with their fraction, "what": ..., and what belongs to it}"""


class Trail:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._steps: deque[tuple[bytes, Step]] = deque(maxlen=MAX_STEPS)
        self._lock = threading.Lock()  # events are written in the store's thread
        self._looks = Shares(LOOKS_PER_SECOND, LOOK_BURST)
        self.began = clock.moment()
        self.forgotten = 0
        """Steps there was no room for any more."""
        self.latest: tuple[str, float] | None = None
        """The wish heard or said last, and when."""

    def note(self, root: bytes, what: str, **facts: Any) -> None:
        """Something happened to a wish."""
        step = {"at": round(self._clock.moment(), 6), "what": what, **facts}
        with self._lock:
            self.forgotten += len(self._steps) == MAX_STEPS
            self._steps.append((root, step))

    def heard(self, root: bytes, revision: bytes, kind: str, via: str, way: str) -> None:
        """A text of a wish (or its end) came for the first time, or was said here (via "")."""
        self.note(root, "heard" if via else "said", revision=revision.hex(), kind=kind, **_from(via, way))
        if root == revision:
            self.latest = root.hex(), self._clock.moment()

    def spread(self, frame: bytes, peers: Collection[str], what: str) -> None:
        """A frame that we believe was queued for these peers, by our own doing: of what the router passes on by itself
        tell those who hear it."""
        root = _claimed_root(frame)
        if root is not None:
            self.note(root, what, peers=list(peers))

    def refused(self, frame: bytes, via: str, reason: str, way: str) -> None:
        """A frame was not believed, or not wanted now. Which wish it is of, is only what it claims."""
        if not self._looks.take("", self._clock.steady()):
            return
        root = _claimed_root(frame)
        if root is not None:
            self.note(root, "refused", reason=reason, **_from(via, way))

    def of(self, root: bytes) -> list[Step]:
        """What is known of a wish, the oldest first."""
        with self._lock:
            return [step for known, step in self._steps if known == root]

    def roots(self, prefix: str) -> set[bytes]:
        """The wishes whose id begins so."""
        with self._lock:
            return {root for root, _ in self._steps if root.hex().startswith(prefix)}


def _from(via: str, way: str) -> dict[str, str]:
    return {"via": via, "way": way} if via else {}


def _claimed_root(frame: bytes) -> bytes | None:
    """The wish a frame says it is of."""
    try:
        unverified = read_frame(frame, MAX_GOSSIP_FRAME)
        root = unverified.peek_unverified().get("root", unverified.id)
    except Refused:
        return None
    return root if isinstance(root, bytes) and len(root) == 32 else None
