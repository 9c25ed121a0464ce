"""Who is near: peers, the meshes of topics, and who may not be grafted for a while.

Peers stand in dictionaries used as ordered sets: the order decides what a random choice hits, and with a set it would
change from run to run.
"""

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .events import PeerId, Wake
from .outbox import Outbox
from .params import Params
from .place import Place
from .score import Standing
from .share import Share


@dataclass(frozen=True, slots=True)
class Ledger:
    """What one peer did since it came up. Facts only; what they are worth is decided elsewhere."""

    first: int
    """Accepted messages it was the first to bring."""
    duplicates: int
    ignored: int
    rejected: int
    refused_rpcs: int
    broken_promises: int
    """Ids it said it had, was asked for, and did not send."""
    early_grafts: int
    """GRAFTs within the back-off."""
    over_share: int
    """Messages not judged because this link was over its share; also among `ignored`."""


class Peer:
    """One peer that is up."""

    __slots__ = (
        "_outbox",
        "_params",
        "awake",
        "broken_promises",
        "duplicates",
        "early_grafts",
        "first",
        "id",
        "ignored",
        "outbound",
        "over_share",
        "refused_rpcs",
        "rejected",
        "says_backoff",
        "share",
        "since",
        "standing",
        "static",
        "subnet",
        "topics",
        "wake",
    )

    def __init__(
        self,
        peer_id: PeerId,
        outbound: bool,
        says_backoff: bool,
        params: Params,
        *,
        place: Place,
        static: bool,
        standing: Standing,
        share: Share,
        now: float,
    ) -> None:
        self.id = peer_id
        self.outbound = outbound
        self.subnet = place.subnet
        self.static = static
        """We agreed to exchange everything: outside the mesh, and whatever its score."""
        self.standing = standing
        self.share = share
        self.since = now
        """When it was first seen; `watch` knows of earlier links."""
        self.says_backoff = says_backoff  # it speaks 1.1: a PRUNE names its back-off
        self.topics: tuple[str, ...] = ()
        self._params = params
        self._outbox: Outbox | None = None
        self.wake = Wake(peer_id)
        self.awake = False
        """The driver was told and has not emptied the outbox since. False: nothing waits."""
        self.first = self.duplicates = self.ignored = self.rejected = self.over_share = 0
        self.refused_rpcs = self.broken_promises = self.early_grafts = 0

    @property
    def outbox(self) -> Outbox:
        """What waits for it. Kept only while something does: for most peers, most of the time, nothing waits."""
        if self._outbox is None:
            self._outbox = Outbox(self._params)
        return self._outbox

    @property
    def queued_bytes(self) -> int:
        return 0 if self._outbox is None else self._outbox.size

    def next_rpc(self) -> bytes | None:
        """Takes it out of the outbox. None: nothing waits any more."""
        rpc = None if self._outbox is None else self._outbox.next_rpc()
        if rpc is None:
            self._outbox = None
            self.awake = False
        return rpc

    def ledger(self) -> Ledger:
        return Ledger(
            self.first,
            self.duplicates,
            self.ignored,
            self.rejected,
            self.refused_rpcs,
            self.broken_promises,
            self.early_grafts,
            self.over_share,
        )


class Topic:
    """A topic we carry."""

    __slots__ = ("active", "bringers", "heard", "lags", "late", "mesh", "name", "newcomers", "silent")

    def __init__(self, name: str) -> None:
        self.name = name
        # Since the last look at whether the mesh keeps up with hearsay:
        self.heard = self.late = 0
        """Messages accepted; of these, with IWANT: the mesh should have brought them before."""
        self.active: dict[Peer, None] = {}
        """Of the mesh, who brought something without being asked, new or not."""
        self.bringers: dict[Peer, None] = {}
        """Who brought what was late."""
        # And what that look found:
        self.lags = False
        self.silent: dict[Peer, None] = {}
        """Peers in the mesh that brought nothing, while it lagged."""
        self.mesh: dict[Peer, float] = {}
        """Peers we exchange whole messages with, and since when."""
        self.newcomers: dict[Peer, None] = {}
        """Who subscribed or came into the mesh since the last heartbeat: the next one tells them what is still to be
        had. What was said just before was not sent to them, and as part of the mesh they are not told."""


class Fanout:
    """A topic we publish on without carrying it."""

    __slots__ = ("last", "newcomers", "peers")

    def __init__(self, now: float) -> None:
        self.peers: dict[Peer, None] = {}
        self.newcomers: dict[Peer, None] = {}  # as in Topic
        self.last = now


class Backoffs:
    """Until when a peer may not be grafted on a topic. Outlives the peer's link. Bounded, oldest entry out first."""

    __slots__ = ("_entries", "_maximum", "dropped")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._entries: dict[tuple[str, PeerId], tuple[float, float]] = {}  # until when, and since when
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, topic: str, peer: PeerId, until: float, now: float = 0.0) -> None:
        """Extends, never shortens."""
        key = (topic, peer)
        known = self._entries.pop(key, None)
        if len(self._entries) >= self._maximum:
            del self._entries[next(iter(self._entries))]
            self.dropped += 1
        self._entries[key] = (until if known is None else max(until, known[0]), now)

    def blocks(self, topic: str, peer: PeerId, now: float) -> bool:
        entry = self._entries.get((topic, peer))
        return entry is not None and entry[0] > now

    def age(self, topic: str, peer: PeerId, now: float) -> float:
        """Seconds since the last PRUNE, ours or the peer's; without an entry, for ever."""
        entry = self._entries.get((topic, peer))
        return math.inf if entry is None else now - entry[1]

    def sweep(self, now: float) -> None:
        over = [key for key, (until, _) in self._entries.items() if until <= now]
        for key in over:
            del self._entries[key]


def draw(peers: list[Peer], count: int, rng: random.Random) -> list[Peer]:
    """At most `count` of them, at random."""
    return rng.sample(peers, count) if count < len(peers) else peers


def choose_survivors(
    mesh: Iterable[Peer], params: Params, rng: random.Random, score: Callable[[Peer], float] | None
) -> dict[Peer, None]:
    """The d peers that stay when a mesh has grown too large: the d_score best, the others by lot, with d_out that we
    dialled if there are; for those the drawn and the lower scoring make room. Without scores all are drawn."""
    peers = list(mesh)
    rng.shuffle(peers)
    if score is not None:
        best = sorted(peers, key=score, reverse=True)[: params.d_score]  # of equals, by lot
        chosen = set(best)
        peers = best + [peer for peer in peers if peer not in chosen]
    stay, go = peers[: params.d], peers[params.d :]
    missing = params.d_out - sum([peer.outbound for peer in stay])
    spare = [peer for peer in go if peer.outbound][: max(0, missing)]
    inbound = [peer for peer in reversed(stay) if not peer.outbound]
    for leaving, coming in zip(inbound, spare, strict=False):
        stay.remove(leaving)
        stay.append(coming)
    return dict.fromkeys(stay)
