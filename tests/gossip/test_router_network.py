"""Many routers, one heap, one seed: what a network of them does. Times are those of the simulated clock."""

import random
from itertools import pairwise

import pytest

from protocol.gossip import (
    Forward,
    Join,
    Judgement,
    Leave,
    Outcome,
    Params,
    Verdict,
    message_id,
)
from protocol.gossip.rpc import encode_control, encode_graft, encode_ihave, encode_publish, encode_subscription

from .world import OTHER, TOPIC, World


def town(seed: int, size: int = 50, degree: int = 10) -> World:
    """Nodes that have met, with their meshes settled."""
    world = World(seed)
    names = [f"n{number:02}" for number in range(size)]
    for name in names:
        world.add(name)
    world.random_graph(names, degree)
    world.run(5)
    return world


def hearers(world: World, data: bytes) -> set[str]:
    return {name for name, node in world.nodes.items() if data in node.heard}


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_message_reaches_everybody_once_and_soon(seed: int) -> None:
    world = town(seed)
    wishes = [f"wish {number}".encode() for number in range(20)]
    for number, wish in enumerate(wishes):
        assert world.publish(f"n{number * 2:02}", wish).outcome is Outcome.QUEUED
    took = world.run_until(lambda: world.deliveries == 20 * 49, within=2)
    assert took < 0.6, "five hops of at most a tenth of a second"
    world.run(10)
    for name, node in world.nodes.items():
        own = {wish for number, wish in enumerate(wishes) if f"n{number * 2:02}" == name}
        assert sorted(node.heard) == sorted(set(wishes) - own)
        statistics = node.router.statistics()
        assert 4 <= statistics.mesh_sizes[TOPIC] <= 12
        assert not [word for word in statistics.counters if word.startswith(("dropped", "message.rejected", "rpc.ref"))]


def test_the_same_seed_is_the_same_history_and_another_seed_is_another() -> None:
    def history(seed: int) -> str:
        world = town(seed, size=20)
        world.loss = 0.1
        for number in range(10):
            world.publish(f"n{number:02}", bytes([number]))
            world.run(0.3)
        return world.trace

    assert history(5) == history(5)
    assert history(5) != history(6)


def test_a_fifth_of_all_rpcs_vanishes_and_gossip_heals_it() -> None:
    world = town(seed=4, degree=8)
    world.loss = 0.2
    for number in range(30):
        world.publish(f"n{number:02}", b"wish %d" % number)
    world.run_until(lambda: world.deliveries == 30 * 49, within=6)
    asked = sum(node.router.statistics().counters.get("iwant.served", 0) for node in world.nodes.values())
    assert asked > 0, "some of it had to be asked for"


def test_a_leaf_behind_a_full_hub_hears_everything_and_is_heard() -> None:
    """A hub with forty leaves that know nobody else. Its mesh holds twelve; the other leaves are pruned, and live on
    IHAVE until the hub has room."""
    world = World(seed=8)
    world.add("hub")
    leaves = [f"leaf{number:02}" for number in range(40)]
    for leaf in leaves:
        world.add(leaf)
        world.connect(leaf, "hub")
    world.run(3)
    hub = world.nodes["hub"].router
    assert len(hub.mesh(TOPIC)) <= 12
    pruned = [leaf for leaf in leaves if leaf not in hub.mesh(TOPIC)]
    assert len(pruned) >= 28
    assert all(world.nodes[leaf].router.mesh(TOPIC) == () for leaf in pruned)

    world.publish("hub", b"from the hub")
    lucky = next(leaf for leaf in leaves if leaf not in pruned)
    assert world.publish(lucky, b"from a leaf in the mesh").peers == ("hub",)
    assert world.publish(pruned[0], b"from a pruned leaf").peers == ("hub",)
    everybody = set(world.nodes)
    world.run_until(
        lambda: (
            hearers(world, b"from the hub") == everybody - {"hub"}
            and hearers(world, b"from a leaf in the mesh") == everybody - {lucky}
            and hearers(world, b"from a pruned leaf") == everybody - {pruned[0]}
        ),
        within=4.5,  # three heartbeats of gossip, and asking
    )


def test_a_pruned_leaf_grafts_elsewhere_as_soon_as_it_knows_somebody_else() -> None:
    world = World(seed=9)
    world.add("hub")
    for number in range(13):
        world.add(f"leaf{number:02}")
        world.connect(f"leaf{number:02}", "hub")
    world.run(2)
    leaf = next(name for name in world.nodes if name != "hub" and not world.nodes[name].router.mesh(TOPIC))
    world.add("friend")
    world.connect(leaf, "friend")
    world.run_until(lambda: world.nodes[leaf].router.mesh(TOPIC) == ("friend",), within=1)
    world.publish("friend", b"hello")
    world.run_until(lambda: b"hello" in world.nodes[leaf].heard, within=0.2)


def test_who_comes_late_gets_what_the_gossip_window_still_holds() -> None:
    world = town(seed=10, size=10, degree=4)
    world.publish("n03", b"long ago")
    world.run(8)
    world.publish("n04", b"just now")
    world.run(1)
    world.add("late")
    world.connect("late", "n00")
    world.run(4)
    assert world.nodes["late"].heard == [b"just now"]


def test_a_publisher_whose_neighbours_do_not_carry_the_topic_says_so_and_then_finds_one_that_does() -> None:
    """Alice asks about lodging. Bob carries mobility only; Carol, whom she meets later, carries lodging."""
    world = World(seed=11)
    world.add("alice", join=False)
    world.add("bob")
    world.add("carol", join=False)
    world.tell("carol", Join(OTHER))
    assert world.publish("alice", b"a room", OTHER).outcome is Outcome.NO_PEERS
    world.connect("alice", "bob")
    world.run(1)
    assert world.publish("alice", b"a room", OTHER).outcome is Outcome.NO_SUBSCRIBERS
    world.connect("alice", "carol")
    world.run(1)
    assert world.publish("alice", b"a room", OTHER).peers == ("carol",)
    world.run(1)
    assert world.nodes["carol"].heard == [b"a room"]
    assert world.nodes["bob"].heard == []


def test_a_publisher_finds_somebody_who_carries_the_topic_a_moment_too_late() -> None:
    """Nobody carried lodging when Alice asked. Carol comes within the gossip window, and is told."""
    world = World(seed=18)
    world.add("alice", join=False)
    world.add("carol", join=False)
    world.tell("carol", Join(OTHER))
    assert world.publish("alice", b"a room", OTHER).outcome is Outcome.NO_PEERS
    world.run(1.5)
    world.connect("carol", "alice")
    world.run_until(lambda: world.nodes["carol"].heard == [b"a room"], within=2)


def test_a_message_that_nobody_had_time_for_comes_again_by_gossip() -> None:
    """Bob is over his share for a moment and ignores a wish. Nobody forgets it on his behalf: he asks when he hears of
    it, and by then he has time."""
    world = World(seed=12)

    def busy_at_first(topic: str, data: bytes, via: str, now: float) -> Judgement:
        if now < 6.5:
            return Judgement(Verdict.IGNORE, reason="over_share")
        return Judgement(Verdict.ACCEPT)

    names = [f"n{number}" for number in range(20)]
    for name in names:
        world.add(name)
    bob = world.add("bob", judge=busy_at_first)
    world.random_graph([*names, "bob"], 20)  # more neighbours than a mesh holds, so some speak of it later
    world.run(6)
    for number in range(9):
        world.publish(f"n{number}", b"wish %d" % number)
    world.run(0.5)
    assert bob.heard == []
    world.run(4)
    assert bob.router.statistics().counters["message.ignored.over_share"] > 9
    assert bob.heard, "those outside his mesh told him again"


def test_half_of_the_network_goes_and_the_rest_closes_ranks() -> None:
    world = town(seed=13, size=40, degree=12)
    gone = [f"n{number:02}" for number in range(0, 40, 2)]
    stay = [name for name in world.nodes if name not in gone]
    for one in gone:
        for two in list(world.nodes):
            if world.is_connected(one, two):
                world.disconnect(one, two)
    for one, two in pairwise(stay):  # the discovery of new peers is not the router's work
        if not world.is_connected(one, two):
            world.connect(one, two)
    world.run(2)
    world.publish(stay[0], b"still here?")
    world.run_until(lambda: hearers(world, b"still here?") == set(stay[1:]), within=2)


def test_a_stalled_link_costs_only_the_two_at_its_ends() -> None:
    """Bob's link to Alice hangs. What waits there is bounded; everybody else hears everything, and when the link
    moves again Bob is told what he can still ask for."""
    world = World(14, Params(own_queue_bytes=5_000, forward_queue_bytes=5_000))
    for name in ("alice", "bob", "carol", "dave"):
        world.add(name)
    for one, two in (("alice", "bob"), ("alice", "carol"), ("carol", "dave")):
        world.connect(one, two)
    world.run(2)
    alice = world.nodes["alice"]
    alice.stalled.add("bob")
    wishes = [bytes([number]) * 500 for number in range(20)]
    for wish in wishes:
        world.publish("alice", wish)
    world.run(1)
    assert world.nodes["dave"].heard == wishes
    assert alice.router.statistics().counters["dropped.own"] == 11
    assert alice.router.statistics().queued_bytes <= 5_000
    alice.stalled.clear()
    world.flush("alice", "bob")
    world.run(1)
    assert world.nodes["bob"].heard == wishes[:9]


def test_mallory_floods_a_town_and_the_town_goes_on() -> None:
    """She is linked to five nodes and sends, ten times a second, a flood of everything. The wishes of the others
    arrive as before, and no node holds more than its caps allow."""
    world = town(seed=15, size=25, degree=8)
    world.add("mallory", join=False)
    victims = [f"n{number:02}" for number in range(5)]
    for victim in victims:
        world.connect("mallory", victim)
        world.nodes[victim].stalled.add("mallory")  # she reads nothing, either
    rng = random.Random(15)

    def flood() -> None:
        for victim in victims:
            names = [f"intentcast/1/test/intent/{rng.random()}" for _ in range(20)]
            control = [encode_graft(name) for name in (*names, TOPIC)]
            control.append(encode_ihave(TOPIC, [rng.randbytes(20) for _ in range(50)]))
            world.send("mallory", victim, b"".join(encode_subscription(name, True) for name in names))
            world.send("mallory", victim, encode_control(control))
            world.send("mallory", victim, rng.randbytes(300))
            world.send("mallory", victim, encode_publish(TOPIC, rng.randbytes(10))[:-1] + b"?")
        world.at(world.now + 0.1, flood)

    flood()
    for number in range(20):
        world.publish(f"n{number:02}", b"wish %d" % number)
        world.run(0.5)
    world.run(3)
    for number in range(20):
        wish = b"wish %d" % number
        assert hearers(world, wish) >= {f"n{n:02}" for n in range(25)} - {f"n{number:02}"}
    for victim in victims:
        router = world.nodes[victim].router
        assert world.nodes[victim].misbehaved
        ledger = router.ledger("mallory")
        assert ledger is not None
        assert ledger.broken_promises == 0, "what we could not ask for, she did not promise"
        peer = router._peers["mallory"]
        assert len(peer.topics) <= 64
        assert peer not in router._asking or len(router._asking[peer].ids) <= 500
        assert len(peer.outbox._grafts) <= 256
        assert len(peer.outbox._iwant) <= 500


def test_what_catch_up_brought_spreads_like_what_was_received() -> None:
    world = town(seed=16, size=12, degree=6)
    world.tell("n05", Forward(TOPIC, b"learned elsewhere"))
    world.run_until(lambda: len(hearers(world, b"learned elsewhere")) == 11, within=2)
    assert world.nodes["n05"].published[-1].message_id == message_id(TOPIC, b"learned elsewhere")


def test_leaving_and_coming_back_heals_within_the_short_backoff() -> None:
    world = town(seed=17, size=12, degree=6)
    world.tell("n05", Leave(TOPIC))
    world.run(1)
    world.publish("n00", b"while away")
    world.run(2)
    assert b"while away" not in world.nodes["n05"].heard
    world.tell("n05", Join(TOPIC))
    world.run(13)
    assert len(world.nodes["n05"].router.mesh(TOPIC)) >= 2
    world.publish("n00", b"after")
    world.run_until(lambda: b"after" in world.nodes["n05"].heard, within=1)
