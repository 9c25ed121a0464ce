"""What follows from a score, one router at a time: who is in the mesh, who is told, who is heard."""

import random
import re
from collections.abc import Collection
from pathlib import Path

import pytest

from protocol import gossip
from protocol.gossip import (
    MESHSUB_1_0,
    Alarm,
    AlarmKind,
    AppScore,
    Forward,
    Join,
    Locate,
    Params,
    PeerDown,
    PeerUp,
    Place,
    Publish,
    Published,
    Router,
    RpcReceived,
    ScoreParams,
    TopicScore,
    any_place,
    message_id,
    public_place,
)
from protocol.gossip.mesh import choose_survivors
from protocol.gossip.rpc import Prune, Rpc, encode_control, encode_prune, encode_subscription

from .test_router import GRAFT, HELLO, Alice, crowd, ihave, iwant, message
from .world import OTHER, TOPIC, accept_all, is_ours


class Careful(Alice):
    """Alice with an opinion of her own (P5), static peers, and an eye for addresses."""

    def __init__(
        self,
        params: Params | None = None,
        *,
        app_score: AppScore | None = None,
        static: Collection[str] = (),
        locate: Locate = public_place,
    ) -> None:
        super().__init__(params=params)
        self.opinion: dict[str, float] = {}
        self.router = Router(
            params or Params(),
            accept_all,
            random.Random(7),
            is_ours,
            app_score=app_score or (lambda peer: self.opinion.get(peer, 0.0)),
            static=static,
            locate=locate,
        )
        self.router.handle(Join(TOPIC), 0.0)

    def meet_at(self, ip: str, *peers: str, outbound: bool = False) -> None:
        for peer in peers:
            self.router.handle(PeerUp(peer, outbound, ip=ip), self.now)
            self.hear(peer, HELLO)
            self.said(peer)

    def earn(self, peer: str, times: int) -> None:
        """The peer is the first to bring so many messages."""
        for number in range(times):
            self.hear(peer, message(f"{peer} {self.now} {number}".encode()))


def points(alice: Alice, peer: str) -> float:
    score = alice.router.score(peer, alice.now)
    assert score is not None
    return score.total


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


# ------------------------------------------------------------------------------------ below the gossip threshold and on


def test_below_the_gossip_threshold_nothing_is_told_believed_or_given() -> None:
    alice = Careful()
    alice.meet("bob", "mallory")
    alice.beat()
    alice.opinion["mallory"] = -101.0
    mid = message_id(TOPIC, b"wish")
    alice.router.handle(Publish(TOPIC, b"wish"), alice.now)
    assert alice.said("mallory")[0].messages, "our own messages still reach it"
    for _ in range(3):
        alice.beat()
    assert not any(rpc.ihave for rpc in alice.said("mallory"))
    alice.hear("mallory", ihave(bytes(20)))
    alice.hear("mallory", iwant(mid))
    assert alice.said("mallory") == []
    assert (alice.count("ihave.low_score"), alice.count("iwant.low_score")) == (1, 1)
    assert alice.hear("mallory", message(b"from mallory")), "what it sends is still judged"
    alice.opinion["mallory"] = -99.0
    alice.beat()
    alice.hear("mallory", iwant(mid))
    assert alice.said("mallory")[0].messages


@pytest.mark.parametrize("flood", [True, False])
@pytest.mark.parametrize("joined", [True, False])
def test_below_the_publish_threshold_our_own_messages_do_not_go_there(flood: bool, joined: bool) -> None:
    alice = Careful(Params(flood_publish=flood))
    name = TOPIC if joined else OTHER
    hello = HELLO + encode_subscription(OTHER, True)
    alice.meet("bob", "mallory", hello=hello)

    def reached() -> set[str]:
        published = alice.router.handle(Publish(name, b"wish %f" % alice.now), alice.now)[-1]
        assert isinstance(published, Published)
        return set(published.peers)

    assert reached() == {"bob", "mallory"}
    alice.opinion["mallory"] = -501.0
    alice.now += 1.0
    assert reached() == {"bob"}
    alice.beat()
    assert reached() == {"bob"}
    alice.opinion["mallory"] = -499.0
    alice.beat()
    assert reached() == {"bob", "mallory"}


def test_who_is_graylisted_is_not_read_until_time_has_passed() -> None:
    alice = Careful()
    alice.meet("bob", "mallory")
    alice.opinion["mallory"] = -1001.0
    alice.beat()
    assert alice.hear("mallory", message(b"wish")) == []
    assert alice.hear("mallory", b"\xff\xff") == [], "it is not even decoded"
    assert alice.count("rpc.graylisted") == 2
    alice.opinion["mallory"] = -999.0
    alice.beat()
    assert alice.hear("mallory", message(b"wish")) != []


def test_a_score_is_kept_over_a_new_link() -> None:
    alice = Alice(params=Params())
    alice.meet("mallory")
    for _ in range(20):
        alice.hear("mallory", b"\xff\xff")
    assert alice.count("rpc.refused.rpc") < 20, "graylisted on the way"
    alice.router.handle(PeerDown("mallory"), 1.0)
    assert alice.router.statistics().scores_kept == 1
    alice.now = 2.0
    alice.meet("mallory")
    refused = alice.count("rpc.graylisted")
    assert alice.hear("mallory", message(b"wish")) == []
    assert alice.count("rpc.graylisted") == refused + 1


def test_scores_can_be_looked_at_term_by_term() -> None:
    alice = Careful()
    alice.meet("bob", "mallory")
    alice.earn("bob", 3)
    alice.hear("mallory", b"\xff\xff")
    alice.opinion["bob"] = 7.0
    alice.beat()
    bob = alice.router.scores(alice.now)["bob"]
    assert bob.first == pytest.approx(3, rel=0.01)
    assert bob.application == 7
    assert bob.total == bob.first + 7
    assert alice.router.score("nobody", alice.now) is None
    assert alice.router.statistics().suspects == 2, "all, where the application has a say"


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


# ------------------------------------------------------------------------------------------------------- static peers


def test_a_static_peer_is_outside_the_mesh_and_gets_everything() -> None:
    alice = Careful(Params(flood_publish=False, publish_extra=0), static=["friend"])
    alice.meet("bob", "carol", "friend")
    for _ in range(3):
        alice.beat()
    assert set(alice.router.mesh(TOPIC)) == {"bob", "carol"}
    alice.said("friend")
    alice.hear("bob", message(b"from bob"))
    assert [entry.data for rpc in alice.said("friend") for entry in rpc.messages] == [b"from bob"]
    assert [entry.data for rpc in alice.said("carol") for entry in rpc.messages] == [b"from bob"]
    alice.hear("friend", message(b"from friend"))
    assert not any(rpc.messages for rpc in alice.said("friend"))
    published = alice.router.handle(Publish(TOPIC, b"own"), alice.now)[-1]
    assert isinstance(published, Published)
    assert "friend" in published.peers
    learned = alice.router.handle(Forward(TOPIC, b"learned"), alice.now)[-1]
    assert isinstance(learned, Published)
    assert set(learned.peers) == {"bob", "carol", "friend"}
    alice.said("friend")
    alice.beat()
    assert not any(rpc.ihave for rpc in alice.said("friend")), "it has had it all"
    alice.hear("friend", encode_subscription(TOPIC, False))
    alice.hear("bob", message(b"more"))
    assert alice.said("friend") == [], "but only what it carries"


def test_a_static_peer_takes_no_place_in_a_fanout() -> None:
    alice = Careful(Params(flood_publish=False, publish_extra=0), static=["friend"])
    alice.meet("bob", "friend", hello=encode_subscription(OTHER, True))
    for _ in range(2):
        published = alice.router.handle(Publish(OTHER, b"own"), alice.now)[-1]
        assert isinstance(published, Published)
        assert sorted(published.peers) == ["bob", "friend"], "once each"


def test_a_graft_from_a_static_peer_is_a_mistake_and_refused_without_blame() -> None:
    alice = Careful(static=["friend"])
    alice.meet("friend")
    for _ in range(20):
        alice.hear("friend", GRAFT)
    assert alice.router.mesh(TOPIC) == ()
    assert alice.said("friend") == [Rpc(prune=(Prune(TOPIC, 60),))]
    assert alice.count("graft.static") == 20
    assert points(alice, "friend") == 0


def test_a_static_peer_is_heard_and_served_whatever_its_score() -> None:
    alice = Careful(static=["friend"])
    alice.opinion["friend"] = -1e6
    alice.meet("friend", "bob")
    assert alice.hear("friend", message(b"wish"))
    published = alice.router.handle(Publish(TOPIC, b"own"), alice.now)[-1]
    assert isinstance(published, Published)
    assert "friend" in published.peers
    alice.said("friend")
    alice.hear("friend", iwant(message_id(TOPIC, b"own")))
    assert alice.said("friend")[0].messages
    alice.hear("friend", ihave(bytes(20)))
    assert alice.said("friend")[0].iwant


# ---------------------------------------------------------------------------------------------------- places and alarms


@pytest.mark.parametrize(
    ("ip", "public", "anywhere"),
    [
        ("8.8.4.4", Place("8.8.4.4", "8.8.4.0/24"), Place("8.8.4.4", "8.8.4.0/24")),
        ("::ffff:8.8.4.4", Place("8.8.4.4", "8.8.4.0/24"), Place("8.8.4.4", "8.8.4.0/24")),
        (
            "2a00:1450:4001:81b::200e",
            Place("2a00:1450:4001:81b::/64", "2a00:1450:4001::/48"),
            Place("2a00:1450:4001:81b::/64", "2a00:1450:4001::/48"),
        ),
        ("127.0.3.1", Place("", ""), Place("127.0.3.1", "127.0.3.0/24")),
        ("192.168.1.7", Place("", ""), Place("192.168.1.7", "192.168.1.0/24")),
        ("fe80::1%eth0", Place("", ""), Place("fe80::/64", "fe80::/48")),
        ("", Place("", ""), Place("", "")),
        ("example.org", Place("", ""), Place("", "")),
    ],
)
def test_where_an_address_is(ip: str, public: Place, anywhere: Place) -> None:
    assert public_place(ip) == public
    assert any_place(ip) == anywhere


def test_one_subnet_has_two_places_in_the_mesh_however_it_comes_in() -> None:
    alice = Careful(locate=any_place)
    for number, peer in enumerate(crowd(8)):
        alice.meet_at(f"127.0.1.{number}", peer)
    assert len(alice.router.mesh(TOPIC)) == 2, "by subscribing"
    for peer in crowd(8):
        alice.hear(peer, GRAFT)
    assert len(alice.router.mesh(TOPIC)) == 2, "by asking"
    assert alice.count("graft.subnet") == 6
    alice.now = 100.0
    alice.beat()
    assert len(alice.router.mesh(TOPIC)) == 2, "by the heartbeat"
    for number in range(2, 6):
        alice.meet_at(f"127.0.{number}.1", f"far{number}")
    assert len(alice.router.mesh(TOPIC)) == 5
    home = Careful()
    home.meet_at("127.0.1.9", *crowd(8))
    assert len(home.router.mesh(TOPIC)) == 5, "addresses that are not public do not count by default"


def test_where_a_peer_is_can_become_known_later() -> None:
    alice = Careful(locate=any_place)
    alice.meet("bob", "carol", "dave")
    for peer in ("bob", "carol", "dave"):
        alice.router.handle(PeerUp(peer, False, ip="127.0.1.1"), 0.0)
    alice.meet_at("127.0.1.2", "erin")
    assert "erin" not in alice.router.mesh(TOPIC)
    for peer in ("bob", "carol", "dave", "erin"):
        alice.router.handle(PeerDown(peer), 0.0)
    assert alice.router._overlay.meshes.located == 0
    assert alice.router._neighbours.scores._hosts == {}


def test_all_peers_in_one_subnet_is_an_alarm_once_in_ten_minutes() -> None:
    alice = Careful(locate=any_place)
    alice.meet_at("127.0.1.9", "a", "b", "c")
    assert alice.beat() == [], "three peers prove nothing"
    alice.meet_at("127.0.1.10", "d")
    (alarm,) = [effect for effect in alice.beat() if isinstance(effect, Alarm)]
    assert alarm == Alarm(AlarmKind.ONE_SUBNET, "all 4 peers are in 127.0.1.0/24")
    told = 0
    for _ in range(700):
        told += sum(isinstance(effect, Alarm) for effect in alice.beat())
    assert told == 1
    assert alice.count("alarm.one_subnet") == 2
    alice.meet_at("127.0.2.1", "e")
    for _ in range(700):
        assert not any(isinstance(effect, Alarm) for effect in alice.beat())


def test_a_neighbourhood_that_is_all_new_is_an_alarm_but_not_at_the_start_nor_after_a_nights_sleep() -> None:
    alice = Alice()
    alice.meet(*crowd(5))
    assert alice.beat() == [], "at the start everybody is new"
    alice.now = 20_000.0
    for peer in crowd(5):
        alice.router.handle(PeerDown(peer), alice.now)
    alice.now += 30_000.0
    alice.meet(*crowd(5))
    assert not any(isinstance(effect, Alarm) for effect in alice.beat()), "they are old acquaintances"
    alice.meet("m0", "m1", "m2", "m3")
    assert not any(isinstance(effect, Alarm) for effect in alice.beat()), "and still there"
    for peer in crowd(5):
        alice.router.handle(PeerDown(peer), alice.now)
    alice.now += 200.0
    alice.meet("m4")
    alarms = [effect for effect in alice.beat() if isinstance(effect, Alarm)]
    assert alarms == [Alarm(AlarmKind.ARRIVED_TOGETHER, "all 5 peers are new, within 201 s")]


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


# ---------------------------------------------------------------------------------------------------------- the numbers


@pytest.mark.parametrize(
    "wrong",
    [
        {"d_low": 7},
        {"d_out": 5},
        {"d_out": 4, "d": 6, "d_low": 5},
        {"d_score": -1},
        {"mesh_per_subnet": 0},
        {"max_judged_per_second": 0.0},
        {"share_outbound": 0.0},
        {"history_gossip": 7},
        {"seen_ttl": 5.0},
    ],
    ids=str,
)
def test_router_numbers_that_cannot_work_together_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Params(**wrong)  # type: ignore[arg-type]


def test_the_table_of_the_specification_names_tests_that_exist() -> None:
    """README.md says where each line of the specification is tested: it must go on being true."""
    here = Path(__file__).parent
    readme = (Path(gossip.__file__).parent / "README.md").read_text("utf-8")
    table = readme[readme.index("## The specification, line by line") :]
    named = set(re.findall(r"`(test_\w+)`", table))
    files = here.parent.rglob("test_*.py")
    known = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text("utf-8"))}
    assert len(named) > 40
    assert named - known == set()
