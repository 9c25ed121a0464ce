"""Who gives up a place when all are taken: the rule of node/network/places.py, and a node that keeps it."""

import random
from contextlib import AsyncExitStack

import trio
from trio.testing import MockClock

from node.network.places import GRACE_SECONDS, REST_SECONDS, Guest, Places
from node.network.seam import Worth
from tests.driver import SKIING, car_hire, open_town, seed_of, wait_offers, wait_until

NOW = 1000.0
LONG_AGO = 0.0


def crowd(subnet: str, count: int, since: float = LONG_AGO) -> list[Guest]:
    return [Guest(f"{subnet} {number}", f"{subnet}.{number + 1}", since) for number in range(count)]


def crowds(count: int, size: int, since: float = LONG_AGO) -> list[Guest]:
    return [guest for number in range(count) for guest in crowd(f"5.9.{number}", size, since)]


def places(seed: int = 0, **worth: Worth) -> Places:
    made = Places(random.Random(seed))
    made.appraise = lambda: worth
    return made


def stranger(name: str = "carol", host: str = "8.8.8.8", since: float = NOW) -> Guest:
    return Guest(name, host, since)


def test_the_fullest_subnet_gives_one_up() -> None:
    """Mallory has twenty places in one subnet, others four each: it is one of hers, whatever the chance, even if she
    came this moment."""
    guests = [*crowds(30, 4), *crowd("6.6.6", 20, since=NOW)]
    assert all(str(places(seed).who_leaves(guests, stranger())).startswith("6.6.6 ") for seed in range(50))


def test_who_comes_from_the_fullest_subnet_takes_a_place_of_that_subnet_or_none() -> None:
    guests = [*crowds(30, 1), *crowd("6.6.6", 20)]
    assert str(places().who_leaves(guests, stranger(host="6.6.6.200"))).startswith("6.6.6 ")
    fresh = [*crowds(30, 1), *crowd("6.6.6", 20, since=NOW - 1)]
    assert places().who_leaves(fresh, stranger(host="6.6.6.200")) is None


def test_a_second_neighbour_is_as_welcome_as_the_first() -> None:
    """Dave, next door to Carol, is in the mesh. Sybils hold the other places, each in a subnet of its own."""
    guests = [*crowds(40, 1), Guest("dave", "8.8.8.7", LONG_AGO)]
    assert str(places(dave=Worth.MESH).who_leaves(guests, stranger())).startswith("5.9.")


def test_among_equals_a_young_link_is_left_alone() -> None:
    """Everybody has a subnet of its own: who came lately has had no time to be of use, and of the others any may go."""
    old, young = crowds(40, 1), crowd("7.7.7", 1, since=NOW - 29)
    leaving = {places(seed).who_leaves([*old, *young], stranger()) for seed in range(400)}
    assert leaving == {guest.peer for guest in old}
    assert places().who_leaves(crowds(40, 1, since=NOW - 29), stranger()) is None


def test_whoever_is_of_use_stays() -> None:
    """Of a crowd with one in our mesh, one in a thread and one that brings news, another goes."""
    guests = crowd("6.6.6", 8)
    kept = {"6.6.6 0": Worth.MESH, "6.6.6 1": Worth.THREAD, "6.6.6 2": Worth.USEFUL}
    leaving = {places(seed, **kept).who_leaves(guests, stranger()) for seed in range(100)}
    assert leaving == {guest.peer for guest in guests} - set(kept)


def test_being_a_little_useful_holds_three_quarters_at_most() -> None:
    """Mallory brings something in each of a hundred places. Twenty-five of them can be had, the youngest; with those
    who have a contract among them nobody is compared."""
    guests = [Guest(f"sybil {number}", f"9.9.{number}.1", float(number)) for number in range(100)]
    useful = {guest.peer: Worth.USEFUL for guest in guests} | {"sybil 99": Worth.CONTRACT}
    leaving = {places(seed, **useful).who_leaves(guests, stranger()) for seed in range(400)}
    assert leaving == {f"sybil {number}" for number in range(74, 99)}


def test_those_we_chose_and_those_our_person_named_never_go() -> None:
    guests = [Guest(f"friend {number}", f"9.9.9.{number}", LONG_AGO, chosen=number % 2 == 0) for number in range(10)]
    named = {guest.peer: Worth.NAMED for guest in guests if not guest.chosen}
    assert places(**named).who_leaves(guests, stranger()) is None


def test_who_made_room_takes_nobodys_for_ten_minutes() -> None:
    """Or two who want one place would hand it to and fro."""
    guests, rule = crowds(10, 1), places()
    rule.has_left("carol", NOW)
    assert rule.who_leaves(guests, stranger(since=NOW + REST_SECONDS - 1)) is None
    assert rule.who_leaves(guests, stranger(since=NOW + REST_SECONDS)) is not None
    assert rule.who_leaves(guests, stranger("dave")) is not None


def test_whom_we_have_a_contract_with_need_not_wait() -> None:
    """Nor whom our person named: the places are full of those who came this moment, and one was hung up on before."""
    guests = crowds(10, 1, since=NOW)
    for said in (Worth.CONTRACT, Worth.NAMED):
        rule = places(carol=said)
        rule.has_left("carol", NOW)
        assert rule.who_leaves(guests, stranger()) in {guest.peer for guest in guests}
    assert places(carol=Worth.THREAD).who_leaves(guests, stranger()) is None, "an offer costs its vendor nothing"


def test_neighbours_in_a_home_are_no_crowd() -> None:
    """Thirty machines of one office are thirty; in a network whose owner says so they are one landlord's."""
    office = [Guest(f"desk {number}", f"192.168.1.{number + 1}", NOW) for number in range(30)]
    guests = [*office, *crowd("6.6.6", 5)]
    assert str(places().who_leaves(guests, stranger())).startswith("6.6.6 ")
    strict = Places(random.Random(0), private_subnets=True)
    assert str(strict.who_leaves(guests, stranger())).startswith("desk ")


async def test_a_node_says_whom_it_would_miss(clock: MockClock) -> None:
    """Alice has a contract with Bob, an offer of Carol's, and the market in her mesh. That somebody names Mallory as a
    way back makes her nobody."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True)
        bob, carol = [await town.open(name, catalogue=car_hire()) for name in ("Bob", "Carol")]
        alice = await town.open("Alice")
        asked = (await alice.desk.ask(SKIING, 10))["intent"]["id"]
        (offer, _other) = (await wait_offers(alice, asked, 2))["offers"]
        await alice.desk.accept(offer["id"], "alice@example.org", None, [], 20)
        live = next(live for live in alice.node.threads if bob.peer_id == live.peer)
        live.routes = ("/ip4/10.9.9.9/tcp/1/p2p/mallory",)
        said = alice.node.threads.worth()
        assert sorted(said.values()) == [Worth.THREAD, Worth.CONTRACT]
        assert set(said) == {bob.peer_id, carol.peer_id}
        assert alice.node.gossip.worth()[market.peer_id] is Worth.MESH


async def test_a_full_market_lets_alice_in_and_keeps_bob(clock: MockClock) -> None:
    """The market has four places. Bob, in its mesh, has one, and three have gone to strangers who never said a word.
    Alice comes, has a place at once and her offer; one stranger is gone, and Bob was never away."""
    async with AsyncExitStack() as stack:
        town = await stack.enter_async_context(open_town())
        world = town.world
        assert world is not None
        town.open_network = lambda name, address: world.open_network(
            seed_of(name), address=address, inbound=4 if name == "Market" else None
        )
        market = await town.open("Market", meeting=True)
        bob = await town.open("Bob", catalogue=car_hire())
        await wait_until(market, lambda node: node.gossip.worth().get(bob.peer_id) is Worth.MESH)
        for number in range(3):
            silent = await stack.enter_async_context(world.open_network(f"silent {number}"))
            await silent.dial(market.node.addresses[0])
        await trio.sleep(GRACE_SECONDS)
        links = bob.node.network.statistics()["dials"]
        alice = await town.open("Alice")
        await wait_offers(alice, (await alice.desk.ask(SKIING, 10))["intent"]["id"], 1)
        there = {link.peer for link in market.node.network.links()}
        assert {alice.peer_id, bob.peer_id} < there
        assert len(there) == 4
        assert market.node.network.statistics()["links_made_room"] == 1
        assert bob.node.network.statistics()["dials"] <= links + 1  # his own to Alice; none to the market again
