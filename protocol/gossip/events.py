"""What the router is told, and what it wants done.

The driver feeds events, in the order in which they happened, and carries out the effects, in the order in which they
are given. Peers are named by the text form of their peer ids.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TypeAlias

from ..errors import Reason

PeerId: TypeAlias = str

# ------------------------------------------------------------------------------------------------------ judging


class Verdict(Enum):
    ACCEPT = "accept"  # deliver and pass on
    IGNORE = "ignore"  # do neither; nobody did anything wrong
    REJECT = "reject"  # do neither; the peer that handed it over is to blame


@dataclass(frozen=True, slots=True)
class Judgement:
    verdict: Verdict
    remember: bool = False
    """For IGNORE only: further copies are duplicates. Without it nothing is remembered, and the next copy of the same
    bytes, from whomever, is judged afresh: ignoring must not mute. ACCEPT and REJECT are always remembered."""
    reason: str = ""
    """A word from a short fixed list, for the counters."""


Judge: TypeAlias = Callable[[str, bytes, PeerId, float], Judgement]
"""(topic, data, via, now) -> Judgement. Called once per copy that is not known. Must not block; if it raises, that is
a bug of this node and leaves `handle`."""

# ------------------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class PeerUp:
    """A peer can be written to and speaks gossip. Said again for a peer that is up: `outbound` and `ip` are updated,
    and one that turns out to speak 1.0 does so until it is down."""

    peer: PeerId
    outbound: bool
    """We dialled it: it counts for the outbound quota."""
    protocol: str = "/meshsub/1.1.0"
    ip: str = ""
    """Where it was seen, as text; for caps, never for identity. Empty: not known."""


@dataclass(frozen=True, slots=True)
class PeerDown:
    """A peer can no longer be written to. What was queued for it is gone; a PeerUp later starts afresh."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class RpcReceived:
    """One item of a peer's gossip stream, without its length."""

    peer: PeerId
    data: bytes


@dataclass(frozen=True, slots=True)
class Join:
    """Carry this topic: subscribe, deliver and pass on. Joining twice is joining once."""

    topic: str


@dataclass(frozen=True, slots=True)
class Leave:
    topic: str


@dataclass(frozen=True, slots=True)
class Publish:
    """Spread an own message. It is not judged, and it is sent although it was seen before: an author may repeat."""

    topic: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Forward:
    """Spread a message of somebody else that was learned outside gossip (catch-up) and found good. It goes where a
    received one would go, once: a message gossip has already brought is not sent again."""

    topic: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Every `Params.heartbeat_interval` seconds. A late one is harmless; one is as good as several."""


Event: TypeAlias = PeerUp | PeerDown | RpcReceived | Join | Leave | Publish | Forward | Heartbeat

# ------------------------------------------------------------------------------------------------------ effects


@dataclass(frozen=True, slots=True)
class Wake:
    """Something waits for this peer: call `Router.next_rpc(peer)` until it gives None, sending what it gives. Not
    repeated until it has given None."""

    peer: PeerId


@dataclass(frozen=True, slots=True)
class Deliver:
    """A message of somebody else was accepted, for the first time within `Params.seen_ttl`."""

    topic: str
    data: bytes
    via: PeerId
    message_id: bytes


class Outcome(StrEnum):
    QUEUED = "queued"  # to at least one peer
    NO_PEERS = "no_peers"  # we know nobody at all
    NO_SUBSCRIBERS = "no_subscribers"  # nobody we know carries the topic
    QUEUES_FULL = "queues_full"  # those who do are too slow
    ONLY_GOSSIP = "only_gossip"  # Forward: no mesh, but there are subscribers who will hear of it by IHAVE
    SEEN = "seen"  # Forward: gossip has it already
    NOT_JOINED = "not_joined"  # Forward: we do not carry the topic


@dataclass(frozen=True, slots=True)
class Published:
    """What became of a Publish or a Forward: the peers it is queued for, and why there are none."""

    topic: str
    message_id: bytes
    peers: tuple[PeerId, ...]
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class PeerSubscribed:
    """A peer carries this topic, whether or not we do."""

    peer: PeerId
    topic: str


@dataclass(frozen=True, slots=True)
class PeerUnsubscribed:
    """A peer carries this topic no longer, or is down."""

    peer: PeerId
    topic: str


@dataclass(frozen=True, slots=True)
class Misbehaved:
    """A peer sent what no honest implementation sends. Counted here; whether the link is kept is the node's taste."""

    peer: PeerId
    reason: Reason
    detail: str


class AlarmKind(StrEnum):
    ONE_SUBNET = "one_subnet"  # all our peers are seen in one subnet
    ARRIVED_TOGETHER = "arrived_together"  # all our peers are new, and came within a few minutes of one another


@dataclass(frozen=True, slots=True)
class Alarm:
    """Somebody may be closing us in: what we hear is what they let through. For a person to look at, and for the node
    to dial peers of another choosing. At most one of a kind every `Params.alarm_interval`."""

    kind: AlarmKind
    detail: str


Effect: TypeAlias = Wake | Deliver | Published | PeerSubscribed | PeerUnsubscribed | Misbehaved | Alarm
