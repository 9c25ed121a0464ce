"""Whom a node dials, so that nobody can close it in: other subnets, agreed peers, and elsewhere when alarmed."""

from pathlib import Path

import trio
from trio.testing import MockClock

from node.config import load_config
from node.network.memory import Conditions
from node.peering import WANTED
from node.policy import machine_of, source_of, subnet_of
from protocol.gossip import Alarm, AlarmKind
from tests.driver import SKIING, Town, open_town, wait_until

PEER = "12D3KooWQYV9dGMFoRzNStwpXztXaBUjtPqi6aU76ZgUriHhKust"


def at(host: str) -> str:
    return f"/ip4/{host}/tcp/4001"


def subnets(town: Town, name: str) -> list[str]:
    links = town.neighbours[name].node.network.links()
    return [subnet_of(link.remote) for link in links if link.outbound]


async def test_chosen_links_are_of_different_subnets_if_others_are_known(clock: MockClock) -> None:
    """The meeting node knows nine of one landlord and three elsewhere: Victor's own choice has one of the nine."""
    async with open_town() as town:
        market = await town.open("Market", meeting=True, address=at("8.1.1.1"))
        for number in range(9):
            await town.open(f"Landlord {number}", address=at(f"9.9.9.{number + 1}"))
        for number in range(3):
            await town.open(f"Elsewhere {number}", address=at(f"8.{number + 10}.0.1"))
        await wait_until(market, lambda node: len(node.network.links()) == 12)
        victor = await town.open("Victor", address=at("8.200.0.1"))
        await wait_until(victor, lambda _node: len(subnets(town, "Victor")) >= WANTED, 60)
        assert subnets(town, "Victor").count("9.9.9.0/24") <= 1


async def test_the_second_of_a_subnet_is_better_than_none(clock: MockClock) -> None:
    """Where everybody lives in one subnet, that is no reason to be lonely."""
    async with open_town() as town:
        await town.open("Market", meeting=True, address=at("9.9.9.9"))
        for number in range(5):
            await town.open(f"Neighbour {number}", address=at(f"9.9.9.{number + 20}"))
        victor = await town.open("Victor", address=at("8.8.8.8"))
        await wait_until(victor, lambda _node: subnets(town, "Victor").count("9.9.9.0/24") >= WANTED, 120)


async def test_an_alarm_makes_a_node_dial_elsewhere_and_is_told(clock: MockClock) -> None:
    """All of Victor's four chosen links are in one subnet. The router says so: he dials those he knows elsewhere, the
    status tells when and why, and after a while it is silent again."""
    async with open_town() as town:
        landlord = [await town.open("Market", meeting=True, address=at("9.9.9.9"))]
        landlord += [await town.open(f"Neighbour {n}", address=at(f"9.9.9.{n + 20}")) for n in range(3)]
        victor = await town.open("Victor", join=tuple(landlord), address=at("8.8.8.8"))
        honest = [await town.open(f"Elsewhere {n}", join=(), address=at(f"8.{n}.1.1")) for n in range(3)]
        peering = victor.node.gossip.on_alarm.__self__  # type: ignore[attr-defined]
        for one in honest:
            await peering._remember(one.peer_id, one.address)
        await wait_until(victor, lambda _node: len(set(subnets(town, "Victor"))) == 4, 60)
        (alarm,) = (await victor.desk.status())["alarms"]
        assert alarm["kind"] == "one_subnet"
        assert "9.9.9.0/24" in alarm["detail"]
        assert peering.counters["dialled_elsewhere"] == 3
        await trio.sleep(700)
        assert (await victor.desk.status())["alarms"] == []


async def test_alarms_do_not_make_a_node_dial_without_end(clock: MockClock) -> None:
    """However often the router is alarmed, the links of our own choosing stay a few."""
    async with open_town() as town:
        await town.open("Market", meeting=True)
        for number in range(24):
            await town.open(f"Node {number}")
        victor = await town.open("Victor")
        for _ in range(12):
            victor.node.gossip.on_alarm(Alarm(AlarmKind.ARRIVED_TOGETHER, "said by a test"))
            await trio.sleep(30)
        assert WANTED < sum(link.outbound for link in victor.node.network.links()) <= 16


async def test_static_peers_are_kept_linked_and_get_what_others_say(clock: MockClock) -> None:
    """Alice and Bob name each other: the link comes back whenever it breaks, and neither is in the other's mesh. What
    Carol says, whom Bob cannot reach, Alice passes on to him at once all the same."""
    async with open_town() as town:
        alice = await town.open("Alice", address=at("8.1.1.1"), divisions=("mobility",))
        bob = await town.open("Bob", join=(), address=at("8.2.2.2"), divisions=("mobility",), static=(alice.address,))
        await alice.stop()
        await alice.start(static=(bob.address,))
        assert town.world is not None
        carol = await town.open("Carol", join=(), address=at("8.3.3.3"))
        town.world.set_conditions(bob.peer_id, carol.peer_id, Conditions(delay=3600))
        await carol.node.network.dial(alice.address)

        def hears_alice() -> bool:
            return any(link.peer == alice.peer_id for link in bob.node.network.links())

        for number in range(2):
            for one, other in ((alice, bob), (bob, alice)):
                await wait_until(one, lambda node, o=other: o.peer_id in node.gossip.subscribers("mobility"), 60)
            await trio.sleep(5)
            assert bob.peer_id not in alice.node.gossip._router.mesh(alice.node.gossip._topic("mobility"))
            await carol.desk.ask(SKIING, 5)
            await trio.sleep(0.5)  # less than hearsay or catch-up would take
            ledger = bob.node.gossip._router.ledger(alice.peer_id)
            assert ledger is not None
            assert ledger.first == 1, number
            town.world.cut(alice.peer_id, bob.peer_id)
            await wait_until(bob, lambda _node: hears_alice(), 60)


def test_static_peers_come_from_the_settings(tmp_path: Path) -> None:
    address = f"{at('203.0.113.5')}/p2p/{PEER}"
    (tmp_path / "config.toml").write_text(f'static = ["{address}"]\n')
    assert load_config(tmp_path, environ={}).static == (address,)
    assert load_config(tmp_path, {"static": [address, address]}, {}).static == (address, address)


def test_a_source_is_a_public_subnet_or_else_a_peer() -> None:
    """At home everybody is a neighbour, and a peer is all that can be told apart."""
    assert source_of(at("8.8.8.8"), PEER) == source_of(at("8.8.8.9"), "other") == "8.8.8.0/24"
    assert source_of("/ip6/2a00:1450:4007:1::5/tcp/1", PEER) == "2a00:1450:4007::/48"
    assert source_of(at("192.168.1.2"), PEER) == source_of("", PEER) == PEER
    assert machine_of(at("192.168.1.2")) == "192.168.1.2"
    assert machine_of("/ip6/fd00::1:2:3:4/tcp/1") == machine_of("/ip6/fd00::9/tcp/1") == "fd00::/64"
    assert {machine_of(one) for one in (at("8.8.8.8"), at("127.0.0.1"), "/ip6/::1/tcp/1", "")} == {""}
