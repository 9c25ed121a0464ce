"""Every number of the router, each with its reason. The specification's recommendation unless it says otherwise.

The wire does not depend on these: two nodes with different numbers understand each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ..limits import MAX_GOSSIP_FRAME, MAX_RPC
from .rpc import MAX_CONTROL

MESHSUB_1_0: Final = "/meshsub/1.0.0"
MESHSUB_1_1: Final = "/meshsub/1.1.0"
PROTOCOLS: Final = (MESHSUB_1_1, MESHSUB_1_0)
"""What a node offers, best first. 1.2 adds IDONTWANT, which costs more than it saves for messages under 8 KiB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicScore:
    """What a peer's doings in one topic weigh. A counter loses half of itself in its half-life (seconds): the decay
    factor of the specification is 0.5 ** (decay_interval / half_life)."""

    weight: float = 1.0
    """All our divisions weigh the same; what one peer can earn in all of them together is `ScoreParams.topic_cap`."""
    time_in_mesh_weight: float = 0.02
    time_in_mesh_quantum: float = 60.0
    time_in_mesh_cap: float = 50.0
    """P1. At most one point, after 50 minutes: enough to break a tie, too little to pay for a single REJECT."""
    first_weight: float = 1.0
    first_half_life: float = 120.0
    first_cap: float = 10.0
    """P2. Who behaved and then fell silent is back at 2 points after five minutes, and makes room by opportunistic
    grafting; a longer memory would shield the sleepers of a covert flash attack."""
    mesh_weight: float = 0.0
    mesh_half_life: float = 60.0
    mesh_threshold: float = 10.0
    mesh_cap: float = 100.0
    mesh_activation: float = 60.0
    mesh_window: float = 0.01
    """P3, off: it blames a mesh peer for silence, and our topics are often silent. For a topic with a known rate: a
    weight of -1, and as threshold a fifth of what a mesh peer brings in a half-life."""
    failure_weight: float = 0.0
    failure_half_life: float = 600.0
    """P3b, off like P3."""
    invalid_weight: float = -10.0
    invalid_half_life: float = 600.0
    """P4. REJECT is only what no honest forwarder can send, so the first costs the place in the mesh."""

    def __post_init__(self) -> None:
        if self.weight < 0 or self.time_in_mesh_weight < 0 or self.first_weight < 0:
            raise ValueError("what is good must not weigh against a peer")
        if max(self.mesh_weight, self.failure_weight, self.invalid_weight) > 0:
            raise ValueError("what is bad must not weigh for a peer")
        half_lives = (self.first_half_life, self.mesh_half_life, self.failure_half_life, self.invalid_half_life)
        if min(*half_lives, self.time_in_mesh_quantum) <= 0:
            raise ValueError("half-lives and the quantum are above zero")
        if self.mesh_cap < self.mesh_threshold:
            raise ValueError("a mesh peer must be able to reach the threshold")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreParams:
    """What peers are worth to us. The arithmetic, in README.md: the 1st REJECT costs a stranger the mesh, the 4th our
    gossip, the 8th our own messages, the 11th everything. The evaluation of GossipSub 1.1 has 13 and 21 for gossip and
    everything: it also judged what honest nodes may send."""

    default_topic: TopicScore | None = field(default_factory=TopicScore)
    """For topics that are not in `topics`. None: they count for nothing."""
    topics: Mapping[str, TopicScore] = field(default_factory=dict)
    topic_cap: float = 20.0
    """What all topics together can bring: credit must not pay for more than a slip."""
    application_weight: float = 1.0
    """P5, times what the hook says of a peer."""
    colocation_weight: float = -5.0
    colocation_threshold: int = 5
    """P6. Five peers behind one address are a family or a small office; ten have 125 points against each of them,
    twenty 1,125. Only addresses that `locate` names count, by default the public ones."""
    behaviour_weight: float = -10.0
    behaviour_tolerance: float = 2.0
    behaviour_half_life: float = 300.0
    """P7. The square of what the counter has above the tolerance: a peer that restarted and grafts too early, or that
    was slow with an answer, did nothing yet. (The specification has no tolerance; go has it too.)"""
    gossip_threshold: float = -100.0
    """Below it no IHAVE is told or believed, and no IWANT answered."""
    publish_threshold: float = -500.0
    """Below it a peer does not get our own messages."""
    graylist_threshold: float = -1000.0
    """Below it an RPC is not even decoded."""
    opportunistic_threshold: float = 2.0
    """Two first deliveries within two minutes: who brings less than that is a mesh worth improving."""
    decay_interval: float = 1.0
    decay_to_zero: float = 0.01
    retain_score: float = 3600.0
    """Seconds a score outlives its link: three times as long as 11 REJECTs keep a peer below the gossip threshold."""
    max_retained: int = 10_000
    """Scores below zero that are kept, and as many others; oldest out first, and apart, so that neither pushes out the
    other."""

    def __post_init__(self) -> None:
        if not self.graylist_threshold < self.publish_threshold <= self.gossip_threshold < 0:
            raise ValueError("thresholds: graylist < publish <= gossip < 0")
        if self.opportunistic_threshold < 0 or self.application_weight < 0 or self.topic_cap < 0:
            raise ValueError("what is good must not weigh against a peer")
        if max(self.colocation_weight, self.behaviour_weight) > 0 or self.colocation_threshold < 1:
            raise ValueError("what is bad must not weigh for a peer, and one peer is no crowd")
        if min(self.decay_interval, self.behaviour_half_life) <= 0 or not 0 < self.decay_to_zero < 1:
            raise ValueError("times are above zero, and decay_to_zero is close to it")


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
    d_score: int = 4
    """Of the d that stay when a mesh is cut back, the best; the others by lot, so that newcomers have a chance."""
    mesh_per_subnet: int = 2
    """Mesh peers out of one subnet: addresses in a row are cheap, and three subnets are not one landlord."""
    opportunistic_interval: float = 60.0
    opportunistic_peers: int = 2
    """A poor mesh is offered so many better peers so often: two, so that we can pass on between them."""
    lag_interval: float = 10.0
    lag_messages: int = 4
    """So often, and of so many messages at least, it is asked whether more than half came only when we asked for them:
    then the mesh is not what it should be, whatever its peers earned before, and silent ones make room. Of fewer
    messages half could be bad luck."""
    heartbeat_interval: float = 1.0
    """Seconds between two Heartbeat events; the driver keeps the beat, the router only reckons with it."""
    prune_backoff: float = 60.0
    unsubscribe_backoff: float = 10.0
    """Seconds until a pruned peer may graft again. Shorter when we left the topic, so that we can come back soon."""
    full_backoff: float = 15.0
    """Seconds until whom we had no room for may ask again. Nobody did anything wrong, and when our mesh turns out to
    be full of silence, those who could help must not still be waiting."""
    graft_flood: float = 10.0
    """Seconds after a PRUNE within which a GRAFT counts twice: no clock is that wrong."""
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
    max_prompt_ihaves: int = 4
    """Times that what came by hearsay is told on at once, in any interval of a heartbeat. Others hear ten RPCs with
    IHAVE between two heartbeats of theirs: with two of ours in it that makes six, and ten if it lasts twice as long."""
    cache_bytes: int = 8 * 1024 * 1024
    """Messages that can be asked for, together. Six seconds of 170 of the largest messages a second."""
    seen_ttl: float = 120.0
    """Seconds, at least, for which an id is known: well over the time a message takes through any network. At most
    three times as long: two generations, each of which turns at a heartbeat, and idle ones are left out for a minute.
    """
    seen_max: int = 100_000
    rejected_max: int = 20_000
    """Ids remembered, of accepted and of rejected messages: apart, so that garbage cannot push out what was good."""

    # what a peer may make us do
    max_ihave_ids: int = 1_000
    """Ids in one IHAVE of ours: 22 kB, a third of an RPC."""
    max_ihave_rpcs: int = 10
    """RPCs with IHAVE heard from one peer between two heartbeats. Honest peers send up to six: two of their
    heartbeats can fall in it, and `max_prompt_ihaves` at once; ten if our heartbeat is late by nearly another."""
    max_iwant_ids: int = 5_000
    """Ids one peer may ask us for between two heartbeats: five times what one IHAVE of ours speaks of, and what go asks
    for at most."""
    max_asked: int = 500
    """Ids we wait for from one peer. Who promises and does not deliver is not asked for more."""
    promise_ttl: float = 3.0
    """Seconds until something we asked for counts as a broken promise."""
    max_served: int = 3
    """Times one message is given to one peer that asks for it."""
    max_judged_per_second: float = 1_000.0
    """Messages judged, of all links together. At 0.2 ms a signature and a look at the frame that is a fifth of a core,
    and several times what the streams below bring on a normal day. What exceeds it is shared: see share.py."""
    judged_burst: float = 2.0
    """Seconds of it that can be saved up."""
    share_inbound: float = 1.0
    share_outbound: float = 2.0
    share_static: float = 4.0
    """Whose share is how large. Anybody can dial us many times; whom we dial is our choice."""
    max_peer_topics: int = 64
    """Topics of ours a peer can be in; a network has about 26 divisions."""
    max_topic_bytes: int = 128
    """Longest topic name. The longest of ours (`protocol.md`, Gossip) has 119."""
    max_message_bytes: int = MAX_GOSSIP_FRAME
    max_topics: int = 128
    """Topics we can carry ourselves; more is a mistake of the program."""

    # who is around us
    score: ScoreParams | None = field(default_factory=ScoreParams)
    """None: everybody has the score zero for ever. For experiments."""
    alarm_peers: int = 4
    """Peers, at least, for an alarm: of fewer it says nothing that they are alike."""
    alarm_window: float = 300.0
    """Seconds within which a whole neighbourhood does not change by itself."""
    alarm_interval: float = 600.0
    """Seconds between two alarms of one kind."""

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
        if self.d_score < 0 or self.mesh_per_subnet < 1:
            raise ValueError("d_score is not negative, and a subnet may have one peer in the mesh at least")
        if min(self.max_judged_per_second, self.judged_burst, self.share_inbound, self.share_outbound) <= 0:
            raise ValueError("everybody has a share")
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
