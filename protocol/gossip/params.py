"""Every number of the router, each with its reason. The specification's recommendation unless it says otherwise.

The wire does not depend on these: two nodes with different numbers understand each other.
"""

from dataclasses import dataclass
from typing import Final

from ..limits import MAX_GOSSIP_FRAME, MAX_RPC
from .rpc import MAX_CONTROL

MESHSUB_1_0: Final = "/meshsub/1.0.0"
MESHSUB_1_1: Final = "/meshsub/1.1.0"
PROTOCOLS: Final = (MESHSUB_1_1, MESHSUB_1_0)
"""What a node offers, best first. 1.2 adds IDONTWANT, which costs more than it saves for messages under 8 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """Seconds, bytes and counts. Raises ValueError for numbers that cannot work together."""

    # the mesh of one topic
    d: int = 6
    """Peers we want to exchange whole messages with: six copies per node and message, five hops for 5,000 nodes."""
    d_low: int = 5
    """Below it the mesh is filled up to d."""
    d_high: int = 12
    """From it on no inbound peer is taken in, and above it the mesh is cut back to d."""
    d_out: int = 2
    """Mesh peers that we dialled ourselves: those who dial us can never be our whole mesh."""
    heartbeat_interval: float = 1.0
    """Seconds between two Heartbeat events; the driver keeps the beat, the router only reckons with it."""
    prune_backoff: float = 60.0
    unsubscribe_backoff: float = 10.0
    """Seconds until a pruned peer may graft again. Shorter when we left the topic, so that we can come back soon."""
    max_backoff: float = 600.0
    """Seconds. A PRUNE may ask for any 64-bit number; nobody else decides that we forget a peer for hours."""
    max_backoffs: int = 10_000
    """Entries, oldest out first. They outlive a link, or a new link would undo them."""

    # own messages
    flood_publish: bool = True
    """Own messages go to every subscriber: fast, and no eclipse of the mesh can hide them. It also tells neighbours
    outside the mesh who the author is; off, they go to the mesh and a random few."""
    publish_extra: int = 2
    """Random subscribers beside the mesh when flood_publish is off: a way out of a mesh that keeps silent."""
    fanout_ttl: float = 60.0
    """Seconds after the last own message on a topic we do not carry for which its chosen peers are kept."""

    # gossip about what was heard
    d_lazy: int = 6
    gossip_factor: float = 0.25
    """Of the peers outside the mesh, at least this many and at least this part hear IHAVE in a heartbeat. They take
    turns, and the part is never below 1 / history_gossip: so each of them hears of each message once. The
    specification draws them at random, and 42 % never hear: too many, for a leaf that a full hub has pruned."""
    history_length: int = 6
    """Heartbeats a message can be asked for: the gossip window and time for an answer."""
    history_gossip: int = 3
    """Heartbeats a message is spoken about."""
    cache_bytes: int = 8 * 1024 * 1024
    """Messages that can be asked for, together. Six seconds of 170 of the largest messages a second."""
    seen_ttl: float = 120.0
    """Seconds, at least, for which an id is known: well over the time a message takes through any network."""
    seen_max: int = 100_000
    rejected_max: int = 20_000
    """Ids remembered, of accepted and of rejected messages: apart, so that garbage cannot push out what was good."""

    # what a peer may make us do
    max_ihave_ids: int = 1_000
    """Ids in one IHAVE of ours: 22 kB, a third of an RPC."""
    max_ihave_rpcs: int = 10
    """RPCs with IHAVE heard from one peer between two heartbeats; honest peers send one or two."""
    max_asked: int = 500
    """Ids we wait for from one peer. Who promises and does not deliver is not asked for more."""
    promise_ttl: float = 3.0
    """Seconds until something we asked for counts as a broken promise."""
    max_served: int = 3
    """Times one message is given to one peer that asks for it."""
    max_peer_topics: int = 64
    """Topics of ours a peer can be in; a network has about 26 divisions."""
    max_topic_bytes: int = 128
    """Longest topic name. The longest of ours (`protocol.md`, Gossip) has 119."""
    max_message_bytes: int = MAX_GOSSIP_FRAME
    max_topics: int = 128
    """Topics we can carry ourselves; more is a mistake of the program."""

    # queues to one peer
    max_rpc_bytes: int = MAX_RPC
    """What waits is sent in RPCs of at most this size."""
    own_queue_bytes: int = 2 * 1024 * 1024
    forward_queue_bytes: int = 1024 * 1024
    """What may wait for a slow peer. The newest is dropped and counted: it is still gossiped about, so the peer can
    ask for it when it has caught up. The bytes are shared between peers."""
    control_queue: int = 256
    """GRAFT and PRUNE that may wait for a slow peer; one for each topic at most."""

    def __post_init__(self) -> None:
        if not 0 < self.d_low <= self.d <= self.d_high:
            raise ValueError("the mesh needs 0 < d_low <= d <= d_high")
        if not (0 <= self.d_out < self.d_low and self.d_out <= self.d // 2):
            raise ValueError("d_out must be below d_low and at most half of d")
        if not 0 < self.history_gossip <= self.history_length:
            raise ValueError("what is spoken about must still be there when it is asked for")
        if self.seen_ttl <= self.history_length * self.heartbeat_interval:
            raise ValueError("ids must be known for longer than messages are spoken about")
        if self.max_message_bytes + self.max_topic_bytes + 32 > self.max_rpc_bytes or self.max_rpc_bytes > MAX_RPC:
            raise ValueError("an RPC must hold the largest message and be one that others accept")
        if self.control_queue + self.max_topics + 1 > MAX_CONTROL:
            raise ValueError("all control that waits must fit into an RPC that others accept")
        if self.max_ihave_ids * 22 + self.max_topic_bytes + 32 > self.max_rpc_bytes:
            raise ValueError("an RPC must hold the largest IHAVE")
