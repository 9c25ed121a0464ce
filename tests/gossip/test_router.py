"""One router, told one thing after the other, and exactly what it wants done about it.

Alice is the router. Bob, Carol and Dave are honest peers, Mallory is not.
"""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import Reason
from protocol.gossip import (
    MESHSUB_1_0,
    Deliver,
    Effect,
    Forward,
    Heartbeat,
    Join,
    Judge,
    Judgement,
    Leave,
    Misbehaved,
    Outcome,
    Params,
    PeerDown,
    PeerSubscribed,
    PeerUnsubscribed,
    PeerUp,
    Publish,
    Published,
    Router,
    RpcReceived,
    Verdict,
    Wake,
    message_id,
)
from protocol.gossip.mesh import Backoffs
from protocol.gossip.rpc import (
    IHave,
    Message,
    Prune,
    Rpc,
    Subscription,
    decode_rpc,
    encode_control,
    encode_graft,
    encode_ihave,
    encode_iwant,
    encode_prune,
    encode_publish,
    encode_subscription,
)

from .world import OTHER, TOPIC, accept_all, is_ours

HELLO = encode_subscription(TOPIC, True)
BYE = encode_subscription(TOPIC, False)
GRAFT = encode_control([encode_graft(TOPIC)])


class Alice:
    """A router with a hand on its clock, and on what leaves it."""

    def __init__(self, judge: Judge = accept_all, params: Params | None = None, *, join: bool = True) -> None:
        self.router = Router(params or Params(), judge, random.Random(7), is_ours)
        self.now = 0.0
        if join:
            self.router.handle(Join(TOPIC), self.now)

    def hear(self, peer: str, data: bytes) -> list[Effect]:
        return self.router.handle(RpcReceived(peer, data), self.now)

    def meet(self, *peers: str, outbound: bool = False, hello: bytes = HELLO) -> None:
        """Peers come up and say hello; what Alice answers is thrown away."""
        for peer in peers:
            self.router.handle(PeerUp(peer, outbound), self.now)
            self.hear(peer, hello)
            self.said(peer)

    def said(self, peer: str) -> list[Rpc]:
        rpcs = []
        while (rpc := self.router.next_rpc(peer)) is not None:
            rpcs.append(decode_rpc(rpc))
        return rpcs

    def beat(self, seconds: float = 1.0) -> list[Effect]:
        self.now += seconds
        return self.router.handle(Heartbeat(), self.now)

    def count(self, name: str) -> int:
        return self.router.statistics().counters.get(name, 0)


def crowd(count: int) -> list[str]:
    return [f"peer{number:02}" for number in range(count)]


def message(data: bytes, topic: str = TOPIC) -> bytes:
    return encode_publish(topic, data)


# ------------------------------------------------------------------------------------------- greeting and subscribing


def test_a_new_peer_is_told_what_we_carry_and_grafted_when_it_carries_it_too() -> None:
    alice = Alice()
    assert alice.router.handle(PeerUp("bob", True), 0.0) == [Wake("bob")]
    assert alice.said("bob") == [Rpc(subscriptions=(Subscription(True, TOPIC),))]
    assert alice.hear("bob", HELLO) == [PeerSubscribed("bob", TOPIC), Wake("bob")]
    assert alice.said("bob") == [Rpc(graft=(TOPIC,))]
    assert alice.router.mesh(TOPIC) == ("bob",)


def test_a_new_peer_is_told_all_that_we_carry() -> None:
    alice = Alice()
    alice.router.handle(Join(OTHER), 0.0)
    alice.router.handle(PeerUp("bob", False), 0.0)
    assert alice.said("bob") == [Rpc(subscriptions=(Subscription(True, TOPIC), Subscription(True, OTHER)))]
    alice.router.handle(Leave(OTHER), 0.0)
    alice.router.handle(PeerUp("carol", False), 0.0)
    assert alice.said("bob") == [Rpc(subscriptions=(Subscription(False, OTHER),))]
    assert alice.said("carol") == [Rpc(subscriptions=(Subscription(True, TOPIC),))]


def test_wake_is_said_once_until_the_queue_was_emptied() -> None:
    alice = Alice()
    alice.meet("bob")
    assert alice.router.handle(Publish(TOPIC, b"one"), 0.0)[0] == Wake("bob")
    assert not any(isinstance(effect, Wake) for effect in alice.router.handle(Publish(TOPIC, b"two"), 0.0))
    (rpc,) = alice.said("bob")
    assert [entry.data for entry in rpc.messages] == [b"one", b"two"]
    assert alice.router.handle(Publish(TOPIC, b"three"), 0.0)[0] == Wake("bob")


def test_a_peer_that_goes_leaves_nothing_behind() -> None:
    alice = Alice()
    alice.meet("bob")
    alice.router.handle(Publish(TOPIC, b"for bob"), 0.0)
    assert alice.router.handle(PeerDown("bob"), 0.0) == [PeerUnsubscribed("bob", TOPIC)]
    assert alice.router.next_rpc("bob") is None
    assert alice.router.subscribers(TOPIC) == ()
    assert alice.router.mesh(TOPIC) == ()
    assert alice.router.ledger("bob") is None
    assert alice.router.statistics().queued_bytes == 0
    alice.router.handle(PeerUp("bob", False), 1.0)
    assert alice.said("bob") == [Rpc(subscriptions=(Subscription(True, TOPIC),))], "a new link starts afresh"


def test_peers_never_heard_of_are_counted_and_change_nothing() -> None:
    alice = Alice()
    assert alice.hear("nobody", HELLO + message(b"data")) == []
    assert alice.router.handle(PeerDown("nobody"), 0.0) == []
    assert alice.count("unknown_peer") == 2
    assert alice.router.subscribers(TOPIC) == ()


def test_joining_and_leaving_is_announced_to_all_and_pruned_to_the_mesh() -> None:
    alice = Alice(join=False)
    alice.meet("bob")
    alice.meet("carol", hello=b"")
    assert alice.router.handle(Join(TOPIC), 0.0) == [Wake("bob"), Wake("carol")]
    assert alice.said("bob") == [Rpc(subscriptions=(Subscription(True, TOPIC),), graft=(TOPIC,))]
    assert alice.said("carol") == [Rpc(subscriptions=(Subscription(True, TOPIC),))]
    assert alice.router.handle(Join(TOPIC), 0.0) == []

    assert alice.router.handle(Leave(TOPIC), 0.0) == [Wake("bob"), Wake("carol")]
    assert alice.said("bob") == [Rpc(subscriptions=(Subscription(False, TOPIC),), prune=(Prune(TOPIC, 10),))]
    assert alice.said("carol") == [Rpc(subscriptions=(Subscription(False, TOPIC),))]
    assert alice.router.handle(Leave(TOPIC), 0.0) == []

    alice.router.handle(Join(TOPIC), 1.0)
    assert alice.router.mesh(TOPIC) == (), "the back-off of leaving holds for ten seconds"
    alice.now = 1.0
    for _ in range(9):
        alice.beat()
    assert alice.router.mesh(TOPIC) == ()
    alice.beat()
    assert alice.router.mesh(TOPIC) == ("bob",), "and a heartbeat of slack later Bob is back"


def test_a_peer_that_unsubscribes_leaves_the_mesh() -> None:
    alice = Alice()
    alice.meet("bob")
    assert alice.hear("bob", BYE) == [PeerUnsubscribed("bob", TOPIC)]
    assert alice.router.mesh(TOPIC) == ()
    assert alice.hear("bob", BYE) == []


def test_topics_of_other_networks_and_too_many_of_ours_are_not_kept() -> None:
    alice = Alice(params=Params(max_peer_topics=3))
    alice.router.handle(PeerUp("mallory", False), 0.0)
    names = ["intentcast/1/main/intent/mobility", "x" * 10_000, f"intentcast/1/test/intent/{'x' * 200}"]
    assert alice.hear("mallory", b"".join(encode_subscription(name, True) for name in names)) == []
    assert alice.count("subscription.foreign") == 3
    many = [f"intentcast/1/test/intent/{number}" for number in range(10)]
    effects = alice.hear("mallory", b"".join(encode_subscription(name, True) for name in many))
    assert effects == [PeerSubscribed("mallory", name) for name in many[:3]]
    assert alice.count("subscription.over_cap") == 7
    alice.hear("mallory", encode_control([encode_graft(TOPIC)]))
    assert alice.router.mesh(TOPIC) == (), "nor does a GRAFT get around the cap"


# ------------------------------------------------------------------------------------------------ messages, verdicts


def test_an_accepted_message_is_delivered_once_and_goes_to_the_mesh_but_not_back() -> None:
    alice = Alice()
    alice.meet("bob", "carol", "dave")
    mid = message_id(TOPIC, b"a wish")
    assert alice.hear("bob", message(b"a wish")) == [
        Deliver(TOPIC, b"a wish", "bob", mid),
        Wake("carol"),
        Wake("dave"),
    ]
    assert alice.said("bob") == []
    for peer in ("carol", "dave"):
        assert alice.said(peer) == [Rpc(messages=(Message(TOPIC, b"a wish", False),))]
    assert alice.hear("carol", message(b"a wish")) == []
    assert alice.count("message.duplicate") == 1
    bob, carol = alice.router.ledger("bob"), alice.router.ledger("carol")
    assert bob is not None
    assert carol is not None
    assert (bob.first, bob.duplicates) == (1, 0)
    assert (carol.first, carol.duplicates) == (0, 1)


def test_a_copy_that_still_waits_is_not_sent_to_who_just_brought_one() -> None:
    """Bob and Carol tell Alice the same before she has passed on either: Dave alone hears it from her. What left
    already is not missed, and Carol gets what she did not bring."""
    alice = Alice()
    alice.meet("bob", "carol", "dave")
    alice.hear("bob", message(b"one"))
    alice.hear("bob", message(b"two"))
    alice.hear("carol", message(b"one"))
    assert alice.count("sent.withdrawn") == 1
    assert alice.said("carol") == [Rpc(messages=(Message(TOPIC, b"two", False),))]
    assert [len(rpc.messages) for rpc in alice.said("dave")] == [2]
    alice.hear("carol", message(b"two"))
    assert alice.count("sent.withdrawn") == 1
    assert alice.router.statistics().queued_bytes == 0


def test_in_the_queue_of_a_peer_that_does_not_read_nothing_is_looked_for_at_length() -> None:
    """Mallory reads nothing and repeats everything: only among the newest sixteen something is withdrawn."""
    alice = Alice()
    alice.meet("bob", "mallory")
    said = [message(b"%d" % number) for number in range(40)]
    for one in said:
        alice.hear("bob", one)
    for one in said:
        alice.hear("mallory", one)
    assert alice.count("sent.withdrawn") == 16
    assert [len(rpc.messages) for rpc in alice.said("mallory")] == [24]


def test_a_message_is_serialised_once_and_shared_by_all_who_get_it() -> None:
    """Also, what we pass on is our own spelling: fields that somebody hid in the message do not travel on."""
    alice = Alice()
    alice.meet("bob", "carol", "dave")
    body = b"\x12\x01x\x22" + bytes([len(TOPIC)]) + TOPIC.encode() + b"\x7a\x06hidden"
    alice.hear("bob", bytes([0x12, len(body)]) + body)
    one, two = alice.router.next_rpc("carol"), alice.router.next_rpc("dave")
    assert one == two == message(b"x")


def test_an_ignored_message_is_not_muted() -> None:
    """Bob brings a wish while his link is over its share. Carol brings the same bytes a moment later: they are judged
    afresh, delivered and passed on. Nothing about the first copy was remembered, nor was Bob blamed."""
    over_share = True

    def judge(topic: str, data: bytes, via: str, now: float) -> Judgement:
        return Judgement(Verdict.IGNORE, reason="over_share") if over_share else Judgement(Verdict.ACCEPT)

    alice = Alice(judge)
    alice.meet("bob", "carol")
    mid = message_id(TOPIC, b"a wish")
    assert alice.hear("bob", message(b"a wish")) == []
    assert alice.count("message.ignored.over_share") == 1
    assert alice.router.statistics().seen_ids == 0
    assert alice.router.statistics().cached_messages == 0

    # it can still be asked for, and asking for it again is not held back by having got it once
    assert alice.hear("bob", encode_control([encode_ihave(TOPIC, [mid])])) == [Wake("bob")]
    assert alice.said("bob") == [Rpc(iwant=(mid,))]
    assert alice.hear("bob", message(b"a wish")) == []
    assert alice.hear("bob", encode_control([encode_ihave(TOPIC, [mid])])) == [Wake("bob")]

    over_share = False
    assert alice.hear("carol", message(b"a wish"))[0] == Deliver(TOPIC, b"a wish", "carol", mid)
    bob = alice.router.ledger("bob")
    assert bob is not None
    assert (bob.ignored, bob.rejected) == (2, 0)


def test_ignored_and_remembered_is_a_duplicate_from_then_on() -> None:
    judged: list[bytes] = []

    def judge(topic: str, data: bytes, via: str, now: float) -> Judgement:
        judged.append(data)
        return Judgement(Verdict.IGNORE, remember=True, reason="superseded")

    alice = Alice(judge)
    alice.meet("bob")
    alice.hear("bob", message(b"old") + message(b"old"))
    assert judged == [b"old"]
    assert alice.count("message.ignored.superseded") == 1
    assert alice.count("message.duplicate") == 1
    assert alice.hear("bob", encode_control([encode_ihave(TOPIC, [message_id(TOPIC, b"old")])])) == []


def test_a_rejected_message_is_rejected_again_without_being_judged() -> None:
    judged: list[bytes] = []

    def judge(topic: str, data: bytes, via: str, now: float) -> Judgement:
        judged.append(data)
        return Judgement(Verdict.REJECT, reason="signature")

    alice = Alice(judge)
    alice.meet("bob", "mallory")
    assert alice.hear("mallory", message(b"forged")) == []
    assert alice.hear("mallory", message(b"forged")) == []
    assert judged == [b"forged"]
    assert alice.count("message.rejected.signature") == 1
    assert alice.count("message.rejected.again") == 1
    ledger = alice.router.ledger("mallory")
    assert ledger is not None
    assert ledger.rejected == 2
    assert alice.hear("bob", encode_control([encode_ihave(TOPIC, [message_id(TOPIC, b"forged")])])) == []


@pytest.mark.parametrize("number", [1, 3, 5, 6], ids=["from", "seqno", "signature", "key"])
def test_a_signed_message_is_rejected_and_does_not_mute_the_real_one(number: int) -> None:
    """Mallory takes Bob's wish and adds an empty `from` to it. It is rejected, but its id is the same as that of the
    real one: had it been remembered, the real one would be lost."""
    alice = Alice()
    alice.meet("bob", "mallory")
    body = message(b"a wish")[2:] + bytes([number << 3 | 2, 0])
    assert alice.hear("mallory", bytes([0x12, len(body)]) + body) == []
    assert alice.count("message.rejected.rpc_signed") == 1
    assert isinstance(alice.hear("bob", message(b"a wish"))[0], Deliver)


def test_a_message_over_size_is_rejected_unjudged_and_one_off_topic_is_dropped() -> None:
    def judge(topic: str, data: bytes, via: str, now: float) -> Judgement:
        raise AssertionError("not to be judged")

    alice = Alice(judge)
    alice.meet("mallory")
    assert alice.hear("mallory", message(bytes(8193))) == []
    assert alice.count("message.rejected.size") == 1
    assert alice.hear("mallory", message(b"x", OTHER) + message(b"x", "elsewhere")) == []
    assert alice.count("message.not_joined") == 2


def test_a_bad_rpc_is_reported_with_its_reason() -> None:
    alice = Alice()
    alice.meet("mallory")
    assert alice.hear("mallory", b"\xff\xff") == [Misbehaved("mallory", Reason.RPC, "not protobuf")]
    assert alice.hear("mallory", bytes(65537)) == [Misbehaved("mallory", Reason.SIZE, "65537 bytes, at most 65536")]
    assert alice.count("rpc.refused.rpc") == 1
    ledger = alice.router.ledger("mallory")
    assert ledger is not None
    assert ledger.refused_rpcs == 2


def test_a_judge_that_raises_is_a_bug_that_is_seen() -> None:
    def judge(topic: str, data: bytes, via: str, now: float) -> Judgement:
        raise ZeroDivisionError

    alice = Alice(judge)
    alice.meet("bob")
    with pytest.raises(ZeroDivisionError):
        alice.hear("bob", message(b"x"))


# -------------------------------------------------------------------------------------------------------- publishing


def test_publish_says_to_whom_it_goes_and_why_to_nobody() -> None:
    alice = Alice(params=Params(own_queue_bytes=1000))
    mid = message_id(TOPIC, b"wish")

    def publish(data: bytes = b"wish") -> Published:
        effect = alice.router.handle(Publish(TOPIC, data), 0.0)[-1]
        assert isinstance(effect, Published)
        return effect

    assert publish() == Published(TOPIC, mid, (), Outcome.NO_PEERS)
    alice.meet("bob", hello=encode_subscription(OTHER, True))
    assert publish() == Published(TOPIC, mid, (), Outcome.NO_SUBSCRIBERS)
    alice.hear("bob", HELLO)
    assert publish() == Published(TOPIC, mid, ("bob",), Outcome.QUEUED), "saying it again is the author's right"
    assert publish(bytes(900)).outcome is Outcome.QUEUED
    assert publish(bytes(950)).outcome is Outcome.QUEUES_FULL
    assert alice.count("dropped.own") == 1


def test_own_messages_flood_or_go_to_the_mesh_and_a_random_few() -> None:
    flooding = Alice()
    flooding.meet(*crowd(20))
    flooding.beat()
    published = flooding.router.handle(Publish(TOPIC, b"wish"), 1.0)[-1]
    assert isinstance(published, Published)
    assert sorted(published.peers) == crowd(20)

    shy = Alice(params=Params(flood_publish=False, publish_extra=2))
    shy.meet(*crowd(20))
    mesh = shy.router.mesh(TOPIC)
    assert len(mesh) == 5
    published = shy.router.handle(Publish(TOPIC, b"wish"), 1.0)[-1]
    assert isinstance(published, Published)
    assert published.peers[:5] == mesh
    assert len(set(published.peers)) == 7


def test_a_pruned_author_who_does_not_flood_still_speaks_to_six() -> None:
    alice = Alice(params=Params(flood_publish=False, publish_extra=0))
    alice.meet(*crowd(10))
    for peer in crowd(10):
        alice.hear(peer, encode_control([encode_prune(TOPIC, 60)]))
    assert alice.router.mesh(TOPIC) == ()
    published = alice.router.handle(Publish(TOPIC, b"wish"), 1.0)[-1]
    assert isinstance(published, Published)
    assert len(set(published.peers)) == 6


def test_a_publisher_that_does_not_carry_the_topic_keeps_to_a_few_for_a_minute() -> None:
    """Fan-out: chosen once, refilled when they go, told to later subscribers by IHAVE, forgotten when silent."""
    alice = Alice(params=Params(flood_publish=False, publish_extra=0), join=False)
    alice.meet(*crowd(10))
    published = alice.router.handle(Publish(TOPIC, b"one"), 0.0)[-1]
    assert isinstance(published, Published)
    assert len(published.peers) == 6
    again = alice.router.handle(Publish(TOPIC, b"two"), 0.0)[-1]
    assert isinstance(again, Published)
    assert set(again.peers) == set(published.peers)

    alice.router.handle(PeerDown(published.peers[0]), 0.0)
    alice.beat()
    others = [peer for peer in crowd(10) if peer not in published.peers]
    hearing = [peer for peer in others if any(rpc.ihave for rpc in alice.said(peer))]
    assert len(hearing) == 3, "one of the four has taken the place of the one that went"

    third = alice.router.handle(Publish(TOPIC, b"three"), 1.0)[-1]
    assert isinstance(third, Published)
    assert len(third.peers) == 6
    assert set(published.peers[1:]) < set(third.peers)
    alice.router.handle(Join(TOPIC), 2.0)
    assert set(alice.router.mesh(TOPIC)) == set(third.peers), "joining turns the fan-out into the mesh"


def test_fanout_is_forgotten_after_a_minute_of_silence() -> None:
    alice = Alice(join=False)
    alice.meet(*crowd(3))
    alice.router.handle(Publish(TOPIC, b"one"), 0.0)
    for _ in range(60):
        alice.beat()
    assert list(alice.router._overlay.fanouts) == [TOPIC]
    alice.beat()
    assert not alice.router._overlay.fanouts


def test_a_message_learned_elsewhere_is_passed_on_once_and_only_to_the_mesh() -> None:
    alice = Alice(params=Params(d=1, d_low=1, d_out=0))
    alice.meet("bob", "carol")
    assert alice.router.mesh(TOPIC) == ("bob",)
    mid = message_id(TOPIC, b"wish")
    assert alice.router.handle(Forward(TOPIC, b"wish"), 0.0) == [
        Wake("bob"),
        Published(TOPIC, mid, ("bob",), Outcome.QUEUED),
    ]
    assert alice.router.handle(Forward(TOPIC, b"wish"), 0.0) == [Published(TOPIC, mid, (), Outcome.SEEN)]
    assert alice.hear("carol", message(b"wish")) == [], "a copy that comes by gossip is a duplicate"
    effect = alice.router.handle(Forward(OTHER, b"wish"), 0.0)[-1]
    assert isinstance(effect, Published)
    assert effect.outcome is Outcome.NOT_JOINED
    alice.hear("bob", encode_control([encode_prune(TOPIC, 60)]))
    effect = alice.router.handle(Forward(TOPIC, b"other"), 0.0)[-1]
    assert isinstance(effect, Published)
    assert effect.outcome is Outcome.ONLY_GOSSIP


def test_mistakes_of_our_own_are_raised() -> None:
    alice = Alice(params=Params(max_topics=2))
    for bad in (Join("elsewhere"), Publish("elsewhere", b""), Publish(TOPIC, bytes(8193)), Forward(TOPIC, bytes(8193))):
        with pytest.raises(ValueError, match=r"topic|message"):
            alice.router.handle(bad, 0.0)
    alice.router.handle(Join(OTHER), 0.0)
    with pytest.raises(ValueError, match="at most 2"):
        alice.router.handle(Join("intentcast/1/test/intent/food"), 0.0)


# ---------------------------------------------------------------------------------------------------------- the mesh


def test_the_heartbeat_fills_the_mesh_and_a_full_one_says_no() -> None:
    alice = Alice()
    alice.meet(*crowd(4))
    assert len(alice.router.mesh(TOPIC)) == 4
    alice.meet(*crowd(20))
    assert len(alice.router.mesh(TOPIC)) == 5, "grafted as they come, until there are enough"
    for peer in crowd(20):
        alice.hear(peer, GRAFT)
    assert len(alice.router.mesh(TOPIC)) == 12
    refused = [peer for peer in crowd(20) if alice.said(peer) == [Rpc(prune=(Prune(TOPIC, 15),))]]
    assert sorted((*alice.router.mesh(TOPIC), *refused)) == crowd(20), "they may soon ask again: they did nothing wrong"
    assert alice.count("graft.full") == 8


def test_a_full_mesh_still_takes_a_peer_we_dialled_and_pruning_keeps_two_of_them() -> None:
    """Twelve inbound strangers cannot become our whole mesh."""
    alice = Alice()
    alice.meet(*crowd(20))
    for peer in crowd(20):
        alice.hear(peer, GRAFT)
    alice.meet("olga", "oscar", outbound=True)
    alice.hear("olga", GRAFT)
    alice.hear("oscar", GRAFT)
    assert len(alice.router.mesh(TOPIC)) == 14
    before = set(alice.router.mesh(TOPIC))
    alice.beat()
    after = set(alice.router.mesh(TOPIC))
    assert len(after) == 6
    assert {"olga", "oscar"} < after
    for peer in before - after:
        assert Rpc(prune=(Prune(TOPIC, 60),)) in alice.said(peer)


def test_the_heartbeat_grafts_peers_we_dialled_until_there_are_two() -> None:
    alice = Alice()
    alice.meet(*crowd(6))
    alice.meet("olga", "oscar", "otto", outbound=True)
    assert len(alice.router.mesh(TOPIC)) == 5
    alice.beat()
    mesh = set(alice.router.mesh(TOPIC))
    assert len(mesh) == 7
    assert len(mesh & {"olga", "oscar", "otto"}) == 2


def test_a_pruned_peer_is_left_alone_until_its_backoff_is_over() -> None:
    alice = Alice()
    alice.meet("bob")
    alice.hear("bob", encode_control([encode_prune(TOPIC, 30)]))
    assert alice.router.mesh(TOPIC) == ()
    for _ in range(30):
        alice.beat()
    assert alice.said("bob") == []
    alice.beat()
    assert alice.said("bob") == [Rpc(graft=(TOPIC,))], "after the back-off and a heartbeat of slack"


@pytest.mark.parametrize(("said", "held"), [(None, 60), (0, 60), (2**64 - 1, 600)])
def test_a_prune_without_backoff_means_the_usual_one_and_no_peer_can_ask_for_for_ever(
    said: int | None, held: int
) -> None:
    alice = Alice()
    alice.meet("bob")
    alice.hear("bob", encode_control([encode_prune(TOPIC, said)]))
    alice.beat(held + 0.9)
    assert alice.router.mesh(TOPIC) == ()
    alice.beat(0.2)
    assert alice.router.mesh(TOPIC) == ("bob",)


def test_a_graft_within_the_backoff_is_refused_and_written_down() -> None:
    alice = Alice()
    alice.meet("mallory")
    alice.hear("mallory", encode_control([encode_prune(TOPIC, 60)]))
    alice.now = 59.0
    alice.hear("mallory", GRAFT)
    assert alice.router.mesh(TOPIC) == ()
    assert alice.said("mallory") == [Rpc(prune=(Prune(TOPIC, 60),))]
    ledger = alice.router.ledger("mallory")
    assert ledger is not None
    assert ledger.early_grafts == 1
    alice.router.handle(PeerDown("mallory"), 60.0)
    alice.now = 61.0
    alice.meet("mallory")
    alice.hear("mallory", GRAFT)
    assert alice.router.mesh(TOPIC) == (), "a new link does not undo it, and the attempt made it longer"
    alice.now = 61.0 + 240.0
    alice.hear("mallory", GRAFT)
    assert alice.router.mesh(TOPIC) == ("mallory",), "over, and forgotten"


def test_a_graft_for_a_topic_we_are_not_in_is_pruned_if_it_is_ours_and_else_ignored() -> None:
    alice = Alice()
    alice.meet("bob")
    alice.hear("bob", encode_control([encode_graft(OTHER), encode_graft("elsewhere"), encode_prune("elsewhere", 5)]))
    assert alice.said("bob") == [Rpc(prune=(Prune(OTHER, 10),))]
    assert alice.count("graft.foreign") == 1
    assert alice.count("prune.not_joined") == 1


def test_a_peer_that_speaks_1_0_is_not_told_a_backoff() -> None:
    alice = Alice()
    alice.router.handle(PeerUp("bob", False, MESHSUB_1_0), 0.0)
    alice.hear("bob", encode_control([encode_graft(OTHER)]))
    assert alice.said("bob")[0].prune == (Prune(OTHER, None),)


def test_who_grafts_is_in_the_topic() -> None:
    """Its subscription may have got lost; some implementations say it with the GRAFT only."""
    alice = Alice()
    alice.meet("bob", hello=b"")
    assert alice.hear("bob", GRAFT)[0] == PeerSubscribed("bob", TOPIC)
    assert alice.router.mesh(TOPIC) == ("bob",)


# ------------------------------------------------------------------------------------------------------ IHAVE, IWANT


def ihave(*ids: bytes, topic: str = TOPIC) -> bytes:
    return encode_control([encode_ihave(topic, ids)])


def iwant(*ids: bytes) -> bytes:
    return encode_control([encode_iwant(ids)])


def test_those_outside_the_mesh_all_hear_of_a_message_within_the_gossip_window() -> None:
    alice = Alice()
    alice.meet(*crowd(50))
    alice.beat()  # those who came since the last heartbeat are told apart; from now on they take turns
    alice.router.handle(Forward(TOPIC, b"wish"), alice.now)
    mid = message_id(TOPIC, b"wish")
    outside = [peer for peer in crowd(50) if peer not in alice.router.mesh(TOPIC)]
    for peer in crowd(50):
        alice.said(peer)
    told: list[str] = []
    for _ in range(3):
        alice.beat()
        for peer in crowd(50):
            for rpc in alice.said(peer):
                assert rpc == Rpc(ihave=(IHave(TOPIC, (mid,)),))
                told.append(peer)
    assert sorted(told) == sorted(outside), "each of them, once"
    alice.beat()
    assert not any(alice.said(peer) for peer in crowd(50))


def test_a_newcomer_is_told_what_can_still_be_had_even_if_it_is_in_the_mesh() -> None:
    alice = Alice()
    alice.router.handle(Publish(TOPIC, b"wish"), 0.0)
    alice.beat()
    alice.beat()
    alice.meet("bob")
    assert alice.router.mesh(TOPIC) == ("bob",)
    alice.beat()
    assert alice.said("bob") == [Rpc(ihave=(IHave(TOPIC, (message_id(TOPIC, b"wish"),)),))]
    alice.hear("bob", iwant(message_id(TOPIC, b"wish")))
    assert alice.said("bob") == [Rpc(messages=(Message(TOPIC, b"wish", False),))]
    alice.beat()
    assert alice.said("bob") == []


def test_who_comes_into_the_mesh_is_told_of_what_was_not_sent_to_it() -> None:
    """Said a moment before the GRAFT: too early to be sent to Bob, and in the mesh nobody waits for a turn."""
    alice = Alice(params=Params(flood_publish=False))
    alice.meet(*crowd(6), "bob", outbound=True)
    alice.beat()
    alice.router.handle(Forward(TOPIC, b"wish"), alice.now)
    assert alice.said("bob") == []
    alice.hear("bob", GRAFT)
    assert "bob" in alice.router.mesh(TOPIC)
    alice.beat()
    assert alice.said("bob") == [Rpc(ihave=(IHave(TOPIC, (message_id(TOPIC, b"wish"),)),))]


def test_all_hear_of_a_message_in_time_though_the_mesh_changes_meanwhile() -> None:
    """Those who leave the mesh have waited longest, and come first; the last in line must not miss it for that."""
    alice = Alice(params=Params(d=12, d_low=1, d_out=0))
    alice.meet(*crowd(40))
    for peer in crowd(12):
        alice.hear(peer, GRAFT)
    for number in range(3):
        alice.router.handle(Forward(TOPIC, b"before %d" % number), alice.now)
        alice.beat()
    for peer in crowd(40):
        alice.said(peer)
    alice.router.handle(Forward(TOPIC, b"wish"), alice.now)
    mesh = alice.router.mesh(TOPIC)
    for number in range(3):
        alice.beat()
        if number == 0:
            for peer in mesh[1:]:
                alice.hear(peer, encode_control([encode_prune(TOPIC, 60)]))
    mid = message_id(TOPIC, b"wish")
    heard = {peer for peer in crowd(40) for rpc in alice.said(peer) for entry in rpc.ihave if mid in entry.ids}
    assert heard >= {*crowd(40)} - {*mesh}


def test_what_came_by_hearsay_goes_on_by_hearsay_at_once() -> None:
    """Where our mesh failed, that of others may have failed as well. To all outside the mesh that keep up with us, but
    to Bob, who told us, only so often in the time of a heartbeat, and together what came together."""
    alice = Alice()
    alice.meet(*crowd(10), "bob", "slow")
    alice.beat()
    outside = sorted({*crowd(10)} - {*alice.router.mesh(TOPIC)})
    assert len(outside) == 5
    alice.hear("slow", ihave(message_id(TOPIC, b"never")))  # our IWANT waits
    words = [b"wish %d" % number for number in range(10)]
    ids = [message_id(TOPIC, word) for word in words]

    def told_when_bob_brings(count: int) -> dict[str, list[Rpc]]:
        """The next of them, in one RPC."""
        some, words[:count] = words[:count], []
        alice.hear("bob", ihave(*[message_id(TOPIC, word) for word in some]))
        alice.said("bob")
        alice.hear("bob", b"".join([message(word) for word in some]))
        return {peer: rpcs for peer in outside if (rpcs := alice.said(peer))}

    assert told_when_bob_brings(2) == {peer: [Rpc(ihave=(IHave(TOPIC, tuple(ids[:2])),))] for peer in outside}
    for _ in range(3):
        assert len(told_when_bob_brings(1)) == 5
    assert told_when_bob_brings(1) == {}, "enough until the heartbeat"
    assert alice.count("ihave.prompt") == 4
    (rpc,) = alice.said("slow")
    assert (rpc.iwant, rpc.ihave) == ((message_id(TOPIC, b"never"),), ())
    alice.beat()
    assert sorted(alice.said(outside[0])[0].ihave[0].ids) == sorted(ids[:6])
    assert len(told_when_bob_brings(1)) == 5


def test_nobody_is_told_more_often_than_it_reads() -> None:
    """Others read ten RPCs with IHAVE between two heartbeats of theirs, which may be late. Bob brings new things by
    hearsay all the time, and most of them right before and after our heartbeats."""
    alice = Alice()
    alice.meet(*crowd(10), "bob")
    alice.beat()
    outside = next(peer for peer in crowd(10) if peer not in alice.router.mesh(TOPIC))
    told: list[float] = []

    def look() -> None:
        told.extend(alice.now for rpc in alice.said(outside) if rpc.ihave)

    for number, at in enumerate(base + at for base in range(1, 31, 3) for at in (0.9, 0.95, 1.0, 1.02, 2.0, 2.02)):
        alice.now = at
        if at == int(at):
            alice.beat(0)
            look()
        for word in (b"%d a" % number, b"%d b" % number):
            alice.hear("bob", ihave(message_id(TOPIC, word)))
            alice.hear("bob", message(word))
            look()
    assert len(told) > 60
    late = 1.2 * Params().heartbeat_interval
    most = max(sum(begin <= at < begin + late for at in told) for begin in told)
    assert most <= Params().max_ihave_rpcs


def test_what_the_mesh_brings_is_told_at_the_heartbeat() -> None:
    alice = Alice()
    alice.meet(*crowd(10))
    alice.beat()
    outside = [peer for peer in crowd(10) if peer not in alice.router.mesh(TOPIC)]
    alice.hear(alice.router.mesh(TOPIC)[0], message(b"wish"))
    alice.hear(outside[0], message(b"flooded"))
    assert not any(alice.said(peer) for peer in outside)
    assert alice.count("ihave.prompt") == 0


def test_what_we_do_not_have_is_asked_for_once_and_must_come_in_time() -> None:
    alice = Alice()
    alice.meet("bob", "carol")
    mid = message_id(TOPIC, b"wish")
    assert alice.hear("bob", ihave(mid, mid, b"not an id of ours")) == [Wake("bob")]
    assert alice.said("bob") == [Rpc(iwant=(mid,))]
    assert alice.hear("bob", ihave(mid)) == [], "asked already"
    assert alice.hear("carol", ihave(mid)) == [Wake("carol")], "Bob may be lying, so Carol is asked too"
    alice.said("carol")
    alice.hear("carol", message(b"wish"))
    for _ in range(3):
        alice.beat()
    assert alice.count("promise.broken") == 0, "we got it from somebody"

    other = message_id(TOPIC, b"other")
    alice.hear("bob", ihave(other))
    alice.said("bob")
    for _ in range(3):
        alice.beat()
    ledger = alice.router.ledger("bob")
    assert ledger is not None
    assert ledger.broken_promises == 1
    assert alice.hear("bob", ihave(other)) == [Wake("bob")], "and may be asked again"


def test_a_peer_we_cannot_write_to_is_not_blamed_for_not_answering() -> None:
    alice = Alice()
    alice.meet("bob")
    alice.hear("bob", ihave(message_id(TOPIC, b"wish")))
    for _ in range(3):
        alice.beat()
    ledger = alice.router.ledger("bob")
    assert ledger is not None
    assert ledger.broken_promises == 0
    assert alice.said("bob") == [], "it is too late to ask now"
    assert alice.count("dropped.iwant") == 1


def test_ihave_about_topics_we_are_not_in_is_not_acted_upon() -> None:
    alice = Alice()
    alice.meet("bob")
    assert alice.hear("bob", ihave(bytes(20), topic=OTHER)) == []


def test_ihave_is_capped_per_heartbeat_and_per_peer() -> None:
    alice = Alice(params=Params(max_asked=100))
    alice.meet("mallory", "bob")
    fresh = (number.to_bytes(20, "big") for number in range(10**6))
    for _ in range(20):
        alice.hear("mallory", ihave(*(next(fresh) for _ in range(30))))
    asked = [mid for rpc in alice.said("mallory") for mid in rpc.iwant]
    assert len(asked) == len(set(asked)) == 100
    assert alice.count("ihave.over_cap") == 10
    assert alice.count("iwant.over_cap") == 200
    alice.hear("bob", ihave(next(fresh)))
    assert len(alice.said("bob")) == 1, "Mallory's noise does not make Bob unheard"
    for _ in range(3):
        alice.beat()
    alice.hear("mallory", ihave(next(fresh)))
    assert len(alice.said("mallory")) == 1, "after the heartbeat, and what she owes being settled, she is heard again"


def test_what_a_peer_owes_and_is_not_due_is_forgotten_when_it_goes() -> None:
    """Bob's link broke. On the next he does not know what he was asked, and nobody blames him."""
    alice = Alice()
    alice.meet("bob")
    alice.hear("bob", ihave(message_id(TOPIC, b"wish")))
    alice.said("bob")
    alice.router.handle(PeerDown("bob"), 0.0)
    assert not alice.router._hearsay.asking
    for _ in range(4):
        alice.beat()
    assert alice.count("promise.broken") == 0


def test_one_ihave_speaks_of_a_bounded_number_of_messages_and_the_cache_holds_bounded_bytes() -> None:
    alice = Alice(params=Params(max_ihave_ids=10, cache_bytes=20_000, d=1, d_low=1, d_out=0))
    alice.meet("bob", "carol")
    alice.beat()
    for number in range(50):
        alice.router.handle(Forward(TOPIC, bytes([number]) * 1000), alice.now)
        statistics = alice.router.statistics()
        assert statistics.cached_bytes <= 20_000
    assert statistics.cached_messages == 19
    assert statistics.counters["cache.evicted"] == 31
    alice.beat()
    (rpc,) = alice.said("carol")
    newest = {message_id(TOPIC, bytes([number]) * 1000) for number in range(31, 50)}
    assert len(set(rpc.ihave[0].ids)) == 10
    assert set(rpc.ihave[0].ids) < newest
    assert alice.count("ihave.ids_left_out") == 9


def test_a_message_is_given_to_one_peer_three_times_and_no_more() -> None:
    alice = Alice()
    alice.meet("bob", "mallory")
    mid = message_id(TOPIC, b"wish")
    alice.router.handle(Publish(TOPIC, b"wish"), 0.0)
    alice.said("bob")
    alice.said("mallory")
    alice.hear("mallory", iwant(*[mid] * 1000, b"unknown"))
    assert alice.said("mallory") == [Rpc(messages=(Message(TOPIC, b"wish", False),) * 3)]
    assert alice.count("iwant.over_served") == 997
    alice.hear("bob", iwant(mid))
    assert alice.said("bob") == [Rpc(messages=(Message(TOPIC, b"wish", False),))]
    for _ in range(6):
        alice.beat()
        alice.said("bob")
    alice.hear("bob", iwant(mid))
    assert alice.said("bob") == [], "after six heartbeats it is gone"


def test_a_message_is_spoken_about_for_three_heartbeats_and_given_for_six() -> None:
    """Each heartbeat a newcomer is told of what is spoken about, and Bob asks for what can be had."""
    alice = Alice()
    alice.meet("bob")
    mid = message_id(TOPIC, b"wish")
    alice.router.handle(Forward(TOPIC, b"wish"), alice.now)
    alice.said("bob")
    told: list[bool] = []
    given: list[bool] = []
    for newcomer in crowd(8):
        alice.meet(newcomer)
        alice.beat()
        told.append(alice.said(newcomer) == [Rpc(ihave=(IHave(TOPIC, (mid,)),))])
        alice.meet(f"{newcomer} asks")
        alice.hear(f"{newcomer} asks", iwant(mid))
        given.append(alice.said(f"{newcomer} asks") == [Rpc(messages=(Message(TOPIC, b"wish", False),))])
    assert told == [True] * 3 + [False] * 5
    assert given == [True] * 5 + [False] * 3, "the sixth heartbeat takes it"


def test_ids_are_forgotten_after_a_while_and_then_judged_afresh() -> None:
    judged: list[bytes] = []

    def judge(topic: str, data: bytes, via: str, now: float) -> Judgement:
        judged.append(data)
        return Judgement(Verdict.ACCEPT if data == b"good" else Verdict.REJECT)

    alice = Alice(judge)
    alice.meet("bob")
    alice.hear("bob", message(b"good") + message(b"bad"))
    for _ in range(119):
        alice.beat()
    alice.hear("bob", message(b"good") + message(b"bad"))
    assert judged == [b"good", b"bad"]
    for _ in range(130):
        alice.beat()
    alice.hear("bob", message(b"good") + message(b"bad"))
    assert judged == [b"good", b"bad"] * 2
    assert alice.router.statistics().seen_ids == 2


def test_too_many_ids_push_out_the_oldest_of_their_own_kind_only() -> None:
    """Mallory's garbage cannot make Alice forget what she accepted."""

    def judge(topic: str, data: bytes, via: str, now: float) -> Judgement:
        return Judgement(Verdict.REJECT if via == "mallory" else Verdict.ACCEPT)

    alice = Alice(judge, Params(seen_max=10, rejected_max=10))
    alice.meet("bob", "mallory")
    alice.hear("bob", message(b"wish"))
    for number in range(100):
        alice.hear("mallory", message(b"garbage %d" % number))
    assert alice.router.statistics().seen_ids <= 11
    assert alice.hear("bob", message(b"wish")) == []
    assert alice.count("message.duplicate") == 1


def test_backoffs_are_extended_never_shortened_and_bounded() -> None:
    backoffs = Backoffs(3)
    backoffs.add(TOPIC, "mallory", 60.0)
    backoffs.add(TOPIC, "mallory", 10.0)
    assert backoffs.blocks(TOPIC, "mallory", 59.0)
    assert not backoffs.blocks(TOPIC, "mallory", 60.0)
    assert not backoffs.blocks(OTHER, "mallory", 0.0)
    for number in range(5):
        backoffs.add(TOPIC, f"sybil{number}", 60.0)
    assert len(backoffs) == 3
    assert backoffs.dropped == 3
    assert backoffs.blocks(TOPIC, "sybil4", 0.0)
    backoffs.sweep(60.0)
    assert len(backoffs) == 0


# ------------------------------------------------------------------------------------------------------ slow and bad


def test_a_slow_peer_costs_itself_and_is_counted() -> None:
    """Carol does not read. What waits for her is bounded, Dave gets everything, and she can ask for the rest."""
    alice = Alice(params=Params(forward_queue_bytes=10_000))
    alice.meet("bob", "carol", "dave")
    for number in range(100):
        alice.hear("bob", message(number.to_bytes(2, "big") * 500))
    assert alice.router.statistics().queued_bytes <= 10_000 + 110_000
    dave = [entry.data for rpc in alice.said("dave") for entry in rpc.messages]
    carol = [entry.data for rpc in alice.said("carol") for entry in rpc.messages]
    assert len(carol) == 9
    assert dave[:9] == carol
    assert alice.count("dropped.forwarded") == 2 * 91  # nobody read while this happened, Dave neither


def memory_of(alice: Alice) -> dict[str, int]:
    """How many things Alice keeps, table by table."""
    router = alice.router
    mallory = router._peers["mallory"]
    return {
        "topics of a peer": len(mallory.topics),
        "asked": len(router._asking[mallory].ids) if mallory in router._asking else 0,
        "subscribers": len(router._overlay.subscribers),
        "backoffs": len(router._overlay.meshes.backoffs),
        "seen": len(router._seen) + len(router._rejected),
        "cache": len(router._cache),
        "waiting control": len(mallory.outbox._grafts) + len(mallory.outbox._ihave) + len(mallory.outbox._iwant),
        "waiting subscriptions": len(mallory.outbox._subscriptions),
        "waiting bytes": mallory.outbox.size,
        "ledger words": len(router._counts),
    }


def flood_of_ihave(rng: random.Random) -> bytes:
    return ihave(*[rng.randbytes(20) for _ in range(300)])


def flood_of_graft(rng: random.Random) -> bytes:
    names = [f"intentcast/1/test/intent/{rng.random()}" for _ in range(100)]
    return encode_control([encode_graft(name) for name in names] + [encode_graft(TOPIC), encode_prune(TOPIC, 1)])


def flood_of_subscriptions(rng: random.Random) -> bytes:
    return b"".join(encode_subscription(f"intentcast/1/test/intent/{rng.random()}", True) for _ in range(200))


def flood_of_garbage(rng: random.Random) -> bytes:
    return rng.randbytes(500)


def flood_of_bad_messages(rng: random.Random) -> bytes:
    return b"".join(message(rng.randbytes(50)) for _ in range(50))


@pytest.mark.parametrize(
    "flood",
    [flood_of_ihave, flood_of_graft, flood_of_subscriptions, flood_of_garbage, flood_of_bad_messages],
)
def test_mallory_floods_and_nothing_grows_without_bound(flood: Callable[[random.Random], bytes]) -> None:
    """She sends hundreds of RPCs and reads nothing. Every table stays within its cap, and Bob is served as ever."""

    def judge(topic: str, data: bytes, via: str, now: float) -> Judgement:
        return Judgement(Verdict.REJECT, reason="frame") if via == "mallory" else Judgement(Verdict.ACCEPT)

    params = Params(max_asked=200, rejected_max=1000, control_queue=50, max_backoffs=100)
    alice = Alice(judge, params)
    alice.meet("mallory", "bob", "carol")
    rng = random.Random(3)
    caps = {
        "topics of a peer": params.max_peer_topics,
        "asked": 200,
        "subscribers": params.max_peer_topics + 1,
        "backoffs": 100,
        "seen": 1000,
        "cache": 0,
        "waiting control": 50 + 200,
        "waiting subscriptions": 1,
        "waiting bytes": params.own_queue_bytes + params.forward_queue_bytes,
        "ledger words": 60,
    }
    for step in range(150):
        alice.hear("mallory", flood(rng))
        if step % 10 == 0:
            alice.beat()
        for what, size in memory_of(alice).items():
            assert size <= caps[what], what
    assert isinstance(alice.hear("bob", message(b"a wish"))[0], Deliver)
    assert [entry.data for rpc in alice.said("carol") for entry in rpc.messages] == [b"a wish"]


pieces = st.one_of(
    st.binary(max_size=60),
    st.builds(encode_subscription, st.sampled_from([TOPIC, OTHER, "x"]), st.booleans()),
    st.builds(encode_publish, st.sampled_from([TOPIC, OTHER, "x"]), st.binary(max_size=20)),
    st.builds(
        lambda parts: encode_control(parts),
        st.lists(
            st.one_of(
                st.binary(max_size=10),
                st.builds(encode_graft, st.sampled_from([TOPIC, OTHER, ""])),
                st.builds(encode_prune, st.sampled_from([TOPIC, OTHER]), st.none() | st.integers(0, 2**64 - 1)),
                st.builds(encode_ihave, st.sampled_from([TOPIC, OTHER]), st.lists(st.binary(max_size=22), max_size=5)),
                st.builds(encode_iwant, st.lists(st.binary(max_size=22), max_size=5)),
            ),
            max_size=5,
        ),
    ),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(pieces, max_size=4).map(b"".join), max_size=12))
def test_no_bytes_make_the_router_raise_and_its_tables_agree(rpcs: list[bytes]) -> None:
    """Garbage, and well-formed lies in any order. Afterwards the mesh is made of subscribers, and every subscriber is
    a peer that is up."""
    alice = Alice()
    alice.meet("mallory", "bob")
    for data in rpcs:
        alice.hear("mallory", data)
        alice.beat(0.5)
        router = alice.router
        assert set(router.mesh(TOPIC)) <= set(router.subscribers(TOPIC)) <= {"mallory", "bob"}
        for topic in (TOPIC, OTHER):
            assert ("mallory" in router.subscribers(topic)) == (topic in router._peers["mallory"].topics)
        alice.said("mallory")
    alice.router.handle(PeerDown("mallory"), alice.now)
    assert not alice.router._hearsay.asking
    assert alice.router.statistics().peers == 1
