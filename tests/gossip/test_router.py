"""One router, told one thing after the other, and exactly what it wants done about it.

Alice is the router. Bob, Carol and Dave are honest peers, Mallory is not.
"""

import pytest

from protocol.errors import Reason
from protocol.gossip import (
    Deliver,
    Forward,
    Join,
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
    Verdict,
    Wake,
    message_id,
)
from protocol.gossip.rpc import (
    Message,
    Prune,
    Rpc,
    Subscription,
    encode_control,
    encode_graft,
    encode_ihave,
    encode_prune,
    encode_subscription,
)

from .alice import BYE, HELLO, Alice, crowd, message
from .world import OTHER, TOPIC

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
