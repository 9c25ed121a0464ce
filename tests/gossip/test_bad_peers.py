"""What only a bad peer does and what it costs it; and that nothing grows when it does."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.gossip import (
    MESHSUB_1_0,
    Deliver,
    Forward,
    Judgement,
    Params,
    PeerDown,
    PeerUp,
    Verdict,
    message_id,
)
from protocol.gossip.rpc import (
    Prune,
    encode_control,
    encode_graft,
    encode_ihave,
    encode_iwant,
    encode_prune,
    encode_publish,
    encode_subscription,
)

from .alice import GRAFT, HELLO, Alice, ihave, iwant, message, points
from .world import OTHER, TOPIC

# -------------------------------------------------------------------------------------------- what only a bad peer does


def test_grafting_too_early_costs_and_right_after_the_prune_twice() -> None:
    alice = Alice()
    alice.meet("bob", "mallory")
    for peer in ("bob", "mallory"):
        alice.hear(peer, encode_control([encode_prune(TOPIC, 60)]))
    alice.now = 30.0
    alice.hear("bob", GRAFT)
    assert points(alice, "bob") == 0, "one point, and two are tolerated: it may have restarted"
    for _ in range(3):
        alice.hear("mallory", GRAFT)
        alice.now += 0.1
    assert points(alice, "mallory") == pytest.approx(-10 * (1 + 2 + 2 - 2) ** 2, rel=0.01)


def test_who_speaks_1_0_knows_no_backoff_and_is_served_all_the_same() -> None:
    """It asks again every heartbeat, is told PRUNE without a number, and is blamed only for more than that."""
    alice = Alice()
    alice.router.handle(PeerUp("old", False), 0.0)
    alice.router.handle(PeerUp("old", False, MESHSUB_1_0), 0.0)  # known once its stream is open
    alice.hear("old", HELLO + encode_control([encode_prune(TOPIC, None)]))
    alice.said("old")
    assert alice.router.mesh(TOPIC) == ()
    for _ in range(50):
        alice.beat()
        alice.hear("old", GRAFT)
        assert alice.said("old")[-1].prune == (Prune(TOPIC, None),)
    assert points(alice, "old") == 0
    alice.hear("old", message(b"wish"))
    assert alice.count("message.accepted") == 1
    for _ in range(20):
        alice.hear("old", GRAFT)
    assert points(alice, "old") < -1000, "twenty at once is a flood in any version"


def test_promises_that_are_not_kept_cost_a_point_for_each_ihave() -> None:
    """Mallory promises twenty messages in each of five RPCs and sends none; Bob promises as many and sends half."""
    alice = Alice()
    alice.meet("bob", "mallory")
    for number in range(5):
        for peer in ("bob", "mallory"):
            data = [f"{peer} {number} {item}".encode() for item in range(20)]
            alice.hear(peer, ihave(*[message_id(TOPIC, one) for one in data]))
            alice.said(peer)
            if peer == "bob":
                for one in data[:10]:
                    alice.hear(peer, message(one))
    for _ in range(3):
        alice.beat()
    bob, mallory = (alice.router.score(peer, alice.now) for peer in ("bob", "mallory"))
    assert bob is not None
    assert mallory is not None
    assert bob.behaviour == pytest.approx(-10 * 0.5**2, rel=0.01)
    assert mallory.behaviour == pytest.approx(-10 * 3**2, rel=0.01)
    assert not alice.router._asking


def test_a_promise_that_somebody_else_kept_is_no_broken_promise() -> None:
    alice = Alice()
    alice.meet("bob", "carol")
    for number in range(50):
        alice.hear("bob", ihave(message_id(TOPIC, b"%d" % number)))
        alice.said("bob")
        alice.hear("carol", message(b"%d" % number))
    for _ in range(4):
        alice.beat()
    assert points(alice, "bob") >= 0


def test_floods_of_ihave_and_iwant_cost_a_point_a_heartbeat() -> None:
    alice = Alice(params=Params(max_iwant_ids=50))
    alice.meet("bob", "greedy", "noisy", "stubborn")
    alice.router.handle(Forward(TOPIC, b"wish"), alice.now)
    mid = message_id(TOPIC, b"wish")
    for number in range(6):
        alice.hear("greedy", iwant(*[bytes([number, item]) + bytes(18) for item in range(60)]))
        for _ in range(11):
            alice.hear("noisy", ihave(mid))
        for _ in range(4):
            alice.hear("stubborn", iwant(mid))
        alice.hear("bob", iwant(mid) + ihave(mid))
        if number == 0:
            assert alice.count("iwant.flood") == 10
            assert alice.count("ihave.over_cap") == 1
        for peer in ("bob", "greedy", "noisy", "stubborn"):
            alice.said(peer)
        alice.beat(0.1)
    for peer in ("greedy", "noisy", "stubborn"):
        assert points(alice, peer) == pytest.approx(-10 * 4**2, rel=0.02), peer
    score = alice.router.score("bob", alice.now)
    assert score is not None
    assert score.behaviour > -11, "asking for one message again and again is the only thing he did"


def test_a_new_link_is_no_new_leave_to_flood() -> None:
    """Mallory and Bob hang up before the heartbeat and come again, over and over. She says more than anybody may, in
    each life or in several, and it is held against her; he says as much as he may."""
    alice = Alice(params=Params(max_iwant_ids=50))
    mid = message_id(TOPIC, b"wish")
    for life in range(6):
        alice.now += 1.0
        alice.meet("bob", "noisy", "greedy", "patient")
        alice.hear("bob", ihave(mid))
        for _ in range(11):
            alice.hear("noisy", ihave(mid))
        alice.hear("greedy", iwant(*[bytes([life, item]) + bytes(18) for item in range(60)]))
        for half in range(2):
            for _ in range(6):
                alice.hear("patient", ihave(mid))
            if not half:
                alice.router.handle(PeerDown("patient"), alice.now)
                alice.meet("patient")
        for peer in ("bob", "noisy", "greedy", "patient"):
            alice.router.handle(PeerDown(peer), alice.now)
        alice.beat(0.0)
    alice.meet("bob", "noisy", "greedy", "patient")
    for peer in ("noisy", "greedy", "patient"):
        assert points(alice, peer) == pytest.approx(-10 * 4**2, rel=0.05), peer
    assert points(alice, "bob") == 0


def test_a_promise_is_due_though_its_author_hangs_up() -> None:
    """Three seconds after she was asked for what she says she has, and before Alice's next look, Mallory leaves."""
    alice = Alice()
    for life in range(6):
        alice.meet("mallory")
        alice.hear("mallory", ihave(message_id(TOPIC, b"%d" % life)))
        alice.said("mallory")
        alice.now += 3.5
        alice.router.handle(PeerDown("mallory"), alice.now)
    alice.meet("mallory")
    assert alice.count("promise.broken") == 6
    assert points(alice, "mallory") < -100


def test_rpcs_that_no_implementation_sends_cost_a_point_each() -> None:
    alice = Alice()
    alice.meet("mallory")
    for _ in range(6):
        alice.hear("mallory", b"\xff\xff")
    assert points(alice, "mallory") == -160


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
