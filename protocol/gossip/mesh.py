"""Who is near: peers, the meshes of topics, and who may not be grafted for a while.

Peers stand in dictionaries used as ordered sets: the order decides what a random choice hits, and with a set it would
change from run to run.
"""

import random
from collections.abc import Iterable
from dataclasses import dataclass

from .events import PeerId, Wake
from .outbox import Outbox
from .params import Params


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


class Peer:
    """One peer that is up."""

    __slots__ = (
        "asked",
        "awake",
        "broken_promises",
        "duplicates",
        "early_grafts",
        "first",
        "id",
        "ignored",
        "outbound",
        "outbox",
        "refused_rpcs",
        "rejected",
        "says_backoff",
        "topics",
        "wake",
    )

    def __init__(self, peer_id: PeerId, outbound: bool, says_backoff: bool, params: Params) -> None:
        self.id = peer_id
        self.outbound = outbound
        self.says_backoff = says_backoff  # it speaks 1.1: a PRUNE names its back-off
        self.topics: dict[str, None] = {}
        self.outbox = Outbox(params)
        self.wake = Wake(peer_id)
        self.awake = False
        """The driver was told and has not emptied the outbox since."""
        self.asked: dict[bytes, float] = {}
        """Ids we asked this peer for, with the time by which they are due; earliest first."""
        self.first = self.duplicates = self.ignored = self.rejected = 0
        self.refused_rpcs = self.broken_promises = self.early_grafts = 0

    def ledger(self) -> Ledger:
        return Ledger(
            self.first,
            self.duplicates,
            self.ignored,
            self.rejected,
            self.refused_rpcs,
            self.broken_promises,
            self.early_grafts,
        )


class Topic:
    """A topic we carry."""

    __slots__ = ("mesh", "name", "newcomers")

    def __init__(self, name: str) -> None:
        self.name = name
        self.mesh: dict[Peer, float] = {}
        """Peers we exchange whole messages with, and since when."""
        self.newcomers: dict[Peer, None] = {}
        """Subscribed since the last heartbeat: the next one tells them what is still to be had."""


class Fanout:
    """A topic we publish on without carrying it."""

    __slots__ = ("last", "newcomers", "peers")

    def __init__(self, now: float) -> None:
        self.peers: dict[Peer, None] = {}
        self.newcomers: dict[Peer, None] = {}  # as in Topic
        self.last = now


class Backoffs:
    """Until when a peer may not be grafted on a topic. Outlives the peer's link. Bounded, oldest entry out first."""

    __slots__ = ("_maximum", "_until", "dropped")

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._until: dict[tuple[str, PeerId], float] = {}
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._until)

    def add(self, topic: str, peer: PeerId, until: float) -> None:
        """Extends, never shortens."""
        key = (topic, peer)
        until = max(until, self._until.pop(key, until))
        if len(self._until) >= self._maximum:
            del self._until[next(iter(self._until))]
            self.dropped += 1
        self._until[key] = until

    def blocks(self, topic: str, peer: PeerId, now: float) -> bool:
        until = self._until.get((topic, peer))
        return until is not None and until > now

    def sweep(self, now: float) -> None:
        over = [key for key, until in self._until.items() if until <= now]
        for key in over:
            del self._until[key]


def draw(peers: list[Peer], count: int, rng: random.Random) -> list[Peer]:
    """At most `count` of them, at random."""
    return rng.sample(peers, count) if count < len(peers) else peers


def choose_survivors(mesh: Iterable[Peer], params: Params, rng: random.Random) -> dict[Peer, None]:
    """The d peers that stay when a mesh has grown too large: at random, with d_out that we dialled if there are."""
    peers = list(mesh)
    rng.shuffle(peers)
    stay, go = peers[: params.d], peers[params.d :]
    missing = params.d_out - sum([peer.outbound for peer in stay])
    spare = [peer for peer in go if peer.outbound][: max(0, missing)]
    inbound = [peer for peer in stay if not peer.outbound]
    for leaving, coming in zip(inbound, spare, strict=False):
        stay.remove(leaving)
        stay.append(coming)
    return dict.fromkeys(stay)
