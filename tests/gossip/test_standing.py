"""What follows from a score, one router at a time: who is in the mesh, who is told, who is heard."""

import re
from pathlib import Path

import pytest

from protocol import gossip
from protocol.gossip import (
    Forward,
    Params,
    PeerDown,
    Publish,
    Published,
    message_id,
)
from protocol.gossip.rpc import (
    Prune,
    Rpc,
    encode_subscription,
)

from .alice import GRAFT, HELLO, Alice, Careful, ihave, iwant, message, points
from .world import OTHER, TOPIC

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
