"""Each behaviour of the kit by itself: that it is seen for what it is, counted by name, and mutes nobody."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from node.network.memory import Conditions
from node.town.town import NEW_YEAR
from protocol.gossip.rpc import encode_publish, message_id
from protocol.message import Message
from tests.driver import Neighbour, open_town, wait_until

from . import frames, wire_attacks
from .frames import DIVISION, TOPIC
from .mallory import (
    Behaviour,
    Mallory,
    behave,
    delay,
    drop_all,
    drop_victim,
    duplicate,
    open_mallory,
    open_sybils,
)
from .town import HonestTown, open_honest_town

EXPECTED = {
    "garbage": {"not_msgpack", "not_canonical", "frame", "type", "text", "count", "key", "range", "depth"},
    "unsigned": {"signature"},
    "oversize": {"size"},
    "deep": {"depth"},
    "wrong_realm": {"signature"},
    "other_net": {"net"},
    "weak_key": {"signature"},
    "loose_spelling": {"not_canonical"},
}


@pytest.mark.parametrize("name", EXPECTED)
async def test_a_bad_frame_is_refused_by_name(name: str, clock: MockClock) -> None:
    """One is enough to be out of the mesh; what is over the size of a message does not even reach the board."""
    async with open_honest_town(2) as honest, open_mallory(honest.world) as mallory:
        victim = honest.nodes[0]
        peer = await mallory.befriend(victim.address)
        await mallory.publish(peer, honest.forger.bad()[name])
        router = victim.node.gossip._router
        await wait_until(victim, lambda _node: any("rejected" in name for name in router.statistics().counters))
        counters = router.statistics().counters
        assert {word.rpartition(".")[2] for word in counters if "message.rejected." in word} <= EXPECTED[name]
        score = router.score(mallory.network.peer_id, trio.current_time())
        assert score is not None
        assert score.total < 0
        assert honest.part(await honest.talk(1, 2)) == 1


# ------------------------------------------------------------------------------------------------ bad forwarders


class Bridge:
    """Alice and Bob know nobody but Mallory, who sits between them and forwards as she pleases."""

    def __init__(self, honest: HonestTown, mallory: Mallory) -> None:
        self.honest = honest
        self.mallory = mallory

    async def carry(self, wish: Message, seconds: float = 30) -> float | None:
        """Alice says a wish and Mallory hears it: after how many seconds Bob does. None: not in this time."""
        alice, bob = self.honest.nodes
        began = trio.current_time()
        self.honest.said[wish.id] = alice.name, began
        assert alice.node.gossip.hear(DIVISION, wish.frame).accepted
        alice.node.gossip.publish(DIVISION, wish.frame)
        await wait_until(alice, lambda _node: wish.frame in self.mallory.heard.values())
        with trio.move_on_after(seconds):
            while bob.name not in self.honest.heard.get(wish.id, {}):
                await self.honest.news.wait()
        return self.honest.heard.get(wish.id, {}).get(bob.name)


@asynccontextmanager
async def open_bridge(behaviour: Behaviour) -> AsyncIterator[Bridge]:
    async with open_town(conditions=Conditions(delay=0.02)) as town:
        nodes = [await town.open(name, join=(), divisions=(DIVISION,)) for name in ("Alice", "Bob")]
        honest = HonestTown(town, nodes, frames.Forger("bridge", nodes[0].node.clock.now()))
        async with open_mallory(honest.world, behaviour=behaviour) as mallory:
            for node in nodes:
                honest.listen(node)
                await mallory.befriend(node.address)
                await wait_until(node, lambda node: len(node.gossip.subscribers(DIVISION)) == 1)
            yield Bridge(honest, mallory)


def copies(node: Neighbour) -> int:
    """What came to it that it had."""
    return node.node.gossip._router.statistics().counters.get("message.duplicate", 0)


async def test_who_behaves_carries_everything_at_once(clock: MockClock) -> None:
    async with open_bridge(behave) as bridge:
        took = await bridge.carry(bridge.honest.forger.good())
        assert took is not None
        assert took < 0.5
        assert [copies(node) for node in bridge.honest.nodes] == [0, 0]


async def test_who_drops_all_carries_nothing(clock: MockClock) -> None:
    async with open_bridge(drop_all) as bridge:
        assert await bridge.carry(bridge.honest.forger.good()) is None


async def test_who_drops_a_victims_wish_carries_all_others(clock: MockClock) -> None:
    """Those said before it, and those after."""
    forger = frames.Forger("victim", NEW_YEAR)
    before, victims, after = (forger.good() for _ in range(3))
    async with open_bridge(drop_victim(victims.author)) as bridge:
        assert await bridge.carry(before) is not None
        assert await bridge.carry(victims) is None
        assert await bridge.carry(after) is not None


async def test_who_delays_carries_everything_late(clock: MockClock) -> None:
    async with open_bridge(delay(5)) as bridge:
        took = await bridge.carry(bridge.honest.forger.good())
        assert took is not None
        assert 5 <= took < 5.5


async def test_who_duplicates_says_it_tenfold_and_to_its_author_too(clock: MockClock) -> None:
    """Bob has one of ten copies already, and Alice all of them."""
    async with open_bridge(duplicate) as bridge:
        assert await bridge.carry(bridge.honest.forger.good()) is not None
        alice, bob = bridge.honest.nodes
        await wait_until(bob, lambda _node: (copies(alice), copies(bob)) == (10, 9))


async def heard_by(honest: HonestTown, frame: bytes, message_id: bytes) -> None:
    """The real one comes, from an honest node, and is believed by the victim."""
    author = honest.nodes[1]
    honest.said[message_id] = author.name, trio.current_time()
    assert author.node.gossip.hear(DIVISION, frame).accepted
    author.node.gossip.publish(DIVISION, frame)
    await wait_until(honest.nodes[0], lambda _node: "Honest 0" in honest.heard.get(message_id, {}))


async def test_bad_copies_do_not_mute_the_real_one(clock: MockClock) -> None:
    """Mallory is faster than Alice: she dresses up her wish, says it on other channels and with a broken signature.
    Then it comes as Alice said it, and Victor believes it."""
    async with open_honest_town(2) as honest, open_sybils(honest.world, 3) as crowd:
        victim, wish = honest.nodes[0], honest.forger.good()
        broken = wish.frame[:60] + bytes([wish.frame[60] ^ 1]) + wish.frame[61:]
        copies = [frames.dressed(wish.frame), frames.cross_topic(wish.frame), [encode_publish(TOPIC, broken)]]
        for mallory, mine in zip(crowd, copies, strict=True):
            peer = await mallory.befriend(victim.address)
            await mallory.say(peer, *mine)
        await trio.sleep(2)
        assert victim.node.board.counters["accepted"] == 0
        await heard_by(honest, wish.frame, wish.id)


async def test_twins_are_one(clock: MockClock) -> None:
    """An author signs her wish twice. Both verify, and it is one wish."""
    async with open_honest_town(2) as honest, open_mallory(honest.world) as mallory:
        victim = honest.nodes[0]
        peer = await mallory.befriend(victim.address)
        await mallory.publish(peer, *frames.twins(victim.node.clock.now()))
        await wait_until(victim, lambda node: node.board.counters["seen"] == 1)
        assert victim.node.board.counters["accepted"] == len(victim.node.board) == 1


async def test_broken_rpcs_end_in_deafness(clock: MockClock) -> None:
    """What no implementation sends is blamed, and after a dozen nobody listens."""
    async with open_honest_town(2) as honest, open_mallory(honest.world) as mallory:
        victim = honest.nodes[0]
        peer = await mallory.befriend(victim.address)
        for _ in range(4):
            await mallory.say(peer, *frames.broken_rpcs(mallory.rng))
        await wait_until(victim, lambda node: node.gossip._router.statistics().counters.get("rpc.graylisted", 0) > 0)
        assert sum(n for word, n in victim.node.gossip.counters.items() if "misbehaved" in word) > 10
        assert honest.part(await honest.talk(1, 2)) == 1


@pytest.mark.parametrize(
    ("flood", "bound"),
    [
        (frames.subscription_flood, "subscription.foreign"),
        (frames.ihave_flood, "promise.broken"),
        (frames.graft_flood, "graft.early"),
        (frames.id_flood, "rpc.graylisted"),
    ],
)
async def test_floods_are_bounded_and_counted(flood: frames.Flood, bound: str, clock: MockClock) -> None:
    """Twenty RPCs a second for ten seconds: the counter that says so grows, and the honest hear each other."""
    async with open_honest_town(2) as honest, open_mallory(honest.world) as mallory:
        victim = honest.nodes[0]
        peer = await mallory.befriend(victim.address)
        await mallory.flood(peer, flood(mallory.rng), 20, 10)
        await trio.sleep(4)
        counters = victim.node.gossip._router.statistics().counters
        assert counters.get(bound, 0) > 0, sorted(counters)
        assert honest.part(await honest.talk(1, 2)) == 1


async def test_one_message_is_given_to_one_peer_thrice(clock: MockClock) -> None:
    """However often it is wanted."""
    async with open_honest_town(2) as honest, open_mallory(honest.world) as mallory:
        victim = honest.nodes[0]
        peer = await mallory.befriend(victim.address, graft=False)
        honest.speak(1)
        await wait_until(victim, lambda node: node.board.counters["accepted"] == 1)
        mid = message_id(TOPIC, next(iter(victim.node.board)).message.frame)
        before = victim.node.gossip._router.statistics().counters.get("iwant.served", 0)
        await mallory.flood(peer, frames.iwant_flood(mallory.rng, mid), 5, 3)
        await trio.sleep(1)
        counters = victim.node.gossip._router.statistics().counters
        assert counters["iwant.served"] - before <= 3
        assert counters["iwant.over_served"] > 10


def test_the_tables_name_tests_that_exist() -> None:
    """README.md says where each care and each behaviour is tested: it must go on being true."""
    here = Path(__file__).parent
    named = set(re.findall(r"`(test_\w+)`", (here / "README.md").read_text("utf-8")))
    files = here.parent.rglob("test_*.py")
    known = {name for file in files for name in re.findall(r"def (test_\w+)", file.read_text("utf-8"))}
    assert len(named) > 20
    assert named - known == set()


def test_the_tables_count_what_is_tried() -> None:
    """Kinds and vectors come, and the numbers in README.md with them."""
    text = (Path(__file__).parent / "README.md").read_text("utf-8")
    named = [figure.what for figure in (*wire_attacks.spellings(), *wire_attacks.realms())]
    (spelt,) = (re.match(r"(\d+) frames of bad form", name) for name in named if "bad form" in name)
    (tried,) = (re.match(r"(\d+) signatures", name) for name in named if "signatures" in name)
    assert spelt is not None
    assert tried is not None
    assert set(re.findall(r"the (\d+) bad frames", text)) == {spelt[1]}
    assert set(re.findall(r"tried in each: (\d+)|in the wrong place, of (\d+)", text)) == {
        (tried[1], ""),
        ("", tried[1]),
    }
