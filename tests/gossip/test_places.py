"""Where peers are: subnets in the mesh, and the alarm when all are one."""

import pytest

from protocol.gossip import (
    Alarm,
    AlarmKind,
    PeerDown,
    PeerUp,
    Place,
    any_place,
    public_place,
)

from .alice import GRAFT, Alice, Careful, crowd
from .world import TOPIC


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
