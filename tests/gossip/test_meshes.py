"""Who comes into the mesh, who stays, who makes room, and who waits: one router at a time."""

import random
from collections.abc import Collection

import pytest

from protocol.gossip import (
    MESHSUB_1_0,
    Params,
    PeerDown,
    PeerSubscribed,
    PeerUp,
    RpcReceived,
    ScoreParams,
    TopicScore,
    any_place,
    message_id,
)
from protocol.gossip.mesh import Backoffs, choose_survivors
from protocol.gossip.rpc import (
    Prune,
    Rpc,
    encode_control,
    encode_graft,
    encode_prune,
)

from .alice import GRAFT, Alice, Careful, crowd, ihave, message, points
from .world import OTHER, TOPIC


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


# ------------------------------------------------------------------------------------------------ below zero: the mesh


def test_a_peer_below_zero_is_put_out_of_the_mesh_and_not_taken_in_again() -> None:
    alice = Careful()
    alice.meet("bob", "mallory")
    alice.opinion["mallory"] = -1.0
    alice.beat()
    assert alice.router.mesh(TOPIC) == ("bob",)
    assert alice.said("mallory") == [Rpc(prune=(Prune(TOPIC, 60),))]
    assert alice.count("prune.low_score") == 1
    alice.now = 100.0
    alice.beat()
    assert alice.router.mesh(TOPIC) == ("bob",), "nor do we ask it back when the back-off is over"
    alice.hear("mallory", GRAFT)
    assert alice.router.mesh(TOPIC) == ("bob",)
    assert alice.said("mallory")[-1].prune == (Prune(TOPIC, 60),)
    assert alice.count("graft.low_score") == 1
    alice.opinion["mallory"] = 0.0
    alice.now = 200.0
    alice.beat()
    assert set(alice.router.mesh(TOPIC)) == {"bob", "mallory"}, "forgiven"


def test_a_mesh_that_is_cut_back_keeps_the_best_four_and_two_that_we_dialled() -> None:
    alice = Careful()
    alice.meet(*crowd(20))
    alice.meet("dialled0", "dialled1", outbound=True)
    for peer in crowd(20)[:12]:
        alice.hear(peer, GRAFT)
    for number, peer in enumerate(("peer02", "peer07", "peer08", "peer11")):
        alice.earn(peer, 5 + number)
    alice.hear("dialled0", GRAFT)
    alice.hear("dialled1", GRAFT)
    assert len(alice.router.mesh(TOPIC)) == 14
    alice.beat()
    assert set(alice.router.mesh(TOPIC)) == {"peer02", "peer07", "peer08", "peer11", "dialled0", "dialled1"}


def test_the_rest_of_a_mesh_is_drawn_so_that_newcomers_have_a_chance() -> None:
    router = Careful()
    router.meet(*crowd(13))
    peers = list(router.router._peers.values())
    worth = {peer: float(number) for number, peer in enumerate(peers)}
    stayed: set[str] = set()
    for seed in range(60):
        stay = choose_survivors(peers, Params(), random.Random(seed), worth.__getitem__)
        assert len(stay) == 6
        assert {peer.id for peer in stay} >= {"peer09", "peer10", "peer11", "peer12"}
        stayed |= {peer.id for peer in stay}
    assert stayed == set(crowd(13))


def test_a_poor_mesh_is_offered_two_better_peers_a_minute() -> None:
    """Opportunistic grafting. Those in the mesh bring nothing; Carol, Dave and Erin, outside, answered when asked."""
    alice = Careful()
    alice.meet(*crowd(6), outbound=True)
    alice.meet("carol", "dave", "erin", "frank")
    for _ in range(59):
        alice.beat()
    for helper in ("carol", "dave", "erin"):
        alice.earn(helper, 3)
    alice.beat()
    before = set(alice.router.mesh(TOPIC))
    assert not before & {"carol", "dave", "erin", "frank"}
    alice.beat()
    came = set(alice.router.mesh(TOPIC)) - before
    assert len(came) == 2
    assert came < {"carol", "dave", "erin"}
    assert alice.count("graft.opportunistic") == 2


def test_a_mesh_that_works_and_a_mesh_where_all_is_silent_are_left_alone() -> None:
    for is_silent in (True, False):
        alice = Careful(app_score=None)
        alice.meet(*crowd(6), outbound=True)
        alice.meet("carol")
        before = set(alice.router.mesh(TOPIC))
        for second in range(300):
            if not is_silent and second % 30 == 0:
                for peer in before:
                    alice.earn(peer, 1)
                alice.earn("carol", 3)
            alice.beat()
        assert is_silent == (points(alice, "carol") == 0), "Carol is better, but the mesh is good enough"
        assert set(alice.router.mesh(TOPIC)) == before
        assert alice.count("graft.opportunistic") == 0


def test_a_full_but_poor_mesh_takes_in_who_has_proven_better() -> None:
    """Else two nodes whose meshes are both full of silent peers could never come together."""
    alice = Careful()
    alice.meet(*crowd(12), "bob", "carol")
    for peer in crowd(12):
        alice.hear(peer, GRAFT)
    assert len(alice.router.mesh(TOPIC)) == 12
    alice.earn("bob", 3)
    alice.beat()
    alice.hear("carol", GRAFT)
    assert alice.count("graft.full") == 1
    alice.hear("bob", GRAFT)
    assert len(alice.router.mesh(TOPIC)) == 13
    alice.beat()
    assert len(alice.router.mesh(TOPIC)) == 6
    assert "bob" in alice.router.mesh(TOPIC)


def full_mesh_of_friends(params: Params | None = None) -> Careful:
    """Twelve with the best of scores, and Bob and Carol, for whom there is no room."""
    alice = Careful(params)
    alice.meet(*crowd(12), "bob", "carol")
    for peer in crowd(12):
        alice.hear(peer, GRAFT)
        alice.earn(peer, 10)
    alice.now += 20
    alice.beat()
    assert sorted(alice.router.mesh(TOPIC)) == crowd(12)
    return alice


def hear_late(alice: Careful, word: bytes, via: str, copies: Collection[str] = ()) -> None:
    """Bob says that there is something, is asked for it and gives it; others bring it afterwards."""
    alice.hear(via, ihave(message_id(TOPIC, word)))
    for peer in (via, *copies):
        alice.hear(peer, message(word))


def test_when_hearsay_brings_most_who_answers_takes_the_place_of_who_is_silent() -> None:
    """A covert flash: what they earned protects nobody who brings nothing any more. Those who bring at least copies
    stay."""
    alice = full_mesh_of_friends()
    for number in range(4):
        hear_late(alice, b"wish %d" % number, "bob", crowd(12)[1:])
    assert points(alice, "peer00") > points(alice, "bob")
    alice.now += 10
    alice.beat()
    assert sorted(alice.router.mesh(TOPIC)) == ["bob", *crowd(12)[1:]]
    assert alice.said("peer00")[-1].prune == (Prune(TOPIC, 60),)
    assert (alice.count("graft.lag"), alice.count("prune.silent")) == (1, 1)


def test_a_full_mesh_that_lags_takes_in_who_answered_and_nobody_else() -> None:
    alice = full_mesh_of_friends()
    for number in range(4):
        hear_late(alice, b"wish %d" % number, "bob", crowd(12)[1:])
    alice.hear("carol", GRAFT)
    assert alice.count("graft.full") == 1
    alice.hear("bob", GRAFT)
    assert sorted(alice.router.mesh(TOPIC)) == ["bob", *crowd(12)[1:]]


@pytest.mark.parametrize("why", ["the mesh is as fast", "too few to tell", "all bring copies", "no scores"])
def test_a_mesh_that_keeps_up_is_left_alone(why: str) -> None:
    alice = full_mesh_of_friends(Params(score=None) if why == "no scores" else None)
    for number in range(3 if why == "too few to tell" else 4):
        hear_late(alice, b"wish %d" % number, "bob", crowd(12)[why != "all bring copies" :])
        if why == "the mesh is as fast":
            alice.hear("peer01", message(b"another %d" % number))
    alice.now += 10
    alice.beat()
    alice.hear("bob", GRAFT)
    assert sorted(alice.router.mesh(TOPIC)) == crowd(12)
    assert alice.count("graft.full") == 1


def full_mesh_and_a_full_subnet() -> Careful:
    """Twelve with the best of scores, two of them in one subnet, where Mallory lives, too; all but these two brought
    nothing lately, and Mallory all."""
    alice = Careful(locate=any_place)
    for number, peer in enumerate(crowd(12)):
        alice.meet_at("127.0.1.1" if number < 2 else f"127.0.{number}.1", peer)
        alice.hear(peer, GRAFT)
        alice.earn(peer, 10)
    alice.meet_at("127.0.1.2", "mallory")
    alice.now += 20
    alice.beat()
    assert sorted(alice.router.mesh(TOPIC)) == crowd(12)
    for number in range(4):
        hear_late(alice, b"wish %d" % number, "mallory", crowd(12)[:2])
    return alice


def test_nobody_goes_for_who_cannot_come_in() -> None:
    """A mesh that lags makes room, but not for a peer that asks and whose subnet has had its places."""
    alice = full_mesh_and_a_full_subnet()
    alice.hear("mallory", GRAFT)
    assert sorted(alice.router.mesh(TOPIC)) == crowd(12)
    assert alice.said("mallory")[-1].prune
    alice.meet_at("127.0.99.1", "bob")
    hear_late(alice, b"another", "bob")
    alice.hear("bob", GRAFT)
    assert len(alice.router.mesh(TOPIC)) == 12
    assert "bob" in alice.router.mesh(TOPIC)


def test_a_mesh_that_lags_asks_in_who_can_come_in() -> None:
    """Twenty sybils out of the full subnet answered, and Bob did: nobody goes for them, and one goes for him."""
    alice = full_mesh_and_a_full_subnet()
    alice.now += 10
    alice.beat()
    assert sorted(alice.router.mesh(TOPIC)) == crowd(12)
    sybils = [f"sybil{number}" for number in range(20)]
    for number, peer in enumerate(sybils):
        alice.meet_at(f"127.0.1.{10 + number}", peer)
    alice.meet_at("127.0.99.1", "bob")
    for peer in (*sybils, "bob"):
        hear_late(alice, peer.encode(), peer, crowd(12)[:2])
    alice.now += 10
    alice.beat()
    assert len(alice.router.mesh(TOPIC)) == 12
    assert "bob" in alice.router.mesh(TOPIC)
    assert alice.count("prune.silent") == 1


# --------------------------------------------------------------------------------------------------------- P3, wired in


def test_where_it_is_switched_on_a_silent_mesh_peer_is_replaced() -> None:
    """P3 through the router: Bob's copies come right behind the first and count; Mallory says nothing."""
    topic = TopicScore(mesh_weight=-1.0, mesh_activation=20.0, mesh_threshold=5.0, failure_weight=-1.0)
    alice = Alice(params=Params(score=ScoreParams(default_topic=topic)))
    alice.meet("bob", "carol", "mallory")
    for number in range(25):
        alice.hear("carol", message(b"%d" % number))
        alice.hear("bob", message(b"%d" % number))
        alice.beat()
    assert set(alice.router.mesh(TOPIC)) == {"bob", "carol"}
    mallory = alice.router.score("mallory", alice.now)
    assert mallory is not None
    assert mallory.total < 0
    assert alice.router.handle(RpcReceived("mallory", message(b"sorry")), alice.now), "she may still bring something"
