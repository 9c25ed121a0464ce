"""js-libp2p's gossipsub, and a program written from protocol/README.md, against our node: what both make of each other.

Jo is js-libp2p; Alice and Bob are real nodes of ours. Everything is loopback and real time, under a deadline.
"""

import re
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from node.app import Node
from protocol.gossip import MESHSUB_1_1, Params, message_id
from protocol.message import Message
from tests.driver import (
    SKIING,
    Neighbour,
    Town,
    by_hand,
    open_real_town,
    wait_heard,
    wait_offers,
    wait_over,
    wait_until,
)
from tests.interop.js import JsPeer, open_js, require_modules, within
from tests.interop.modules import HERE
from tests.interop.people import HANGS, TOPIC, router, wish_of

pytestmark = pytest.mark.live

VECTORS = 490
BEAT = 0.2
QUICK = Params(heartbeat_interval=BEAT)
QUICK_JS = {"heartbeatInterval": 1000 * BEAT}
LONG: dict[str, Any] = {"history_length": 60, "history_gossip": 40}
"""What is said stays spoken about for 8 s, however busy the machine."""
LONG_MEMORY = Params(heartbeat_interval=BEAT, **LONG)
ALONE = {
    "D": 1,
    "Dlo": 1,
    "Dhi": 1,
    "Dout": 0,
    "Dscore": 1,
    "floodPublish": False,
    "mcacheLength": 60,
    "mcacheGossip": 40,
}
"""A mesh of one and a long memory, as gossipsub names them."""
MESH_OF_ONE = Params(
    heartbeat_interval=BEAT,
    d=1,
    d_low=1,
    d_high=1,
    d_out=0,
    d_score=1,
    flood_publish=False,
    publish_extra=0,
    prune_backoff=2,
    full_backoff=2,
    **LONG,
)


@pytest.fixture(scope="module", autouse=True)
def node_modules() -> None:
    require_modules()


def test_the_vectors_hold_in_another_language() -> None:
    """A second program, written from protocol/README.md, makes the same bytes and gives the same verdicts."""
    command = ["node", "--test", "--test-reporter=tap", "vectors.test.mjs"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    passed = re.search(r"# pass (\d+)\n# fail 0\n", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= VECTORS, "each vector is a test there, and a file it does not know fails"


# ---------------------------------------------------------------------------------------------------------- helpers


def say(who: Neighbour, *messages: Message) -> set[str]:
    """Publish, and return the ids."""
    for message in messages:
        who.node.gossip.publish("mobility", message.frame)
    return {message.id.hex() for message in messages}


def counted(node: Node, name: str) -> int:
    return router(node).counters.get(name, 0)


async def wait_counted(who: Neighbour, name: str, least: int = 1) -> None:
    await wait_until(who, lambda node: counted(node, name) >= least)


async def wait_has(who: Neighbour, ids: list[str]) -> None:
    """Until these wishes hang on its board."""
    wanted = [bytes.fromhex(each) for each in ids]
    await wait_until(who, lambda node: all(node.board.get(each) is not None for each in wanted))


async def wait_mesh(who: Neighbour, size: int) -> None:
    await wait_until(who, lambda node: router(node).mesh_sizes[TOPIC] == size)


async def open_carrier(town: Town, name: str, params: Params = QUICK, *join: Neighbour) -> Neighbour:
    """A node of ours that carries `mobility`."""
    return await town.open(name, join=join, divisions=("mobility",), params=params)


@asynccontextmanager
async def open_jo(name: str = "Jo", gossip: dict[str, Any] | None = None, **options: Any) -> AsyncIterator[JsPeer]:
    """js-libp2p, subscribed to `mobility`."""
    async with open_js(name, gossip={**QUICK_JS, **(gossip or {})}, **options) as jo:
        await jo.do("subscribe", division="mobility")
        yield jo


async def meet(jo: JsPeer, alice: Neighbour) -> None:
    """Jo dials Alice, and both know what the other carries."""
    since = len(jo.events)
    await jo.do("dial", address=alice.address)
    await jo.wait("subscription", since, peer=alice.peer_id, topic=TOPIC, on=True)
    await wait_until(alice, lambda node: jo.peer_id in node.gossip.subscribers("mobility"))


async def both_ways(jo: JsPeer, alice: Neighbour, word: str) -> None:
    """Each says something, and the other believes it."""
    await jo.wait_accepted(say(alice, wish_of(f"{alice.name} {word}")))
    await wait_has(alice, (await jo.do("say", division="mobility", count=1))["ids"])


# --------------------------------------------------------------------------------------------- mesh and messages


@pytest.mark.parametrize("dials", ["Jo", "Alice"])
@within(HANGS)
async def test_they_subscribe_and_hear_each_other(dials: str) -> None:
    """Whoever dials: both speak /meshsub/1.1.0, know each other's topics, take each other into the mesh, and believe
    each other's wishes. When Jo unsubscribes, Alice knows."""
    async with open_real_town() as town, open_jo() as jo:
        alice = await open_carrier(town, "Alice")
        if dials == "Jo":
            await jo.do("dial", address=alice.address)
        else:
            assert await alice.node.network.dial(jo.address) == jo.peer_id
        await jo.wait("subscription", peer=alice.peer_id, topic=TOPIC, on=True)
        await wait_mesh(alice, 1)
        await both_ways(jo, alice, "first")
        seen = await jo.do("look", division="mobility", peer=alice.peer_id)
        assert (seen["mesh"], seen["subscribers"]) == ([alice.peer_id], [alice.peer_id])
        assert seen["protocol"] == MESHSUB_1_1
        await jo.do("unsubscribe", division="mobility")
        await wait_until(alice, lambda node: not node.gossip.subscribers("mobility"))


@within(HANGS)
async def test_a_thousand_each_way_and_none_is_lost() -> None:
    """A thousand wishes each way at the same time, in windows of a hundred: every one arrives, once."""
    async with open_real_town() as town, open_jo() as jo:
        alice = await open_carrier(town, "Alice")
        await meet(jo, alice)
        told: set[str] = set()
        heard: list[str] = []

        async def alice_says() -> None:
            for window in range(10):
                ids = say(alice, *(wish_of(f"Traveller {window}.{number}") for number in range(100)))
                told.update(ids)
                await jo.wait_accepted(ids)

        async def jo_says() -> None:
            for _ in range(10):
                ids = (await jo.do("say", division="mobility", count=100))["ids"]
                heard.extend(ids)
                await wait_has(alice, ids)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice_says)
            nursery.start_soon(jo_says)
        assert len(told) == len(set(heard)) == 1000
        assert sorted(event["id"] for event in jo.told("heard")) == sorted(told)
        assert counted(alice.node, "message.accepted") == 1000
        assert not [name for name in router(alice.node).counters if name.startswith(("message.rejected", "dropped"))]


@within(HANGS)
async def test_each_passes_on_what_the_other_said() -> None:
    """Alice and Bob know only Jo, Jo and Ju know only Bob: what anybody says reaches everybody, byte for byte."""
    async with open_real_town() as town, open_jo() as jo, open_jo("Ju") as ju:
        alice, bob = await open_carrier(town, "Alice"), await open_carrier(town, "Bob", QUICK)
        await meet(jo, alice)
        await meet(jo, bob)
        await meet(ju, bob)
        told = wish_of("Alice")
        say(alice, told)
        await wait_has(bob, [told.id.hex()])
        posting = bob.node.board.get(told.id)
        assert posting is not None
        assert (posting.message.frame, posting.via) == (told.frame, jo.peer_id)
        assert (await ju.wait("heard", id=told.id.hex()))["via"] == bob.peer_id
        ids = (await ju.do("say", division="mobility", count=3))["ids"]
        await wait_has(alice, ids)
        assert {event["via"] for event in jo.told("heard") if event["id"] in ids} == {bob.peer_id}


# ----------------------------------------------------------------------------------- outside the mesh, away, and late


@within(HANGS)
async def test_jo_outside_a_full_mesh_hears_by_gossip() -> None:
    """Alice has room for one, and that is Bob. She prunes Jo for two seconds; what Bob says reaches Jo by IHAVE and
    IWANT. When Bob has gone Jo comes in: not before the back-off is over, and with nobody blamed."""
    async with open_real_town() as town, open_jo() as jo:
        alice = await open_carrier(town, "Alice", MESH_OF_ONE)
        bob = await open_carrier(town, "Bob", QUICK, alice)
        await wait_mesh(alice, 1)
        await meet(jo, alice)
        pruned = await jo.wait("handlePrune", peer=alice.peer_id, topic=TOPIC)
        assert pruned["backoff"] == 2
        told = wish_of("Bob")
        say(bob, told)
        assert (await jo.wait("heard", id=told.id.hex(), verdict="accept"))["via"] == alice.peer_id
        spoken_of = [one for event in jo.told("handleIHave", peer=alice.peer_id) for one in event["ids"]]
        assert spoken_of == [message_id(TOPIC, told.frame).hex()]
        assert counted(alice.node, "iwant.served") == 1

        since = len(jo.events)
        await bob.stop()
        joined = await jo.wait_mesh(TOPIC, alice.peer_id, since)
        pruned_last = [event["ms"] for event in jo.told("handlePrune") if event["ms"] < joined["ms"]][-1]
        assert joined["ms"] - pruned_last >= 2000
        assert counted(alice.node, "graft.early") == 0
        await both_ways(jo, alice, "in the mesh")
        assert not jo.told("penalty")


@within(HANGS)
async def test_bob_outside_a_full_mesh_of_jo_hears_by_gossip() -> None:
    """The same the other way round: Jo has room for Alice alone. Bob is pruned, asks for what Jo says she has, waits
    out the back-off, and comes in when Alice has gone, without a penalty."""
    async with open_real_town() as town, open_jo(gossip={**ALONE, "pruneBackoff": 2000}) as jo:
        alice, bob = await open_carrier(town, "Alice"), await open_carrier(town, "Bob")
        await meet(jo, alice)
        await jo.wait_mesh(TOPIC, alice.peer_id)
        await meet(jo, bob)
        await wait_counted(bob, "prune.received")
        told = wish_of("Alice")
        say(alice, told)
        await wait_has(bob, [told.id.hex()])
        assert counted(bob.node, "iwant.sent") == 1
        assert jo.told("handleIWant", peer=bob.peer_id)
        await alice.stop()
        await jo.wait_mesh(TOPIC, bob.peer_id)
        await wait_mesh(bob, 1)
        await both_ways(jo, bob, "in the mesh")
        assert not jo.told("penalty"), "Bob never came too early"


@within(HANGS)
async def test_who_comes_late_hears_what_is_still_spoken_about() -> None:
    """Alice said three things before Jo came: Jo hears all three by gossip."""
    async with open_real_town() as town, open_jo() as jo:
        alice = await open_carrier(town, "Alice", LONG_MEMORY)
        told = say(alice, *(wish_of(f"Early {number}") for number in range(3)))
        await meet(jo, alice)
        await jo.wait_accepted(told)
        assert counted(alice.node, "iwant.served") == 3


@within(HANGS)
async def test_jo_hangs_up_and_comes_back() -> None:
    """Twice Jo hangs up, misses something, comes back and hears it; afterwards both hear each other as before."""
    async with open_real_town() as town, open_jo() as jo:
        alice = await open_carrier(town, "Alice", LONG_MEMORY)
        await meet(jo, alice)
        await both_ways(jo, alice, "at first")
        for time_away in ("once", "twice"):
            await jo.do("hangUp", peer=alice.peer_id)
            await wait_until(alice, lambda node: not node.network.links())
            missed = say(alice, wish_of(f"While Jo was away {time_away}"))
            await meet(jo, alice)
            await jo.wait_accepted(missed)
            await both_ways(jo, alice, f"after {time_away}")
        assert counted(alice.node, "graft.early") == 0
        assert not jo.told("penalty")


@within(HANGS)
async def test_either_is_killed_and_comes_back() -> None:
    """Jo's process is killed, and another one with her name comes; then Alice stops and starts. Each time both hear
    each other as before."""
    async with open_real_town() as town:
        alice = await open_carrier(town, "Alice", LONG_MEMORY)
        async with open_jo() as jo:
            await meet(jo, alice)
            await both_ways(jo, alice, "at first")
            await jo.kill()
        await wait_until(alice, lambda node: not node.network.links())
        async with open_jo() as jo:
            await meet(jo, alice)
            await both_ways(jo, alice, "after Jo's death")
            await alice.stop()
            await jo.wait("peer:disconnect", peer=alice.peer_id)
            await alice.start()
            await meet(jo, alice)
            await both_ways(jo, alice, "after Alice's rest")


# ------------------------------------------------------------------------------------------------- what is not believed


@within(HANGS)
async def test_messages_with_an_author_are_rejected_and_counted() -> None:
    """Jo signs her messages as pubsub does by default. Alice rejects and counts each, believes nothing, puts her out of
    the mesh and keeps the link."""
    async with open_real_town() as town, open_jo(signed=True) as jo:
        alice = await open_carrier(town, "Alice")
        await meet(jo, alice)
        await wait_mesh(alice, 1)
        await jo.do("say", division="mobility", count=3)
        await wait_counted(alice, "message.rejected.rpc_signed", 3)
        await jo.wait("handlePrune", peer=alice.peer_id, topic=TOPIC)
        assert len(alice.node.board) == 0
        assert [link.peer for link in alice.node.network.links()] == [jo.peer_id]


@within(HANGS)
async def test_bad_frames_of_jo_are_rejected_and_good_ones_still_heard() -> None:
    """Garbage, a changed signature, another network: each REJECTed under its name, and Jo leaves the mesh. An expired
    wish is only ignored. A good wish of hers is believed all the same."""
    async with open_real_town() as town, open_jo() as jo:
        alice = await open_carrier(town, "Alice")
        await meet(jo, alice)
        await wait_mesh(alice, 1)
        now = int(time.time())
        changed = bytearray(wish_of("Mallory").frame)
        changed[40] ^= 1
        expired = wish_of("Carol", at=now - 100, exp=now - 1)
        await jo.do("publish", division="mobility", data=expired.frame.hex())
        await wait_counted(alice, "message.ignored.expired")
        assert router(alice.node).mesh_sizes[TOPIC] == 1
        for data, reason in (
            (b"\xa7garbage", "frame"),
            (bytes(changed), "signature"),
            (wish_of("Carol", net="elsewhere").frame, "net"),
        ):
            await jo.do("publish", division="mobility", data=data.hex())
            await wait_counted(alice, f"message.rejected.{reason}")
        await wait_mesh(alice, 0)
        await wait_has(alice, (await jo.do("say", division="mobility", count=1))["ids"])
        assert len(alice.node.board) == 1


@within(HANGS)
async def test_bad_frames_of_ours_cost_us_with_jo() -> None:
    """What our node would never say: Jo rejects it and counts it against Alice (P4). What is early, Jo ignores, and
    that costs nothing."""
    async with open_real_town() as town, open_jo() as jo:
        alice = await open_carrier(town, "Alice")
        await meet(jo, alice)
        early = wish_of("Alice", at=int(time.time()) + 600, exp=int(time.time()) + 1200)
        say(alice, early)
        await jo.wait("heard", verdict="ignore", reason="early")
        assert (await jo.wait("scored", peer=alice.peer_id))["score"] == 0
        since = len(jo.events)
        alice.node.gossip.publish("mobility", b"garbage")
        await jo.wait("heard", since, verdict="reject")
        assert (await jo.wait("scored", since, peer=alice.peer_id))["score"] < 0


# ------------------------------------------------------------------------------------------------ catch-up and peers


@within(HANGS)
async def test_jo_catches_up_with_alice() -> None:
    """Jo, who follows nothing, asks for what hangs on Alice's board: all of it the first time, then what is new, and
    then nothing. Every frame is believed."""
    async with open_real_town() as town, open_js("Jo") as jo:
        alice = await open_carrier(town, "Alice")

        async def hang_and_ask(*titles: str) -> int:
            said = [wish_of(title) for title in titles]
            for message in said:
                assert alice.node.gossip.hear("mobility", message.frame).accepted
            found = await jo.do("catchUp", address=alice.address, division="mobility")
            assert sorted(found["ids"]) == sorted(message.id.hex() for message in said)
            assert found["verdicts"] == ["accept"] * len(said)
            return int(found["turns"])

        assert await hang_and_ask(*(f"Early {number}" for number in range(300))) > 1
        assert await hang_and_ask("Late 1", "Late 2") > 1
        assert await hang_and_ask() == 1


@within(HANGS)
async def test_alice_catches_up_with_jo() -> None:
    """Jo said forty things before Alice came. Alice asks her on the new link, believes all and passes them on. What Jo
    says while the link is down comes with the next one."""
    async with open_real_town() as town, open_js("Jo") as jo:
        ids = (await jo.do("say", division="mobility", count=40))["ids"]
        alice = await open_carrier(town, "Alice")
        await jo.do("dial", address=alice.address)
        await wait_has(alice, ids)
        assert counted(alice.node, "message.learned") == 40
        await jo.do("hangUp", peer=alice.peer_id)
        await wait_until(alice, lambda node: not node.network.links())
        late = (await jo.do("say", division="mobility", count=2))["ids"]
        await jo.do("dial", address=alice.address)
        await wait_has(alice, [*ids, *late])
        assert counted(alice.node, "message.learned") == 42


@within(HANGS)
async def test_alice_introduces_jo_and_ju() -> None:
    """Jo tells Alice her address, signed; Ju asks Alice whom she knows, verifies the record, and can dial Jo."""
    async with open_real_town() as town, open_js("Jo") as jo, open_js("Ju") as ju:
        alice = await town.open("Alice", meeting=True, params=QUICK)
        await jo.do("askPeers", address=alice.address)
        known = (await ju.do("askPeers", address=alice.address))["known"]
        assert [jo.address] in known
        await ju.do("dial", address=jo.address)
        await jo.wait("peer:connect", peer=ju.peer_id)


# --------------------------------------------------------------------------------------------------------- deals


JO_SELLS: dict[str, Any] = {
    "vendor": {"name": "Jo's cars"},
    "lines": [{"title": "Subaru Forester", "count": 5, "unit": "day", "price": 6000, "amount": 30000}],
    "fees": [{"name": "airport", "amount": 1500}],
    "total": {"minor": 31500, "currency": "EUR"},
    "props": [{"name": "drive", "value": "4x4"}, {"name": "winter_tyres", "value": "yes"}],
    "meets": ["drive", "winter_tyres"],
    "when": SKIING["when"],
    "where": SKIING["where"],
}


@within(HANGS)
async def test_jo_sells_to_alice() -> None:
    """Alice asks; Jo, in another language, seals an offer to her; she accepts, Jo confirms: one contract, the same on
    both sides. What Jo says twice gets the same bytes in answer; what she seals to a box nobody has gets a hint."""
    async with open_real_town() as town, open_jo(sells=JO_SELLS) as jo:
        alice = await town.open("Alice", params=QUICK)
        await jo.do("dial", address=alice.address)
        asked = await alice.desk.ask(SKIING, 10)
        intent = asked["intent"]["id"]
        (found,) = (await wait_offers(alice, intent, 1))["offers"]
        assert (found["vendor"]["name"], found["total"]) == ("Jo's cars", {"minor": 31_500, "currency": "EUR"})
        assert found["id"] == (await jo.wait("offered", intent=intent))["id"]
        assert (await jo.wait("letter", kind="ack"))["ref"] == found["id"]
        deal = (await alice.desk.accept(found["id"], "alice@example.org", None, [], 10))["contract"]
        assert (deal["state"], deal["vendor_contact"]) == ("confirmed", "desk@vendor.example")
        accepted = await jo.wait("letter", kind="accept")
        assert (accepted["id"], accepted["contact"]) == (deal["id"], "alice@example.org")
        confirmed = await jo.wait("confirmed")
        await jo.wait("letter", kind="ack", ref=confirmed["id"], states=["CONFIRMED"])

        first = [event["digest"] for event in jo.told("letter", kind="ack")]
        since = len(jo.events)
        await jo.do("repeat")
        await jo.wait("letter", since, kind="ack", ref=confirmed["id"])
        assert [event["digest"] for event in jo.told("letter", since, kind="ack")] == first
        (found,) = (await alice.desk.offers_for(intent))["offers"]
        assert found["state"] == "confirmed"
        await jo.do("stray")
        assert (await jo.wait("hint"))["code"] == "unknown_key"
        assert not jo.told("letter refused")


@within(HANGS)
async def test_bob_sells_to_jo() -> None:
    """Jo asks, in another language; Bob offers by hand; Jo accepts, Bob's node confirms, and Jo closes her wish: Bob
    holds the contract and hears the end."""
    async with open_real_town() as town, open_jo() as jo:
        bob = await open_carrier(town, "Bob")
        await meet(jo, bob)
        intent = (await jo.do("ask", wish=SKIING))["id"]
        await wait_heard(bob, intent)
        made = (await bob.desk.make_offer(intent, by_hand()))["offer"]["id"]
        assert (await jo.wait("letter", kind="offer"))["id"] == made
        accepted = await jo.wait("accepted", offer=made)
        confirmed = await jo.wait("letter", kind="confirm", ref=accepted["id"])
        assert (confirmed["contact"], confirmed["states"]) == ("bob@example.org", ["CONFIRMED"])
        await wait_over(bob, intent)
        (mine,) = await bob.desk.offers_made()
        assert (mine["state"], mine["requester_contact"]) == ("confirmed", "person@js.example")
        assert not jo.told("letter refused")
